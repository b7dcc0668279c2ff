"""What the consumer's tests share: writers whose transactions reach a scripted broker as the relay would send them, and a handler
that remembers what it was given."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from tests.integration.scripted_broker import ScriptedBroker

from onebook.broker.consumer import Consumer, Turn
from onebook.broker.handler import Handler
from onebook.broker.protocol import Broker, Message, MessageKind
from onebook.broker.signing import StreamKeys
from onebook.key_file import KEY_BYTES
from onebook.log.read import event_of
from onebook.log.stream import StreamEvent, batch_of

MAX_TURNS = 200
KEYS = StreamKeys(bytes(KEY_BYTES))

_APPEND = """
INSERT INTO log (txn, time, type, subject, venues, data)
SELECT log_txn(), clock_timestamp(), 'booking.held', 'bookings/' || number, '{alfama}', $2
FROM generate_series(1, $1::integer) AS number
RETURNING txn, position, time, type, subject, venues, traceparent, data
"""
# A commit's LSN is where its record begins, which is before the end of what has been written.
_AT = "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint - 1 AS lsn, extract(epoch FROM clock_timestamp())::float8 AS at"
_DATA = '{"channel": "web", "resources": [{"resource": "alfama/room", "version": 1, "cells": [], "available": []}]}'


class Upstream:
    """The ledger and the relay in one: what is written here is published in the order of the commits, each naming the last."""

    def __init__(self, pool: "asyncpg.Pool[Any]", broker: ScriptedBroker) -> None:
        self._pool = pool
        self._broker = broker
        self._last_lsn = 0
        self.positions: list[int] = []
        self.is_away = False
        """Whether the relay is: the ledger goes on, and nothing is published."""

    async def write(self, count: int = 1, data: str = _DATA) -> list[int]:
        """One transaction of so many entries; their positions."""
        async with self.begun(count, data) as rows:
            pass
        return [row["position"] for row in rows]

    @asynccontextmanager
    async def begun(self, count: int = 1, data: str = _DATA) -> AsyncIterator[Sequence[Any]]:
        """A transaction that has written its entries and commits at the end of the block."""
        async with self._pool.acquire() as connection:
            async with connection.transaction():
                rows = await connection.fetch(_APPEND, count, data)
                yield rows
            self.positions += [row["position"] for row in rows]
            await self._publish(MessageKind.EVENTS, body=batch_of(event_of(row) for row in rows))

    async def beat(self) -> None:
        """A heartbeat, with the horizon as it is now."""
        await self._publish(MessageKind.HEARTBEAT, horizon=await self._pool.fetchval("SELECT log_horizon()"))

    async def say(self, kind: MessageKind, body: bytes = b"") -> None:
        """Any message."""
        await self._publish(kind, body=body)

    async def _publish(self, kind: MessageKind, *, horizon: int = 0, body: bytes = b"") -> None:
        # Something is always written between two messages, as it is when a relay reads them from the WAL.
        await self._pool.execute("SELECT pg_logical_emit_message(true, 'test', '')")
        (at,) = await self._pool.fetch(_AT)
        if self.is_away or self._broker.away:
            return
        async with self._broker.publisher() as publisher:
            message = Message(at["lsn"], self._last_lsn, at["at"], kind, horizon, body)
            await publisher.publish(KEYS.signed(message))
        self._last_lsn = at["lsn"]


class Recorder:
    """A handler that remembers; `poison` positions fail, and the next `faults` calls find the database away."""

    def __init__(self, name: str = "recorder", horizon: int = 1) -> None:
        self.name = name
        self.horizon = horizon
        self.seen: list[int] = []
        self.poison: set[int] = set()
        self.faults = 0
        self.starts = 0
        self.rebuilds = 0
        self.checkpoints: list[int] = []
        self.has_handled = asyncio.Event()

    async def start(self) -> int:
        """From the last checkpoint, as a durable consumer does."""
        self.starts += 1
        return self.horizon

    async def handle(self, events: Sequence[StreamEvent]) -> None:
        """All or none."""
        if self.faults:
            self.faults -= 1
            raise asyncpg.CannotConnectNowError("the database is starting up")
        if found := self.poison & {event.position for event in events}:
            raise ValueError(f"cannot stand {sorted(found)}")
        self.seen += [event.position for event in events]
        self.has_handled.set()

    async def checkpoint(self, horizon: int) -> None:
        """Write it down."""
        assert horizon >= self.horizon, "a horizon never goes back"
        self.horizon = horizon
        self.checkpoints.append(horizon)

    async def rebuild(self) -> None:
        """Anew."""
        self.rebuilds += 1


class Bed:
    """A broker, an upstream and consumers on one database."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self.pool = pool
        self.broker = ScriptedBroker()
        self.upstream = Upstream(pool, self.broker)
        self.consumers: list[Consumer] = []

    def consumer(self, *handlers: Handler, **options: Any) -> Consumer:
        """A consumer that is turned by hand."""

        async def open_broker() -> Broker:
            return self.broker.as_consumer()

        made = Consumer("test", open_broker, self.pool, handlers, **{"keys": KEYS, **options})
        self.consumers.append(made)
        return made

    async def joined(self, *handlers: Handler, **options: Any) -> Consumer:
        """A consumer that has begun."""
        made = self.consumer(*handlers, **options)
        await turn_until(made, lambda _: made.offset > 0)
        return made


@asynccontextmanager
async def open_bed(url: str) -> AsyncIterator[Bed]:
    """Everything, and its end."""
    async with asyncpg.create_pool(url, min_size=0, max_size=6) as pool:
        bed = Bed(pool)
        await bed.upstream.beat()  # the first message of a relay names no other
        yield bed
        for consumer in bed.consumers:
            await consumer.close()


async def turn_until(consumer: Consumer, done: Callable[[Turn], bool]) -> Turn:
    """Turn until it is so after a turn; the sum of all turns."""
    total = Turn()
    for _ in range(MAX_TURNS):
        turn = await consumer.run_once()
        for name in Turn.__slots__:
            setattr(total, name, getattr(total, name) + getattr(turn, name))
        if done(total):
            return total
    raise AssertionError(f"it did not come to that within {MAX_TURNS} turns: {total}")


async def drained(consumer: Consumer, recorder: Recorder, upstream: Upstream) -> Turn:
    """Turn until all that was written has been handled."""
    async with asyncio.timeout(20):
        return await turn_until(consumer, lambda _: set(upstream.positions) <= set(recorder.seen))
