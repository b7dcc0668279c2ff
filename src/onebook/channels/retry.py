"""What comes after an attempt: pure rules of waiting, giving up, and leaving an endpoint alone."""

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum

LONGEST_WAIT_SECONDS = 6 * 3600.0
_JITTER = 0.25
_GONE = 410
_BUSY = frozenset({429, 503})


class Outcome(StrEnum):
    """What an attempt means for its delivery."""

    DELIVERED = "delivered"
    RETRY = "retry"
    DEAD = "dead"
    GONE = "gone"
    """Dead, and the endpoint wants no more: it is disabled."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a delivery is tried."""

    first_wait_seconds: float
    give_up_seconds: float

    def wait_seconds(self, failures: int, luck: float) -> float:
        """The wait after so many failures, doubled each time, a quarter more or less by luck in [0, 1)."""
        doubled: float = self.first_wait_seconds * 2 ** min(failures - 1, 40)
        return min(doubled, LONGEST_WAIT_SECONDS) * (1 - _JITTER + 2 * _JITTER * luck)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do: `wait_seconds` belongs to a retry; `rest_seconds` is how long the endpoint asked to be left alone."""

    outcome: Outcome
    wait_seconds: float = 0.0
    rest_seconds: float = 0.0


def judge(
    patience: Patience,
    *,
    status_code: int | None,
    retry_after: float | None,
    failures: int,
    age_seconds: float,
    luck: float,
) -> Verdict:
    """The verdict on an attempt; `failures` include this one if it failed, `age_seconds` count since it was queued."""
    if status_code is not None and 200 <= status_code < 300:
        return Verdict(Outcome.DELIVERED)
    if status_code == _GONE:
        return Verdict(Outcome.GONE)
    rest = min(retry_after, LONGEST_WAIT_SECONDS) if retry_after and status_code in _BUSY else 0.0
    wait = max(patience.wait_seconds(failures, luck), rest)
    if age_seconds + wait > patience.give_up_seconds:
        return Verdict(Outcome.DEAD, rest_seconds=rest)
    return Verdict(Outcome.RETRY, wait, rest)


def retry_after_seconds(value: str | None, now: datetime) -> float | None:
    """Retry-After in seconds from now (RFC 9110, section 10.2.3); None where it says nothing that can be understood."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdecimal() and len(text) <= 9:
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, ((at if at.tzinfo else at.replace(tzinfo=UTC)) - now).total_seconds())
