"""Resources that are free for the whole of a period: a few vector operations a grid, however many resources there are."""

import heapq
from collections.abc import Callable, Iterable, Iterator
from zoneinfo import ZoneInfo

import msgspec
import numpy as np

from onebook.ledger.failures import UnknownName, Unprocessable
from onebook.model.hours import covers
from onebook.model.resource import Kind, Unit
from onebook.views import rules
from onebook.views.availability import range_of
from onebook.views.pages import Numbers
from onebook.views.period import Period, period_of
from onebook.views.stock import KINDS, Grid, Place, Stock

MAX_SITTINGS = 2000


class Found(msgspec.Struct, frozen=True, omit_defaults=True):
    """A resource with the lowest number of units left in any cell of the period."""

    resource: str
    name: str
    kind: Kind
    available: int
    session: str | None = None


class Free(msgspec.Struct, frozen=True):
    """Slots of a grid, how many units each has at the least, and the session that this is about."""

    grid: Grid
    slots: Numbers
    left: Numbers
    session: str | None = None

    def named(self, these: Numbers) -> Iterator[tuple[str, str, int]]:
        """Key, session and units of some of them; sorts by name."""
        listings, session = self.grid.listings, self.session or ""
        for slot, left in zip(self.slots[these].tolist(), self.left[these].tolist(), strict=True):
            yield listings[slot].key, session, left


def search(
    stock: Stock,
    *,
    market: str | None,
    venue: str | None,
    kind: Kind | None,
    starts: str,
    ends: str,
    quantity: int,
    limit: int,
) -> list[Found]:
    """Free resources, those with the most left first; a session's seats are found once for each session of the period.

    Raises UnknownName, Unprocessable. Dates are read in the time zone of the venue, or of the market's first one. Of the
    sessions that begin in the period, the first MAX_SITTINGS are looked at.
    """
    period = period_of(starts, ends, _zone(stock, market, venue))
    found = list(free_in_period(stock, market, venue, period, kind, quantity))
    sittings = [
        (sitting, place.code)
        for place in stock.places_of(market, venue)
        for sitting in place.sittings(*period.instants)
    ]
    for sitting, code in sorted(sittings)[:MAX_SITTINGS]:
        found += free_in_session(stock, code, sitting.number, sitting.code, kind, quantity)
    return best(stock, found, limit)


def free_in_period(
    stock: Stock, market: str | None, venue: str | None, period: Period, kind: Kind | None, quantity: int
) -> Iterator[Free]:
    """What is free for the whole of a period, and may be booked for exactly that; what is sold by session apart."""
    for grid, slots in stock.slots_of(market, venue).items():
        first, end = (0, 0) if grid.unit is Unit.SESSION else range_of(grid, period)
        if first < end and _lies_on(grid, period):
            chosen = _of_kind(grid, slots, kind)
            left = grid.free.lowest(chosen, first, end, grid.totals[chosen])
            fit = np.flatnonzero((left >= quantity) & _allowed(grid, chosen, first, end))
            fit = fit[_open(stock, grid, chosen[fit], first, end)]
            yield Free(grid, chosen[fit], left[fit])


def free_in_session(
    stock: Stock, venue: str, number: int, code: str, kind: Kind | None, quantity: int
) -> Iterator[Free]:
    """What a venue has free in one session."""
    for grid, slots in stock.slots_of(None, venue).items():
        if grid.unit is Unit.SESSION:
            chosen = _of_kind(grid, slots, kind)
            left = grid.free.lowest(chosen, number, number + 1, grid.totals[chosen])
            enough = left >= quantity
            yield Free(grid, chosen[enough], left[enough], code)


def best(stock: Stock, found: Iterable[Free], limit: int) -> list[Found]:
    """Those with the most left, by name where there are equals; without sorting thousands to show fifty."""
    given = [free for free in found if free.slots.size]
    if not given:
        return []
    every = np.concatenate([free.left for free in given])
    level = int(np.partition(every, -limit)[-limit]) if every.size > limit else int(every.min()) - 1
    above = sorted(_chosen(given, lambda left: left > level), key=lambda each: (-each[2], each))
    equal = heapq.nsmallest(limit - len(above), _chosen(given, lambda left: left == level))
    return [_found(stock, *each) for each in (*above, *equal)]


def _chosen(given: Iterable[Free], choose: Callable[[Numbers], Numbers]) -> Iterator[tuple[str, str, int]]:
    for free in given:
        yield from free.named(np.flatnonzero(choose(free.left)))


def _found(stock: Stock, key: str, session: str, left: int) -> Found:
    definition = stock.listings[key].definition
    return Found(resource=key, name=definition.name, kind=definition.kind, available=left, session=session or None)


def _zone(stock: Stock, market: str | None, venue: str | None) -> ZoneInfo:
    if venue is not None:
        if venue not in stock.places:
            raise UnknownName("venue", venue)
        return stock.places[venue].zone
    if market is None:
        raise Unprocessable("place-missing", "give a market or a venue", "market")
    places: list[Place] = stock.places_of(market, None)
    if not places:
        raise UnknownName("market", market)
    return min(places, key=lambda place: place.id).zone


def _of_kind(grid: Grid, slots: Numbers, kind: Kind | None) -> Numbers:
    return slots if kind is None else slots[grid.slots["kind"][slots] == KINDS.index(kind)]


def _lies_on(grid: Grid, period: Period) -> bool:
    """Whether a period begins and ends with cells of the grid: only then can it be booked."""
    minutes = grid.cell_minutes
    return grid.unit is not Unit.MINUTE or not (period.first_minute % minutes or period.end_minute % minutes)


def _allowed(grid: Grid, slots: Numbers, first: int, end: int) -> Numbers:
    """Whether arrival, departure and length of stay are allowed; a rule of the first cell goes before the resource's own."""
    length = end - first
    arrival, departure = grid.rules.at(slots, first), grid.rules.at(slots, end)
    own_min, own_max = arrival & rules.STAY, (arrival >> rules.MAX_STAY_SHIFT) & rules.STAY
    shortest = np.where(own_min > 0, own_min, grid.slots["min_stay"][slots])
    longest = np.where(own_max > 0, own_max, grid.slots["max_stay"][slots])
    fits = (length >= shortest) & ((longest == 0) | (length <= longest))
    allowed: Numbers = fits & (arrival & rules.CLOSED_TO_ARRIVAL == 0) & (departure & rules.CLOSED_TO_DEPARTURE == 0)
    return allowed


def _open(stock: Stock, grid: Grid, slots: Numbers, first: int, end: int) -> Numbers:
    """Whether one unbroken opening spans the cells; asked once for all that have the same hours."""
    if grid.unit is not Unit.MINUTE or not slots.size:
        return np.ones(slots.size, np.bool_)
    different, places = np.unique(grid.slots["hours"][slots], return_inverse=True)
    minutes = first * grid.cell_minutes, end * grid.cell_minutes
    verdicts = [_covered(stock, int(number), *minutes) for number in different]
    verdicts_by_slot: Numbers = np.array(verdicts, np.bool_)[places]
    return verdicts_by_slot


def _covered(stock: Stock, number: int, start_minute: int, end_minute: int) -> bool:
    hours = stock.hours[number]
    return hours is None or covers(*hours, start_minute, end_minute)
