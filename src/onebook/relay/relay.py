"""The relay: every committed entry of the log goes to the broker, in commit order, and none is lost.

Who calls me: a process of its own, or several, of which one holds the slot and the others stand by. What I own: while I lead,
the replication connection, a connection for heartbeats, and the only publisher. What survives a crash: everything. PostgreSQL
keeps the WAL from the slot's confirmed position on, which moves only after the broker's acknowledgement; what the broker has
already is asked of it and skipped. What bounds me: `max_waiting_mib` read and not yet published, after which I stop reading;
2 s between attempts.
"""

import asyncio
import time

import asyncpg
import structlog

from onebook import tracing
from onebook.broker.metrics import CDC_LAG, CONSUMER_OFFSET, END_TO_END, EVENTS, REBALANCE_LAG
from onebook.broker.protocol import Broker, MessageKind
from onebook.broker.signing import StreamKeys
from onebook.config import RelaySettings
from onebook.relay import metrics
from onebook.relay.outbox import Outbox
from onebook.relay.publishing import RELAY, Publishing
from onebook.relay.replication import Replication, ReplicationLost, SlotBusy
from onebook.relay.retrying import Backoff, first_fault
from onebook.relay.slot import PUBLICATION, SQL, Slot, SlotRefused, ensure_slot, find_slot
from onebook.relay.transactions import Assembler, Transaction

STANDBY_SECONDS = 0.25
METER_SECONDS = 0.25
COMMAND_SECONDS = 4
CONNECT_SECONDS = 5
UP_TO_DATE_SECONDS = 1.0
"""A heartbeat that took no longer than this shows that nothing is waiting."""
IDLE_SECONDS = 3.0
"""After so long without a message the slot is moved past WAL that is not ours. Not at once: as long as the slot stands at
the last message, the next relay knows that the broker has all of them."""

FAULTS = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, ReplicationLost, SlotRefused)

log = structlog.get_logger()


class Relay:
    """Leads or stands by, until stopped."""

    def __init__(self, settings: RelaySettings, database_url: str, broker: Broker, keys: StreamKeys) -> None:
        self._settings = settings
        self._url = database_url
        self._broker = broker
        self._keys = keys
        self._outbox = self._new_outbox()
        self._publishing: Publishing | None = None
        self._backoff = Backoff()
        self._work: asyncio.Task[None] | None = None
        self._is_stopping = False
        self._is_leading = False
        self._fault: str | None = None
        self._latest_at = self._behind_since = time.time()
        self.turned_at = asyncio.get_running_loop().time()
        """Loop time of the last progress: something published, or a look at the slot that somebody else holds."""

    async def run(self) -> None:
        """Relay until `stop`. WAL that cannot be understood ends it, with an ExceptionGroup that has a ProtocolError."""
        if self._is_stopping:
            return
        self._work = asyncio.create_task(self._work_until_cancelled())
        try:
            await self._work
        except asyncio.CancelledError:
            if not self._is_stopping:
                raise

    def stop(self) -> None:
        """End now: what is under way is published again, or found published, by the next relay."""
        self._is_stopping = True
        if self._work is not None:
            self._work.cancel()

    @property
    def is_leading(self) -> bool:
        """Whether it holds the slot."""
        return self._is_leading

    @property
    def waiting_bytes(self) -> int:
        """Read from the WAL and not yet with the broker."""
        return self._outbox.bytes

    @property
    def trouble(self) -> str | None:
        """What keeps it from publishing; None while nothing does."""
        if self._fault is None and self._publishing is not None:
            return self._publishing.trouble
        return self._fault

    async def _work_until_cancelled(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._meter())
            while True:
                try:
                    await self._serve_slot()
                except* FAULTS as faults:
                    fault = first_fault(faults)
                    self._fault = f"the database: {fault!r}"
                    metrics.RESTARTS.labels("database").inc()
                    log.warning("relay_database_fault", reason=repr(fault))
                await self._backoff.pause()

    async def _serve_slot(self) -> None:
        """Wait for the slot, then lead for as long as all goes well."""
        connection = await asyncpg.connect(
            self._url,
            timeout=CONNECT_SECONDS,
            command_timeout=COMMAND_SECONDS,
            server_settings={"application_name": "onebook-relay-heart"},
        )
        try:
            replication, was_lost = await self._take_slot(connection)
            async with replication:
                slot = await find_slot(connection, self._settings.slot)
                if slot is not None:
                    await self._lead(connection, replication, slot, was_lost=was_lost)
        finally:
            self._is_leading = False
            self._publishing = None
            metrics.LEADING.set(0)
            connection.terminate()

    async def _take_slot(self, connection: asyncpg.Connection) -> tuple[Replication, bool]:
        """The stream, once nobody else has it, and whether a slot was lost before."""
        name = self._settings.slot
        was_lost = False
        while True:
            was_lost |= await ensure_slot(connection, name)
            slot = await find_slot(connection, name)
            if slot is not None and not slot.active:
                try:
                    return await Replication.start(self._url, name, PUBLICATION), was_lost
                except SlotBusy:
                    log.info("relay_stands_by", slot=name)
            self._stand_by()
            await asyncio.sleep(STANDBY_SECONDS)

    async def _lead(
        self, connection: asyncpg.Connection, replication: Replication, slot: Slot, *, was_lost: bool
    ) -> None:
        confirmed_lsn = slot.confirmed_lsn or 0
        self._outbox = outbox = self._new_outbox()
        if was_lost:
            await outbox.put(Transaction(confirmed_lsn - 1, time.time(), MessageKind.REFILL))

        def settled(transaction: Transaction) -> None:
            replication.acknowledge(transaction.acknowledged_lsn)
            self._count(transaction)

        self._publishing = Publishing(
            self._broker.publisher,
            outbox,
            settled,
            self._keys,
            confirmed_lsn=confirmed_lsn,
            server_lsn=slot.server_lsn,
        )
        self._is_leading, self._fault = True, None
        metrics.LEADING.set(1)
        log.info("relay_leads", slot=self._settings.slot, confirmed_lsn=confirmed_lsn)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._read(replication, outbox))
            group.create_task(replication.report())
            group.create_task(self._publishing.run())
            group.create_task(self._beat(connection))

    async def _read(self, replication: Replication, outbox: Outbox) -> None:
        assembler = Assembler()
        while True:
            for body in await replication.read():
                transaction = assembler.take(body)
                if transaction is not None:
                    for traceparent in transaction.traces:
                        tracing.record("relay", traceparent, transaction.committed_at, lsn=transaction.lsn)
                    await outbox.put(transaction)
            if outbox.oldest is None and time.time() - self._latest_at > IDLE_SECONDS:
                replication.acknowledge(replication.caught_up_at_lsn)

    async def _beat(self, connection: asyncpg.Connection) -> None:
        """Heartbeats through the WAL, and a look at the slot with each."""
        while True:
            await connection.execute(SQL["heartbeat"])
            slot = await find_slot(connection, self._settings.slot)
            if slot is not None:
                metrics.show_slot(slot.wal_status, slot.retained_bytes, slot.safe_bytes)
            await asyncio.sleep(self._settings.heartbeat_seconds)

    def _count(self, transaction: Transaction) -> None:
        """The broker has it."""
        now = time.time()
        self._turn()
        self._backoff.reset()
        self._latest_at = transaction.committed_at
        CONSUMER_OFFSET.labels(RELAY).set(transaction.lsn)
        lag_seconds = max(now - transaction.committed_at, 0.0)
        if transaction.events:
            EVENTS.labels(RELAY).inc(transaction.events)
            END_TO_END.labels(RELAY).observe(lag_seconds)
        elif self._behind_since and transaction.kind is MessageKind.HEARTBEAT and lag_seconds < UP_TO_DATE_SECONDS:
            REBALANCE_LAG.labels(RELAY).set(now - self._behind_since)
            self._behind_since = 0.0

    async def _meter(self) -> None:
        """Show how far behind we are, above all when nothing moves."""
        while True:
            lag_seconds = self._lag_seconds(time.time())
            if lag_seconds > UP_TO_DATE_SECONDS and not self._behind_since:
                self._behind_since = time.time() - lag_seconds
            CDC_LAG.labels(RELAY).set(lag_seconds)
            metrics.WAITING_BYTES.set(self.waiting_bytes)
            await asyncio.sleep(METER_SECONDS)

    def _lag_seconds(self, now: float) -> float:
        """The age of the oldest commit that waits here; of the latest one seen, where not even heartbeats come any more."""
        oldest = self._outbox.oldest
        if oldest is not None:
            return max(now - oldest.committed_at, 0.0)
        silent_seconds = now - self._latest_at
        return silent_seconds if silent_seconds > 2 * self._settings.heartbeat_seconds + METER_SECONDS else 0.0

    def _stand_by(self) -> None:
        """Another relay has the slot: nothing waits here."""
        self._turn()
        self._fault = None
        self._outbox = self._new_outbox()
        self._latest_at = self._behind_since = time.time()

    def _new_outbox(self) -> Outbox:
        return Outbox(self._settings.max_waiting_mib * 1024 * 1024)

    def _turn(self) -> None:
        self.turned_at = asyncio.get_running_loop().time()
