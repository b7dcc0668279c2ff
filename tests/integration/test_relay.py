"""The relay: what is committed arrives, once, in commit order, whoever dies, and a loss is told."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import asyncpg
import pytest
from tests.integration.relays import APPEND, KEYS, Broker, Relays, assert_chained, open_relays, until

from onebook import tracing
from onebook.broker.metrics import CDC_LAG
from onebook.broker.protocol import Message, MessageKind
from onebook.log.stream import event_of_row, events_of
from onebook.relay import metrics
from onebook.relay import relay as relay_module

MIB = 1024 * 1024


@pytest.fixture
async def relays(database_url: str) -> AsyncIterator[Relays]:
    """Relays on a database of this test's own."""
    async with open_relays(database_url) as opened:
        yield opened


async def test_concurrent_commits_arrive_once_in_commit_order(relays: Relays) -> None:
    """What many connections commit at once arrives complete, unchanged, chained, each message one transaction."""
    broker = Broker()
    await relays.leads(relays.start(broker))
    async with asyncpg.create_pool(relays.url, min_size=6, max_size=6) as pool:

        async def write(number: int) -> None:
            for count in range(30):
                async with pool.acquire() as connection, connection.transaction():
                    await connection.execute(APPEND, 1 + (number + count) % 4, '{"é": [1, "\\"x"]}')
                    await asyncio.sleep(0)

        await asyncio.gather(*(write(number) for number in range(6)))
    await relays.all_arrived(broker)
    assert_chained(broker.messages)
    rows = await relays.connection.fetch("SELECT * FROM log")
    expected = {row["position"]: event_of_row(row) for row in rows}
    batches = [events_of(m.body, m.committed_at, m.lsn) for m in broker.messages if m.kind is MessageKind.EVENTS]
    assert len(batches) == 180
    for batch in batches:
        assert len({event.txn for event in batch}) == 1
        assert all(event.body == expected[event.position].body for event in batch)
    assert all(event.venues == ("alfama",) for batch in batches for event in batch)


async def test_a_heartbeat_comes_behind_what_it_vouches_for(relays: Relays) -> None:
    """Every entry below a heartbeat's horizon has been published before it, even with a slow transaction open."""
    broker = Broker()
    await relays.leads(relays.start(broker))
    slow = await asyncpg.connect(relays.url)
    transaction = slow.transaction()
    await transaction.start()
    await relays.append(connection=slow)
    for _ in range(20):
        await relays.append()
    count = len(broker.messages)
    await until(lambda: len(broker.messages) > count + 3)
    await transaction.commit()
    await slow.close()
    await relays.all_arrived(broker)
    count = len(broker.messages)
    await until(lambda: len(broker.messages) > count + 3)
    txns = {row["txn"] for row in await relays.connection.fetch("SELECT txn FROM log")}
    seen: set[int] = set()
    horizons = []
    for message in broker.messages:
        if message.kind is MessageKind.HEARTBEAT:
            horizons.append(message.horizon)
            assert {txn for txn in txns if txn < message.horizon} <= seen
        elif message.body:
            seen |= {event.txn for event in events_of(message.body, 0.0, 0)}
    assert horizons == sorted(horizons)
    assert horizons[-1] > max(txns)


async def test_an_operators_rebuild_goes_through_the_wal(relays: Relays) -> None:
    """A rebuild asked for in the database reaches every consumer."""
    broker = Broker()
    await relays.leads(relays.start(broker))
    await relays.connection.execute("""SELECT pg_logical_emit_message(true, 'onebook', '{"kind":"rebuild"}')""")
    await until(lambda: any(m.kind is MessageKind.REBUILD for m in broker.messages))


async def test_a_relay_killed_between_publishing_and_acknowledgement_loses_nothing(relays: Relays) -> None:
    """The next relay finds in the broker what the dead one published, goes on behind it, and publishes nothing twice."""
    broker = Broker()
    first = relays.start(broker, heartbeat_seconds=5)
    await relays.leads(first)
    await relays.append(3)
    await relays.all_arrived(broker)
    broker.is_mute = True
    for _ in range(10):
        await relays.append(2)
    await relays.all_arrived(broker)
    await relays.stop(first)
    broker.is_mute = False
    await relays.append(5)
    await relays.leads(relays.start(broker, heartbeat_seconds=5))
    await relays.all_arrived(broker)
    assert_chained(broker.messages)
    assert len(broker.published) == len(set(broker.published)), "what was there already is skipped"


async def test_an_acknowledgement_that_does_not_come_is_asked_for(relays: Relays) -> None:
    """A broker that keeps a message and then fails has it once, and the chain goes on."""
    broker = Broker()
    await relays.leads(relays.start(broker))
    for _ in range(20):
        broker.unacknowledged_next = 1
        await relays.append(2)
    await relays.all_arrived(broker)
    assert_chained(broker.messages)
    assert len(broker.published) == len(set(broker.published))


async def test_a_terminated_connection_is_opened_again(relays: Relays) -> None:
    """Whatever connection PostgreSQL ends, nothing is lost and nothing comes twice."""
    broker = Broker()
    relay = relays.start(broker)
    await relays.leads(relay)
    restarts = metrics.RESTARTS.labels("database")
    for application in ("onebook-relay", "onebook-relay-heart") * 2:
        await relays.append()
        faults = restarts._value.get()
        ended = await relays.connection.fetchval(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE application_name = $1 AND datname = current_database()",
            application,
        )
        assert ended == 1
        await until(lambda before=faults: restarts._value.get() > before)  # type: ignore[misc]
        await relays.append()
        await relays.leads(relay)
    await relays.all_arrived(broker)
    assert len({m.lsn for m in broker.messages}) == len(broker.messages)
    assert len(broker.published) == len(set(broker.published))


async def test_bookings_go_on_without_a_broker(relays: Relays) -> None:
    """While the broker is away commits succeed and the relay says what is wrong; when it is back everything arrives."""
    broker = Broker()
    relay = relays.start(broker)
    await relays.leads(relay)
    await relays.append()
    await relays.all_arrived(broker)
    broker.stop()
    for _ in range(50):
        await relays.append(2)
    await until(lambda: "away" in (relay.trouble or ""))
    turned_at = relay.turned_at
    broker.start()
    await relays.all_arrived(broker)
    assert_chained(broker.messages)
    await until(lambda: relay.trouble is None and relay.turned_at > turned_at)


async def test_a_broker_that_lost_its_store_breaks_the_chain(relays: Relays) -> None:
    """After the store is gone the first message names none before it: consumers read the log. Running, and started anew."""
    broker = Broker()
    relay = relays.start(broker)
    await relays.leads(relay)
    await relays.append()
    await relays.all_arrived(broker)
    broker.stop()
    broker.start(keep=False)
    await until(lambda: len(broker.messages) > 2)
    assert_chained(broker.messages)
    await relays.stop(relay)
    broker.stored.clear()
    await relays.leads(relays.start(broker))
    await until(lambda: len(broker.messages) > 2)
    assert_chained(broker.messages)


async def test_a_broker_that_lost_its_tail_breaks_the_chain(relays: Relays) -> None:
    """A broker that forgot what it had acknowledged is not gone on from as if nothing were missing."""
    broker = Broker()
    relay = relays.start(broker, heartbeat_seconds=5)
    await relays.leads(relay)
    for _ in range(5):
        await relays.append()
    await relays.all_arrived(broker)
    await relays.stop(relay)
    del broker.stored[-2:]
    await relays.leads(relays.start(broker, heartbeat_seconds=5))
    await until(lambda: broker.messages[-1].kind is MessageKind.HEARTBEAT)
    assert_chained(broker.messages, breaks=2)


async def test_a_brokers_store_from_another_life_is_not_believed(relays: Relays) -> None:
    """Messages beyond the end of the WAL do not have the relay skip what is new."""
    broker = Broker()
    broker.store(KEYS.signed(Message(lsn=2**60, previous=0, committed_at=0.0)))
    await relays.leads(relays.start(broker))
    await relays.append(3)
    await until(lambda: len(broker.positions) == 3)
    assert_chained(broker.messages[1:])


async def test_a_standby_takes_over(relays: Relays) -> None:
    """Of two relays one leads; when it is gone the other takes the slot and goes on where it ended."""
    broker = Broker()
    first = relays.start(broker)
    await relays.leads(first)
    second = relays.start(broker)
    turned_at = second.turned_at
    await until(lambda: second.turned_at > turned_at)
    assert not second.is_leading
    for _ in range(5):
        await relays.append()
    await relays.stop(first)
    await relays.append()
    await relays.leads(second)
    await relays.all_arrived(broker)
    assert_chained(broker.messages)


async def test_the_lag_grows_while_nothing_moves(relays: Relays) -> None:
    """The lag shown is the age of the oldest commit that waits, also while the broker takes nothing; then it is none again."""
    shown = CDC_LAG.labels("relay")._value
    broker = Broker()
    await relays.leads(relays.start(broker))
    await until(lambda: shown.get() == 0.0)
    broker.stop()
    await relays.append()
    await until(lambda: shown.get() > 0.5)
    broker.start()
    await relays.all_arrived(broker)
    await until(lambda: shown.get() == 0.0)


async def test_a_followed_event_has_its_spans(relays: Relays) -> None:
    """Of an event whose trace is followed relay and publishing are reported, below its place; of others nothing is."""
    spans: list[tracing.Span] = []
    followed = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    broker = Broker()
    await relays.leads(relays.start(broker))
    tracing.install(spans.append, 0.0)
    try:
        await relays.append()
        for traceparent in (followed, followed[:-2] + "00"):
            await relays.connection.execute(
                "INSERT INTO log (txn, time, type, subject, venues, traceparent, data)"
                " VALUES (log_txn(), clock_timestamp(), 'booking.held', 'bookings/1', '{a}', $1, '{}')",
                traceparent,
            )
        await relays.all_arrived(broker)
        await until(lambda: len(spans) >= 2)
    finally:
        tracing.install(None, 0.0)
    assert [(span.name, span.traceparent) for span in spans] == [("relay", followed), ("publish", followed)]
    relay, publish = spans
    assert relay.started_at <= relay.ended_at <= publish.ended_at


async def test_a_lost_slot_is_told(relays: Relays) -> None:
    """A first slot is no loss; one that is gone is counted, made anew, and announced by a refill before anything else."""
    broker = Broker()
    relay = relays.start(broker)
    await relays.leads(relay)
    await relays.append()
    await relays.all_arrived(broker)
    assert await relays.times_lost() == 0
    assert all(m.kind is not MessageKind.REFILL for m in broker.messages), "the control: a first slot is no loss"
    await relays.stop(relay)

    async def is_dropped() -> bool:
        with contextlib.suppress(asyncpg.ObjectInUseError):
            await relays.connection.execute("SELECT pg_drop_replication_slot($1)", relays.slot)
            return True
        return False

    await until(is_dropped)
    await relays.append()
    count = len(broker.messages)
    await relays.leads(relays.start(broker))
    await relays.append()
    await until(lambda: len(broker.messages) > count + 2)
    refill, *others = broker.messages[count:]
    assert (refill.kind, refill.previous) == (MessageKind.REFILL, 0)
    assert all(m.kind is not MessageKind.REFILL for m in others)
    assert_chained(broker.messages[count:])
    assert await relays.times_lost() == 1


async def test_a_slot_of_somebody_else_is_refused(relays: Relays) -> None:
    """A slot of that name with another plugin is left alone, and said."""
    await relays.connection.execute("SELECT pg_create_logical_replication_slot($1, 'test_decoding')", relays.slot)
    relay = relays.start(Broker())
    await until(lambda: relays.slot in (relay.trouble or ""))
    assert await relays.of_slot("plugin") == "test_decoding"


async def test_an_idle_slot_advances(relays: Relays, monkeypatch: pytest.MonkeyPatch) -> None:
    """While only others write, the slot moves on even between heartbeats, and keeps no WAL for nothing."""
    monkeypatch.setattr(relay_module, "IDLE_SECONDS", 0.1)
    await relays.leads(relays.start(Broker(), heartbeat_seconds=5))
    await relays.connection.execute("CREATE TABLE other (n integer)")
    for _ in range(3):
        await relays.connection.execute("INSERT INTO other SELECT generate_series(1, 1000)")
        written = await relays.connection.fetchval("SELECT pg_current_wal_lsn()")

        async def is_confirmed(lsn: int = written) -> bool:
            return int(await relays.of_slot("confirmed_flush_lsn")) >= lsn

        await until(is_confirmed)


async def test_a_big_transaction_arrives_whole(relays: Relays) -> None:
    """Twenty thousand entries of one transaction are one message."""
    broker = Broker()
    await relays.leads(relays.start(broker))
    await relays.append(20_000, '{"a": "' + "x" * 300 + '"}')
    await relays.all_arrived(broker)
    assert [len(events_of(m.body, 0.0, 0)) for m in broker.messages if m.body] == [20_000]


async def test_what_waits_is_bounded(relays: Relays) -> None:
    """Without a broker the relay stops reading at its bound, the slot stays its own, and later everything arrives."""
    broker = Broker()
    relay = relays.start(broker, max_waiting_mib=1)
    await relays.leads(relay)
    broker.stop()
    for _ in range(40):
        await relays.append(100, '{"a": "' + "x" * 2000 + '"}')
        assert relay.waiting_bytes < 1.5 * MIB
    await until(lambda: relay.waiting_bytes >= MIB)
    assert relay.is_leading
    assert relay.waiting_bytes < 1.5 * MIB
    broker.start()
    await relays.all_arrived(broker)
    assert_chained(broker.messages)
