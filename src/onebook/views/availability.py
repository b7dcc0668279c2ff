"""What is on sale, cell by cell."""

from collections.abc import Sequence
from functools import lru_cache
from zoneinfo import ZoneInfo

import msgspec
from msgspec import UNSET, UnsetType

from onebook.ledger.failures import UnknownName, Unprocessable
from onebook.model.hours import open_cells
from onebook.model.resource import Unit, time_label
from onebook.views.period import Period, period_of
from onebook.views.stock import Grid, Listing, Place, Sitting, Stock

MAX_CELLS_PER_ANSWER = 200_000
MAX_REMEMBERED_CELLS = 512


class OnSale(msgspec.Struct, frozen=True):
    """One resource: `available[i]` units in `cells[i]`, as of `version`."""

    resource: str
    version: int
    cells: list[str]
    available: list[int]


class Behind(msgspec.Struct, frozen=True):
    """A resource that has not reached the version wanted (0: not even its definition)."""

    resource: str
    wanted: int
    version: int


class Availability(msgspec.Struct, frozen=True, rename={"starts": "from", "ends": "to"}):
    """The resources of a venue in a period. `behind` is there only when a version was waited for in vain."""

    venue: str
    starts: str
    ends: str
    resources: list[OnSale]
    behind: list[Behind] | UnsetType = UNSET


def listings_of(place: Place, resources: Sequence[str] | None) -> list[Listing]:
    """The resources of a venue, or those of them that are named, by code or "venue/code"; in the order of their ids."""
    if resources is None:
        return list(place.listings.values())
    codes = {key.rpartition("/")[2] for key in resources}
    named = [listing for code in codes if (listing := place.listings.get(code)) is not None]
    return sorted(named, key=lambda listing: listing.definition.id)


def availability(
    stock: Stock, venue: str, starts: str, ends: str, *, resources: Sequence[str] | None, quantity: int
) -> Availability:
    """Every cell of the period; resources that nowhere have `quantity` units are left out (0: none is).

    Raises UnknownName, Unprocessable.
    """
    place = stock.places.get(venue)
    if place is None:
        raise UnknownName("venue", venue)
    period = period_of(starts, ends, place.zone)
    found = listings_of(place, resources)
    by_session = any(listing.grid.unit is Unit.SESSION for listing in found)
    sittings = place.sittings(*period.instants) if by_session else []
    if sum(_count(listing.grid, period, sittings) for listing in found) > MAX_CELLS_PER_ANSWER:
        raise Unprocessable(
            "answer-too-large",
            f"the answer would have more than {MAX_CELLS_PER_ANSWER} cells: name resources or a shorter period",
            "to",
        )
    answers = [_on_sale(listing, period, sittings) for listing in found]
    kept = [answer for answer in answers if max(answer.available, default=0) >= quantity]
    return Availability(venue=venue, starts=starts, ends=ends, resources=kept)


def range_of(grid: Grid, period: Period) -> tuple[int, int]:
    """The cells of a night or minute grid that touch a period."""
    if grid.unit is Unit.NIGHT:
        return period.first_night, period.end_night
    return period.cells(grid.cell_minutes)


def _count(grid: Grid, period: Period, sittings: Sequence[Sitting]) -> int:
    if grid.unit is Unit.SESSION:
        return len(sittings)
    first, end = range_of(grid, period)
    return end - first


def _on_sale(listing: Listing, period: Period, sittings: Sequence[Sitting]) -> OnSale:
    grid, zone = listing.grid, listing.place.zone
    if grid.unit is Unit.SESSION:
        labels = [sitting.code for sitting in sittings]
        available = [listing.free(sitting.number, sitting.number + 1)[0] for sitting in sittings]
    else:
        first, end = range_of(grid, period)
        of_cells = _labels if end - first <= MAX_REMEMBERED_CELLS else _labels.__wrapped__
        labels = of_cells(grid.unit, grid.cell_minutes, zone, first, end)
        available = listing.free(first, end)
        if (hours := listing.definition.hours) is not None and grid.unit is Unit.MINUTE:
            is_open = open_cells(hours, zone, grid.cell_minutes, first, end)
            available = [free if opened else 0 for free, opened in zip(available, is_open, strict=True)]
    return OnSale(resource=listing.key, version=listing.version, cells=labels, available=available)


@lru_cache(maxsize=4096)
def _labels(unit: Unit, cell_minutes: int, zone: ZoneInfo, first: int, end: int) -> list[str]:
    """The names of cells; the lists are shared, so nobody changes one."""
    return [time_label(unit, number, cell_minutes, zone) for number in range(first, end)]
