"""Group commit: while one transaction is in flight commands queue, and the next transaction takes all of them.

Who calls me: the ledger's public face, one `submit` per command. What I own: the queue and the connection that
writes. What survives a crash: whatever was answered, since answers follow the commit; what was in flight may or may
not have happened, and every command may safely be sent again. What bounds me: `max_waiting` commands in the queue,
`max_batch` commands and `MAX_BATCH_CELLS` cells a transaction, `command_timeout_seconds` from submission to answer.
"""

import asyncio
import time
from collections import deque
from collections.abc import Sequence

import asyncpg
import structlog
from asyncpg.pool import PoolConnectionProxy
from msgspec.structs import replace

from onebook import tracing
from onebook.ledger.catalog import Catalog
from onebook.ledger.failures import BrokenInvariant, LedgerUnavailable, Overloaded, StaleDefinition, is_guarded
from onebook.ledger.metrics import BATCH_COMMANDS, BATCH_SECONDS, BATCHES_AGAIN, count_outcome
from onebook.ledger.page import Settled, settle
from onebook.ledger.resolve import resolve_again, without_turnaround
from onebook.ledger.steps import Steps
from onebook.model.commands import BASKETS, AmendBooking, ChangeInventory, Command, PlaceBlock, PlaceHold

MAX_BATCH_CELLS = 20_000
MAX_ATTEMPTS = 5
RECONNECT_SECONDS = 0.1

# A transaction that these ended has changed nothing and may be tried again as it is.
_AGAIN = (
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
)
# The connection is gone, or the server is; whether a commit in flight happened is unknown.
_AWAY = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the driver's word for a connection that broke while it was handed out
    TimeoutError,
)

log = structlog.get_logger()


class _Waiting:
    """A command in the queue, with who waits for it and until when."""

    __slots__ = ("answer", "arrived_at", "command", "deadline")

    def __init__(self, command: Command, answer: "asyncio.Future[Settled]", deadline: float) -> None:
        self.command = command
        self.answer = answer
        self.deadline = deadline
        # By the wall clock, and only of one that is followed: 0 for all others.
        self.arrived_at = time.time() if tracing.followed(command.traceparent) else 0.0


class Committer:
    """The one writer of this process."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        catalog: Catalog,
        *,
        max_batch: int,
        max_waiting: int,
        command_timeout_seconds: float,
    ) -> None:
        self._pool = pool
        self._connection: PoolConnectionProxy | None = None
        self._catalog = catalog
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._command_timeout_seconds = command_timeout_seconds
        self._attempt_timeout_seconds = command_timeout_seconds / 2
        self._queue: deque[_Waiting] = deque()
        self._wake = asyncio.Event()
        self._stopping = False
        self._turned_at = 0.0

    @property
    def turned_at(self) -> float:
        """When the loop last began a round, on the event loop's clock; with nothing to do it is now."""
        return self._turned_at if self._queue else asyncio.get_running_loop().time()

    def submit(self, command: Command) -> "asyncio.Future[Settled]":
        """Have a command decided; the future is done once its effect is durable, or there is none.

        It raises LedgerUnavailable when the database does not answer in time (the outcome is then unknown and the
        command may be sent again). Raises Overloaded at once when the queue is full.
        """
        if self._stopping or len(self._queue) >= self._max_waiting:
            raise Overloaded("the ledger has more commands waiting than it takes on")
        loop = asyncio.get_running_loop()
        waiting = _Waiting(command, loop.create_future(), loop.time() + self._command_timeout_seconds)
        self._queue.append(waiting)
        self._wake.set()
        return waiting.answer

    async def run(self) -> None:
        """Settle batch after batch until `stop`, then what is still in the queue."""
        while self._queue or not self._stopping:
            self._turned_at = asyncio.get_running_loop().time()
            if self._queue:
                # Let the last batch's answers go out first, and what has come in meanwhile be read: a sixth more holds a
                # second at full load (measured).
                await asyncio.sleep(0)
                await self._settle(self._take())
            else:
                self._wake.clear()
                await self._wake.wait()
        await self._give_back()

    def stop(self) -> None:
        """Take no more commands; `run` ends when the queue is empty."""
        self._stopping = True
        self._wake.set()

    def _take(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        cells = 0
        while self._queue and len(batch) < self._max_batch:
            cells += _cells(self._queue[0].command)
            if batch and cells > MAX_BATCH_CELLS:
                break
            batch.append(self._queue.popleft())
        return batch

    async def _settle(self, batch: list[_Waiting]) -> None:
        """Answer every command of the batch, whatever happens; a faulty one does not harm the others."""
        for attempt in range(MAX_ATTEMPTS):
            batch = self._in_time(batch)
            if not batch:
                return
            try:
                await self._attempt(batch)
                return
            except StaleDefinition:
                batch = await self._resolved_again(batch)
            except asyncpg.UniqueViolationError:
                # Two processes used one key for different resources: the next attempt finds the other's effect.
                log.info("batch_again", reason="unique violation", attempt=attempt)
            except (BrokenInvariant, *_AGAIN) as error:
                log.warning("batch_again", reason=repr(error), attempt=attempt)
            except _AWAY as error:
                log.warning("database_away", reason=repr(error), attempt=attempt)
                batch = _repeatable(batch)
                if not batch:
                    return
                await asyncio.sleep(min(RECONNECT_SECONDS * 2**attempt, self._seconds_left(batch)))
            except Exception as error:
                if not is_guarded(error):
                    log.exception("batch_failed", commands=len(batch))
                await self._isolate(batch, error)
                return
            BATCHES_AGAIN.inc()
        _fail(batch, LedgerUnavailable("the ledger could not settle this in time; send it again"))

    async def _attempt(self, batch: Sequence[_Waiting]) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        steps = Steps()
        async with asyncio.timeout(min(self._attempt_timeout_seconds, self._seconds_left(batch))):
            # Kept from batch to batch: taking one from the pool costs as much as a round trip.
            connection = self._connection = self._connection or await self._pool.acquire()
            try:
                settled = await settle(connection, [waiting.command for waiting in batch], self._catalog, steps)
            except (asyncio.CancelledError, asyncpg.InternalClientError):
                # In the middle of a conversation: a half-read connection must not be used again.
                if not _has_ended(connection):
                    connection.terminate()
                raise
            finally:
                if _has_ended(connection):
                    await self._give_back()
        for waiting, outcome in zip(batch, settled, strict=True):
            count_outcome(waiting.command, outcome.verdict)
            if not waiting.answer.done():
                waiting.answer.set_result(outcome)
            if waiting.arrived_at:
                steps.tell(waiting.command, outcome.verdict, waiting.arrived_at, len(batch))
        BATCH_COMMANDS.observe(len(batch))
        BATCH_SECONDS.observe(loop.time() - began)

    async def _give_back(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._pool.release(connection)

    async def _isolate(self, batch: list[_Waiting], error: Exception) -> None:
        """Find the command that cannot be written by settling each alone."""
        if len(batch) == 1:
            _fail(batch, error)
            return
        for waiting in batch:
            await self._settle([waiting])

    def _seconds_left(self, batch: Sequence[_Waiting]) -> float:
        """Until the first of them has to be answered; never quite nothing."""
        return max(min(waiting.deadline for waiting in batch) - asyncio.get_running_loop().time(), 0.05)

    def _in_time(self, batch: list[_Waiting]) -> list[_Waiting]:
        now = asyncio.get_running_loop().time()
        _fail([w for w in batch if w.deadline <= now], LedgerUnavailable("the database does not answer"))
        return [waiting for waiting in batch if waiting.deadline > now and not waiting.answer.done()]

    async def _resolved_again(self, batch: list[_Waiting]) -> list[_Waiting]:
        """The same commands on today's definitions; one that means nothing any more is answered with that."""
        kept: list[_Waiting] = []
        self._catalog.grow_old()
        for waiting in batch:
            try:
                waiting.command = await _resolved(waiting.command, self._catalog)
            except Exception as error:
                _fail([waiting], error)
            else:
                kept.append(waiting)
        return kept


async def _resolved(command: Command, catalog: Catalog) -> Command:
    if isinstance(command, PlaceHold | AmendBooking):
        return replace(command, lines=await resolve_again(command.lines, catalog))
    if isinstance(command, PlaceBlock):
        return replace(command, lines=without_turnaround(await resolve_again(command.lines, catalog)))
    if isinstance(command, ChangeInventory):
        return replace(command, resource=await catalog.find_resource(command.resource.key))
    return command


def _has_ended(connection: PoolConnectionProxy) -> bool:
    """Whether a kept connection is of no more use: the pool takes back by itself what the server has closed."""
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:
        return True


def _repeatable(batch: list[_Waiting]) -> list[_Waiting]:
    """Those that may be settled again although they may have taken effect already.

    A change that names the version it expects would find its own effect and be refused: it is told that its outcome is
    unknown, and its sender looks.
    """
    once = [w for w in batch if isinstance(w.command, ChangeInventory) and w.command.expected_version is not None]
    _fail(once, LedgerUnavailable("the database broke off; whether the change was made is unknown"))
    return [waiting for waiting in batch if waiting not in once]


def _fail(batch: Sequence[_Waiting], error: Exception) -> None:
    for waiting in batch:
        if not waiting.answer.done():
            waiting.answer.set_exception(error)


def _cells(command: Command) -> int:
    if isinstance(command, ChangeInventory):
        return sum(change.end - change.first for change in command.changes)
    if isinstance(command, BASKETS):
        return sum(line.end - line.first for line in command.lines)
    return 1
