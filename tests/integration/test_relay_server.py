"""The relay and its PostgreSQL: restarted, frozen, or out of patience with the slot. A server of each test's own."""

import os
import signal
from collections.abc import AsyncIterator

import asyncpg
import pytest
from tests.conftest import data_folder
from tests.integration.relays import Broker, assert_chained, open_relays, until

from onebook.broker.protocol import MessageKind
from onebook.embedded.postgres import EmbeddedPostgres
from onebook.ledger.database import migrate
from onebook.relay import metrics, replication


@pytest.fixture
async def server() -> AsyncIterator[EmbeddedPostgres]:
    """A PostgreSQL that a test may harm."""
    with data_folder() as folder:
        postgres = EmbeddedPostgres(folder)
        await migrate(await postgres.start())
        try:
            yield postgres
        finally:
            await postgres.stop()


async def test_a_restart_of_postgresql_is_survived(server: EmbeddedPostgres) -> None:
    """PostgreSQL stops at once though a relay streams; when it is back the relay goes on, with nothing lost or twice."""
    broker = Broker()
    url = await server.start()
    async with open_relays(url) as relays:
        relay = relays.start(broker)
        await relays.leads(relay)
        await relays.append(3)
        await relays.all_arrived(broker)
        await server.stop()
        await until(lambda: not relay.is_leading and relay.trouble is not None)
        await server.start()
        await relays.connection.close()
        relays.connection = await asyncpg.connect(url)
        await relays.append(3)
        await relays.leads(relay)
        await relays.all_arrived(broker)
        assert len(broker.published) == len(set(broker.published))


async def test_a_server_that_falls_silent_is_given_up(
    server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that is open and says nothing, also when asked, is a fault; later nothing is lost."""
    monkeypatch.setattr(replication, "SILENCE_SECONDS", 2.0)
    broker = Broker()
    async with open_relays(await server.start()) as relays:
        relay = relays.start(broker)
        await relays.leads(relay)
        frozen = int(await relays.of_slot("active_pid"))
        os.kill(frozen, signal.SIGSTOP)
        try:
            await relays.append(3)
            await until(lambda: not relay.is_leading)
        finally:
            os.kill(frozen, signal.SIGCONT)
        await relays.leads(relay)
        await relays.all_arrived(broker)
        assert_chained(broker.messages)


async def test_a_slot_whose_wal_was_given_up_is_a_loss(server: EmbeddedPostgres) -> None:
    """PostgreSQL keeps no more WAL than it may; the dead slot is replaced, counted, and announced."""
    broker = Broker()
    async with open_relays(await server.start()) as relays:
        relay = relays.start(broker)
        await relays.leads(relay)
        await until(lambda: metrics.SLOT_SAFE_BYTES._value.get() > 0)
        await relays.stop(relay)
        await relays.connection.execute("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'")
        await relays.connection.execute("SELECT pg_reload_conf()")
        await relays.append(5)

        async def is_lost() -> bool:
            await relays.connection.execute("SELECT pg_switch_wal()")
            await relays.append()
            await relays.connection.execute("CHECKPOINT")
            return bool(await relays.of_slot("wal_status = 'lost'"))

        await until(is_lost)
        count = len(broker.messages)
        await relays.leads(relays.start(broker))
        await until(lambda: len(broker.messages) > count + 1)
        assert broker.messages[count].kind is MessageKind.REFILL
        assert_chained(broker.messages[count:])
        assert await relays.times_lost() == 1
        assert not await relays.of_slot("wal_status = 'lost'")
