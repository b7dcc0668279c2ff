"""A marketplace that is told by signed webhooks: its endpoint on this machine, which can die and come back.

The port is held by a socket that never listens, so that nobody takes it while the endpoint is dead. Back again, the partner
asks once for all that has changed meanwhile, and is right; the webhooks that were kept for it follow, and tell it nothing new.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Any

import msgspec
from aiohttp import web
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from onebook.ops.demo.follower import PAUSE_SECONDS, Follower, until
from onebook.ops.demo.market import BUSY, VENUES, MarketNotOpened
from onebook.ops.demo.mirror import Front
from onebook.ops.demo.source import CannotRead, Source
from onebook.ops.http_client import Answer, Client, ConnectionFailed
from onebook.readings.pipeline import BREAKER
from onebook.readings.scrape import scrape_text

HOST = "127.0.0.1"
PATH = "/onebook"
SHUTDOWN_SECONDS = 1.0
WATCH_SECONDS = 0.5
MAX_TRIES = 20
QUIET_SECONDS = 1.0
"""Without a late webhook for so long, the past is over."""
UNDER_WAY = timedelta(seconds=2)
"""What was committed so long before the endpoint died may not have arrived."""


BREAKER_STATES = ("closed", "half-open", "open")


class Partner(Follower):
    """Owns its endpoint and the port of it."""

    via = "webhooks"

    def __init__(self, name: str, source: Source, front: Front, operator: Client, operator_token: str) -> None:
        super().__init__(name, source, front)
        self.endpoint = ""
        """Its id at the server."""
        self.forged = 0
        """Requests whose signature was not the server's."""
        self.breaker = BREAKER_STATES[0]
        """Whether the server tries to deliver, as it told last."""
        self.away_seconds = 0.0
        self.restored_seconds: float | None = None
        """From its return until it knew all that had happened meanwhile."""
        self._front = front
        self._operator = operator
        self._operator_token = operator_token
        self._verifier: Webhook | None = None
        self._runner: web.AppRunner | None = None
        self._port = 0
        self.left_at: float | None = None
        """When its endpoint died, by the clock of the screen."""
        self._died = datetime.now(UTC)

    async def leave(self) -> None:
        """The endpoint dies: connections break, new ones are refused."""
        self.is_away = True
        self.disturbances += 1
        self.left_at, self._died = perf_counter(), datetime.now(UTC)
        await self._deafen()

    async def come_back(self) -> None:
        """It listens again, catches up by one question a venue, and outlives the late webhooks. Its caller bounds it."""
        await self._listen()
        back_at = perf_counter()
        self.away_seconds = back_at - (self.left_at or back_at)
        known = dict(self._front.versions)
        try:
            found = await self.source.changed_since(self._died - UNDER_WAY)
        except CannotRead:
            self.distrust()
        else:
            self.mirror.read(found, is_whole=False)
        self.is_away = False
        await until(lambda: self.mirror.has_reached(known))
        self.restored_seconds = perf_counter() - back_at
        await until(lambda: perf_counter() - max(self.older_at, back_at) > QUIET_SECONDS)
        self.disturbances -= 1

    async def watch(self) -> None:
        """Ask every moment how the server thinks of the endpoint, until cancelled."""
        while True:
            with suppress(ConnectionFailed, ValueError):
                answer = await self._ask("GET", "/metrics")
                states = scrape_text(answer.body.decode(), perf_counter()).by(BREAKER, "endpoint")
                self.breaker = BREAKER_STATES[int(states.get(self.endpoint, 0))]
            await asyncio.sleep(WATCH_SECONDS)

    @asynccontextmanager
    async def _told(self) -> AsyncIterator[None]:
        with socket.socket() as reserved:
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            reserved.bind((HOST, 0))
            self._port = reserved.getsockname()[1]
            await self._listen()
            try:
                await self._subscribe()
                self.distrust()
                yield
            finally:
                await self._deafen()

    async def _subscribe(self) -> None:
        """Make the endpoint known. Raises MarketNotOpened, ConnectionFailed."""
        url = f"http://{HOST}:{self._port}{PATH}"
        wish = {"url": url, "venues": VENUES, "types": ["*"], "channel": self.name}
        answer = await self._ask("POST", "/v1/webhooks", wish)
        for _ in range(MAX_TRIES):
            if answer.status not in BUSY:
                break
            await asyncio.sleep(PAUSE_SECONDS)
            # It may have been made all the same, with a secret that was never heard.
            known = await self._ask("GET", "/v1/webhooks")
            made = [one["id"] for one in known.json().get("webhooks", ()) if one["url"] == url]
            answer = await (
                self._ask("POST", f"/v1/webhooks/{made[0]}/rotate") if made else self._ask("POST", "/v1/webhooks", wish)
            )
        if answer.status not in {200, 201}:
            raise MarketNotOpened(f"POST /v1/webhooks was answered {answer.status}: {answer.body[:300]!r}")
        created: dict[str, Any] = answer.json()
        self.endpoint = created["id"]
        self._verifier = Webhook(created["secret"])

    async def _ask(self, method: str, path: str, body: Any = None) -> Answer:
        return await self._operator.request(method, path, json=body, token=self._operator_token)

    async def _listen(self) -> None:
        app = web.Application()
        app.router.add_post(PATH, self._receive)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, self._port, reuse_port=True).start()

    async def _deafen(self) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        if self._verifier is None:
            return web.Response(status=503)
        try:
            self._verifier.verify(body, dict(request.headers))
            self.hear(body)
        except (WebhookVerificationError, msgspec.DecodeError):
            self.forged += 1
            return web.Response(status=400)
        return web.Response(status=204)
