"""What the demo's channels saw: counts of outcomes, latencies in bounded memory, and the rush.

Every attempt ends in exactly one of: sold, refused, declined, released, expired, failed. The rest counts what
happened on the way.
"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

MAX_EXAMPLES = 10

_FLOOR_SECONDS = 1e-5
_STEP = 1.01
_BUCKETS = 1700  # 10 µs × 1.01^1700 is more than three minutes: beyond any request's timeout


class Latencies:
    """A histogram in steps of one per cent: percentiles over any number of samples, in fixed memory."""

    __slots__ = ("_buckets", "count")

    def __init__(self) -> None:
        self._buckets = [0] * (_BUCKETS + 1)
        self.count = 0

    def add(self, seconds: float) -> None:
        """One sample; below 10 µs and above three minutes it counts as that."""
        step = math.ceil(math.log(max(seconds, _FLOOR_SECONDS) / _FLOOR_SECONDS) / math.log(_STEP))
        self._buckets[min(step, _BUCKETS)] += 1
        self.count += 1

    def percentile_seconds(self, percent: float) -> float:
        """The nearest-rank percentile, at most 1 % too high; 0 without samples."""
        rank = max(1, math.ceil(self.count * percent / 100))
        seen = 0
        for step, samples in enumerate(self._buckets):
            seen += samples
            if samples and seen >= rank:
                return _FLOOR_SECONDS * _STEP**step
        return 0.0

    @classmethod
    def merged(cls, parts: Iterable["Latencies"]) -> "Latencies":
        """All samples of several histograms in one."""
        whole = cls()
        for part in parts:
            whole._buckets = [ours + theirs for ours, theirs in zip(whole._buckets, part._buckets, strict=True)]
            whole.count += part.count
        return whole


@dataclass(slots=True)
class Tally:
    """One channel's counts."""

    attempts: int = 0
    sold: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    declined: int = 0
    released: int = 0
    expired: int = 0
    failed: int = 0
    cancelled: int = 0
    amended: int = 0
    extended: int = 0
    duplicates: int = 0
    duplicates_wrong: int = 0
    requests: int = 0
    retries: int = 0
    lost_answers: int = 0
    misused_keys: int = 0
    read_back: int = 0
    read_back_wrong: int = 0
    unexpected: int = 0
    examples: list[str] = field(default_factory=list)
    latencies: Latencies = field(default_factory=Latencies)

    def surprise(self, what: str) -> None:
        """Something that the contract does not allow; the first few are kept in words."""
        self.unexpected += 1
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append(what)


@dataclass(slots=True)
class Rush:
    """The moment when every channel wants the last units of one night."""

    what: str
    units: int
    starts_at: float
    attempts_left: int
    attempts: int = 0
    sold: int = 0
    refused: int = 0
    began: float | None = None
    ended: float | None = None

    def claim(self, now: float) -> int | None:
        """The number of the next attempt to make in the rush; None before it starts and when it is over."""
        if now < self.starts_at or self.attempts_left == 0:
            return None
        self.attempts_left -= 1
        self.attempts += 1
        self.began = now if self.began is None else self.began
        return self.attempts

    @property
    def seconds(self) -> float:
        """From the first attempt to the last answer so far."""
        return 0.0 if self.began is None or self.ended is None else self.ended - self.began
