"""The last events, in the order in which they were handled, and the places between them.

Who calls me: the hub. What survives a crash: nothing; clients go on from the log. What bounds me: `limit` events, twice as
many places, and as many events above the horizon.
"""

import secrets
from collections import deque
from itertools import islice
from sys import intern

from onebook.log.read import Cursor as LogCursor
from onebook.log.stream import AVAILABILITY_TYPE, StreamEvent, events_of
from onebook.push.cursor import Place


class Kept:
    """What clients may see of an event. `cursor` says: everything up to and including it has been seen."""

    __slots__ = (
        "_public_body",
        "body",
        "channel",
        "cursor",
        "is_private",
        "is_secret",
        "position",
        "txn",
        "type",
        "venues",
    )

    def __init__(self, event: StreamEvent, cursor: Place | LogCursor) -> None:
        self.cursor = cursor
        self.txn = event.txn
        self.position = event.position
        self.type = intern(event.type)
        self.is_private = event.is_private
        self.is_secret = event.is_secret
        self.venues = tuple(intern(venue) for venue in event.venues)
        self.channel = event.channel
        self.body = event.body
        self._public_body = None if self.is_private else event.body

    @property
    def public_type(self) -> str:
        """The type of `public_body`."""
        return AVAILABILITY_TYPE if self.is_private else self.type

    @property
    def public_body(self) -> bytes | None:
        """What anybody may know; None where that is nothing. Made when the first one who may know no more wants it, since that is
        the larger part of the work on an event, and where nobody of that kind listens it is none."""
        if self._public_body is None and not self.is_secret:
            (event,) = events_of(b"[%b]" % self.body, 0.0, 0)
            self._public_body = event.public_body
        return self._public_body


class Ring:
    """Events are numbered from 0 in the order of their arrival; a number also stands for the place before its event."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: deque[Kept] = deque()
        self._here: set[int] = set()
        self._numbers: dict[Place, int] = {}
        self._places: deque[Place] = deque()
        self._above: dict[int, int] = {}
        self._uncounted_txn = 0
        self.first = 0
        self.place = Place(0, 0)
        self.floor = 0
        """Every event handled here whose transaction is not below the floor is still in the ring."""

    @property
    def next(self) -> int:
        """The number that the next event will have."""
        return self.first + len(self._kept)

    def begin(self, horizon: int) -> None:
        """Everything below the horizon happened before; what comes is kept."""
        self.place, self.floor = Place(horizon, 0), horizon
        self._remember()

    def add(self, event: StreamEvent) -> Kept | None:
        """Take an event in; None if it is here already.

        One from below the horizon is a dead letter that somebody replays; places do not count it.
        """
        if event.position in self._here or event.position in self._above:
            return None
        is_counted = event.txn >= self.place.horizon
        place = self.place.with_event(event.position) if is_counted else self.place
        kept = Kept(event, place)  # whatever is wrong with an event shows here, before anything has changed
        self.place = place
        self._keep(kept)
        if is_counted:
            self._above[event.position] = event.txn
            if len(self._above) > self._limit:
                self._stop_counting()
        self._remember()
        return kept

    def advance(self, horizon: int) -> None:
        """Everything below this horizon has been handled."""
        if horizon <= self.place.horizon:
            return
        self._above = {position: txn for position, txn in self._above.items() if txn >= horizon}
        counted = horizon > self._uncounted_txn
        place = Place(horizon, 0 if counted else secrets.randbits(64))
        for position in self._above:
            place = place.with_event(position)
        self.place = place
        self._remember()

    def number_of(self, place: Place) -> int | None:
        """Where to go on after a place that was issued here, or that is the same as one; None if it is not known."""
        number = self._numbers.get(place)
        return number if number is not None and number >= self.first else None

    def number_from(self, txn: int) -> int:
        """The first event whose transaction is not below this one; `next` if there is none."""
        return next((number for number, kept in enumerate(self._kept, self.first) if kept.txn >= txn), self.next)

    def after(self, number: int, limit: int) -> list[Kept]:
        """Up to `limit` events from a number on. Raises LookupError when the first of them has gone."""
        if number < self.first:
            raise LookupError("these events are kept no longer")
        begin = number - self.first
        return list(islice(self._kept, begin, begin + limit))

    def _keep(self, kept: Kept) -> None:
        self._kept.append(kept)
        self._here.add(kept.position)
        if len(self._kept) > self._limit:
            gone = self._kept.popleft()
            self._here.discard(gone.position)
            self.floor = max(self.floor, gone.txn + 1)
            self.first += 1

    def _stop_counting(self) -> None:
        """Too many events lie above a horizon that does not move: until it has passed them all, no other worker's place may
        look like one of ours, so a random number takes part in the sum."""
        self._uncounted_txn = max(self._uncounted_txn, *self._above.values())
        self._above = {}
        self.place = Place(self.place.horizon, secrets.randbits(64))

    def _remember(self) -> None:
        if self.place in self._numbers:
            return
        self._numbers[self.place] = self.next
        # Beside the dictionary, which looks for its oldest key past the gaps of all that were taken out before.
        self._places.append(self.place)
        if len(self._places) > 2 * self._limit:
            del self._numbers[self._places.popleft()]
