"""What goes wrong: by chance, as PUT /faults has it, or for certain, as a payment's token has it.

A *trouble* befalls a call, before or after its effect, and not the one that repeats it. A *fate* is a property of the payment.
"""

from collections.abc import Iterable
from enum import StrEnum
from random import Random
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

MAX_TRIED = 100_000

Share = Annotated[float, Meta(ge=0, le=1)]
Milliseconds = Annotated[int, Meta(ge=0, le=60_000)]
Seconds = Annotated[float, Meta(ge=0, le=60)]
Outcome = TypeVar("Outcome")


class Call(StrEnum):
    """What may be asked of the API."""

    AUTHORIZE = "authorize"
    FIND = "find"
    CAPTURE = "capture"
    VOID = "void"
    REFUND = "refund"
    LIST = "list"


class Faults(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that can be set. A share is a probability, 0 to 1."""

    seed: int = 0
    calls: tuple[Call, ...] = tuple(Call)
    """Which calls are slow, hang, time out or fail."""
    slow_ms: Milliseconds = 0
    hang_seconds: Seconds = 0
    """Above 0, nothing is carried out any more: each call is held for so long, and then its connection is dropped."""
    timeout_before: Share = 0
    timeout_after: Share = 0
    timeout_seconds: Seconds = 0
    """How long a connection is held in a timeout before it is dropped; 0: it is dropped at once."""
    error_before: Share = 0
    error_after: Share = 0
    decline: Share = 0
    challenge: Share = 0
    late_authorization: Share = 0
    wrong_amount: Share = 0
    late_capture: Share = 0
    capture_refused: Share = 0
    refund_fails: Share = 0
    late_ms: Milliseconds = 500
    """How long what is late takes."""
    lost_notifications: Share = 0
    duplicate_notifications: Share = 0
    reordered_notifications: Share = 0


class Trouble(StrEnum):
    """What befalls a call."""

    NONE = ""
    TIMEOUT_BEFORE = "timeout_before"
    TIMEOUT_AFTER = "timeout_after"
    ERROR_BEFORE = "error_before"
    ERROR_AFTER = "error_after"


class Fate(StrEnum):
    """What becomes of a payment, its capture, or its refund."""

    GOOD = "good"
    DECLINED = "declined"
    INSUFFICIENT_FUNDS = "insufficient_funds"
    CHALLENGED = "challenged"
    LATE = "late"
    WRONG_AMOUNT = "wrong_amount"
    REFUSED = "refused"
    """Of a capture: the authorization has expired."""
    FAILS = "fails"
    """Of a refund."""


_FATES = {
    Call.AUTHORIZE: {
        "tok_declined": Fate.DECLINED,
        "tok_insufficient_funds": Fate.INSUFFICIENT_FUNDS,
        "tok_challenge": Fate.CHALLENGED,
        "tok_late_authorization": Fate.LATE,
        "tok_wrong_amount": Fate.WRONG_AMOUNT,
    },
    Call.CAPTURE: {"tok_late_capture": Fate.LATE, "tok_capture_refused": Fate.REFUSED},
    Call.REFUND: {"tok_refund_fails": Fate.FAILS},
}
_TROUBLES = {
    # tok_timeout_after is for the authorization; tok_timeout_after_capture for the capture, and so on.
    f"tok_{trouble}{suffix}": (call, trouble)
    for trouble in Trouble
    if trouble
    for suffix, call in [("", Call.AUTHORIZE), *((f"_{call}", call) for call in (Call.CAPTURE, Call.VOID, Call.REFUND))]
}


class Chance:
    """Decides what goes wrong. The same seed and the same calls in the same order bring the same faults."""

    def __init__(self) -> None:
        self._tried: set[tuple[str, Call]] = set()
        self.set(Faults())

    def set(self, faults: Faults) -> None:
        """From now on these, and dice thrown anew."""
        self.faults = faults
        self._random = Random(faults.seed)  # noqa: S311  # dice, no secrets
        self._troubled = bool(
            faults.timeout_before or faults.timeout_after or faults.error_before or faults.error_after
        )

    def hit(self, share: float) -> bool:
        """Whether something of that probability happens."""
        return share > 0 and self._random.random() < share

    def delay_seconds(self, call: Call) -> float:
        """How slow a call is."""
        return self.faults.slow_ms / 1000 if self.faults.slow_ms and call in self.faults.calls else 0.0

    def hangs(self, call: Call) -> bool:
        """Whether a call is not carried out at all."""
        return self.faults.hang_seconds > 0 and call in self.faults.calls

    def trouble(self, call: Call, key: str, token: str) -> Trouble:
        """What befalls this call; by token only the first of its kind for a payment."""
        by_token = _TROUBLES.get(token)
        if by_token is not None and by_token[0] is call and (key, call) not in self._tried:
            if len(self._tried) >= MAX_TRIED:
                self._tried.clear()
            self._tried.add((key, call))
            return by_token[1]
        if not self._troubled or call not in self.faults.calls:
            return Trouble.NONE
        return self._drawn((trouble, getattr(self.faults, trouble)) for trouble in Trouble if trouble) or Trouble.NONE

    def fate_of_payment(self, token: str) -> Fate:
        """What becomes of a new payment."""
        faults = self.faults
        return _FATES[Call.AUTHORIZE].get(token) or (
            self._drawn(
                (
                    (Fate.DECLINED, faults.decline),
                    (Fate.CHALLENGED, faults.challenge),
                    (Fate.LATE, faults.late_authorization),
                    (Fate.WRONG_AMOUNT, faults.wrong_amount),
                )
            )
            or Fate.GOOD
        )

    def fate_of_capture(self, token: str) -> Fate:
        """What becomes of a capture."""
        faults = self.faults
        return _FATES[Call.CAPTURE].get(token) or (
            self._drawn(((Fate.LATE, faults.late_capture), (Fate.REFUSED, faults.capture_refused))) or Fate.GOOD
        )

    def fate_of_refund(self, token: str, earlier: int) -> Fate:
        """What becomes of a refund; by token only a payment's first one fails."""
        if earlier == 0 and token in _FATES[Call.REFUND]:
            return Fate.FAILS
        return Fate.FAILS if self.hit(self.faults.refund_fails) else Fate.GOOD

    def _drawn(self, shares: Iterable[tuple[Outcome, float]]) -> Outcome | None:
        """One of several outcomes, or none; one throw for all of them."""
        rest = self._random.random()
        for outcome, share in shares:
            if rest < share:
                return outcome
            rest -= share
        return None
