"""The sweeper: ends holds whose deadline has passed, within a second.

Who calls me: every worker runs one; the database lets one at a time sweep. What I own: nothing. What survives a
crash: everything; the next sweep finds what is due. What bounds me: `SWEEP_LIMIT` holds a round, sent through the
same batches as every other command, which check the deadline again under the locks.

Due rows are not locked while they are swept: that would take a booking's lock before its resources' locks, against the
documented order. The claim is an advisory lock of a short transaction, which the database ends by itself if this process freezes.
"""

import asyncio

import asyncpg
import structlog

from onebook.ledger.catalog import SQL
from onebook.ledger.committer import Committer
from onebook.ledger.failures import DATABASE_FAULTS, LedgerUnavailable
from onebook.ledger.metrics import HOLDS_EXPIRED
from onebook.ledger.page import Settled
from onebook.model.booking import BookingId
from onebook.model.commands import ExpireHold
from onebook.model.decision import Decision

SWEEP_LIMIT = 500
# After so long without a word the claim of a frozen process ends: a hold's deadline and 5 s are promised.
CLAIM_SECONDS = 3

log = structlog.get_logger()


class Sweeper:
    """Expires due holds, round after round."""

    def __init__(self, pool: asyncpg.Pool, committer: Committer, *, interval_seconds: float) -> None:
        self._pool = pool
        self._committer = committer
        self._interval_seconds = interval_seconds
        self._stopping = asyncio.Event()
        self.turned_at = asyncio.get_running_loop().time()

    async def run_once(self) -> int:
        """One round; returns how many holds it ended. 0 when none is due or another process is sweeping."""
        async with self._pool.acquire(timeout=2) as connection, connection.transaction():
            await connection.execute(f"SET LOCAL idle_in_transaction_session_timeout = '{CLAIM_SECONDS}s'")
            if not await connection.fetchval(SQL["claim_sweep"]):
                return 0
            due = [BookingId(row["id"]) for row in await connection.fetch(SQL["due_holds"], SWEEP_LIMIT)]
            settled = await asyncio.gather(
                *(self._committer.submit(ExpireHold(booking=booking)) for booking in due),
                return_exceptions=True,
            )
        ended = sum(1 for s in settled if isinstance(s, Settled) and isinstance(s.verdict, Decision))
        HOLDS_EXPIRED.inc(ended)
        return ended

    async def run(self) -> None:
        """Sweep until `stop`; at once again after a full round, otherwise after the interval."""
        fault: str | None = None
        while not self._stopping.is_set():
            ended = 0
            try:
                ended = await self.run_once()
            except (*DATABASE_FAULTS, LedgerUnavailable) as error:
                if repr(error) != fault:  # the same one is told once, not with every round
                    log.warning("sweep_failed", reason=repr(error))
                fault = repr(error)
            else:
                fault = None
                self.turned_at = asyncio.get_running_loop().time()
            if ended < SWEEP_LIMIT:
                await self._pause()

    def stop(self) -> None:
        """End after the present round."""
        self._stopping.set()

    async def _pause(self) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), timeout=self._interval_seconds)
        except TimeoutError:
            return
