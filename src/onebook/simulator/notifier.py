"""Notifications: what happened to a payment, posted to whoever is to know, signed by Standard Webhooks.

Who calls me: the ledger, at each change. What I own: a queue and SENDERS tasks. What survives a crash: nothing; a notification
is a hint, and what is true can be asked. What bounds me: MAX_WAITING (what comes on top is lost, and said so), ATTEMPTS,
TIMEOUT_SECONDS.
"""

import asyncio
import json
import time
from datetime import UTC, datetime
from uuid import uuid4

import aiohttp
import stamina
import structlog
from standardwebhooks import Webhook

from onebook.simulator.faults import Chance
from onebook.simulator.job import notification_secret

SENDERS = 8
MAX_WAITING = 10_000
ATTEMPTS = 5
TIMEOUT_SECONDS = 5.0
OVERTAKEN_SECONDS = 0.2

_log = structlog.get_logger()


class Notifier:
    """Sends them while it is entered."""

    def __init__(self, url: str, secret: str, chance: Chance) -> None:
        """`secret` is the API's password."""
        self._url = url
        self._chance = chance
        self._webhook = Webhook(notification_secret(secret))
        self._waiting: asyncio.Queue[tuple[str, str]] = asyncio.Queue(MAX_WAITING)
        self._senders: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "Notifier":
        """Begin to send."""
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        self._session = aiohttp.ClientSession(timeout=timeout, auto_decompress=False)
        self._senders = [asyncio.create_task(self._send()) for _ in range(SENDERS)]
        return self

    async def __aexit__(self, *_: object) -> None:
        """What still waits is lost."""
        for sender in self._senders:
            sender.cancel()
        await asyncio.gather(*self._senders, return_exceptions=True)
        await self._session.close()

    def tell(self, kind: str, key: str) -> None:
        """Something of that type has happened to a payment."""
        faults = self._chance.faults
        if self._chance.hit(faults.lost_notifications):
            return
        identity = f"evt_{uuid4().hex}"
        body = json.dumps({"id": identity, "type": kind, "key": key, "created": time.time()})
        times = 2 if self._chance.hit(faults.duplicate_notifications) else 1
        for _ in range(times):
            if self._chance.hit(faults.reordered_notifications):
                asyncio.get_running_loop().call_later(OVERTAKEN_SECONDS, self._enqueue, identity, body)
            else:
                self._enqueue(identity, body)

    def _enqueue(self, identity: str, body: str) -> None:
        try:
            self._waiting.put_nowait((identity, body))
        except asyncio.QueueFull:
            _log.warning("a notification is lost: too many wait", waiting=MAX_WAITING)

    async def _send(self) -> None:
        while True:
            identity, body = await self._waiting.get()
            try:
                await self._deliver(identity, body)
            except (aiohttp.ClientError, TimeoutError) as error:
                _log.warning("a notification was not taken", id=identity, attempts=ATTEMPTS, error=repr(error))

    @stamina.retry(on=(aiohttp.ClientError, TimeoutError), attempts=ATTEMPTS, wait_initial=0.1, wait_max=2.0)
    async def _deliver(self, identity: str, body: str) -> None:
        now = datetime.now(UTC)
        headers = {
            "content-type": "application/json",
            "webhook-id": identity,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._webhook.sign(identity, now, body),
        }
        async with self._session.post(self._url, data=body, headers=headers, allow_redirects=False) as answer:
            answer.raise_for_status()
