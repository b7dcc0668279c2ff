"""Faults pass and poison does not: telling them apart, and sitting faults out."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import asyncpg
import structlog

from onebook.broker.protocol import BrokerError

PATIENCE_SECONDS = 30.0
FIRST_DELAY_SECONDS = 0.05
LONGEST_DELAY_SECONDS = 1.0

_FAULTS = (
    OSError,
    TimeoutError,
    BrokerError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the driver's word for a connection that broke while it was handed out
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.QueryCanceledError,
    asyncpg.LockNotAvailableError,
)

log = structlog.get_logger()

T = TypeVar("T")


def is_fault(error: BaseException) -> bool:
    """Whether the same may go well later. The driver's complaint about a value is an InterfaceError too, and stays."""
    return isinstance(error, _FAULTS) and not isinstance(error, ValueError)


def delays() -> Iterator[float]:
    """How long to wait before each further try: doubling from 50 ms to 1 s, each shortened at random by up to a half."""
    longest = FIRST_DELAY_SECONDS
    while True:
        yield longest * random.uniform(0.5, 1)  # noqa: S311  # not a secret
        longest = min(2 * longest, LONGEST_DELAY_SECONDS)


class Patience:
    """Repeats what fails by a fault, for PATIENCE_SECONDS or until its owner stops."""

    def __init__(self, stopping: asyncio.Event, *, seconds: float = PATIENCE_SECONDS) -> None:
        self._stopping = stopping
        self._seconds = seconds

    async def with_faults(self, act: Callable[[], Awaitable[T]]) -> T:
        """What `act` returns. Raises what is no fault, at once, and a fault that outlasts the patience."""
        now = asyncio.get_running_loop().time
        deadline, waits = now() + self._seconds, delays()
        while True:
            try:
                return await act()
            except Exception as error:
                if not is_fault(error) or self._stopping.is_set() or now() > deadline:
                    raise
                log.warning("fault", reason=repr(error))
            await self.pause(next(waits))

    async def pause(self, seconds: float) -> None:
        """Wait, but not beyond the owner's end."""
        try:
            await asyncio.wait_for(self._stopping.wait(), timeout=seconds)
        except TimeoutError:
            return
