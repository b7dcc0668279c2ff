"""Counts the dead letters that wait for a person, so that somebody is told of them.

Who calls me: the loop of alerts, beside it. What I own: a gauge. What survives a crash: the letters themselves, in their table.
What bounds me: MOST_COUNTED letters a look, TIMEOUT_SECONDS a statement; with the database away the last count stands.
"""

import asyncio

import asyncpg
import structlog
from prometheus_client import Gauge

from onebook.readings.pipeline import DEAD_LETTERS
from onebook.sql import statements

SQL = statements("onebook.ops.lag")
EVERY_SECONDS = 5.0
TIMEOUT_SECONDS = 5.0
MOST_COUNTED = 10_000

LETTERS = Gauge(
    DEAD_LETTERS,
    f"Events and deliveries given up, which wait for a person; {MOST_COUNTED} stands for that many or more.",
    ["consumer"],
    multiprocess_mode="livemax",
)

log = structlog.get_logger()


class LetterCount:
    """The count, kept up to date."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._waiting: dict[str, int] = {}

    async def run_once(self) -> dict[str, int]:
        """Count them. Raises what asyncpg raises when the database is away."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            rows = await self._pool.fetch(SQL["letters_waiting"], MOST_COUNTED)
        # Who had letters and has none any more says 0.
        self._waiting = dict.fromkeys(self._waiting, 0) | {row["reader"]: row["waiting"] for row in rows}
        for consumer, waiting in self._waiting.items():
            LETTERS.labels(consumer).set(waiting)
        return self._waiting

    async def run(self) -> None:
        """Count until cancelled."""
        while True:
            try:
                await self.run_once()
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.warning("dead_letters_not_counted", reason=repr(error))
            await asyncio.sleep(EVERY_SECONDS)
