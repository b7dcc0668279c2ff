"""The calendar that `onebook replay` moves, and what the book must look like on each of its days. Pure.

One count serves three questions: how large an unlimited hotel would have to be (the capacity rule), whether a
room type was ever sold beyond its capacity, and whether anybody was refused a room that was free.
"""

from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping
from datetime import date, timedelta
from typing import NamedTuple

import msgspec

from onebook.ops.replay.rows import Stay

CAPACITY_PERCENT = 90
CAPACITY_RULE = (
    f"{CAPACITY_PERCENT} % (rounded down, at least 1) of the most bookings that would have been on the book "
    "at once for one night of the room type, had none been refused"
)


class Room(NamedTuple):
    """A room type of a hotel: what has a capacity and is sold by the night."""

    hotel: str
    room_type: str


Night = tuple[Room, date]


class Day(msgspec.Struct, frozen=True):
    """One day of the calendar; what happens on it, in this order."""

    on: date
    cancelled: tuple[Stay, ...]
    booked: tuple[Stay, ...]
    # A stay cannot be cancelled before it exists: those booked and given up on one day come last.
    given_up: tuple[Stay, ...]


def room_of(stay: Stay) -> Room:
    """The room type that a stay takes one unit of."""
    return Room(stay.hotel, stay.room_type)


def calendar(stays: Iterable[Stay]) -> list[Day]:
    """The days on which something happens, in order; stays keep the order of the file within each part."""
    cancelled: defaultdict[date, list[Stay]] = defaultdict(list)
    booked: defaultdict[date, list[Stay]] = defaultdict(list)
    given_up: defaultdict[date, list[Stay]] = defaultdict(list)
    for stay in stays:
        booked[stay.booked_on].append(stay)
        if stay.cancelled_on is not None:
            ended = given_up if stay.cancelled_on == stay.booked_on else cancelled
            ended[stay.cancelled_on].append(stay)
    return [
        Day(on, tuple(cancelled[on]), tuple(booked[on]), tuple(given_up[on]))
        for on in sorted(booked.keys() | cancelled.keys())
    ]


def capacities(stays: Iterable[Stay]) -> dict[Room, int]:
    """The capacity of every room type by `CAPACITY_RULE`."""
    peaks: Counter[Room] = Counter()
    for (room, _), units in fullest(stays).items():
        peaks[room] = max(peaks[room], units)
    return {room: max(1, peak * CAPACITY_PERCENT // 100) for room, peak in sorted(peaks.items())}


def fullest(stays: Iterable[Stay]) -> Counter[Night]:
    """The most units of each night that were on the book at any moment, if all these stays were sold."""
    sold = list(stays)
    most: Counter[Night] = Counter()
    for day, book in _at_fullest(sold, {stay.line for stay in sold}):
        for night in _nights(day.booked):
            most[night] = max(most[night], book[night])
    return most


def oversold_nights(sold: Iterable[Stay], capacity: Mapping[Room, int]) -> int:
    """The nights for which more units of a room type were on the book at a time than it has; must be 0."""
    return sum(units > capacity[room] for (room, _), units in fullest(sold).items())


def needlessly_refused(
    asked: Iterable[Stay], sold: Container[int], refused: Container[int], capacity: Mapping[Room, int]
) -> int:
    """The stays refused as sold out though their room was free on each night; must be 0.

    While a day's bookings come in the book only grows, so a night that was full for anyone is full at their
    end, and the order in which the server decided them need not be known. `sold` and
    `refused` are lines of the file.
    """
    return sum(
        all(book[night] < capacity[night[0]] for night in _nights([stay]))
        for day, book in _at_fullest(asked, sold)
        for stay in day.booked
        if stay.line in refused
    )


def _at_fullest(asked: Iterable[Stay], sold: Container[int]) -> Iterator[tuple[Day, Counter[Night]]]:
    """Each day, with the book of sold nights when its bookings are in and the last cancellations are not."""
    book: Counter[Night] = Counter()
    for day in calendar(asked):
        book.subtract(_nights(stay for stay in day.cancelled if stay.line in sold))
        book.update(_nights(stay for stay in day.booked if stay.line in sold))
        yield day, book
        book.subtract(_nights(stay for stay in day.given_up if stay.line in sold))


def _nights(stays: Iterable[Stay]) -> Iterator[Night]:
    for stay in stays:
        room = room_of(stay)
        for night in range(stay.nights):
            yield room, stay.arrival + timedelta(days=night)
