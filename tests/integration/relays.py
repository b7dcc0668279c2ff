"""Relays under test: a broker that counts, entries to relay, and the slot that goes with the test."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import asyncpg
import msgspec
from tests.integration.scripted_broker import ScriptedBroker

from onebook.broker.protocol import Message
from onebook.broker.signing import StreamKeys
from onebook.config import load
from onebook.key_file import KEY_BYTES
from onebook.log.stream import events_of
from onebook.relay.relay import Relay

WAIT_SECONDS = 20.0
KEYS = StreamKeys(bytes(KEY_BYTES))
APPEND = """
INSERT INTO log (txn, time, type, subject, venues, traceparent, data)
SELECT log_txn(), clock_timestamp(), 'booking.held', 'bookings/' || n, ARRAY['alfama', 'a "b"'], NULL, $2::json
FROM generate_series(1, $1::integer) AS n
"""


class Broker(ScriptedBroker):
    """Counts what is published, also what its store knows already, and may keep its acknowledgements to itself."""

    def __init__(self) -> None:
        super().__init__()
        self.published: list[int] = []
        self.is_mute = False

    def store(self, message: Message) -> None:
        """Keep it, and count it."""
        self.published.append(message.lsn)
        super().store(message)

    @property
    def messages(self) -> list[Message]:
        """Everything it has, in order."""
        return [delivery.message for delivery in self.stored]

    @property
    def positions(self) -> list[int]:
        """The entries it has, in order."""
        return [event.position for m in self.messages if m.body for event in events_of(m.body, m.committed_at, m.lsn)]

    def publisher(self) -> Any:
        """A publisher whose acknowledgements do not come while the broker is mute."""
        publisher = super().publisher()
        publish = publisher.publish

        async def published(message: Message) -> None:
            await publish(message)
            if self.is_mute:
                await asyncio.Event().wait()

        publisher.publish = published  # type: ignore[method-assign]
        return publisher


@dataclass
class Relays:
    """A database with its log, and relays on it."""

    url: str
    connection: asyncpg.Connection
    slot: str
    relays: list[tuple[Relay, "asyncio.Task[None]"]] = field(default_factory=list)

    def start(self, broker: Broker, *, heartbeat_seconds: float = 0.05, max_waiting_mib: int = 8) -> Relay:
        """Another relay."""
        settings = msgspec.structs.replace(
            load(environment={}).relay,
            slot=self.slot,
            heartbeat_seconds=heartbeat_seconds,
            max_waiting_mib=max_waiting_mib,
        )
        relay = Relay(settings, self.url, broker, KEYS)
        self.relays.append((relay, asyncio.create_task(relay.run())))
        return relay

    async def stop(self, relay: Relay) -> None:
        """End it, wherever it is."""
        relay.stop()
        await next(task for each, task in self.relays if each is relay)

    async def append(self, count: int = 1, text: str = "{}", *, connection: asyncpg.Connection | None = None) -> None:
        """A transaction with so many entries."""
        await (connection or self.connection).execute(APPEND, count, text)

    async def positions(self) -> list[int]:
        """Every entry of the log."""
        return [row["position"] for row in await self.connection.fetch("SELECT position FROM log ORDER BY position")]

    async def of_slot(self, column: str) -> Any:
        """What PostgreSQL says of the slot."""
        return await self.connection.fetchval(
            f"SELECT {column} FROM pg_replication_slots WHERE slot_name = $1", self.slot
        )

    async def times_lost(self) -> int | None:
        """What is on record of it."""
        found: int | None = await self.connection.fetchval(
            "SELECT times_lost FROM relay_slot WHERE name = $1", self.slot
        )
        return found

    async def leads(self, relay: Relay) -> None:
        """Wait until it holds the slot."""
        await until(lambda: relay.is_leading)

    async def all_arrived(self, broker: Broker) -> None:
        """Wait until the broker has every entry of the log; each once."""
        wanted = await self.positions()
        await until(lambda: len(broker.positions) >= len(wanted))
        assert sorted(broker.positions) == wanted


async def until(is_so: Callable[[], bool | Awaitable[bool]]) -> None:
    """Wait until something is so, and fail if it does not become so in time."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            answer = is_so()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(0.01)


def assert_chained(messages: list[Message], *, breaks: int = 1) -> None:
    """Each message names the one before it; `breaks` times, the first one included, that is unknown."""
    assert [m.lsn for m in messages] == sorted({m.lsn for m in messages})
    before = [0, *(m.lsn for m in messages)]
    broken = [m for m, lsn in zip(messages, before, strict=False) if m.previous != lsn or m.previous == 0]
    assert all(m.previous == 0 for m in broken)
    assert len(broken) == breaks


@contextlib.asynccontextmanager
async def open_relays(url: str) -> AsyncIterator[Relays]:
    """Relays end and their slot goes with the test: a database with a slot cannot be dropped."""
    opened = Relays(url, await asyncpg.connect(url), f"test_{uuid4().hex}")
    try:
        yield opened
    finally:
        for relay, _ in opened.relays:
            relay.stop()
        await asyncio.gather(*(task for _, task in opened.relays))

        async def is_free() -> bool:
            return not await opened.of_slot("active")

        await until(is_free)
        await opened.connection.execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1", opened.slot
        )
        await opened.connection.close()
