"""From the outbox to the broker: in order, many under way at once, and each named after the one before it.

Who calls me: the relay, while it holds the slot. What I own: the publisher. What survives a crash: what the broker has; a new
publisher asks for its last message, skips what is there and goes on from it. What bounds me: MAX_UNDER_WAY messages,
PUBLISH_SECONDS for each. While the broker is away I try again, and the WAL waits in PostgreSQL.
"""

import asyncio
import time
from collections.abc import Callable

import structlog

from onebook import tracing
from onebook.broker.metrics import FORGED
from onebook.broker.protocol import BrokerError, Message, Publisher
from onebook.broker.signing import StreamKeys
from onebook.relay import metrics
from onebook.relay.outbox import Outbox
from onebook.relay.retrying import Backoff, first_fault
from onebook.relay.transactions import Transaction

MAX_UNDER_WAY = 256
PUBLISH_SECONDS = 5.0
RELAY = "relay"

log = structlog.get_logger()

_UnderWay = asyncio.Queue[tuple[Transaction, asyncio.Task[None] | None, float]]


class Publishing:
    """One leadership's publishing.

    `confirmed_lsn` is what PostgreSQL was told: everything before it had been published. `server_lsn` is where PostgreSQL wrote
    when the slot was taken.
    """

    def __init__(
        self,
        open_publisher: Callable[[], Publisher],
        outbox: Outbox,
        settled: Callable[[Transaction], None],
        keys: StreamKeys,
        *,
        confirmed_lsn: int,
        server_lsn: int,
    ) -> None:
        self._open_publisher = open_publisher
        self._outbox = outbox
        self._settled = settled
        self._keys = keys
        self._confirmed_lsn = confirmed_lsn
        self._server_lsn: int | None = server_lsn
        self._foreign_lsn: int | None = None
        self._backoff = Backoff()
        self.trouble: str | None = None
        """Why nothing goes out at the moment."""

    async def run(self) -> None:
        """Publish until cancelled; opens a new publisher after every fault of the broker."""
        while True:
            try:
                async with self._open_publisher() as publisher:
                    await self._publish(publisher)
            except* (BrokerError, TimeoutError, OSError) as faults:
                fault = first_fault(faults)
                self.trouble = f"the broker: {fault!r}"
                metrics.RESTARTS.labels("broker").inc()
                log.warning("relay_broker_fault", reason=repr(fault))
            self._outbox.rewind()
            await self._backoff.pause()

    async def _publish(self, publisher: Publisher) -> None:
        async with asyncio.timeout(PUBLISH_SECONDS):
            last = await publisher.last(self._is_ours)
        under_way: _UnderWay = asyncio.Queue(MAX_UNDER_WAY)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._settle(under_way))
            await self._send(publisher, last, under_way, group)

    async def _send(
        self, publisher: Publisher, last: Message | None, under_way: _UnderWay, group: asyncio.TaskGroup
    ) -> None:
        there, previous = self._place_of(last)
        while True:
            transaction = await self._outbox.take()
            task = None
            if transaction.lsn > there:
                # Started in the order of their creation, so called in that order, which is what the broker keeps.
                task = group.create_task(publisher.publish(self._keys.signed(transaction.message(previous))))
                previous = transaction.lsn
            await under_way.put((transaction, task, time.time()))

    def _is_ours(self, message: Message) -> bool:
        """Whether a relay has sent it. Somebody else's would have us skip what the broker does not have."""
        flaw = self._keys.flaw_of(message)
        if flaw is not None:
            FORGED.labels(RELAY).inc()
            log.error("messages_forged", consumer=RELAY, count=1, reason=flaw.value, lsn=message.lsn)
        return flaw is None

    def _place_of(self, last: Message | None) -> tuple[int, int]:
        """Up to which LSN messages are in the broker already, and which LSN the next one is to name as the one before it.

        Where the broker has less than what it once acknowledged, what is missing cannot be known: 0 has every consumer read the
        log. A message beyond where PostgreSQL wrote when we took the slot is from another database's life, and names no place.
        """
        if self._server_lsn is not None:
            if last is not None and last.lsn > self._server_lsn:
                self._foreign_lsn = last.lsn
            self._server_lsn = None
        if last is None or last.lsn == self._foreign_lsn:
            return 0, 0
        return last.lsn, last.lsn if last.lsn + 1 >= self._confirmed_lsn else 0

    async def _settle(self, under_way: _UnderWay) -> None:
        """Wait for the acknowledgements in order: PostgreSQL is told of what has nothing missing before it."""
        while True:
            transaction, task, sent_at = await under_way.get()
            if task is not None:
                async with asyncio.timeout(PUBLISH_SECONDS):
                    await task
                for traceparent in transaction.traces:
                    tracing.record("publish", traceparent, sent_at, lsn=transaction.lsn)
            self._outbox.settle()
            self._confirmed_lsn = transaction.acknowledged_lsn
            self._backoff.reset()
            self.trouble = None
            self._settled(transaction)
