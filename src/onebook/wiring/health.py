"""What /readyz asks: each check answers None while all is well with a part, else what is wrong with it."""

import asyncio
from collections.abc import Callable

import asyncpg

from onebook.api.engine import HealthCheck
from onebook.broker.consumer import Consumer

STUCK_AFTER_SECONDS = 3.0
START_SECONDS = 10.0
_STANDING = "SELECT extract(epoch FROM clock_timestamp() - written_at)::float8 FROM consumer WHERE name = $1"


def answers(pool: asyncpg.Pool) -> HealthCheck:
    """The database answers."""

    async def check() -> str | None:
        await pool.fetchval("SELECT 1")
        return None

    return check


def moves(turned_at: Callable[[], float]) -> HealthCheck:
    """A loop of this process has lately done its work."""

    async def check() -> str | None:
        idle_seconds = asyncio.get_running_loop().time() - turned_at()
        return None if idle_seconds < STUCK_AFTER_SECONDS else f"has done nothing for {idle_seconds:.0f} s"

    return check


def is_heard(consumer: Consumer) -> HealthCheck:
    """Heartbeats come through, from the WAL over relay and broker to here."""

    async def check() -> str | None:
        lag_seconds = consumer.lag_seconds
        return None if lag_seconds < STUCK_AFTER_SECONDS else f"has not been heard for {lag_seconds:.0f} s"

    return check


def writes_down(pool: asyncpg.Pool, consumer: str) -> HealthCheck:
    """A consumer in another process has lately written down how far it is; at the start it is given a moment."""
    loop = asyncio.get_running_loop()
    grace_until = loop.time() + START_SECONDS

    async def check() -> str | None:
        silent_seconds = await pool.fetchval(_STANDING, consumer)
        if silent_seconds is not None and silent_seconds < STUCK_AFTER_SECONDS:
            return None
        if loop.time() < grace_until:
            return None
        return "has not begun" if silent_seconds is None else f"has written nothing for {silent_seconds:.0f} s"

    return check
