"""Reading from the log what the stream did not bring.

A snapshot is taken first, and then the log is read page by page, each page by a statement of its own, so that a consumer that is
hours behind neither holds a snapshot open nor everything in memory. Later pages see more than the first snapshot; that does no
harm, since the horizon that counts is the first one's: whatever was finished then is seen by every page, what was open then is
named by the snapshot and read again when it has ended, and what began afterwards comes by the stream, which listens already.

The WAL can outrun visibility: a message may be out while its transaction cannot be read yet. Such a transaction is among those
open in the snapshot. Its resources stay locked until it can be read, so nothing that follows it on them has been sent either.
"""

from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import asyncpg

from onebook.broker.faults import Patience
from onebook.broker.place import Snapshot
from onebook.log.read import START, Cursor
from onebook.sql import statements

SQL = statements("onebook.broker")
PAGE_ROWS = 5_000


class Mark(NamedTuple):
    """A snapshot that includes, or names as open, everything that the WAL had up to `lsn`."""

    lsn: int
    snapshot: Snapshot


class LogReader:
    """Reads the log in pages. Faults are sat out with patience; what lasts longer is raised."""

    def __init__(self, pool: asyncpg.Pool, patience: Patience, *, page_rows: int = PAGE_ROWS) -> None:
        self._pool = pool
        self._patience = patience
        self._page_rows = page_rows

    async def mark(self) -> Mark:
        """Where the log is now."""
        # Two statements, in this order: whatever is committed between them is in the snapshot and need not be before the LSN.
        (row,) = await self._patience.with_faults(lambda: self._pool.fetch(SQL["mark"]))
        return Mark(row["lsn"] - 1, await self.snapshot())

    async def snapshot(self) -> Snapshot:
        """What can be seen now."""
        (row,) = await self._patience.with_faults(lambda: self._pool.fetch(SQL["snapshot"]))
        return Snapshot(row["upto"], frozenset(row["open"]))

    def entries_of(self, transactions: frozenset[int]) -> AsyncIterator[Sequence[Any]]:
        """Pages of the entries of these transactions."""
        return self._pages("entries_of", sorted(transactions), START)

    def entries_between(self, first: int, end: int) -> AsyncIterator[Sequence[Any]]:
        """Pages of the entries of the transactions in [first, end)."""
        return self._pages("entries_between", end, Cursor(first, 0))

    async def _pages(self, statement: str, bound: Any, after: Cursor) -> AsyncIterator[Sequence[Any]]:
        more = True
        while more:
            rows = await self._patience.with_faults(
                partial(self._pool.fetch, SQL[statement], bound, *after, self._page_rows)
            )
            if rows:
                yield rows
                after = Cursor(rows[-1]["txn"], rows[-1]["position"])
            more = len(rows) == self._page_rows
