"""A broker in memory that does wrong on command: for tests of relay and consumers. It passes broker_conformance.py itself.

broker = ScriptedBroker()
consumer = broker.as_consumer()   # the same store, without the right to publish
broker.lose_next = 1              # acknowledged and kept, but nobody who listens gets it: the chain shows it
broker.copies = 10                # each message is stored and delivered ten times
broker.hold(); broker.release()   # nothing is delivered in between
broker.unacknowledged_next = 1    # kept and delivered, but the publisher is told BrokerError
broker.stop(); broker.start(keep=False)   # away; back without what it had
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from onebook.broker.protocol import LOOK_BACK, BrokerError, Delivery, Message, NotAllowed, OutOfOrder


class ScriptedBroker:
    """The store, and a connection to it that may do everything."""

    def __init__(self, *, buffer_bytes: int = 32 * 1024 * 1024) -> None:
        self.stored: list[Delivery] = []
        self.lose_next = 0
        self.copies = 1
        self.unacknowledged_next = 0
        self.away = False
        self.sequence = 0
        self.generation = 0
        self._buffer_bytes = buffer_bytes
        self._held: list[Delivery] | None = None
        self._subscriptions: set[ScriptedSubscription] = set()

    def publisher(self) -> "ScriptedPublisher":
        """The publishing side."""
        return ScriptedPublisher(self)

    async def subscribe(self, *, after: int | None = None) -> "ScriptedSubscription":
        """What comes after a sequence, or from now on."""
        self.check()
        opened = ScriptedSubscription(self, self._buffer_bytes)
        if after is not None:
            opened.resume(self.stored if after > self.sequence else [d for d in self.stored if d.sequence > after])
        self._subscriptions.add(opened)
        return opened

    async def close(self) -> None:
        """Nothing to end: the store lives as long as the test."""

    def as_consumer(self) -> "ScriptedConsumer":
        """The same broker, to somebody who may only read."""
        return ScriptedConsumer(self)

    def hold(self) -> None:
        """From now on messages are acknowledged and kept, and delivered later."""
        self._held = []

    def release(self) -> None:
        """Deliver what was held."""
        held, self._held = self._held or [], None
        self._deliver(held)

    def stop(self) -> None:
        """Go away: whoever publishes or fetches is told so."""
        self.away = True
        self.generation += 1
        for subscription in list(self._subscriptions):
            subscription.end()
        self._subscriptions.clear()

    def start(self, *, keep: bool = True) -> None:
        """Come back, with what was stored or without."""
        if not keep:
            self.stored, self.sequence, self._held = [], 0, None
        self.away = False

    def check(self) -> None:
        """Raises BrokerError while the broker is away."""
        if self.away:
            raise BrokerError("the broker is away")

    def store(self, message: Message) -> None:
        """Keep it, unless its LSN is known, and deliver it as the script says."""
        if any(delivery.message.lsn == message.lsn for delivery in self.stored[-10_000:]):
            return
        copies = [Delivery(self.sequence + number, message) for number in range(1, self.copies + 1)]
        self.sequence += self.copies
        self.stored += copies
        if self.lose_next:
            self.lose_next -= 1
        elif self._held is not None:
            self._held += copies
        else:
            self._deliver(copies)

    def forget(self, subscription: "ScriptedSubscription") -> None:
        """Deliver nothing to it any more."""
        self._subscriptions.discard(subscription)

    def _deliver(self, deliveries: Sequence[Delivery]) -> None:
        for subscription in self._subscriptions:
            subscription.put(deliveries)


class ScriptedConsumer:
    """A connection that may only read."""

    def __init__(self, broker: ScriptedBroker) -> None:
        self._broker = broker

    def publisher(self) -> "ScriptedPublisher":
        """One that will be refused."""
        return ScriptedPublisher(self._broker, allowed=False)

    async def subscribe(self, *, after: int | None = None) -> "ScriptedSubscription":
        """As the broker itself."""
        return await self._broker.subscribe(after=after)

    async def close(self) -> None:
        """Nothing to end."""


class ScriptedPublisher:
    """Knows how far the store was when it last looked, and refuses once that is no longer so."""

    def __init__(self, broker: ScriptedBroker, *, allowed: bool = True) -> None:
        self._broker = broker
        self._allowed = allowed
        self._sequence = -1
        self._generation = -1

    async def __aenter__(self) -> Self:
        if not self._allowed:
            raise NotAllowed("these credentials may not publish")
        self._broker.check()
        self._sequence, self._generation = self._broker.sequence, self._broker.generation
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._generation = -1

    async def last(self, is_genuine: Callable[[Message], bool]) -> Message | None:
        """The latest genuine message stored."""
        self._broker.check()
        latest = reversed(self._broker.stored[-LOOK_BACK:])
        return next((delivery.message for delivery in latest if is_genuine(delivery.message)), None)

    async def publish(self, message: Message) -> None:
        """Stored when the call begins, acknowledged a moment later."""
        broker = self._broker
        broker.check()
        if self._generation != broker.generation:
            raise BrokerError("the broker was away: open a new publisher")
        if self._sequence != broker.sequence:
            raise OutOfOrder("somebody else has published")
        broker.store(message)
        self._sequence = broker.sequence
        await asyncio.sleep(0)  # an acknowledgement takes its time, and others run meanwhile
        if broker.unacknowledged_next:
            broker.unacknowledged_next -= 1
            raise BrokerError("the acknowledgement did not come")


class ScriptedSubscription:
    """What was delivered to one subscriber and not yet fetched; what no longer fits is lost to it."""

    def __init__(self, broker: ScriptedBroker, buffer_bytes: int) -> None:
        self._broker = broker
        self._buffer_bytes = buffer_bytes
        self._waiting: deque[Delivery] = deque()
        self._waiting_bytes = 0
        self._arrived = asyncio.Event()
        self._ended = False

    def resume(self, deliveries: Sequence[Delivery]) -> None:
        """What the store has already: it takes no room, since the store has it anyway."""
        self._waiting.extend(deliveries)
        self._waiting_bytes += sum(len(delivery.message.body) for delivery in deliveries)
        self._arrived.set()

    def put(self, deliveries: Sequence[Delivery]) -> None:
        """New messages arrive."""
        for delivery in deliveries:
            size = len(delivery.message.body)
            if self._waiting_bytes + size <= self._buffer_bytes:
                self._waiting.append(delivery)
                self._waiting_bytes += size
        self._arrived.set()

    def end(self) -> None:
        """The broker has gone."""
        self._ended = True
        self._arrived.set()

    async def fetch(self, timeout_seconds: float) -> Sequence[Delivery]:
        """What has arrived."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._arrived.wait()
        except TimeoutError:
            return []
        if self._ended:
            raise BrokerError("the broker went away")
        found = list(self._waiting)
        self._waiting.clear()
        self._waiting_bytes = 0
        self._arrived.clear()
        return found

    async def close(self) -> None:
        """Hear no more."""
        self._broker.forget(self)
