"""What every broker must do, whatever it is made of: derive a test class from BrokerConformance and give it `brokers`."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import pytest

from onebook.broker.protocol import (
    Broker,
    Delivery,
    Message,
    MessageKind,
    NotAllowed,
    OutOfOrder,
    Publisher,
    Subscription,
)

DEADLINE_SECONDS = 10
FLOOD_MESSAGES = 160
FLOOD_BYTES = 400_000


@dataclass(frozen=True)
class Brokers:
    """Connections to one broker: of who publishes, and of who only reads. The test closes none of them."""

    relay: Callable[[], Awaitable[Broker]]
    consumer: Callable[[], Awaitable[Broker]]


class BrokerConformance:
    """The suite."""

    async def test_a_message_arrives_as_it_was_sent(self, brokers: Brokers) -> None:
        """Every kind of message comes out with all that it had, a body of arbitrary bytes included."""
        sent = [
            Message(2**62, 0, 1_800_000_000.123456, MessageKind.EVENTS, body=bytes(range(256)) * 100),
            Message(2**62 + 1, 2**62, 1_800_000_000.2, MessageKind.HEARTBEAT, horizon=2**60),
            Message(2**62 + 2, 2**62 + 1, 0.1, MessageKind.REFILL),
            Message(2**62 + 3, 2**62 + 2, 1e9, MessageKind.REBUILD),
        ]
        async with (await brokers.relay()).publisher() as publisher:
            subscription = await (await brokers.consumer()).subscribe()
            for message in sent:
                await publisher.publish(message)
            assert messages(await fetched(subscription, len(sent))) == sent
            assert await publisher.last(anything) == sent[-1]

    async def test_order_is_that_of_the_calls(self, brokers: Brokers) -> None:
        """Messages published before the one ahead is acknowledged arrive in order, with ascending sequences."""
        sent = chain(1, 500)
        async with (await brokers.relay()).publisher() as publisher:
            subscription = await (await brokers.consumer()).subscribe()
            await publish_at_once(publisher, sent)
            found = await fetched(subscription, len(sent))
        assert messages(found) == sent
        assert [delivery.sequence for delivery in found] == sorted({delivery.sequence for delivery in found})

    async def test_a_repetition_has_no_effect(self, brokers: Brokers) -> None:
        """The same LSN published again, by this publisher or by the next one, is acknowledged and delivered once."""
        sent = chain(1, 6)
        relay = await brokers.relay()
        async with relay.publisher() as publisher:
            subscription = await (await brokers.consumer()).subscribe()
            for message in (*sent[:4], sent[3]):
                await publisher.publish(message)
        async with relay.publisher() as publisher:
            await publish_at_once(publisher, sent[2:])  # a relay that starts again sends what was not yet confirmed
        assert messages(await fetched(subscription, len(sent))) == sent
        assert await subscription.fetch(0.05) == []
        assert messages(await fetched(await relay.subscribe(after=0), len(sent))) == sent

    async def test_a_subscriber_resumes_after_a_sequence(self, brokers: Brokers) -> None:
        """Resuming after any delivered sequence gives exactly what came after it, and then what is published."""
        sent = chain(1, 20)
        consumer = await brokers.consumer()
        async with (await brokers.relay()).publisher() as publisher:
            first = await consumer.subscribe()
            await publish_at_once(publisher, sent[:-1])
            found = await fetched(first, len(sent) - 1)
            await first.close()
            resumed = [await consumer.subscribe(after=delivery.sequence) for delivery in found]
            await publisher.publish(sent[-1])
            for number, subscription in enumerate(resumed, start=1):
                assert messages(await fetched(subscription, len(sent) - number)) == sent[number:]
                assert await subscription.fetch(0) == []

    async def test_a_subscriber_misses_nothing_once_it_listens(self, brokers: Brokers) -> None:
        """Subscribing in the middle of a stream of messages gives every message published after that, without a gap."""
        consumer = await brokers.consumer()
        async with (await brokers.relay()).publisher() as publisher:
            for start in range(1, 400, 20):
                under_way = asyncio.create_task(publish_at_once(publisher, chain(start, 10)))
                subscription = await consumer.subscribe()
                await under_way
                await publisher.publish(*chain(start + 10, 1))
                found = await fetched_until(subscription, start + 10)
                assert [message.lsn for message in found] == list(range(found[0].lsn, start + 11))
                await subscription.close()

    async def test_every_subscriber_hears_everything(self, brokers: Brokers) -> None:
        """Several subscribers, of one connection and of several, each get the whole stream."""
        sent = chain(1, 50)
        consumer, other = await brokers.consumer(), await brokers.consumer()
        async with (await brokers.relay()).publisher() as publisher:
            subscriptions = [await broker.subscribe() for broker in (consumer, consumer, other)]
            await publish_at_once(publisher, sent)
            for subscription in subscriptions:
                assert messages(await fetched(subscription, len(sent))) == sent

    async def test_a_slow_subscriber_gets_all_or_sees_the_loss(self, brokers: Brokers) -> None:
        """One who fetches only after more than it may hold has been sent gets it in order; what lacks breaks the chain."""
        sent = chain(1, FLOOD_MESSAGES, body=bytes(FLOOD_BYTES))
        async with (await brokers.relay()).publisher() as publisher:
            subscription = await (await brokers.consumer()).subscribe()
            await publish_at_once(publisher, sent)
            found = await fetched_until(subscription, sent[-1].lsn, or_silence_seconds=0.5)
            lsns = [message.lsn for message in found]
            assert lsns == sorted(set(lsns))
            breaks = sum(1 for before, message in pairwise(found) if message.previous != before.lsn)
            assert breaks > 0 or lsns == list(range(1, lsns[-1] + 1))
            await publisher.publish(*chain(FLOOD_MESSAGES + 1, 1))  # from here on it is up to date again
            (message,) = messages(await fetched(subscription, 1))
            assert message.lsn == FLOOD_MESSAGES + 1
            assert message.previous == lsns[-1] or lsns[-1] < FLOOD_MESSAGES

    async def test_two_publishers_do_not_mix(self, brokers: Brokers) -> None:
        """Of two publishers the one that did not publish last is refused, and so is all that it had under way."""
        relay, other = await brokers.relay(), await brokers.relay()
        async with relay.publisher() as first, other.publisher() as second:
            await first.publish(*chain(1, 1))
            with pytest.raises(OutOfOrder):
                await second.publish(*chain(10, 1))
            await first.publish(*chain(2, 1))
            async with other.publisher() as third:
                await third.publish(*chain(3, 1))
                refused = await asyncio.gather(*(first.publish(m) for m in chain(20, 5)), return_exceptions=True)
                assert {type(error) for error in refused} == {OutOfOrder}
                assert await third.last(anything) == chain(3, 1)[0]
        found = await fetched(await relay.subscribe(after=0), 3)
        assert [message.lsn for message in messages(found)] == [1, 2, 3]

    async def test_last_is_the_latest(self, brokers: Brokers) -> None:
        """An empty broker has no last message; else it is the one published last, for a new publisher too."""
        relay = await brokers.relay()
        async with relay.publisher() as publisher:
            assert await publisher.last(anything) is None
            await publish_at_once(publisher, chain(1, 30))
            assert await publisher.last(anything) == chain(30, 1)[0]
        async with relay.publisher() as publisher:
            assert await publisher.last(anything) == chain(30, 1)[0]

    async def test_a_consumer_may_not_publish(self, brokers: Brokers) -> None:
        """Who only reads is refused when publishing, and nothing arrives."""
        relay, consumer = await brokers.relay(), await brokers.consumer()
        async with relay.publisher() as publisher:
            subscription = await relay.subscribe()
            with pytest.raises(NotAllowed):
                async with consumer.publisher() as forbidden:
                    await forbidden.publish(*chain(1, 1))
            await publisher.publish(*chain(2, 1))
            assert messages(await fetched(subscription, 1)) == chain(2, 1)

    async def test_closing_twice_is_safe(self, brokers: Brokers) -> None:
        """Subscriptions and connections may be closed at any moment, again, and in any order."""
        broker = await brokers.relay()
        async with broker.publisher():
            subscription = await broker.subscribe()
        await broker.close()
        for _ in range(2):
            await subscription.close()
            await broker.close()


def anything(message: Message) -> bool:
    """A broker knows nothing of signatures."""
    return True


def chain(first: int, count: int, body: bytes = b"[]") -> list[Message]:
    """Messages that follow each other."""
    return [Message(lsn, lsn - 1, 1_800_000_000 + lsn / 1000, body=body) for lsn in range(first, first + count)]


def messages(deliveries: Sequence[Delivery]) -> list[Message]:
    """What was delivered."""
    return [delivery.message for delivery in deliveries]


async def publish_at_once(publisher: Publisher, sent: Sequence[Message]) -> None:
    """Publish without waiting for the acknowledgement of the one before."""
    async with asyncio.TaskGroup() as group:
        for message in sent:
            group.create_task(publisher.publish(message))


async def fetched(subscription: Subscription, count: int) -> list[Delivery]:
    """The next so many deliveries; fails when they do not come, or more do."""
    found: list[Delivery] = []
    async with asyncio.timeout(DEADLINE_SECONDS):
        while len(found) < count:
            found += await subscription.fetch(1)
    assert len(found) == count
    return found


async def fetched_until(
    subscription: Subscription, lsn: int, *, or_silence_seconds: float = DEADLINE_SECONDS
) -> list[Message]:
    """Everything up to a message, or until nothing more comes."""
    found: list[Message] = []
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not found or found[-1].lsn < lsn:
            arrived = messages(await subscription.fetch(or_silence_seconds))
            if not arrived:
                break
            found += arrived
    return found
