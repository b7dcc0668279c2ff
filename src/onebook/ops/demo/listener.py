"""A channel that listens to the stream of Server-Sent Events, as a website, an app or a desk does.

A stream that ends is asked for again from its last event on; only where the server says that this cannot be done is a
snapshot read (`reset`), or where it has dropped the channel.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlencode

import aiohttp

from onebook.ops.demo.follower import PAUSE_SECONDS, Follower
from onebook.ops.demo.market import VENUES
from onebook.ops.demo.mirror import Front
from onebook.ops.demo.source import Source

SILENCE_SECONDS = 40.0
"""The server says every 15 s that it lives."""


class Listener(Follower):
    """Owns one connection at a time."""

    via = "stream"

    def __init__(self, name: str, source: Source, front: Front, base_url: str, token: str) -> None:
        super().__init__(name, source, front)
        self._url = f"{base_url}/v1/stream?{urlencode([('venue', venue) for venue in VENUES])}"
        self._headers = {"authorization": f"Bearer {token}", "accept": "text/event-stream"}
        self._cursor: str | None = None

    @asynccontextmanager
    async def _told(self) -> AsyncIterator[None]:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=SILENCE_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout, headers=self._headers) as session:
            listening = asyncio.create_task(self._listen(session))
            try:
                yield
            finally:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)

    async def _listen(self, session: aiohttp.ClientSession) -> None:
        while True:
            try:
                place = {} if self._cursor is None else {"last-event-id": self._cursor}
                async with session.get(self._url, headers=place) as response:
                    response.raise_for_status()
                    await self._read(response.content)
            except (aiohttp.ClientError, OSError, TimeoutError):
                self.is_away = True
            await asyncio.sleep(PAUSE_SECONDS)

    async def _read(self, lines: aiohttp.StreamReader) -> None:
        """Events until the stream ends (WHATWG HTML, section 9.2; the server sends one line of data an event)."""
        name, data = b"", b""
        async for line in lines:
            field, _, value = line.rstrip(b"\n").partition(b": ")
            if field == b"id":
                self._cursor = value.decode()
            elif field == b"event":
                name = value
            elif field == b"data":
                data = value
            elif not field and data:
                self._dispatch(name, data)
                name, data = b"", b""

    def _dispatch(self, name: bytes, data: bytes) -> None:
        if not name:
            self.hear(data)
        elif name == b"ready":
            self.is_away = False
            if not self.mirror.shelves:
                self.distrust()
        elif name in {b"reset", b"dropped"}:
            self.distrust()
