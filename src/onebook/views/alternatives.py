"""Ways out of a refusal: the same resource at the nearest other times, then others of its kind and venue.

Who calls me: the API, for every refused basket, which is most of the traffic when everybody wants the last room. So the
answer to a wish is remembered for half a second. What bounds me: `MAX_REMEMBERED` wishes, `MAX_SHIFT_CELLS` either way.
"""

import time
from collections import OrderedDict
from collections.abc import Iterator

import msgspec
from msgspec.structs import replace

from onebook.ledger.catalog import Catalog
from onebook.ledger.failures import LedgerUnavailable, UnknownName, Unprocessable
from onebook.ledger.resolve import resolve_known
from onebook.model.book import Book, Cell, Shelf
from onebook.model.bookable import refusal_of_basket
from onebook.model.commands import Line, Wanted
from onebook.model.resource import Unit, time_label
from onebook.views import rules
from onebook.views.period import period_of
from onebook.views.search import best, free_in_period, free_in_session
from onebook.views.stock import Listing, Stock
from onebook.views.view import AvailabilityView

MAX_ALTERNATIVES = 3
MAX_SHIFT_CELLS = 14
MAX_REMEMBERED = 4096
REMEMBERED_SECONDS = 0.5


class Alternative(msgspec.Struct, frozen=True, omit_defaults=True, rename={"starts": "from", "ends": "to"}):
    """Something like what was refused, that was free a moment ago."""

    resource: str
    starts: str | None = None
    ends: str | None = None
    session: str | None = None


Answer = tuple[Alternative, ...]


class Alternatives:
    """Finds and remembers alternatives."""

    def __init__(self, catalog: Catalog, view: AvailabilityView) -> None:
        self._catalog = catalog
        self._view = view
        self._remembered: OrderedDict[Wanted, tuple[float, Answer]] = OrderedDict()

    def to(self, wanted: Wanted) -> Answer:
        """Up to three alternatives; none where the view has nothing to say, since a refusal is complete without them."""
        now = time.monotonic()
        remembered = self._remembered.get(wanted)
        if remembered is not None and remembered[0] > now:
            return remembered[1]
        try:
            found = self._search(wanted, self._view.stock)
        except (LedgerUnavailable, UnknownName, Unprocessable):
            found = ()
        self._remembered[wanted] = (now + REMEMBERED_SECONDS, found)
        self._remembered.move_to_end(wanted)
        if len(self._remembered) > MAX_REMEMBERED:
            self._remembered.popitem(last=False)
        return found

    def _search(self, wanted: Wanted, stock: Stock) -> Answer:
        lines = resolve_known([wanted], self._catalog)
        listing = stock.listings.get(wanted.resource)
        if lines is None or listing is None:
            return ()
        (line,) = lines
        found = [] if line.resource.unit is Unit.SESSION else _other_times(line, listing)
        if len(found) < MAX_ALTERNATIVES:
            found += _others(line, stock)
        return tuple(found[:MAX_ALTERNATIVES])


def _other_times(line: Line, listing: Listing) -> list[Alternative]:
    first, end = line.occupied
    first, end = first - MAX_SHIFT_CELLS, end + MAX_SHIFT_CELLS + 1
    book = Book()
    book.shelves[line.resource.key] = _shelf(line, listing, first, end)
    free = [shifted for shifted in _shifted(line) if refusal_of_basket([shifted], book) is None]
    return [
        Alternative(resource=shifted.resource.key, starts=shifted.starts, ends=shifted.ends)
        for shifted in free[: MAX_ALTERNATIVES - 1]
    ]


def _shelf(line: Line, listing: Listing, first: int, end: int) -> Shelf:
    """The resource as a decision would find it, as far as the view knows.

    A closed cell has nothing left here; where only its turnaround falls into one, the ledger would allow what this does not
    offer.
    """
    shelf = Shelf(line.resource, listing.version, {})
    for number, free, bits in zip(range(first, end), listing.free(first, end), listing.rules(first, end), strict=True):
        cell = shelf.cells[number] = Cell(number, free, 0)
        cell.closed = bool(bits & rules.CLOSED)
        cell.closed_to_arrival = bool(bits & rules.CLOSED_TO_ARRIVAL)
        cell.closed_to_departure = bool(bits & rules.CLOSED_TO_DEPARTURE)
        cell.min_stay = (bits & rules.STAY) or None
        cell.max_stay = ((bits >> rules.MAX_STAY_SHIFT) & rules.STAY) or None
    return shelf


def _others(line: Line, stock: Stock) -> list[Alternative]:
    venue, kind = line.resource.venue, line.resource.kind
    if line.session is None:
        period = period_of(line.starts, line.ends, venue.zone)
        free = free_in_period(stock, None, venue.code, period, kind, line.quantity)
    else:
        free = free_in_session(stock, venue.code, line.first, line.session, kind, line.quantity)
    by_session = line.session is not None
    return [
        Alternative(
            resource=other.resource,
            starts=None if by_session else line.starts,
            ends=None if by_session else line.ends,
            session=line.session,
        )
        for other in best(stock, free, MAX_ALTERNATIVES + 1)
        if other.resource != line.resource.key
    ]


def _shifted(line: Line) -> Iterator[Line]:
    """The same length at other times, the nearest first."""
    resource = line.resource
    for distance in range(1, MAX_SHIFT_CELLS + 1):
        for shift in (distance, -distance):
            first, end = line.first + shift, line.end + shift
            starts, ends = (
                time_label(resource.unit, n, resource.cell_minutes, resource.venue.zone) for n in (first, end)
            )
            yield replace(line, first=first, end=end, starts=starts, ends=ends)
