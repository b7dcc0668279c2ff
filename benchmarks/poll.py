"""The baseline's way to tell others: a poller that asks an outbox table every second for what is new.

An instrument (see obey.py) in a process of its own. It asks for rows beyond the last id that it has seen, as such pollers do,
and counts in the end how many it has never seen because of that: ids are not committed in their order.
"""

import argparse
import asyncio
import time
from typing import Any

import asyncpg
import uvloop

from obey import obey, say
from onebook.ops.bench.arrivals import Polled, Record

NEWER = "SELECT id, extract(epoch FROM created_at)::float8 AS decided_at FROM events WHERE id > $1 ORDER BY id"

COUNT = "SELECT count(*) FROM events WHERE id > $1 AND id <= $2"


class Poller:
    """The poller, and what it has seen."""

    def __init__(self, pool: "asyncpg.Pool[Any]", interval_seconds: float) -> None:
        self.changed = asyncio.Event()
        self.record = Record()
        self._pool = pool
        self._interval_seconds = interval_seconds
        self._last = 0
        self._first = 0

    async def poll_once(self) -> None:
        """See what is new."""
        for row in await self._pool.fetch(NEWER, self._last):
            self.record.add_instant(row["decided_at"], time.time())
            self._last = row["id"]
        self.changed.set()

    async def run(self) -> None:
        """Go on, until cancelled."""
        while True:
            await self.poll_once()
            await asyncio.sleep(self._interval_seconds)

    def begin(self) -> None:
        """Forget what was seen so far."""
        self.record.clear()
        self._first = self._last

    def fewest(self) -> int:
        """All that were seen."""
        return len(self.record)

    async def report(self) -> Polled:
        """With the rows that it has missed; nothing is written any more."""
        rows = int(await self._pool.fetchval(COUNT, self._first, self._last))
        return Polled(self._interval_seconds, rows, rows - len(self.record), self.record.arrivals())


async def _measure(database: str, interval_seconds: float) -> None:
    pool = await asyncpg.create_pool(database, min_size=1, max_size=2)  # one polls, one counts in the end
    poller = Poller(pool, interval_seconds)
    await poller.poll_once()
    polling = asyncio.create_task(poller.run())
    try:
        say("ready")
        await obey(poller)
    finally:
        polling.cancel()
        await asyncio.gather(polling, return_exceptions=True)
        await pool.close()


def main() -> None:
    """Poll until stdin ends."""
    parser = argparse.ArgumentParser(prog="poll", description="Polls the baseline's outbox table.")
    parser.add_argument("--database", required=True)
    parser.add_argument("--interval-seconds", type=float, default=1.0)
    options = parser.parse_args()
    uvloop.run(_measure(options.database, options.interval_seconds))


if __name__ == "__main__":
    main()
