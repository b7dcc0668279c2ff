"""The relay process's parts."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from onebook.job import Job
from onebook.ledger.database import role_url
from onebook.ops.tracing.lifetime import open_tracing
from onebook.relay.relay import Relay
from onebook.wiring.loops import open_broker, running, stream_keys


@asynccontextmanager
async def open_relay(job: Job) -> AsyncIterator[Sequence[asyncio.Task[None]]]:
    """The relay, with the credentials of the one who may publish; the database's owner, since it reads the WAL."""
    broker = await open_broker(job)
    relay = Relay(job.settings.relay, job.database_url, broker, stream_keys(job))
    traces = role_url(job.settings.database, job.database_url, "ledger")
    try:
        async with open_tracing(job.settings.tracing, traces, "relay"), running([relay]) as tasks:
            yield tasks
    finally:
        await broker.close()
