"""An API worker's parts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from onebook.api.engine import Engine, HealthCheck
from onebook.api.ready import ReadyAnswers
from onebook.api.tokens import Keys
from onebook.broker.consumer import Consumer
from onebook.broker.dead_letters import DeadLetters
from onebook.channels.delta import Deltas
from onebook.channels.handler import NAME as WEBHOOKS
from onebook.channels.subscriptions import Subscriptions
from onebook.customers.customers import Customers
from onebook.customers.stores import open_key_store
from onebook.job import Job
from onebook.ledger.catalog import Catalog
from onebook.ledger.committer import Committer
from onebook.ledger.database import role_url
from onebook.ledger.definitions import Definitions
from onebook.ledger.expiry import Sweeper
from onebook.ledger.ledger import Ledger
from onebook.ops.tracing.lifetime import open_tracing
from onebook.push.hub import Hub
from onebook.views.reads import Reads
from onebook.views.view import AvailabilityView
from onebook.wiring.checkout import open_till
from onebook.wiring.health import answers, is_heard, moves, writes_down
from onebook.wiring.loops import Loop, end_process_when_one_fails, open_broker, running, stream_keys
from onebook.wiring.pools import Pools, open_pools

LOAD_SECONDS = 20.0  # a view that is not there by then loads while requests are answered already


@asynccontextmanager
async def open_engine(job: Job) -> AsyncIterator[Engine]:
    """The ledger with its loops, the view and the hub on the stream, and all that answers requests."""
    async with open_pools(job) as pools, _engine(job, pools) as engine:
        yield engine


@asynccontextmanager
async def _engine(job: Job, pools: Pools) -> AsyncIterator[Engine]:
    settings = job.settings
    limits = settings.ledger
    reader = pools.reader
    catalog = Catalog(reader)
    committer = Committer(
        pools.writer,
        catalog,
        max_batch=limits.max_batch,
        max_waiting=limits.max_waiting,
        command_timeout_seconds=limits.command_timeout_seconds,
    )
    sweeper = Sweeper(reader, committer, interval_seconds=limits.sweep_interval_seconds)
    view, hub = AvailabilityView(pools.follower), Hub(pools.follower, settings.push)
    loops: list[Loop] = [committer, sweeper]
    health: dict[str, HealthCheck] = {
        "database": answers(reader),
        "committer": moves(lambda: committer.turned_at),
        "sweeper": moves(lambda: sweeper.turned_at),
    }
    if settings.relay.enabled:
        consumer = Consumer("api", lambda: open_broker(job), pools.consumer, [view, hub], keys=stream_keys(job))
        loops.append(consumer)
        health["views"] = moves(lambda: consumer.turned_at)
        health["relay"] = is_heard(consumer)
        health["sender"] = writes_down(reader, WEBHOOKS)
    ledger = Ledger(catalog, committer)
    traces = role_url(settings.database, job.database_url, "ledger")
    async with (
        open_till(job, pools, catalog, ledger) as till,
        open_key_store(settings.customers, Path(job.keys)) as customer_keys,
        open_tracing(settings.tracing, traces, "api"),
        running([*loops, *till.loops]) as tasks,
    ):
        health["checkouts"] = till.health
        end_process_when_one_fails(tasks)
        await _load(view, is_followed=settings.relay.enabled)
        yield Engine(
            ledger=ledger,
            definitions=Definitions(pools.changes, catalog),
            reads=Reads(reader, catalog, view, version_wait_seconds=settings.views.version_wait_seconds),
            keys=Keys.open(Path(job.keys)),
            dead_letters=DeadLetters(pools.changes),
            webhooks=Subscriptions(pools.changes, settings.webhooks),
            deltas=Deltas(reader, catalog),
            offers=till.offers,
            quotes=till.quotes,
            checkouts=till.checkouts,
            settlements=till.settlements,
            money=till.money,
            customers=Customers(pools.customers, customer_keys),
            hub=hub,
            ready=ReadyAnswers(view, settings.views.cached_answers),
            health=health,
        )


async def _load(view: AvailabilityView, *, is_followed: bool) -> None:
    """Wait until the view has something to answer from; not for ever, since bookings are taken without it."""
    if not is_followed:
        await view.start()
    await view.loaded(LOAD_SECONDS)
