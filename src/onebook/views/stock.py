"""What is on sale, in memory: venues, their resources and sessions, and what is left in every cell.

Who calls me: the view, which loads a stock from a snapshot and keeps it by the stream; the readers, who answer from it. Pure:
nothing here waits or asks anybody. What bounds me: the number of resources (about a kilobyte each) and pages.py.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec
import numpy as np

from onebook.model.hours import OpeningHours
from onebook.model.periods import BadTime, epoch_minute, night_number
from onebook.model.resource import Kind, Unit
from onebook.views.pages import Numbers, Pages

MAX_REMEMBERED_LABELS = 65_536

KINDS = tuple(Kind)
_SLOT = np.dtype([("total", "i4"), ("min_stay", "i4"), ("max_stay", "i4"), ("kind", "i1"), ("hours", "i4")])


class Definition(msgspec.Struct, frozen=True):
    """A resource as the log and the tables tell it; `resource` is its key."""

    id: int
    resource: str
    kind: Kind
    name: str
    unit: Unit
    cell_minutes: int
    capacity: int
    overbooking: int
    hours: OpeningHours | None
    min_stay: int | None
    max_stay: int | None

    @property
    def total(self) -> int:
        """Units on sale in a cell that nobody has touched."""
        return self.capacity + self.overbooking


class Sitting(msgspec.Struct, frozen=True, order=True):
    """A session, sorted by its beginning."""

    starts: datetime
    number: int
    code: str


class Place:
    """A venue. `changes` counts every change of anything in it, `shaped` those of what there is to sell."""

    def __init__(self, code: str) -> None:
        self.code = code
        self.id = 0
        self.name = self.timezone = self.currency = self.market = ""
        self.zone = ZoneInfo("UTC")
        self.listings: dict[str, Listing] = {}
        self.sessions: dict[str, Sitting] = {}
        self.session_numbers: dict[str, int] = {}
        self.changes = 0
        self.shaped = 0
        self._calendar: list[Sitting] | None = None

    def define(self, identity: int, name: str, timezone: str, currency: str, market: str) -> None:
        """Put its own description."""
        self.id, self.name, self.timezone, self.currency, self.market = identity, name, timezone, currency, market
        self.zone = ZoneInfo(timezone)
        self.reshape()

    def put_session(self, sitting: Sitting) -> None:
        """Put a session, new or moved."""
        self.sessions[sitting.code] = sitting
        self.session_numbers[sitting.code] = sitting.number
        self._calendar = None
        self.reshape()

    def sittings(self, starts: datetime, ends: datetime) -> Sequence[Sitting]:
        """The sessions that begin in [starts, ends), in their order."""
        if self._calendar is None:
            self._calendar = sorted(self.sessions.values())
        first, end = (bisect_left(self._calendar, at, key=lambda sitting: sitting.starts) for at in (starts, ends))
        return self._calendar[first:end]

    def reshape(self) -> None:
        """Count a change of what there is to sell."""
        self.shaped += 1
        self.changes += 1


class Labels(dict[str, int]):
    """The cells that labels of a night or minute grid stand for, remembered. Raises BadTime for what is no label."""

    def __init__(self, unit: Unit, cell_minutes: int) -> None:
        super().__init__()
        self._unit = unit
        self._cell_minutes = cell_minutes

    def __missing__(self, label: str) -> int:
        if len(self) >= MAX_REMEMBERED_LABELS:
            self.clear()
        number = night_number(label) if self._unit is Unit.NIGHT else epoch_minute(label) // self._cell_minutes
        self[label] = number
        return number


class Grid:
    """All resources whose time is cut alike: their slots, what is left in their cells, and the rules of those."""

    def __init__(self, unit: Unit, cell_minutes: int) -> None:
        self.unit = unit
        self.cell_minutes = cell_minutes
        self.listings: list[Listing] = []
        self.slots = np.zeros(16, _SLOT)
        self.labels = Labels(unit, cell_minutes)
        self.free = Pages(np.int32)
        self.rules = Pages(np.int64)

    @property
    def totals(self) -> Numbers:
        """What is on sale in an untouched cell, by slot."""
        return self.slots["total"]


class Listing:
    """A resource, and its slot in its grid."""

    __slots__ = ("definition", "grid", "key", "numbers", "place", "slot", "version")

    def __init__(self, definition: Definition, place: Place, grid: Grid, slot: int, version: int) -> None:
        self.definition = definition
        self.key = definition.resource
        self.place = place
        self.grid = grid
        self.numbers = place.session_numbers if grid.unit is Unit.SESSION else grid.labels
        self.slot = slot
        self.version = version

    def put(self, labels: Iterable[str], free: Iterable[int]) -> bool:
        """Set what is left in cells; False, with nothing set, where a label is not known."""
        known = self.numbers
        try:
            numbers = [known[label] for label in labels]
        except (KeyError, BadTime):
            return False
        self.grid.free.put(self.slot, numbers, free, self.definition.total)
        return True

    def free(self, first: int, end: int) -> list[int]:
        """What is left in the cells [first, end)."""
        return self.grid.free.take(self.slot, first, end, self.definition.total)

    def rules(self, first: int, end: int) -> list[int]:
        """The rules of the cells [first, end); see rules.py."""
        return self.grid.rules.take(self.slot, first, end, 0)


class Stock:
    """All of it. A new one is made for every load."""

    def __init__(self) -> None:
        self.places: dict[str, Place] = {}
        self.listings: dict[str, Listing] = {}
        self.grids: dict[tuple[Unit, int], Grid] = {}
        self.hours: list[tuple[OpeningHours, ZoneInfo] | None] = [None]
        self._hours_known: dict[tuple[bytes, str], int] = {}
        self._slots: dict[tuple[str | None, str | None], dict[Grid, Numbers]] = {}

    @property
    def cell_bytes(self) -> int:
        """What the cells take."""
        return sum(grid.free.bytes + grid.rules.bytes for grid in self.grids.values())

    def place(self, code: str) -> Place:
        """A venue, made where it is new."""
        return self.places.get(code) or self.places.setdefault(code, Place(code))

    def define(self, definition: Definition, version: int) -> Listing:
        """Put a resource, whole. Cells are left as they are: see entries.py and snapshot.py."""
        place = self.place(definition.resource.partition("/")[0])
        unit = definition.unit
        minutes = definition.cell_minutes if unit is Unit.MINUTE else 0
        grid = self.grids.get((unit, minutes)) or self.grids.setdefault((unit, minutes), Grid(unit, minutes))
        listing = self.listings.get(definition.resource)
        if listing is None or listing.grid is not grid:  # another grid only while nothing was ever stored of it
            is_last = not place.listings or next(reversed(place.listings.values())).definition.id < definition.id
            listing = Listing(definition, place, grid, len(grid.listings), version)
            grid.listings.append(listing)
            self.listings[listing.key] = listing
            place.listings[definition.resource.partition("/")[2]] = listing
            if not is_last:
                place.listings = dict(sorted(place.listings.items(), key=lambda item: item[1].definition.id))
        listing.definition, listing.version = definition, version
        self._describe(listing)
        self.forget_slots()
        place.reshape()
        return listing

    def slots_of(self, market: str | None, venue: str | None) -> dict[Grid, Numbers]:
        """The slots of a market or a venue, by grid."""
        found = self._slots.get((market, venue))
        if found is None:
            slots: dict[Grid, list[int]] = {}
            for place in self.places_of(market, venue):
                for listing in place.listings.values():
                    slots.setdefault(listing.grid, []).append(listing.slot)
            found = {grid: np.array(each) for grid, each in slots.items()}
            if found:  # of what does not exist nothing is kept: there is no end to such names
                self._slots[market, venue] = found
        return found

    def places_of(self, market: str | None, venue: str | None) -> list[Place]:
        """The venues of a market, or the one of that code, which are known."""
        places = self.places.values() if venue is None else filter(None, [self.places.get(venue)])
        return [place for place in places if market is None or place.market == market]

    def forget_slots(self) -> None:
        """Definitions have changed."""
        self._slots.clear()

    def _describe(self, listing: Listing) -> None:
        grid, definition = listing.grid, listing.definition
        if listing.slot >= len(grid.slots):
            grid.slots = np.concatenate([grid.slots, np.zeros(len(grid.slots), _SLOT)])
        grid.slots[listing.slot] = (
            definition.total,
            definition.min_stay or 0,
            definition.max_stay or 0,
            KINDS.index(definition.kind),
            self._hours_of(listing),
        )

    def _hours_of(self, listing: Listing) -> int:
        """The place of its opening hours among all that there are, alike ones once; 0 for none."""
        hours = listing.definition.hours
        if hours is None or listing.grid.unit is not Unit.MINUTE:
            return 0
        name = (msgspec.json.encode(hours), listing.place.timezone)
        if name not in self._hours_known:
            self._hours_known[name] = len(self.hours)
            self.hours.append((hours, listing.place.zone))
        return self._hours_known[name]
