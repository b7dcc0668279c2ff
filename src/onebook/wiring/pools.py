"""A worker's connections to PostgreSQL: a pool for each role (docs/security.md) and pace. None is opened before it is needed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from functools import partial

import asyncpg

from onebook.job import Job
from onebook.ledger.database import open_follower, open_reader, open_writer, role_url
from onebook.wiring.loops import FOLLOWER_CONNECTIONS

WRITER_CONNECTIONS = 2  # one in use, one to go on with when the first has broken
CHANGES_CONNECTIONS = 3  # definitions, webhooks and letters are changed by people
SAGA_CONNECTIONS = 3  # one writes, two read
PAYMENTS_CONNECTIONS = 3
CUSTOMERS_CONNECTIONS = 2


@dataclass(frozen=True, slots=True)
class Pools:
    """Who asks with which rights."""

    writer: asyncpg.Pool
    """The committer's, with plans pinned; the ledger's role."""
    changes: asyncpg.Pool
    """What changes definitions, webhooks and letters, outside batches; the ledger's role."""
    consumer: asyncpg.Pool
    """The consumer's skeleton, which reads the log and parks what nobody could handle; the ledger's role."""
    reader: asyncpg.Pool
    """Whatever decides nothing; the readers' role."""
    follower: asyncpg.Pool
    """The view and the hub, whose answers may be whole tables; the readers' role."""
    saga: asyncpg.Pool
    """The rows of checkouts, with plans pinned; the payments' role."""
    payments: asyncpg.Pool
    """Whatever else asks about money; the payments' role."""
    customers: asyncpg.Pool


@asynccontextmanager
async def open_pools(job: Job) -> AsyncIterator[Pools]:
    """All pools, for as long as the block runs."""
    url = partial(role_url, job.settings.database, job.database_url)
    pools = Pools(
        writer=await open_writer(url("ledger"), WRITER_CONNECTIONS),
        changes=await open_reader(url("ledger"), CHANGES_CONNECTIONS, name="onebook-changes"),
        consumer=await open_follower(url("ledger"), FOLLOWER_CONNECTIONS),
        reader=await open_reader(url("reader"), job.settings.database.reader_connections),
        follower=await open_follower(url("reader"), FOLLOWER_CONNECTIONS),
        saga=await open_writer(url("payments"), SAGA_CONNECTIONS, name="onebook-saga"),
        payments=await open_reader(url("payments"), PAYMENTS_CONNECTIONS, name="onebook-payments"),
        customers=await open_reader(url("customers"), CUSTOMERS_CONNECTIONS, name="onebook-customers"),
    )
    try:
        yield pools
    finally:
        for field in fields(pools):
            getattr(pools, field.name).terminate()
