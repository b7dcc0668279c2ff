"""A partner's endpoint for webhooks: how long after its decision each event has been received, whole.

An instrument (see obey.py) in a process of its own: a server on loopback that answers 204 at once and verifies one signature
in SAMPLE with the official library. Says `ready URL`; its own line is `trust SECRET`, the endpoint's.
"""

import argparse
import asyncio
import re
import time
from functools import partial
from typing import cast

import uvloop
from standardwebhooks import Webhook, WebhookVerificationError

from obey import obey, say
from onebook.ops.bench.arrivals import Received, Record

SAMPLE = 20
ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"
BODY_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
EVENT_TIME = re.compile(rb'"time":"([^"]+)"')
MAX_REQUEST_BYTES = 1 << 20


class Endpoint:
    """What has been received, over all connections."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self._record = Record()
        self._seen: set[str] = set()
        self._repeated = self._verified = self._forged = 0
        self._signatures: Webhook | None = None

    def trust(self, words: list[str]) -> None:
        """Verify with this secret from now on."""
        match words:
            case ["trust", secret]:
                self._signatures = Webhook(secret)

    def take(self, head: bytes, body: bytes, now: float) -> None:
        """A delivery, whole."""
        headers = _headers(head)
        identity = headers.get("webhook-id", "")
        if identity in self._seen:
            self._repeated += 1
            return
        self._seen.add(identity)
        if self._signatures is not None and len(self._seen) % SAMPLE == 0:
            self._verify(self._signatures, headers, body)
        if found := EVENT_TIME.search(body):
            self._record.add(found[1], now)
        self.changed.set()

    def begin(self) -> None:
        """Forget what came so far, but not the ids."""
        self._record.clear()
        self._repeated = self._verified = self._forged = 0

    def fewest(self) -> int:
        """Everything received once."""
        return len(self._record)

    async def report(self) -> Received:
        """What has been received."""
        return Received(len(self._record), self._repeated, self._verified, self._forged, self._record.arrivals())

    def _verify(self, signatures: Webhook, headers: dict[str, str], body: bytes) -> None:
        try:
            signatures.verify(body, headers)
            self._verified += 1
        except WebhookVerificationError:
            self._forged += 1


class _Connection(asyncio.Protocol):
    """One connection, kept alive: one request after the other."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._transport: asyncio.WriteTransport | None = None
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for requests."""
        self._transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        """Answer every request that is whole."""
        now = time.time()
        self._rest += data
        if len(self._rest) > MAX_REQUEST_BYTES:
            raise ValueError("a request without an end")
        while self._transport is not None:
            head, separator, rest = self._rest.partition(b"\r\n\r\n")
            length = BODY_LENGTH.search(head)
            size = int(length[1]) if length else 0
            if not separator or len(rest) < size:
                return
            self._transport.write(ANSWER)
            self._endpoint.take(head, rest[:size], now)
            self._rest = rest[size:]


def _headers(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


async def _measure() -> None:
    endpoint = Endpoint()
    server = await asyncio.get_running_loop().create_server(partial(_Connection, endpoint), "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        say(f"ready http://{host}:{port}/")
        await obey(endpoint, endpoint.trust)


def main() -> None:
    """Receive until stdin ends."""
    argparse.ArgumentParser(prog="receive", description="An endpoint for webhooks on loopback.").parse_args()
    uvloop.run(_measure())


if __name__ == "__main__":
    main()
