"""How far a consumer has come and how far behind it is, and telling Prometheus so under the name of each of its handlers."""

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

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
        """Since the last message was handled, or since the start."""
        return time.monotonic() - self._heard_at

    @property
    def lag_seconds(self) -> float:
        """How late the last message came; once it is quiet, how long ago its transaction was committed."""
        silent_seconds = self.silent_seconds
        return self._late_seconds + (silent_seconds if silent_seconds > QUIET_SECONDS else 0.0)

    def hear(self, committed_at: float) -> None:
        """A message has been handled."""
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
        buckets: Counter[int] = Counter()
        total_seconds = 0.0
        # An `observe` for each event would cost 3.5 µs with several workers; all events of a message took the same time.
        for committed_at, count in Counter([event.committed_at for event in events]).items():
            seconds = max(0.0, handled_at - committed_at)
            buckets[bisect_left(self._ends[0]._upper_bounds, seconds)] += count
            total_seconds += seconds * count
        for end in self._ends:
            end._sum.inc(total_seconds)
            for bucket, count in buckets.items():
                end._buckets[bucket].inc(count)
        for counter in self._events:
            counter.inc(len(events))

    def tell(self, offset: int) -> None:
        """After each turn: where the consumer is."""
        lag_seconds = self.lag_seconds
        for gauge in self._offsets:
            gauge.set(offset)
        for gauge in self._lags:
            gauge.set(lag_seconds)
