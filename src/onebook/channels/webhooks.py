"""Webhooks out: the handler that writes down what is owed, and the sender that delivers it.

Who calls me: the wiring, in one process of a machine; further ones on other machines stand by. What I own: the claim to be the
one that sends, an advisory lock of a session that ends by itself if this process freezes or goes. What survives a crash: the
tables; whoever gets the claim next goes on from there. What bounds me: see handler.py, lane.py and sender.py; PURGE_LIMIT and
LETTERS_LIMIT bound the housekeeping of a round.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from time import monotonic

import asyncpg
import structlog
from aiohttp.abc import AbstractResolver

from onebook.broker.faults import is_fault
from onebook.channels.endpoints import EndpointId
from onebook.channels.guard import guarded_connector
from onebook.channels.handler import SQL, WebhookHandler
from onebook.channels.post import Post
from onebook.channels.sender import Sender
from onebook.config import WebhookSettings

DUTY_SECONDS = 0.25
LETTERS_SECONDS = 1.0
PURGE_SECONDS = 10.0
PURGE_LIMIT = 2000
LETTERS_LIMIT = 1000
PAUSE_SECONDS = 0.5
# The claim of a process that is frozen, or cut off from the database, ends after so long without a word.
CLAIM_SECONDS = 5

log = structlog.get_logger()


class Webhooks:
    """One database's webhooks. `pool` needs three connections: the claim's, the handler's, the sender's."""

    def __init__(
        self, pool: asyncpg.Pool, settings: WebhookSettings, *, resolver: AbstractResolver | None = None
    ) -> None:
        connector = guarded_connector(
            allow_loopback=settings.allow_loopback, limit=settings.concurrency, resolver=resolver
        )
        self._pool = pool
        self._kept = timedelta(days=settings.keep_days)
        self._post = Post(connector, settings.timeout_seconds)
        self._sender = Sender(pool, self._post, settings)
        self.handler = WebhookHandler(pool, self._sender.offer)
        self.is_sending = False
        """Whether this process is the one that sends."""
        self.turned_at = asyncio.get_running_loop().time()
        self._stopping = asyncio.Event()
        self._due: dict[str, float] = {}

    async def run(self) -> None:
        """Send, or stand by, until `stop`."""
        try:
            while not self._stopping.is_set():
                try:
                    await self._claim_and_send()
                except Exception as error:
                    if not is_fault(error):
                        raise
                    log.warning("webhooks_interrupted", reason=repr(error))
                await self._pause()
        finally:
            await self._post.close()

    def stop(self) -> None:
        """End; what is under way is broken off and made again by whoever sends next."""
        self._stopping.set()

    async def _claim_and_send(self) -> None:
        async with self._claim() as claim:
            self.turned_at = asyncio.get_running_loop().time()
            if claim is None:
                return
            try:
                await self.handler.activate()
                self._sender.adopt(self.handler.endpoints.values())
                self.is_sending = True
                while not self._stopping.is_set():
                    await self._duties(claim)
                    await self._sender.keep_books()
                    self.turned_at = asyncio.get_running_loop().time()
                    await self._sender.wait(DUTY_SECONDS)
                await self._sender.keep_books()
            finally:
                self.is_sending = False
                self.handler.deactivate()
                await self._sender.stop()

    @asynccontextmanager
    async def _claim(self) -> AsyncIterator[asyncpg.pool.PoolConnectionProxy | None]:
        """The session that holds the claim; None while another has it."""
        async with self._pool.acquire(timeout=2) as connection:
            if not await connection.fetchval(SQL["claim"]):
                yield None
                return
            try:
                await connection.execute(f"SET idle_session_timeout = '{CLAIM_SECONDS}s'")
                yield connection
            finally:
                # The pool keeps connections as they are: end this one, and with it the lock and the setting.
                with suppress(asyncpg.InterfaceError):  # it has ended already
                    connection.terminate()

    async def _duties(self, claim: asyncpg.pool.PoolConnectionProxy) -> None:
        """What has to be looked at now and then."""
        if self._is_due("registry", DUTY_SECONDS):
            if await self.handler.refresh():
                self._sender.adopt(self.handler.endpoints.values())
            await self.handler.fill()
        if self._is_due("letters", LETTERS_SECONDS):
            await claim.execute("SELECT 1")  # says that we live, and finds out when the claim is lost
            for row in await self._pool.fetch(SQL["replay_letters"], LETTERS_LIMIT):
                self._sender.wake(EndpointId(row["endpoint_id"]))
        if self._is_due("purge", PURGE_SECONDS):
            for statement in ("purge_deliveries", "purge_attempts"):
                if await self._pool.execute(SQL[statement], self._kept, PURGE_LIMIT) == f"DELETE {PURGE_LIMIT}":
                    self._due["purge"] = 0.0  # there is more: go on in the next round

    def _is_due(self, duty: str, every_seconds: float) -> bool:
        now = monotonic()
        if now < self._due.get(duty, 0.0):
            return False
        self._due[duty] = now + every_seconds
        return True

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(PAUSE_SECONDS):
                await self._stopping.wait()
        except TimeoutError:
            return
