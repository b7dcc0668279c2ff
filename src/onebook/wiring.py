"""The only place that constructs things: each process's parts, built inside its event loop and taken down again."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from onebook.api.engine import Engine, HealthCheck
from onebook.api.tokens import Keys
from onebook.broker.consumer import Consumer
from onebook.broker.dead_letters import DeadLetters
from onebook.broker.nats import open_nats
from onebook.broker.protocol import Broker
from onebook.channels.webhooks import Webhooks
from onebook.job import Job
from onebook.ledger.catalog import Catalog
from onebook.ledger.committer import Committer
from onebook.ledger.database import open_follower, open_reader, open_writer
from onebook.ledger.definitions import Definitions
from onebook.ledger.expiry import Sweeper
from onebook.ledger.ledger import Ledger
from onebook.ops.lag.alerts import Alerts
from onebook.ops.lag.letters import LetterCount
from onebook.ops.tracing.lifetime import open_tracing
from onebook.push.hub import Hub
from onebook.relay.relay import Relay
from onebook.views.reads import Reads
from onebook.views.view import AvailabilityView

WRITER_CONNECTIONS = 2  # one in use, one to go on with when the first has broken
FOLLOWER_CONNECTIONS = 2  # what follows the log: one that reads on, one for what it meets
LOAD_SECONDS = 20.0  # a view that is not there by then loads while requests are answered already
STUCK_AFTER_SECONDS = 3.0
STOP_SECONDS = 5.0


class Loop(Protocol):
    """What goes on until it is stopped."""

    async def run(self) -> None:
        """Go on."""

    def stop(self) -> None:
        """Have `run` return soon."""


@asynccontextmanager
async def open_engine(job: Job) -> AsyncIterator[Engine]:
    """An API worker: the ledger with its loops, the view and the hub on the stream, and all that answers requests."""
    settings = job.settings
    limits = settings.ledger
    writer = await open_writer(job.database_url, WRITER_CONNECTIONS)
    reader = await open_reader(job.database_url, settings.database.reader_connections)
    follower = await open_follower(job.database_url, FOLLOWER_CONNECTIONS)
    catalog = Catalog(reader)
    committer = Committer(
        writer,
        catalog,
        max_batch=limits.max_batch,
        max_waiting=limits.max_waiting,
        command_timeout_seconds=limits.command_timeout_seconds,
    )
    sweeper = Sweeper(reader, committer, interval_seconds=limits.sweep_interval_seconds)
    view, hub = AvailabilityView(follower), Hub(follower, settings.push)
    loops: list[Loop] = [committer, sweeper]
    health: dict[str, HealthCheck] = {
        "committer": _moves(lambda: committer.turned_at),
        "sweeper": _moves(lambda: sweeper.turned_at),
    }
    if settings.relay.enabled:
        consumer = Consumer("api", lambda: _open_broker(job), follower, [view, hub])
        loops.append(consumer)
        health["views"] = _moves(lambda: consumer.turned_at)
        health["relay"] = _is_heard(consumer)
    try:
        async with open_tracing(settings.tracing, job.database_url, "api"), _running(loops):
            await _load(view, is_followed=settings.relay.enabled)
            yield Engine(
                ledger=Ledger(catalog, committer),
                definitions=Definitions(reader, catalog),
                reads=Reads(reader, catalog, view, version_wait_seconds=settings.views.version_wait_seconds),
                keys=Keys.open(Path(job.keys)),
                dead_letters=DeadLetters(reader),
                hub=hub,
                health=health,
            )
    finally:
        for pool in (writer, reader, follower):
            pool.terminate()


@asynccontextmanager
async def open_relay(job: Job) -> AsyncIterator[Sequence[asyncio.Task[None]]]:
    """The relay's process."""
    broker = await _open_broker(job)
    relay = Relay(job.settings.relay, job.database_url, broker)
    try:
        async with open_tracing(job.settings.tracing, job.database_url, "relay"), _running([relay]) as tasks:
            yield tasks
    finally:
        await broker.close()


@asynccontextmanager
async def open_sender(job: Job) -> AsyncIterator[Sequence[asyncio.Task[None]]]:
    """The process that sends webhooks and alerts."""
    follower = await open_follower(job.database_url, FOLLOWER_CONNECTIONS)
    sender_pool = await open_reader(job.database_url, job.settings.database.reader_connections)
    webhooks = Webhooks(sender_pool, job.settings.webhooks)
    consumer = Consumer("webhooks", lambda: _open_broker(job), follower, [webhooks.handler])
    alerts = Alerts(job.settings.alerts, LetterCount(sender_pool))
    try:
        async with (
            open_tracing(job.settings.tracing, job.database_url, "sender"),
            _running([webhooks, consumer, alerts]) as tasks,
        ):
            yield tasks
    finally:
        for pool in (follower, sender_pool):
            pool.terminate()


async def _open_broker(job: Job) -> Broker:
    bounds = job.settings.broker
    return await open_nats(job.broker_url, max_store_mib=bounds.max_store_mib, max_age_minutes=bounds.max_age_minutes)


@asynccontextmanager
async def _running(loops: Sequence[Loop]) -> AsyncIterator[Sequence[asyncio.Task[None]]]:
    """The loops, going on for as long as the block runs; the last one started is the first to stop."""
    tasks = [asyncio.create_task(loop.run()) for loop in loops]
    try:
        yield tasks
    finally:
        for loop in reversed(loops):
            loop.stop()
        _, stuck = await asyncio.wait(tasks, timeout=STOP_SECONDS)
        for task in stuck:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _load(view: AvailabilityView, *, is_followed: bool) -> None:
    """Wait until the view has something to answer from; not for ever, since bookings are taken without it."""
    if not is_followed:
        await view.start()
    await view.loaded(LOAD_SECONDS)


def _moves(turned_at: Callable[[], float]) -> HealthCheck:
    """A check that a loop has lately done its work."""

    def check() -> str | None:
        idle_seconds = asyncio.get_running_loop().time() - turned_at()
        return None if idle_seconds < STUCK_AFTER_SECONDS else f"has done nothing for {idle_seconds:.0f} s"

    return check


def _is_heard(consumer: Consumer) -> HealthCheck:
    """A check that heartbeats come through, from the WAL over relay and broker to here."""

    def check() -> str | None:
        lag_seconds = consumer.lag_seconds
        return None if lag_seconds < STUCK_AFTER_SECONDS else f"has not been heard for {lag_seconds:.0f} s"

    return check
