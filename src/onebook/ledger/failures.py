"""What can go wrong around a decision: requests that name nothing, faults that pass, and invariants that broke."""

import asyncpg

DATABASE_FAULTS = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the driver's word for a connection that broke while it was handed out
)

# Moves of a booking that the database refuses for the sake of its payment, of which the ledger knows nothing. Whoever asks for
# such a move looks first; this is for what happens between the look and the move.
GUARDS = frozenset(
    {
        "booking_is_confirmed_by_its_checkout",
        "booking_is_cancelled_with_its_settlement",
        "booking_is_amended_with_its_money",
    }
)


def is_guarded(error: Exception) -> bool:
    """Whether this is such a refusal, which is expected."""
    return getattr(error, "constraint_name", None) in GUARDS


class Unprocessable(Exception):
    """A request that is well-formed and means nothing; `pointer` is the JSON pointer of the offending field."""

    def __init__(self, code: str, detail: str, pointer: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.pointer = pointer


class UnknownName(Exception):
    """A request names a venue, resource or session that does not exist."""

    def __init__(self, what: str, name: str, pointer: str | None = None) -> None:
        super().__init__(f"there is no {what} {name!r}")
        self.detail = f"there is no {what} {name!r}"
        self.pointer = pointer


class LedgerUnavailable(Exception):
    """The ledger cannot answer now; the outcome of a command that was in flight is unknown, so repeat it."""

    def __init__(self, detail: str, retry_after_seconds: int = 1) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after_seconds = retry_after_seconds


class Overloaded(LedgerUnavailable):
    """More commands are waiting than the queue's bound."""


class BrokenInvariant(Exception):
    """The database refused what the rules allowed, or another writer wrote under our locks."""


class StaleDefinition(Exception):
    """A resource's definition has changed since the command was resolved: resolve it again."""
