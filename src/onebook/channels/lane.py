"""What one endpoint is still owed, in memory: which deliveries may go out now, in order per resource.

Who calls me: the sender, synchronously. What I own: a window of the endpoint's pending deliveries, the oldest first; the table
has the rest (`has_more`). What bounds me: the window. A delivery waits until every earlier one that touches one of its resources
is settled, or, where it touches none, every earlier one about the same subject. One that keeps failing therefore holds back its
own resources, and once a windowful waits for it, its endpoint. Times are those of a monotonic clock, handed in.
"""

import heapq
from bisect import insort
from collections import deque
from enum import Enum, auto
from operator import attrgetter

from onebook.breaker import Breaker, BreakerState
from onebook.channels.endpoints import Endpoint


class State(Enum):
    """Where a delivery stands; it is settled when it has left its resources' queues."""

    BEHIND = auto()
    """Something earlier touches one of its resources, or it has not been looked at."""
    READY = auto()
    WAITING = auto()
    UNDER_WAY = auto()
    SETTLED = auto()


class Owed:
    """One delivery."""

    __slots__ = (
        "body",
        "committed_at",
        "due_at",
        "failures",
        "kind",
        "place",
        "position",
        "queued_at",
        "resources",
        "state",
        "subject",
        "traceparent",
    )

    def __init__(
        self,
        *,
        txn: int,
        position: int,
        resources: tuple[str, ...],
        body: bytes,
        kind: str,
        subject: str,
        traceparent: str | None,
        committed_at: float,
        queued_at: float,
        failures: int = 0,
        due_at: float = 0.0,
    ) -> None:
        self.place = (txn, position)
        self.position = position
        self.resources = resources
        self.body = body
        self.kind = kind
        self.subject = subject
        self.traceparent = traceparent
        self.committed_at = committed_at
        self.queued_at = queued_at
        """Both in seconds since the Unix epoch."""
        self.failures = failures
        self.due_at = due_at
        self.state = State.BEHIND


_place = attrgetter("place")


class Lane:
    """One endpoint's deliveries, its breaker, and how many are under way."""

    def __init__(self, endpoint: Endpoint, breaker: Breaker, *, window: int, concurrency: int) -> None:
        self.endpoint = endpoint
        self.breaker = breaker
        self.has_more = True
        """Whether the table may have pending deliveries that are not here."""
        self.in_flight = 0
        self._parked: list[Owed] | None = None
        self.rests_until = 0.0
        self._window = window
        self._concurrency = concurrency
        self._known: dict[int, Owed] = {}
        self._queues: dict[str, list[Owed]] = {}
        self._ready: deque[Owed] = deque()
        self._waiting: list[tuple[float, int, Owed]] = []

    def __len__(self) -> int:
        return len(self._known)

    @property
    def wants_more(self) -> bool:
        """Whether it is time to read on from the table."""
        return self.has_more and len(self._known) <= self._window // 2

    def knows(self, position: int) -> bool:
        """Whether a delivery is here, or was and its outcome is not written down yet."""
        return position in self._known

    def offer(self, owed: Owed, now: float) -> None:
        """Take one that has just been written; left to the table where the window is full, or where earlier ones lie there."""
        if self._parked is not None and len(self._parked) < self._window:
            self._parked.append(owed)
        elif self.has_more or len(self._known) >= self._window:
            self.has_more = True
            self._parked = None
        else:
            self.take(owed, now)

    def loading(self) -> None:
        """The table is about to be read: what is offered from now on may not be in what is read, and comes after it."""
        self._parked = []

    def loaded(self, found: list[Owed], *, is_all: bool, now: float) -> None:
        """Take in what the table had."""
        for owed in found:
            self.take(owed, now)
        parked, self._parked = self._parked, None
        self.has_more = not is_all or parked is None
        if not self.has_more:
            for owed in parked or ():
                self.offer(owed, now)

    def take(self, owed: Owed, now: float) -> None:
        """Take one in, at its place."""
        if owed.position in self._known:
            return
        self._known[owed.position] = owed
        for resource in owed.resources:
            insort(self._queues.setdefault(resource, []), owed, key=_place)
        self._look_at(owed, now)

    def next(self, now: float) -> Owed | None:
        """One that may go out now, marked as under way; None where there is none, or the endpoint is to be left alone."""
        if not self.endpoint.is_active or self.in_flight >= self._concurrency or now < self.rests_until:
            return None
        if not self.breaker.allows(now, self.in_flight):
            return None
        while self._waiting and (self._waiting[0][0] <= now or self._probes_early):
            owed = heapq.heappop(self._waiting)[2]
            if owed.state is State.WAITING:
                owed.due_at, owed.state = 0.0, State.BEHIND
                self._look_at(owed, now)
        while self._ready:
            owed = self._ready.popleft()
            if owed.state is not State.READY:
                continue
            if not self._is_first(owed):  # something earlier has been asked for again meanwhile
                owed.state = State.BEHIND
                continue
            owed.state = State.UNDER_WAY
            self.in_flight += 1
            return owed
        return None

    def settle(self, owed: Owed, now: float) -> None:
        """It has come to its end: what waited behind it may go. It stays known until that is written down."""
        owed.state = State.SETTLED
        owed.body = b""
        for resource in owed.resources:
            queue = self._queues[resource]
            queue.remove(owed)
            if not queue:
                del self._queues[resource]
            elif queue[0].state is State.BEHIND:
                self._look_at(queue[0], now)

    def retry(self, owed: Owed, due_at: float, now: float) -> None:
        """It is to be tried again at a time."""
        owed.due_at, owed.state = due_at, State.BEHIND
        self._look_at(owed, now)

    def forget(self, owed: Owed) -> None:
        """Its end is written down."""
        del self._known[owed.position]

    def hurry(self, now: float) -> None:
        """The endpoint is back: nobody waits any longer."""
        waiting, self._waiting = self._waiting, []
        for _, _, owed in sorted(waiting, key=lambda entry: entry[2].place):
            if owed.state is State.WAITING:
                self.retry(owed, 0.0, now)

    def wakes_at(self, now: float) -> float | None:
        """When to ask again although nothing has happened; None where only an event can change something."""
        times = [self.rests_until] if self.rests_until > now else []
        if self.breaker.state is BreakerState.OPEN and self._known:
            times.append(self.breaker.opens_until)
        elif self._waiting:
            times.append(self._waiting[0][0])
        return max(times, default=None)

    @property
    def _probes_early(self) -> bool:
        """A half-open breaker needs something to probe with, due or not."""
        return self.breaker.state is BreakerState.HALF_OPEN and not self._ready

    def _is_first(self, owed: Owed) -> bool:
        return all(self._queues[resource][0] is owed for resource in owed.resources)

    def _look_at(self, owed: Owed, now: float) -> None:
        if not self._is_first(owed):
            return
        if owed.due_at > now:
            owed.state = State.WAITING
            heapq.heappush(self._waiting, (owed.due_at, owed.position, owed))
        else:
            owed.state = State.READY
            self._ready.append(owed)
