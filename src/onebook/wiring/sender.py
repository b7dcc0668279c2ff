"""The sender process's parts: webhooks and alerts."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from onebook.broker.consumer import Consumer
from onebook.channels.webhooks import Webhooks
from onebook.job import Job
from onebook.ledger.database import open_follower, open_reader, role_url
from onebook.ops.lag.alerts import Alerts
from onebook.ops.lag.letters import LetterCount
from onebook.ops.tracing.lifetime import open_tracing
from onebook.wiring.loops import FOLLOWER_CONNECTIONS, open_broker, running, stream_keys

SENDER_CONNECTIONS = 5  # the claim, what is owed, outcomes, housekeeping; and the count of dead letters


@asynccontextmanager
async def open_sender(job: Job) -> AsyncIterator[Sequence[asyncio.Task[None]]]:
    """The process that sends webhooks and alerts."""
    url = role_url(job.settings.database, job.database_url, "ledger")
    follower = await open_follower(url, FOLLOWER_CONNECTIONS)
    connections = max(SENDER_CONNECTIONS, job.settings.database.reader_connections)
    sender_pool = await open_reader(url, connections, name="onebook-sender")
    webhooks = Webhooks(sender_pool, job.settings.webhooks)
    consumer = Consumer("webhooks", lambda: open_broker(job), follower, [webhooks.handler], keys=stream_keys(job))
    alerts = Alerts(job.settings.alerts, LetterCount(sender_pool))
    try:
        async with (
            open_tracing(job.settings.tracing, url, "sender"),
            running([webhooks, consumer, alerts]) as tasks,
        ):
            yield tasks
    finally:
        for pool in (follower, sender_pool):
            pool.terminate()
