"""Following the log without a broker, as the consumer does when it has none: what is settled and has not been handled yet."""

from typing import Any

import asyncpg

from onebook.broker.handler import Handler
from onebook.log.stream import StreamEvent, event_of_row

READ = "SELECT txn, position, time, type, subject, venues, traceparent, data FROM log WHERE txn >= $1 ORDER BY txn, position"


class Follower:
    """A handler, and its place in the log."""

    def __init__(self, handler: Handler, pool: "asyncpg.Pool[Any]") -> None:
        self._handler = handler
        self._pool = pool
        self._horizon: int | None = None
        self._handled: set[int] = set()

    async def catch_up(self) -> list[StreamEvent]:
        """Hand over everything committed that the handler has not had; returns it. The first call starts the handler."""
        if self._horizon is None:
            self._horizon = await self._handler.start()
        async with (
            self._pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            rows = await connection.fetch(READ, self._horizon)
            self._horizon = await connection.fetchval("SELECT log_horizon()")
        events = [event_of_row(row) for row in rows if row["position"] not in self._handled]
        self._handled = {row["position"] for row in rows if row["txn"] >= self._horizon}
        if events:
            await self._handler.handle(events)
        return events
