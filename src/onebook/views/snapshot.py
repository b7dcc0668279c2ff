"""The stock as the ledger's tables have it: loaded whole at the start, and resource by resource where the stream has a gap.

Cells come by COPY in binary, whose rows are all of one size here, so that numpy takes them apart: a million cells
take about a second. What bounds it: CHUNK_BYTES of them at a time.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import asyncpg
import msgspec
import numpy as np

from onebook.ledger.database import Connection
from onebook.model.hours import OpeningHours
from onebook.model.resource import Kind, Unit
from onebook.sql import statements
from onebook.views.stock import Definition, Grid, Listing, Sitting, Stock

SQL = statements("onebook.views")

LOAD_SECONDS = 300
CHUNK_BYTES = 4 << 20
_HEADER_BYTES = 19
_ROW = np.dtype(
    [
        ("fields", ">i2"),
        ("id_bytes", ">i4"),
        ("id", ">i4"),
        ("number_bytes", ">i4"),
        ("number", ">i4"),
        ("free_bytes", ">i4"),
        ("free", ">i4"),
        ("rules_bytes", ">i4"),
        ("rules", ">i8"),
    ]
)


async def load(connection: Connection) -> tuple[Stock, int]:
    """The whole stock, and the horizon of the log that it stands for. Opens a read-only transaction of its own."""
    stock = Stock()
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute(f"SET LOCAL statement_timeout = '{LOAD_SECONDS}s'")
        horizon = await connection.fetchval("SELECT log_horizon()")
        await _read_places(connection, stock, None)
        listings = [
            _define(stock, row)
            async for row in connection.cursor(SQL["view_resources"], None, None, prefetch=2000, timeout=LOAD_SECONDS)
        ]
        await _read_cells(connection, listings, None)
    return stock, int(horizon)


async def load_again(connection: Connection, stock: Stock, keys: Iterable[str]) -> None:
    """Some resources anew, as they are now, with venues and sessions that are not known yet. What does not exist is left out.

    Known venues and sessions have no versions, and the stream may have told of a change that cannot be read yet.
    """
    names = [key.partition("/")[::2] for key in keys]
    venues, codes = [venue for venue, _ in names], [code for _, code in names]
    draft = Stock()
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await _read_places(connection, draft, venues)
        rows = await connection.fetch(SQL["view_resources"], venues, codes)
        cells = await _cells(connection, [row["id"] for row in rows])
    # Nothing is waited for from here on: readers see all of it or nothing.
    for place in draft.places.values():
        known = stock.place(place.code)
        if not known.id:
            known.define(place.id, place.name, place.timezone, place.currency, place.market)
        for code in place.sessions.keys() - known.sessions.keys():
            known.put_session(place.sessions[code])
    listings = [_define(stock, row) for row in rows]
    for listing in listings:
        for _, free in listing.grid.free.rows(listing.slot):
            free[:] = listing.definition.total
        for _, bits in listing.grid.rules.rows(listing.slot):
            bits[:] = 0
    _put_cells(_Slots(listings), cells)


async def _read_places(connection: Connection, stock: Stock, venues: Sequence[str] | None) -> None:
    for row in await connection.fetch(SQL["view_venues"], venues, timeout=LOAD_SECONDS):
        stock.place(row["code"]).define(row["id"], row["name"], row["timezone"], row["currency"], row["market"])
    for row in await connection.fetch(SQL["view_sessions"], venues, timeout=LOAD_SECONDS):
        stock.place(row["venue"]).put_session(Sitting(row["starts_at"], row["id"], row["code"]))


def _define(stock: Stock, row: asyncpg.Record) -> Listing:
    hours = row["hours"]
    definition = Definition(
        id=row["id"],
        resource=row["resource"],
        kind=Kind(row["kind"]),
        name=row["name"],
        unit=Unit(row["unit"]),
        cell_minutes=row["cell_minutes"],
        capacity=row["capacity"],
        overbooking=row["overbooking"],
        hours=None if hours is None else msgspec.json.decode(hours, type=OpeningHours),
        min_stay=row["min_stay"],
        max_stay=row["max_stay"],
    )
    return stock.define(definition, row["version"])


class _Slots:
    """Where the cells of resource ids belong."""

    def __init__(self, listings: Sequence[Listing]) -> None:
        size = max((listing.definition.id for listing in listings), default=-1) + 1
        self.grids: list[Grid] = list(dict.fromkeys(listing.grid for listing in listings))
        numbers = {grid: number for number, grid in enumerate(self.grids)}
        self.grid_of = np.full(size, -1, np.int32)
        self.slot_of = np.zeros(size, np.int64)
        for listing in listings:
            self.grid_of[listing.definition.id] = numbers[listing.grid]
            self.slot_of[listing.definition.id] = listing.slot


async def _read_cells(connection: Connection, listings: Sequence[Listing], ids: Sequence[int] | None) -> None:
    slots = _Slots(listings)
    await _copy_cells(connection, ids, lambda cells: _put_cells(slots, cells))


async def _cells(connection: Connection, ids: Sequence[int]) -> Any:
    parts: list[Any] = [np.empty(0, _ROW)]
    await _copy_cells(connection, ids, parts.append)
    return np.concatenate(parts)


async def _copy_cells(connection: Connection, ids: Sequence[int] | None, take: Callable[[Any], None]) -> None:
    """Hands stored cells over, some at a time."""
    read = bytearray()
    skipped = 0

    def hand_over() -> None:
        whole = len(read) // _ROW.itemsize * _ROW.itemsize
        take(np.frombuffer(bytes(read[:whole]), _ROW))
        del read[:whole]

    async def collect(data: bytes) -> None:
        nonlocal skipped
        head = min(_HEADER_BYTES - skipped, len(data))
        skipped += head
        read.extend(data[head:])
        if len(read) >= CHUNK_BYTES:
            hand_over()

    await connection.copy_from_query(SQL["view_cells"], ids, output=collect, format="binary", timeout=LOAD_SECONDS)
    hand_over()  # what is left over are the two bytes that end the copy


def _put_cells(slots: _Slots, cells: Any) -> None:
    grids = slots.grid_of[cells["id"]]
    for number, grid in enumerate(slots.grids):
        of_grid = cells[grids == number]
        places, numbers = slots.slot_of[of_grid["id"]], of_grid["number"].astype(np.int64)
        grid.free.put_many(places, numbers, of_grid["free"], grid.totals)
        ruled = of_grid["rules"] != 0
        grid.rules.put_many(places[ruled], numbers[ruled], of_grid["rules"][ruled], np.zeros_like(grid.totals))
