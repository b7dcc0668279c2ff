"""An entry of the log, taken into the stock. Pure; the same for the stream and for a rebuild from the log.

Per resource an entry counts only if it brings the version after the one that is known: an older one has been taken in
already, a later one shows a gap, and the resource has to be read anew. Venues and sessions have no versions; their entries
say everything, so the latest in the log's order wins.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from onebook.log.facts import Touched
from onebook.model.commands import InventoryChange
from onebook.views import rules
from onebook.views.pages import Numbers
from onebook.views.stock import Definition, Listing, Sitting, Stock

Wanted = dict[str, int]
"""Resources that have to be read anew, each with the version that it must have reached at least."""


class VenueTold(msgspec.Struct, frozen=True):
    """The facts of venue.defined."""

    id: int
    venue: str
    name: str
    timezone: str
    currency: str
    market: str


class SessionTold(msgspec.Struct, frozen=True, rename={"starts": "from", "ends": "to"}):
    """The facts of session.defined."""

    id: int
    session: str
    venue: str
    starts: datetime
    ends: datetime


class InventoryTold(msgspec.Struct, frozen=True):
    """The facts of inventory.changed."""

    changes: list[InventoryChange]
    resources: list[Touched]


class ResourcesTold(msgspec.Struct, frozen=True):
    """The facts of resource.defined."""

    definitions: list[Definition]
    resources: list[Touched]


class _Touching(msgspec.Struct, frozen=True):
    """The part of any other facts that tells of cells."""

    resources: list[Touched] = []


_touching = msgspec.json.Decoder(_Touching).decode


def take_entry(stock: Stock, kind: str, data: msgspec.Raw | str, wanted: Wanted) -> None:
    """Take in an entry of a kind, such as `booking.held`, with its data as JSON."""
    if kind == "inventory.changed":
        take_inventory(stock, msgspec.json.decode(data, type=InventoryTold), wanted)
    elif kind == "resource.defined":
        take_definitions(stock, msgspec.json.decode(data, type=ResourcesTold), wanted)
    elif kind == "venue.defined":
        take_venue(stock, msgspec.json.decode(data, type=VenueTold))
    elif kind == "session.defined":
        take_session(stock, msgspec.json.decode(data, type=SessionTold))
    else:
        take_touched(stock, _touching(data).resources, wanted)


def take_touched(stock: Stock, resources: Sequence[Touched], wanted: Wanted) -> None:
    """Take in what a booking or a block has done to the cells of resources."""
    for touched in resources:
        listing = stock.listings.get(touched.resource)
        if listing is None or touched.version > listing.version + 1:
            _want(wanted, touched)
        elif touched.version == listing.version + 1:
            if listing.put(touched.cells, touched.available):
                listing.version += 1
                listing.place.changes += 1
            else:
                _want(wanted, touched)


def take_inventory(stock: Stock, told: InventoryTold, wanted: Wanted) -> None:
    """Take in new capacities and restrictions of cells."""
    (touched,) = told.resources
    listing = stock.listings.get(touched.resource)
    if listing is not None and touched.version <= listing.version:
        return
    take_touched(stock, told.resources, wanted)
    if listing is None or listing.version != touched.version:
        return
    for change in told.changes:
        rewrite = rules.Rewrite.of(change)
        known = listing.rules(change.first, change.end)
        written = [(bits & rewrite.keep) | rewrite.put for bits in known]
        if any(written) or any(known):
            listing.grid.rules.put(listing.slot, range(change.first, change.end), written, 0)


def take_definitions(stock: Stock, told: ResourcesTold, wanted: Wanted) -> None:
    """Take in new resources, and new descriptions of known ones."""
    for definition, touched in zip(told.definitions, told.resources, strict=True):
        listing = stock.listings.get(touched.resource)
        known = 0 if listing is None else listing.version
        if touched.version <= known:
            continue
        if touched.version > known + 1 or touched.resource.partition("/")[0] not in stock.places:
            _want(wanted, touched)
            continue
        if listing is not None:
            _redefine(listing, definition)
        stock.define(definition, touched.version)


def take_venue(stock: Stock, told: VenueTold) -> None:
    """Take in a venue."""
    stock.place(told.venue).define(told.id, told.name, told.timezone, told.currency, told.market)
    stock.forget_slots()


def take_session(stock: Stock, told: SessionTold) -> None:
    """Take in a session."""
    stock.place(told.venue).put_session(Sitting(told.starts, told.id, told.session))


def _redefine(listing: Listing, definition: Definition) -> None:
    """A new default reaches every cell that has not its own and is not closed; a closed one shows 0 whatever it has."""
    more_capacity = definition.capacity - listing.definition.capacity
    more_overbooking = definition.overbooking - listing.definition.overbooking
    if not (more_capacity or more_overbooking):
        return
    ruled: dict[int, Numbers] = dict(listing.grid.rules.rows(listing.slot))
    for first, row in listing.grid.free.rows(listing.slot):
        bits = ruled.get(first)
        if bits is None:
            row += more_capacity + more_overbooking
        else:
            more = more_capacity * (bits & rules.OWN_CAPACITY == 0) + more_overbooking * (
                bits & rules.OWN_OVERBOOKING == 0
            )
            row += (more * (bits & rules.CLOSED == 0)).astype(row.dtype)


def _want(wanted: Wanted, touched: Touched) -> None:
    wanted[touched.resource] = max(touched.version, wanted.get(touched.resource, 0))
