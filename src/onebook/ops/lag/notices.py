"""Alerts on their way to the operator's URL: signed as Standard Webhooks, repeated a few times, in order.

Who calls me: the loop of alerts, in the sender's process. What I own: one queue and one HTTP session. What survives a crash:
nothing; whatever is still wrong fires again once the sender is back. What bounds me: MAX_WAITING notices, ATTEMPTS each,
TIMEOUT_SECONDS an attempt; what does not get through stands in the log.

There is no guard on the address, as there is for partners' webhooks: the URL comes from the operator's own settings, who may well
mean a machine on the inside. Redirects are not followed all the same, for the operator has not named where they lead.
"""

import asyncio
import binascii
from datetime import UTC, datetime
from typing import Any

import aiohttp
import msgspec
import stamina
import structlog
from standardwebhooks import Webhook
from standardwebhooks.webhooks import EmptyWebhookSecretError

from onebook.config import AlertSettings, BadConfig

MAX_WAITING = 100
ATTEMPTS = 5
TIMEOUT_SECONDS = 10.0
FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 10.0

log = structlog.get_logger()


class NotTaken(Exception):
    """The receiver answered, and not with a success."""


class Notice(msgspec.Struct, frozen=True):
    """What is posted. The id stays the same however often it is sent."""

    id: str
    type: str
    timestamp: datetime
    data: dict[str, Any]


class Notices:
    """The way out; `put` from the loop that looks, `run` beside it. Raises BadConfig where the secret cannot sign."""

    def __init__(self, settings: AlertSettings) -> None:
        self._url = settings.url
        self._webhook = _webhook(settings.secret)
        self._waiting: asyncio.Queue[Notice] = asyncio.Queue(MAX_WAITING)

    def put(self, notice: Notice) -> None:
        """Queue a notice; never waits."""
        try:
            self._waiting.put_nowait(notice)
        except asyncio.QueueFull:
            log.error("alert_not_posted", id=notice.id, reason=f"{MAX_WAITING} wait already")

    async def run(self) -> None:
        """Post one after the other, so that what is resolved does not overtake what fires; until cancelled."""
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                notice = await self._waiting.get()
                try:
                    await self._post(session, notice)
                except (aiohttp.ClientError, TimeoutError, NotTaken) as error:
                    log.error("alert_not_posted", id=notice.id, reason=repr(error), attempts=ATTEMPTS)

    async def _post(self, session: aiohttp.ClientSession, notice: Notice) -> None:
        body = msgspec.json.encode({"type": notice.type, "timestamp": notice.timestamp, "data": notice.data}).decode()
        attempts = stamina.retry_context(
            on=(aiohttp.ClientError, TimeoutError, NotTaken),
            attempts=ATTEMPTS,
            timeout=None,
            wait_initial=FIRST_WAIT_SECONDS,
            wait_max=LONGEST_WAIT_SECONDS,
        )
        async for attempt in attempts:
            with attempt:
                # Signed anew each time: receivers refuse a timestamp that is more than some minutes old.
                headers = self._signed(notice.id, body)
                async with session.post(self._url, data=body, headers=headers, allow_redirects=False) as answered:
                    if not 200 <= answered.status < 300:
                        raise NotTaken(f"answered {answered.status}")

    def _signed(self, notice_id: str, body: str) -> dict[str, str]:
        now = datetime.now(UTC)
        return {
            "content-type": "application/json",
            "webhook-id": notice_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._webhook.sign(notice_id, now, body),
        }


def _webhook(secret: str) -> Webhook:
    try:
        return Webhook(secret)
    except (EmptyWebhookSecretError, RuntimeError, binascii.Error) as error:
        raise BadConfig("alerts.url needs alerts.secret: whsec_ and base64, with which alerts are signed") from error
