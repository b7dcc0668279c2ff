"""When events arrived, and how long after they were decided.

An event's `time` is read under the locks that it is committed with, a little before the commit: every latency here is
counted from then, and so is an upper bound of the time from the commit. Both clocks are this machine's.
"""

from array import array
from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class Latencies(msgspec.Struct, frozen=True):
    """Some arrivals; percentiles are those of the samples themselves."""

    count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float

    @property
    def quantiles(self) -> tuple[float, float] | tuple[None, None]:
        """p50 and p99; of nothing there are none."""
        return (self.p50_ms, self.p99_ms) if self.count else (None, None)


class Arrivals(msgspec.Struct, frozen=True):
    """All arrivals, and those of the first and the last third of the time, whose difference is how lag has grown."""

    all: Latencies
    first_third: Latencies
    last_third: Latencies

    @property
    def growth(self) -> float | None:
        """The last third's p99 over the first third's; None where one of them is empty."""
        first, last = self.first_third, self.last_third
        return last.p99_ms / first.p99_ms if first.count and last.count and first.p99_ms > 0 else None


class Heard(msgspec.Struct, frozen=True):
    """What the clients of a stream got (benchmarks/listen.py)."""

    clients: int
    lost: int
    """Streams that ended, or were reset, before we had heard enough."""
    fewest: int
    """Events that the client with the fewest got."""
    most: int
    arrivals: Arrivals


class Polled(msgspec.Struct, frozen=True):
    """What a poller of an outbox table saw (benchmarks/poll.py)."""

    interval_seconds: float
    rows: int
    """In the table."""
    missed: int
    """Of these, rows that were never seen: they became visible after a later one had been."""
    arrivals: Arrivals


class Received(msgspec.Struct, frozen=True):
    """What an endpoint for webhooks was sent (benchmarks/receive.py)."""

    deliveries: int
    repeated: int
    verified: int
    """Signatures that were looked at, and found right."""
    forged: int
    """Signatures that were looked at, and found wrong."""
    arrivals: Arrivals


class Record:
    """Arrivals as they come: two numbers each, so bounded by the time that is measured."""

    def __init__(self) -> None:
        self._at = array("d")
        self._took = array("d")

    def __len__(self) -> int:
        return len(self._at)

    def clear(self) -> None:
        """Begin anew."""
        self._at, self._took = array("d"), array("d")

    def add(self, time_text: bytes, now: float) -> None:
        """An event that was decided at the instant of the text, in RFC 3339, has arrived."""
        self.add_instant(_instant(time_text), now)

    def add_instant(self, decided_at: float, now: float) -> None:
        """The same for seconds since the epoch."""
        self._at.append(now)
        self._took.append(now - decided_at)

    def arrivals(self) -> Arrivals:
        """What came of it."""
        at, took = np.array(self._at), np.array(self._took)
        if not at.size:
            return Arrivals(*[_latencies(took)] * 3)
        third = (at.max() - at.min()) / 3
        return Arrivals(
            all=_latencies(took),
            first_third=_latencies(took[at < at.min() + third]),
            last_third=_latencies(took[at > at.max() - third]),
        )


@lru_cache(maxsize=1024)
def _instant(text: bytes) -> float:
    """Remembered, since thousands of clients are told the same."""
    return datetime.fromisoformat(text.decode()).timestamp()


def _latencies(seconds: Floats) -> Latencies:
    ordered: Any = np.sort(seconds) * 1000
    if not ordered.size:
        return Latencies(0, 0.0, 0.0, 0.0, 0.0)
    p50, p95, p99 = (float(ordered[-(-ordered.size * percent // 100) - 1]) for percent in (50, 95, 99))
    return Latencies(int(ordered.size), p50, p95, p99, float(ordered[-1]))
