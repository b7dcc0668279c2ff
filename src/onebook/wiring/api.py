"""An API worker's parts."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from onebook.api.engine import Engine, HealthCheck
from onebook.api.ready import ReadyAnswers
from onebook.api.tokens import Keys
from onebook.broker.consumer import Consumer
from onebook.broker.dead_letters import DeadLetters
from onebook.channels.delta import Deltas
from onebook.channels.subscriptions import Subscriptions
from onebook.job import Job
from onebook.ledger.catalog import Catalog
from onebook.ledger.committer import Committer
from onebook.ledger.database import open_follower, open_reader, open_writer
from onebook.ledger.definitions import Definitions
from onebook.ledger.expiry import Sweeper
from onebook.ledger.ledger import Ledger
from onebook.ops.tracing.lifetime import open_tracing
from onebook.push.hub import Hub
from onebook.views.reads import Reads
from onebook.views.view import AvailabilityView
from onebook.wiring.loops import FOLLOWER_CONNECTIONS, Loop, open_broker, running

WRITER_CONNECTIONS = 2  # one in use, one to go on with when the first has broken
LOAD_SECONDS = 20.0  # a view that is not there by then loads while requests are answered already
STUCK_AFTER_SECONDS = 3.0


@asynccontextmanager
async def open_engine(job: Job) -> AsyncIterator[Engine]:
    """The ledger with its loops, the view and the hub on the stream, and all that answers requests."""
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
        consumer = Consumer("api", lambda: open_broker(job), follower, [view, hub])
        loops.append(consumer)
        health["views"] = _moves(lambda: consumer.turned_at)
        health["relay"] = _is_heard(consumer)
    try:
        async with open_tracing(settings.tracing, job.database_url, "api"), running(loops):
            await _load(view, is_followed=settings.relay.enabled)
            yield Engine(
                ledger=Ledger(catalog, committer),
                definitions=Definitions(reader, catalog),
                reads=Reads(reader, catalog, view, version_wait_seconds=settings.views.version_wait_seconds),
                keys=Keys.open(Path(job.keys)),
                dead_letters=DeadLetters(reader),
                webhooks=Subscriptions(reader, settings.webhooks),
                deltas=Deltas(reader, catalog),
                hub=hub,
                ready=ReadyAnswers(view, settings.views.cached_answers),
                health=health,
            )
    finally:
        for pool in (writer, reader, follower):
            pool.terminate()


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
