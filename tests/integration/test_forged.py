"""What the relay has not signed moves nobody, whoever holds the broker's passwords, and somebody is told of it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import asyncpg
import msgspec
import pytest
from tests.conftest import data_folder
from tests.integration.consuming import Recorder, turn_until
from tests.integration.relays import KEYS, open_relays, until

from onebook.broker.consumer import Consumer
from onebook.broker.gate import KEPT, Gate
from onebook.broker.nats import open_nats
from onebook.broker.nats_connection import Connection
from onebook.broker.nats_stream import headers_of
from onebook.broker.protocol import Broker, Message, MessageKind
from onebook.broker.signing import Flaw, Verifier
from onebook.channels.handler import WebhookHandler
from onebook.config import load
from onebook.embedded.nats import EmbeddedNats
from onebook.embedded.nats_settings import SUBJECT, Credentials
from onebook.log.read import event_of
from onebook.log.stream import StreamEvent, batch_of
from onebook.push.hub import Hub
from onebook.relay.relay import Relay
from onebook.views.view import AvailabilityView

DATA = '{"channel": "web", "resources": []}'
TOUCHED = '[{"resource": "alfama/room", "version": 7, "cells": [], "available": []}]'
FORGED_ID = 4_000_000_000_000


class Trusting:
    """Who believes everybody: the control."""

    def flaw_of(self, message: Message) -> Flaw | None:
        """None."""


@dataclass
class Pipeline:
    """A relay on a real NATS, and who else has its password."""

    pool: "asyncpg.Pool[asyncpg.Record]"
    credentials: Credentials
    consumers: list[Consumer] = field(default_factory=list)
    brokers: list[Broker] = field(default_factory=list)

    async def joined(
        self, *handlers: Recorder | AvailabilityView | Hub | WebhookHandler, keys: Verifier = KEYS
    ) -> Consumer:
        """A consumer that has begun, and keeps its place."""

        async def open_broker() -> Broker:
            self.brokers.append(await open_nats(self.credentials.consumer_url))
            return self.brokers[-1]

        made = Consumer("test", open_broker, self.pool, handlers, keys=keys)
        self.consumers.append(made)
        await turn_until(made, lambda _: made.offset > 0)
        return made

    async def write(self, number: int) -> int:
        """One genuine entry; its position."""
        return int(
            await self.pool.fetchval(
                "INSERT INTO log (txn, time, type, subject, venues, data) "
                "VALUES (log_txn(), clock_timestamp(), 'booking.held', $1, '{alfama}', $2) RETURNING position",
                f"bookings/{number}",
                DATA,
            )
        )

    async def last(self) -> Message:
        """The latest message of the relay's that has events."""
        broker = await open_nats(self.credentials.relay_url)
        try:
            async with broker.publisher() as publisher:
                found = await publisher.last(lambda message: message.kind is MessageKind.EVENTS)
        finally:
            await broker.close()
        assert found is not None
        return found

    async def forge(self, *messages: Message) -> None:
        """Put messages into the stream behind the relay's back, as who has its password can."""
        connection = await Connection(self.credentials.relay_url).open()
        try:
            for message in messages:
                headers = {k: v for k, v in headers_of(message, 0, None).items() if not k.startswith("Nats-Expected")}
                await connection.answer(await connection.ask(SUBJECT, message.body, headers), 5)
        finally:
            await connection.close()

    async def refused(self) -> Sequence[asyncpg.Record]:
        """What was recorded."""
        return await self.pool.fetch("SELECT * FROM refused_message ORDER BY id")


@asynccontextmanager
async def open_pipeline(url: str) -> AsyncIterator[Pipeline]:
    """Everything, and its end."""
    with data_folder() as folder:
        server = EmbeddedNats(folder)
        try:
            credentials = await server.start()
            async with asyncpg.create_pool(url, min_size=0, max_size=6) as pool, open_relays(url) as relays:
                publishing = await open_nats(credentials.relay_url)
                settings = msgspec.structs.replace(load(environment={}).relay, slot=relays.slot, heartbeat_seconds=0.1)
                relay = Relay(settings, url, publishing, KEYS)
                relays.relays.append((relay, asyncio.create_task(relay.run())))
                await relays.leads(relay)
                pipeline = Pipeline(pool, credentials)
                yield pipeline
                for consumer in pipeline.consumers:
                    await consumer.close()
                relay.stop()
                await publishing.close()
        finally:
            await server.stop()


@pytest.fixture
async def pipeline(database_url: str) -> AsyncIterator[Pipeline]:
    """A relay, a NATS and a database."""
    async with open_pipeline(database_url) as opened:
        yield opened


def booking_confirmed(after: Message) -> Message:
    """A perfect event of a booking that nobody has made, right behind the relay's latest."""
    row = {
        "txn": FORGED_ID,
        "position": FORGED_ID,
        "time": datetime.now(UTC),
        "type": "booking.confirmed",
        "subject": "bookings/forged",
        "venues": ["alfama"],
        "traceparent": None,
        "data": DATA.replace("[]", TOUCHED),
    }
    return Message(after.lsn + 1, after.lsn, after.committed_at, body=batch_of([event_of(row)]))


class Offered:
    """What the webhook handler would send."""

    def __init__(self) -> None:
        self.positions: list[int] = []

    def __call__(self, endpoint: object, event: StreamEvent) -> None:
        """Keep it."""
        self.positions.append(event.position)


async def everybody(pipeline: Pipeline) -> tuple[list[AvailabilityView | Hub | WebhookHandler], Offered]:
    """The handlers that a server has, the webhooks with an endpoint that wants everything."""
    await pipeline.pool.execute(
        "INSERT INTO webhook_endpoint (id, url, venues, types, channel, secret, since_txn, first_txn) "
        "VALUES (gen_random_uuid(), 'https://partner.example/', '{*}', '{*}', NULL, 'whsec_AAAA', 1, 1)"
    )
    offered = Offered()
    webhooks = WebhookHandler(pipeline.pool, offered)
    await webhooks.activate()
    return [AvailabilityView(pipeline.pool), Hub(pipeline.pool, load(environment={}).push), webhooks], offered


async def test_a_forged_and_a_tampered_event_move_nobody(pipeline: Pipeline) -> None:
    """View, hub and webhooks act on neither, both are on record, and what the relay sends before and after is handled."""
    handlers, offered = await everybody(pipeline)
    recorder = Recorder()
    consumer = await pipeline.joined(recorder, *handlers)
    first = await pipeline.write(1)
    await turn_until(consumer, lambda _: first in recorder.seen)
    genuine = await pipeline.last()
    forged = booking_confirmed(genuine)
    tampered = msgspec.structs.replace(
        genuine, lsn=genuine.lsn + 2, body=genuine.body.replace(b'"booking.held"', b'"booking.confirmed"')
    )
    await pipeline.forge(forged, tampered)
    second = await pipeline.write(2)
    turn = await turn_until(consumer, lambda _: second in recorder.seen)
    assert (recorder.seen, turn.undecodable, turn.parked) == ([first, second], 0, 0)
    assert offered.positions == [first, second]
    owed = await pipeline.pool.fetch("SELECT position FROM webhook_delivery ORDER BY position")
    assert [row["position"] for row in owed] == [first, second]
    by_lsn = {row["lsn"]: row for row in await pipeline.refused()}
    assert by_lsn[forged.lsn]["reason"] == "unsigned"
    assert by_lsn[forged.lsn]["subject"] == "bookings/forged"
    assert by_lsn[forged.lsn]["excerpt"] == forged.body[:1000]
    assert by_lsn[tampered.lsn]["reason"] == "wrong-signature"
    assert consumer.offset < 2**62


async def test_the_control_without_signatures_a_forged_event_is_handled(pipeline: Pipeline) -> None:
    """A consumer that believes everybody handles the same forged event: it is the signature that keeps the others from it."""
    trusting, careful = Recorder("trusting"), Recorder("careful")
    believer = await pipeline.joined(trusting, keys=Trusting())
    consumer = await pipeline.joined(careful)
    first = await pipeline.write(1)
    await turn_until(believer, lambda _: first in trusting.seen)
    await turn_until(consumer, lambda _: first in careful.seen)
    await pipeline.forge(booking_confirmed(await pipeline.last()))
    await turn_until(believer, lambda _: FORGED_ID in trusting.seen)
    second = await pipeline.write(2)
    await turn_until(consumer, lambda _: second in careful.seen)
    assert careful.seen == [first, second]


async def test_the_chain_goes_on_over_a_forged_message(pipeline: Pipeline) -> None:
    """The relay looks behind what others have put there: its next message names its own last one, and no log is read."""
    recorder = Recorder()
    consumer = await pipeline.joined(recorder)
    first = await pipeline.write(1)
    await turn_until(consumer, lambda _: first in recorder.seen)
    far = msgspec.structs.replace(booking_confirmed(await pipeline.last()), lsn=2**62)
    await pipeline.forge(far)
    second = await pipeline.write(2)
    turn = await turn_until(consumer, lambda _: second in recorder.seen)
    assert (recorder.seen, turn.refills, consumer.offset < 2**62) == ([first, second], 0, True)


async def test_old_messages_sent_again_change_nothing(pipeline: Pipeline) -> None:
    """A genuine message is genuine forever; repeated under any id of the broker's, it has been handled."""
    recorder = Recorder()
    consumer = await pipeline.joined(recorder)
    first = await pipeline.write(1)
    await turn_until(consumer, lambda _: first in recorder.seen)
    old = await pipeline.last()
    connection = await Connection(pipeline.credentials.relay_url).open()
    info = msgspec.json.decode(await connection.request("$JS.API.STREAM.INFO.ONEBOOK"))
    forgetful = {**info["config"], "duplicate_window": 100_000_000}  # or JetStream itself would know the message
    await connection.request("$JS.API.STREAM.UPDATE.ONEBOOK", msgspec.json.encode(forgetful))
    headers = {k: v for k, v in headers_of(old, 0, None).items() if not k.startswith("Nats-Expected")}

    async def is_stored_again() -> bool:
        answer = await connection.answer(await connection.ask(SUBJECT, old.body, headers), 5)
        return b"duplicate" not in answer.data

    await until(is_stored_again)
    await connection.close()
    turn = await turn_until(consumer, lambda turn: turn.duplicates > 0)
    second = await pipeline.write(2)
    await turn_until(consumer, lambda _: second in recorder.seen)
    assert (recorder.seen, turn.events) == ([first, second], 0)
    assert not await pipeline.refused()


async def test_an_answer_sent_astray_is_refused_alike(pipeline: Pipeline) -> None:
    """What a reader has JetStream say on the stream's subjects is refused and recorded, and nothing has to begin anew."""
    recorder = Recorder()
    consumer = await pipeline.joined(recorder)
    connection = await Connection(pipeline.credentials.consumer_url).open()
    for subject in (SUBJECT, f"{SUBJECT}.stored"):
        await connection.publish("$JS.API.STREAM.INFO.ONEBOOK", b"", subject)

    async def both() -> bool:
        await consumer.run_once()
        return len(await pipeline.refused()) == 2

    await until(both)
    await connection.close()
    first = await pipeline.write(1)
    turn = await turn_until(consumer, lambda _: first in recorder.seen)
    assert turn.refills == 0
    assert {row["reason"] for row in await pipeline.refused()} == {"unsigned"}


async def test_what_is_recorded_is_bounded(database_url: str) -> None:
    """A message that comes again is counted in its row, and of many different ones the latest are kept."""
    async with asyncpg.create_pool(database_url, min_size=0, max_size=1) as pool:
        gate = Gate("test", KEYS, pool)
        genuine = KEYS.signed(Message(7, 6, 1.0, body=b"[]"))
        assert await gate.admit([genuine, Message(8, 7, 1.0, body=b"same"), Message(2**70, 7, 1.0, body=b"same")]) == [
            genuine
        ]
        (row,) = await pool.fetch("SELECT times, lsn FROM refused_message")
        assert (row["times"], row["lsn"]) == (2, 8)
        for start in range(0, KEPT + 50, 50):
            await gate.admit([Message(9, 8, 1.0, body=b"%d" % number) for number in range(start, start + 50)])
        assert await pool.fetchval("SELECT count(*) FROM refused_message") == KEPT
        assert not await pool.fetchval("SELECT EXISTS (SELECT FROM refused_message WHERE excerpt = 'same')")
