"""NATS passes the suite, keeps its users apart, and tells the truth when it dies, hangs or forgets."""

import asyncio
import os
import shutil
import signal
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import psutil
import pytest
from tests.conftest import data_folder
from tests.integration.broker_conformance import (
    FLOOD_BYTES,
    FLOOD_MESSAGES,
    BrokerConformance,
    Brokers,
    anything,
    chain,
    fetched,
    messages,
    publish_at_once,
)

from onebook.broker.nats import NatsBroker, open_nats
from onebook.broker.nats_connection import Connection
from onebook.broker.protocol import Broker, BrokerError, Message, NotAllowed, Subscription
from onebook.embedded.nats import EmbeddedNats
from onebook.embedded.nats_settings import Credentials

NOTICED_SECONDS = 3.0
DEADLINE_SECONDS = 10
STREAM_API = "$JS.API.STREAM"


@dataclass
class Nats:
    """An embedded NATS of one test, with everything that the test opened on it."""

    server: EmbeddedNats
    folder: Path
    credentials: Credentials
    opened: list[NatsBroker]

    async def relay(self) -> NatsBroker:
        """A connection that publishes."""
        return await self._open(self.credentials.relay_url)

    async def consumer(self) -> NatsBroker:
        """A connection that reads."""
        return await self._open(self.credentials.consumer_url)

    async def kill(self) -> None:
        """kill -9."""
        assert self.server.pid is not None
        os.kill(self.server.pid, signal.SIGKILL)
        assert await self.server.wait() == -signal.SIGKILL

    def freeze(self) -> None:
        """From when this returns the server does nothing, and its connections stay open."""
        server = psutil.Process(self.server.pid)
        server.suspend()
        deadline = time.monotonic() + DEADLINE_SECONDS
        while any(state_of(thread.id) != "T" for thread in server.threads()):
            assert time.monotonic() < deadline, "it was not stopped in time"

    def thaw(self) -> None:
        """It goes on."""
        psutil.Process(self.server.pid).resume()

    @asynccontextmanager
    async def connection(self, url: str) -> AsyncIterator[Connection]:
        """A bare connection, to do what brokers do not."""
        connection = await Connection(url).open()
        try:
            yield connection
        finally:
            await connection.close()

    async def _open(self, url: str) -> NatsBroker:
        self.opened.append(await open_nats(url, max_store_mib=128))
        return self.opened[-1]


@pytest.fixture
async def nats() -> AsyncIterator[Nats]:
    """A running NATS with its stream."""
    with data_folder() as folder:
        server = EmbeddedNats(folder)
        running = Nats(server, folder, await server.start(), [])
        try:
            async with (await running.relay()).publisher():
                pass  # has made the stream
            yield running
        finally:
            for broker in running.opened:
                await broker.close()
            await server.stop()


class TestNats(BrokerConformance):
    """The suite."""

    @pytest.fixture
    def brokers(self, nats: Nats) -> Brokers:
        """Each connection is one of its own."""
        return Brokers(nats.relay, nats.consumer)


async def test_wrong_credentials_are_refused_at_once(nats: Nats) -> None:
    """A wrong password is NotAllowed when the broker is opened."""
    with pytest.raises(NotAllowed):
        await open_nats(nats.credentials.relay_url.replace("relay:", "relay:not-"))


@pytest.mark.parametrize("verb", ["DELETE", "PURGE", "UPDATE", "CREATE"])
async def test_a_consumer_may_not_touch_the_stream(nats: Nats, verb: str) -> None:
    """Deleting, purging and changing the stream are refused to a consumer, and the stream stays."""
    async with nats.connection(nats.credentials.consumer_url) as connection:
        with pytest.raises(NotAllowed):
            await connection.request(f"{STREAM_API}.{verb}.ONEBOOK", msgspec.json.encode({"name": "ONEBOOK"}))
    async with nats.connection(nats.credentials.relay_url) as connection:
        await connection.request(f"{STREAM_API}.INFO.ONEBOOK")


@pytest.mark.parametrize("subject", ["onebook.events.stored", "$JS.API.CONSUMER.CREATE.ONEBOOK", "_INBOX.relay.x"])
async def test_a_consumer_may_not_speak_for_others(nats: Nats, subject: str) -> None:
    """What the stream repeats, JetStream consumers and others' answers cannot be forged by a consumer."""
    async with nats.connection(nats.credentials.consumer_url) as connection:
        with pytest.raises(NotAllowed):
            await connection.request(subject)


async def test_a_foreign_message_does_not_stop_the_relay(nats: Nats) -> None:
    """An answer that a consumer has sent into the stream names no place: the relay finds its own before it, and publishes on."""
    relay, consumer = await nats.relay(), await nats.consumer()
    first, second = chain(1, 2)
    async with relay.publisher() as publisher:
        await publisher.publish(first)
    async with nats.connection(nats.credentials.consumer_url) as connection:
        await connection.publish(f"{STREAM_API}.INFO.ONEBOOK", b"", "onebook.events")
        async with asyncio.timeout(DEADLINE_SECONDS):
            while b'"last_seq":2' not in await connection.request(f"{STREAM_API}.INFO.ONEBOOK"):
                pass
    async with relay.publisher() as publisher:
        assert await publisher.last(lambda message: message.lsn > 0) == first
        subscription = await consumer.subscribe()
        await publisher.publish(second)
        assert messages(await fetched(subscription, 1)) == [second]


@pytest.mark.parametrize("subject", ["_INBOX.relay.>", "onebook.events", ">"])
async def test_a_consumer_may_not_listen_elsewhere(nats: Nats, subject: str) -> None:
    """A consumer hears what is stored and its own answers, nothing else."""

    async def hear(message: object) -> None:
        raise AssertionError(message)

    async with nats.connection(nats.credentials.consumer_url) as connection:
        await connection.listen(subject, hear)
        with pytest.raises(NotAllowed):
            await connection.request(f"{STREAM_API}.INFO.ONEBOOK")


async def test_a_subscription_holds_a_bounded_number_of_bytes(nats: Nats) -> None:
    """What a subscriber that does not fetch costs is bounded, and it gets everything all the same."""
    async with (await nats.relay()).publisher() as publisher:
        subscription = await (await nats.consumer()).subscribe()
        sent = chain(1, FLOOD_MESSAGES, body=bytes(FLOOD_BYTES))
        tracemalloc.start()
        try:
            await publish_at_once(publisher, sent)
            async with nats.connection(nats.credentials.consumer_url):
                held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert held < 48 * 1024 * 1024 < FLOOD_MESSAGES * FLOOD_BYTES
        assert messages(await fetched(subscription, FLOOD_MESSAGES)) == sent


async def test_the_stream_is_bounded_and_the_loss_shows(nats: Nats) -> None:
    """Older messages go when the stream is full; a subscriber who comes back gets what is left, and sees the gap."""
    relay = await open_nats(nats.credentials.relay_url, max_store_mib=8)
    nats.opened.append(relay)
    async with relay.publisher() as publisher:
        await publish_at_once(publisher, chain(1, 60, body=bytes(FLOOD_BYTES)))
        last = await publisher.last(anything)
    assert last is not None
    found: list[Message] = []
    subscription = await (await nats.consumer()).subscribe(after=1)
    while not found or found[-1] != last:
        found += messages(await subscription.fetch(1))
    assert found[0].previous > 1
    assert [message.lsn for message in found] == list(range(found[0].lsn, 61))


async def test_kill_nine_loses_nothing_acknowledged(nats: Nats) -> None:
    """After kill -9 and a restart the same objects work again, on the same port, and repetitions are still known."""
    relay, consumer = await nats.relay(), await nats.consumer()
    async with relay.publisher() as publisher:
        subscription = await consumer.subscribe()
        await publish_at_once(publisher, chain(1, 10))
        await nats.kill()
        await notices(lambda: ended(subscription))
        with pytest.raises(BrokerError):
            await publisher.publish(*chain(11, 1))
    with pytest.raises(BrokerError):
        await consumer.subscribe()
    assert await nats.server.start() == nats.credentials
    async with relay.publisher() as publisher:
        assert await publisher.last(anything) == chain(10, 1)[0]
        await publish_at_once(publisher, chain(8, 4))
    assert messages(await fetched(await consumer.subscribe(after=0), 11)) == chain(1, 11)


async def test_a_deleted_store_begins_anew(nats: Nats) -> None:
    """A broker that comes back without its store has no last message, and who resumes gets what it has, with a gap."""
    relay, consumer = await nats.relay(), await nats.consumer()
    async with relay.publisher() as publisher:
        await publish_at_once(publisher, chain(1, 10))
    subscription = await consumer.subscribe()
    await nats.kill()
    shutil.rmtree(nats.folder / "nats")
    await nats.server.start()
    await notices(lambda: ended(subscription))
    with pytest.raises(BrokerError):
        await consumer.subscribe()  # there is no stream before somebody publishes
    async with relay.publisher() as publisher:
        assert await publisher.last(anything) is None
        await publisher.publish(*chain(11, 1))
    (message,) = messages(await fetched(await consumer.subscribe(after=10), 1))
    assert message.previous == 10


async def test_a_deleted_stream_is_noticed(nats: Nats) -> None:
    """A stream deleted under a living server ends its subscriptions and its publisher."""
    relay, consumer = await nats.relay(), await nats.consumer()
    async with relay.publisher() as publisher:
        subscription = await consumer.subscribe()
        await publisher.publish(*chain(1, 1))
        await fetched(subscription, 1)
        async with nats.connection(nats.credentials.relay_url) as connection:
            await connection.request(f"{STREAM_API}.DELETE.ONEBOOK")
        await notices(lambda: ended(subscription))
        with pytest.raises(BrokerError):
            await publisher.publish(*chain(2, 1))
    async with relay.publisher() as publisher:
        assert await publisher.last(anything) is None


@pytest.mark.parametrize("before", [0, 3])
async def test_a_stream_made_anew_is_noticed_while_messages_flow(nats: Nats, before: int) -> None:
    """A stream deleted and made again ends subscriptions, also when it is never silent and whether or not they had heard any."""
    relay, consumer = await nats.relay(), await nats.consumer()
    async with relay.publisher() as publisher:
        await publish_at_once(publisher, chain(1, 20))
        subscription = await consumer.subscribe()
        await publish_at_once(publisher, chain(21, before))
        await fetched(subscription, before)
    async with nats.connection(nats.credentials.relay_url) as connection:
        await connection.request(f"{STREAM_API}.DELETE.ONEBOOK")
    async with relay.publisher() as publisher:
        await publish_at_once(publisher, chain(100, 5))
    await notices(lambda: ended(subscription))


async def test_a_frozen_broker_is_noticed(nats: Nats) -> None:
    """A broker that holds the connection and does not answer ends subscriptions and publishers, and works once it goes on."""
    relay, consumer = await nats.relay(), await nats.consumer()
    async with relay.publisher() as publisher:
        subscription = await consumer.subscribe()
        await publisher.publish(*chain(1, 1))
        try:
            nats.freeze()
            publishing = asyncio.create_task(publisher.publish(*chain(2, 1)))
            await notices(lambda: ended(subscription))
            with pytest.raises(BrokerError):
                await publishing
            with pytest.raises(BrokerError):
                await consumer.subscribe()
        finally:
            nats.thaw()
    async with relay.publisher() as publisher:
        await publish_at_once(publisher, chain(2, 2))
    assert messages(await fetched(await consumer.subscribe(after=0), 3)) == chain(1, 3)


async def test_a_broker_may_be_opened_before_it_is_there(nats: Nats) -> None:
    """Opening does not need the server; using does, and works as soon as it is there."""
    await nats.server.stop()
    consumer: Broker = await nats.consumer()
    with pytest.raises(BrokerError):
        await consumer.subscribe()
    await nats.server.start()
    await (await consumer.subscribe()).close()


async def test_an_operators_own_settings_stay(nats: Nats) -> None:
    """A publisher changes the bounds of a stream that exists, and leaves what it does not set."""
    async with nats.connection(nats.credentials.relay_url) as connection:
        info = msgspec.json.decode(await connection.request(f"{STREAM_API}.INFO.ONEBOOK"))
        changed = {**info["config"], "description": "ours", "max_age": 60_000_000_000 * 30}
        await connection.request(f"{STREAM_API}.UPDATE.ONEBOOK", msgspec.json.encode(changed))
        async with (await nats.relay()).publisher():
            info = msgspec.json.decode(await connection.request(f"{STREAM_API}.INFO.ONEBOOK"))
    assert info["config"]["description"] == "ours"
    assert info["config"]["max_age"] == 60_000_000_000 * 60


def state_of(thread: int) -> str:
    """The kernel's letter for what a thread does; T: stopped."""
    return Path(f"/proc/{thread}/stat").read_text().rpartition(")")[2].split()[0]


async def ended(subscription: Subscription) -> None:
    """Returns when the subscription has said that it ended."""
    while True:
        try:
            await subscription.fetch(0.1)
        except BrokerError:
            return


async def notices(condition: Callable[[], Awaitable[None]]) -> None:
    """The condition comes true soon enough."""
    begun = time.monotonic()
    async with asyncio.timeout(DEADLINE_SECONDS):
        await condition()
    taken_seconds = time.monotonic() - begun
    print(f"noticed after {taken_seconds:.2f} s")
    assert taken_seconds < NOTICED_SECONDS
