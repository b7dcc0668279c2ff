"""Whether two stocks are the same: one kept by events or rebuilt from the log, one as the ledger's tables have it.

Definitions, versions, what is left in every cell and the rules of every cell; named by resource, so that it does not matter in
which order each came to know them.
"""

from collections.abc import Iterator
from itertools import islice

import msgspec
import numpy as np

from onebook.model.resource import Unit, time_label
from onebook.views.pages import MASK, SHIFT, Numbers, Pages
from onebook.views.stock import Grid, Listing, Place, Stock

ROWS_AT_ONCE = 32_768


class Difference(msgspec.Struct, frozen=True):
    """Something that the two do not agree on, as each has it; None where it has nothing of the kind."""

    what: str
    view: str | None
    ledger: str | None


def differences(view: Stock, ledger: Stock, limit: int = 20) -> list[Difference]:
    """The first differences; none where the two are equal."""
    return list(islice(_all(view, ledger), limit))


def _all(view: Stock, ledger: Stock) -> Iterator[Difference]:
    for code in sorted(view.places.keys() | ledger.places.keys()):
        yield from _unequal(f"venue {code}", _told(view.places.get(code)), _told(ledger.places.get(code)))
    for key in sorted(view.listings.keys() ^ ledger.listings.keys()):
        yield from _unequal(f"resource {key}", _defined(view.listings.get(key)), _defined(ledger.listings.get(key)))
    for key in view.listings.keys() & ledger.listings.keys():
        mine, theirs = view.listings[key], ledger.listings[key]
        if (mine.version, mine.definition) != (theirs.version, theirs.definition):
            yield from _unequal(f"resource {key}", _defined(mine), _defined(theirs))
    for cut in sorted(ledger.grids.keys() & view.grids.keys()):
        yield from _unequal_cells(view.grids[cut], ledger.grids[cut], view)


def _unequal(what: str, view: str | None, ledger: str | None) -> Iterator[Difference]:
    if view != ledger:
        yield Difference(what, view, ledger)


def _told(place: Place | None) -> str | None:
    if place is None:
        return None
    sessions = [
        f"{sitting.code} (cell {sitting.number}) at {sitting.starts.timestamp():.0f}"
        for sitting in sorted(place.sessions.values())
    ]
    return f"{place.id} {place.name} {place.timezone} {place.currency} {place.market}; sessions: {', '.join(sessions)}"


def _defined(listing: Listing | None) -> str | None:
    return None if listing is None else f"version {listing.version} of {listing.definition}"


def _unequal_cells(mine: Grid, theirs: Grid, view: Stock) -> Iterator[Difference]:
    pairs = [
        (own.slot, other.slot)
        for other in theirs.listings
        if (own := view.listings.get(other.key)) is not None and own.grid is mine
    ]
    for start in range(0, len(pairs), ROWS_AT_ONCE):
        own, other = np.array(pairs[start : start + ROWS_AT_ONCE]).T
        none = np.zeros(len(own), np.int32)
        free = mine.totals[own], theirs.totals[other]
        for what, left, right, defaults in (
            ("free", mine.free, theirs.free, free),
            ("rules", mine.rules, theirs.rules, (none, none)),
        ):
            for at, number, found, stored in _unequal_numbers(left, right, own, other, defaults):
                listing = mine.listings[own[at]]
                yield Difference(f"{what} of {listing.key} in {_label(listing, number)}", str(found), str(stored))


def _unequal_numbers(
    left: Pages, right: Pages, own: Numbers, other: Numbers, defaults: tuple[Numbers, Numbers]
) -> Iterator[tuple[int, int, int, int]]:
    """Row, cell, and the two numbers."""
    for page in sorted(left.page_numbers | right.page_numbers):
        mine, theirs = left.block(own, page, defaults[0]), right.block(other, page, defaults[1])
        for at, column in np.argwhere(mine != theirs).tolist():
            yield at, (page << SHIFT) + (column & MASK), int(mine[at, column]), int(theirs[at, column])


def _label(listing: Listing, number: int) -> str:
    if listing.grid.unit is Unit.SESSION:
        return f"session {number}"
    return time_label(listing.grid.unit, number, listing.grid.cell_minutes, listing.place.zone)
