"""How far a consumer has come and how far behind it is, and telling Prometheus so under the name of each of its handlers."""

import time
from bisect import bisect_left
from collections.abc import Sequence
from itertools import groupby

from prometheus_client import Histogram

from onebook.broker.metrics import (
    CDC_LAG,
    CONSUMER_OFFSET,
    DUPLICATES,
    END_TO_END,
    EVENTS,
    REBALANCE_LAG,
    REFILLS,
)
from onebook.log.stream import StreamEvent

# Heartbeats come twice a second: after a second without any message the lag is the time since the last one.
QUIET_SECONDS = 1.0


class Progress:
    """Times of one consumer. `committed_at` is PostgreSQL's clock: the same machine's, or kept equal by NTP."""

    def __init__(self, names: Sequence[str]) -> None:
        self._offsets = [CONSUMER_OFFSET.labels(name) for name in names]
        self._lags = [CDC_LAG.labels(name) for name in names]
        self._rebalances = [REBALANCE_LAG.labels(name) for name in names]
        self._ends = [END_TO_END.labels(name) for name in names]
        self._events = [EVENTS.labels(name) for name in names]
        self._duplicates = [DUPLICATES.labels(name) for name in names]
        self._refills = [REFILLS.labels(name) for name in names]
        self._late_seconds = 0.0
        self._heard_at = time.monotonic()
        self._lost_at: float | None = self._heard_at

    @property
    def silent_seconds(self) -> float:
        """Since the last message, or since the start."""
        return time.monotonic() - self._heard_at

    @property
    def lag_seconds(self) -> float:
        """How late the last message came; once it is quiet, how long ago its transaction was committed."""
        silent_seconds = self.silent_seconds
        return self._late_seconds + (silent_seconds if silent_seconds > QUIET_SECONDS else 0.0)

    def hear(self, committed_at: float) -> None:
        """A message came."""
        self._late_seconds, self._heard_at = max(0.0, time.time() - committed_at), time.monotonic()

    def lose_place(self) -> None:
        """Something may be missing from now on."""
        self._lost_at = self._lost_at or time.monotonic()

    def find_place(self) -> None:
        """Nothing is missing any more."""
        if self._lost_at is not None:
            for gauge in self._rebalances:
                gauge.set(time.monotonic() - self._lost_at)
            self._lost_at = None

    def count_refill(self) -> None:
        """The log is read."""
        for counter in self._refills:
            counter.inc()

    def count_duplicates(self, count: int) -> None:
        """Events came again."""
        if count:
            for counter in self._duplicates:
                counter.inc(count)

    def count_events(self, events: Sequence[StreamEvent], handled_at: float) -> None:
        """These have been handled, each so long after its commit."""
        for committed_at, group in groupby(events, key=lambda event: event.committed_at):
            count = sum(1 for _ in group)
            for end in self._ends:
                _observe(end, max(0.0, handled_at - committed_at), count)
        for counter in self._events:
            counter.inc(len(events))

    def tell(self, offset: int) -> None:
        """After each turn: where the consumer is."""
        lag_seconds = self.lag_seconds
        for gauge in self._offsets:
            gauge.set(offset)
        for gauge in self._lags:
            gauge.set(lag_seconds)


def _observe(histogram: Histogram, amount: float, count: int) -> None:
    """What `count` calls of histogram.observe(amount) do: one costs 3.5 µs with several workers, and there may be many."""
    histogram._sum.inc(amount * count)
    histogram._buckets[bisect_left(histogram._upper_bounds, amount)].inc(count)
