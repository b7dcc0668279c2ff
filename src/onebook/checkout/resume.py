"""Takes over checkouts that are due: those that had to wait, and those whose worker is gone.

Who calls me: every worker runs one; the database gives each row to one of them at a time. What I own: nothing. What survives a
crash: the rows, with the time when somebody has to look. What bounds me: as many as the driver has room for, CLAIM_LIMIT a round.
"""

import asyncio

import structlog

from onebook.checkout.driver import Driver
from onebook.checkout.metrics import CHECKOUTS_RESUMED, OLDEST_SECONDS, REFUNDS_FAILED
from onebook.checkout.store import Store
from onebook.ledger.failures import DATABASE_FAULTS, LedgerUnavailable

CLAIM_LIMIT = 50
INTERVAL_SECONDS = 0.25
WATCH_SECONDS = 5.0
HOUSEKEEPING_SECONDS = 600.0

log = structlog.get_logger()


class Resumer:
    """Looks for what is due, round after round."""

    def __init__(self, store: Store, driver: Driver, *, lease_seconds: float) -> None:
        self._store = store
        self._driver = driver
        self._lease_seconds = lease_seconds
        self._stopping = asyncio.Event()
        self._watched_at = self._tidied_at = 0.0
        self.turned_at = asyncio.get_running_loop().time()

    async def run_once(self) -> int:
        """One round; returns how many it took over. They go on by themselves."""
        limit = min(CLAIM_LIMIT, self._driver.room)
        if limit <= 0:
            return 0
        claimed = await self._store.claim(limit, self._lease_seconds)
        for checkout in claimed:
            self._driver.start(checkout)
        CHECKOUTS_RESUMED.inc(len(claimed))
        return len(claimed)

    async def run(self) -> None:
        """Look until `stop`; at once again after a full round, otherwise after the interval."""
        loop = asyncio.get_running_loop()
        fault: str | None = None
        while not self._stopping.is_set():
            claimed = 0
            try:
                claimed = await self.run_once()
                await self._look_after(loop.time())
            except (*DATABASE_FAULTS, LedgerUnavailable) as error:
                if repr(error) != fault:  # the same one is told once, not with every round
                    log.warning("cannot_resume_checkouts", reason=repr(error))
                fault = repr(error)
            else:
                fault = None
                self.turned_at = loop.time()
            if claimed < CLAIM_LIMIT:
                await self._pause()
        await self._driver.close()

    async def _look_after(self, now: float) -> None:
        """Tell how things stand, and drop what nobody needs; both now and then."""
        if now - self._watched_at > WATCH_SECONDS:
            self._watched_at = now
            oldest_seconds, refunds_failed = await self._store.standing()
            OLDEST_SECONDS.set(oldest_seconds)
            REFUNDS_FAILED.set(refunds_failed)
        if now - self._tidied_at > HOUSEKEEPING_SECONDS:
            self._tidied_at = now
            await self._store.forget_notifications()

    def stop(self) -> None:
        """End after the present round, and let what is under way come to a rest."""
        self._stopping.set()

    async def _pause(self) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), timeout=INTERVAL_SECONDS)
        except TimeoutError:
            return
