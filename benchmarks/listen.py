"""Clients of a stream of Server-Sent Events: how long after its decision each event arrives at each of them.

An instrument (see obey.py) in a process of its own. Each client is one connection and no more than a regular expression
for each message, since it shares the processors with what it measures. All clients listen before it says `ready`.
"""

import argparse
import asyncio
import re
import resource
import time
from functools import partial
from typing import cast
from urllib.parse import urlsplit

import uvloop

from obey import obey, say
from onebook.ops.bench.arrivals import Heard, Record

EVENT_TIME = re.compile(rb'\ndata: .*?"time":"([^"]+)"')
NOTE = re.compile(rb"(?:^|\n)event: (\w+)\n")
CONNECTING_AT_ONCE = 50
LISTENING_SECONDS = 30
MAX_MESSAGE_BYTES = 1 << 20


class Listeners:
    """All clients of one stream."""

    def __init__(self, url: str, token: str, clients: int) -> None:
        self.changed = asyncio.Event()
        self.record = Record()
        self._url = urlsplit(url)
        self._request = (
            f"GET {self._url.path}?{self._url.query} HTTP/1.1\r\nHost: {self._url.netloc}\r\n"
            f"Authorization: Bearer {token}\r\nAccept: text/event-stream\r\n\r\n"
        ).encode()
        self._clients = [_Client(self, self._request) for _ in range(clients)]

    async def listen(self) -> None:
        """Connect them all, and wait until each is told that it listens. Raises OSError, TimeoutError."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(LISTENING_SECONDS):
            for first in range(0, len(self._clients), CONNECTING_AT_ONCE):
                some = self._clients[first : first + CONNECTING_AT_ONCE]
                for client in some:
                    await loop.create_connection(
                        partial(_itself, client), self._url.hostname or "", self._url.port or 80
                    )
                await asyncio.gather(*(client.listening.wait() for client in some))

    def begin(self) -> None:
        """Forget what came so far."""
        self.record.clear()
        for client in self._clients:
            client.events = 0

    def fewest(self) -> int:
        """Of the client that has heard least."""
        return min(client.events for client in self._clients)

    async def report(self) -> Heard:
        """What all of them have heard."""
        events = [client.events for client in self._clients]
        lost = sum(client.is_lost for client in self._clients)
        return Heard(len(self._clients), lost, min(events), max(events), self.record.arrivals())


class _Client(asyncio.Protocol):
    """One stream; the chunks of HTTP do not matter, since no event contains an empty line."""

    def __init__(self, listeners: Listeners, request: bytes) -> None:
        self.listening = asyncio.Event()
        self.events = 0
        self.is_lost = False
        self._listeners = listeners
        self._request = request
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the stream."""
        cast(asyncio.WriteTransport, transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        """One clock reading for all that came at once."""
        now = time.time()
        *messages, self._rest = (self._rest + data).split(b"\n\n")
        if len(self._rest) > MAX_MESSAGE_BYTES:
            raise ValueError("a message without an end")
        for message in messages:
            if found := EVENT_TIME.search(message):
                self.events += 1
                self._listeners.record.add(found[1], now)
            elif note := NOTE.search(message):
                self._note(note[1])
        self._listeners.changed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody ends a stream that is measured: the server did."""
        self.is_lost = True
        self._listeners.changed.set()

    def _note(self, name: bytes) -> None:
        if name == b"ready":
            self.listening.set()
        else:
            self.is_lost = True


async def _measure(url: str, token: str, clients: int) -> None:
    listeners = Listeners(url, token, clients)
    await listeners.listen()
    say("ready")
    await obey(listeners)


def _itself(client: _Client) -> _Client:
    return client


def main() -> None:
    """Listen until stdin ends."""
    parser = argparse.ArgumentParser(prog="listen", description="Listens to a stream with many clients.")
    parser.add_argument("--url", required=True, help="of the stream, with its query")
    parser.add_argument("--token", required=True)
    parser.add_argument("--clients", type=int, default=1)
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    uvloop.run(_measure(options.url, options.token, options.clients))


if __name__ == "__main__":
    main()
