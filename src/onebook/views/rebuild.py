"""The stock made from the log alone, from zero, and held against the ledger's tables.

Who calls me: `onebook rebuild`. What I own: nothing; the database is only read. What is settled in the log is read first; the
rest, and the tables, in one snapshot, so that both are of the same moment. What bounds me: PAGE_ROWS entries at a time.
"""

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

import asyncpg
import msgspec

from onebook.views.compare import Difference, differences
from onebook.views.entries import take_entry
from onebook.views.snapshot import SQL, load
from onebook.views.stock import Stock

PAGE_ROWS = 10_000

Progress = Callable[[int, float], None]
"""Told how many events have been taken in, and in how many seconds."""


class Rebuilt(msgspec.Struct, frozen=True):
    """What came of it. `differences` are the first ones between the stock made and the tables; none: they are equal."""

    events: int
    seconds: float
    events_per_second: int
    resources: int
    cells_mib: float
    equal: bool
    differences: list[Difference]


async def rebuild(connection: asyncpg.Connection, progress: Progress) -> Rebuilt:
    """Replay the log and compare. The connection must be allowed long statements."""
    replay = _Replay(connection, progress)
    await replay.read(settled_only=True)
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await replay.read(settled_only=False)
        seconds = max(monotonic() - replay.began, 1e-6)
        stored, _ = await load(connection)
    found = differences(replay.stock, stored)
    return Rebuilt(
        events=replay.events,
        seconds=round(seconds, 3),
        events_per_second=round(replay.events / seconds),
        resources=len(replay.stock.listings),
        cells_mib=round(replay.stock.cell_bytes / 2**20, 1),
        equal=not found,
        differences=found,
    )


class _Replay:
    """A stock, and how far in the log it is."""

    def __init__(self, connection: asyncpg.Connection, progress: Progress) -> None:
        self._connection = connection
        self._progress = progress
        self._at = (0, 0)
        self.stock = Stock()
        self.events = 0
        self.began = monotonic()

    async def read(self, *, settled_only: bool) -> None:
        """Take in what comes after what has been, up to what this transaction sees, or up to the horizon."""
        rows = await self._page(settled_only)
        while rows:
            self._at = rows[-1]["txn"], rows[-1]["position"]
            # The database finds the next ones while these are taken in.
            following = asyncio.ensure_future(self._page(settled_only))
            await asyncio.sleep(0)
            for row in rows:
                # What shows a gap stays behind, and will be told of as a difference.
                take_entry(self.stock, row["type"], row["data"], {})
            self.events += len(rows)
            self._progress(self.events, monotonic() - self.began)
            rows = await following

    async def _page(self, settled_only: bool) -> Sequence[Any]:
        return await self._connection.fetch(SQL["view_log"], *self._at, not settled_only, PAGE_ROWS)
