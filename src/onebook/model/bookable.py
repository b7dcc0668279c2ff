"""Whether a basket can be had: opening, restrictions and, over all of its lines together, the units left."""

from collections.abc import Iterable, Sequence

from onebook.model.book import Book, Shelf
from onebook.model.booking import Item
from onebook.model.commands import Line
from onebook.model.hours import covers
from onebook.model.refusals import (
    Closed,
    ClosedToArrival,
    ClosedToDeparture,
    MaxStay,
    MinStay,
    NotBookable,
    OutsideHours,
    SoldOut,
    Unavailable,
)
from onebook.model.resource import Unit

Totals = dict[tuple[str, int], int]
Objection = tuple[type[NotBookable], Unavailable]


def refusal_of_basket(lines: Sequence[Line], book: Book, given_up: Sequence[Item] = ()) -> NotBookable | None:
    """Why the lines cannot be had together, or None. Units of `given_up` count as free.

    The code is that of the first line that fails; every line that fails is named.
    """
    totals = _totals(lines, given_up) if len(lines) > 1 or given_up else None
    objections = [
        objection
        for line in lines
        if (objection := _objection(line, book.shelves[line.resource.key], totals)) is not None
    ]
    if not objections:
        return None
    return objections[0][0](items=tuple(item for _, item in objections))


def shortage(line: Line, shelf: Shelf, totals: Totals | None) -> Unavailable | None:
    """The cells of a line, buffers included, that have fewer units left than the whole basket wants of them.

    `totals` are the units wanted of each cell, less those given up; None when the line is all there is.
    """
    resource = shelf.resource
    key, first, end = resource.key, *line.occupied
    default_free = resource.capacity + resource.overbooking
    stored = shelf.cells.get
    lowest = line.quantity  # where anything is short, less than that is left
    short: list[int] = []
    for number in range(first, end):
        cell = stored(number)
        free = default_free if cell is None else cell.free
        needed = line.quantity if totals is None else totals[key, number]
        if needed > free:
            short.append(number)
        left = free if totals is None else free + line.quantity - needed
        if left < lowest:
            lowest = left
    if not short:
        return None
    return _unavailable(line, shelf, short, max(lowest, 0))


def totals_of(lines: Sequence[Line]) -> Totals | None:
    """The units that several lines want of each cell; None where one line is all."""
    return _totals(lines, ()) if len(lines) > 1 else None


def _objection(line: Line, shelf: Shelf, totals: Totals | None) -> Objection | None:
    if shelf.resource.unit is not Unit.SESSION and (broken := _broken_rule(line, shelf)) is not None:
        return broken
    stopped = [n for n in range(line.first, line.end) if (cell := shelf.cells.get(n)) is not None and cell.closed]
    if stopped:
        return Closed, _unavailable(line, shelf, stopped, 0)
    short = shortage(line, shelf, totals)
    return None if short is None else (SoldOut, short)


def _broken_rule(line: Line, shelf: Shelf) -> Objection | None:
    resource = line.resource
    arrival, departure = shelf.cells.get(line.first), shelf.cells.get(line.end)
    length = line.end - line.first
    min_stay, max_stay = resource.min_stay, resource.max_stay
    if arrival is not None:
        min_stay = min_stay if arrival.min_stay is None else arrival.min_stay
        max_stay = max_stay if arrival.max_stay is None else arrival.max_stay
        if arrival.closed_to_arrival:
            return ClosedToArrival, _unavailable(line, shelf, [line.first], 0)
    if departure is not None and departure.closed_to_departure:
        return ClosedToDeparture, _unavailable(line, shelf, [line.end], 0)
    if min_stay is not None and length < min_stay:
        return MinStay, _unavailable(line, shelf, [line.first], 0, min_stay)
    if max_stay is not None and length > max_stay:
        return MaxStay, _unavailable(line, shelf, [line.first], 0, max_stay)
    if resource.hours is not None and not _within_hours(line):
        return OutsideHours, _unavailable(line, shelf, [line.first], 0)
    return None


def _within_hours(line: Line) -> bool:
    resource = line.resource
    minutes = resource.cell_minutes
    return resource.hours is None or covers(
        resource.hours, resource.venue.zone, line.first * minutes, line.end * minutes
    )


def _totals(lines: Iterable[Line], given_up: Iterable[Item]) -> Totals:
    totals: Totals = {}
    for line in lines:
        for number in range(*line.occupied):
            at = (line.resource.key, number)
            totals[at] = totals.get(at, 0) + line.quantity
    for item in given_up:
        for number in range(*item.cells):
            at = (item.resource, number)
            if at in totals:
                totals[at] -= item.quantity
    return totals


def _unavailable(
    line: Line, shelf: Shelf, numbers: Iterable[int], available: int, limit: int | None = None
) -> Unavailable:
    labels = tuple(shelf.label(number) for number in numbers)
    return Unavailable(resource=line.resource.key, unavailable=labels, available=available, limit=limit)
