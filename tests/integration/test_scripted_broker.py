"""The broker that tests of relay and consumers use is one: it passes the suite, and does wrong when told to."""

import pytest
from tests.integration.broker_conformance import BrokerConformance, Brokers, anything, chain, fetched, messages
from tests.integration.scripted_broker import ScriptedBroker, ScriptedConsumer

from onebook.broker.protocol import BrokerError


class TestScriptedBroker(BrokerConformance):
    """The suite, and the script."""

    @pytest.fixture
    def broker(self) -> ScriptedBroker:
        """A broker of this test's own."""
        return ScriptedBroker()

    @pytest.fixture
    def brokers(self, broker: ScriptedBroker) -> Brokers:
        """All connections are to the same store."""

        async def relay() -> ScriptedBroker:
            return broker

        async def consumer() -> ScriptedConsumer:
            return broker.as_consumer()

        return Brokers(relay, consumer)

    async def test_it_does_wrong_on_command(self, broker: ScriptedBroker) -> None:
        """Messages are lost, repeated and held back as the script says."""
        async with broker.publisher() as publisher:
            subscription = await broker.subscribe()
            broker.lose_next = 1
            await publisher.publish(*chain(1, 1))
            broker.copies = 3
            await publisher.publish(*chain(2, 1))
            broker.hold()
            await publisher.publish(*chain(3, 1))
            assert messages(await fetched(subscription, 3)) == chain(2, 1) * 3
            assert await subscription.fetch(0) == []
            broker.release()
            assert messages(await fetched(subscription, 3)) == chain(3, 1) * 3

    async def test_it_goes_away_and_comes_back_empty(self, broker: ScriptedBroker) -> None:
        """While it is away everybody is told so; without its store it has no last message."""
        async with broker.publisher() as publisher:
            subscription = await broker.subscribe()
            broker.unacknowledged_next = 1
            with pytest.raises(BrokerError):
                await publisher.publish(*chain(1, 1))
            broker.stop()
            for attempt in (subscription.fetch(1), broker.subscribe(), publisher.publish(*chain(2, 1))):
                with pytest.raises(BrokerError):
                    await attempt
            broker.start(keep=False)
            with pytest.raises(BrokerError):
                await publisher.publish(*chain(2, 1))
        async with broker.publisher() as publisher:
            assert await publisher.last(anything) is None
