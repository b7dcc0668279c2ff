"""The load generator's asyncio driver: the connections of one run, what they send next, and what they were answered.

Closed (each asks again when it is answered), or at a rate: then a request that finds no connection free waits for
one, and its latency counts from when it was due, so that a server that stalls cannot hide it.
"""

import asyncio
import math
import re
import time
from collections import Counter, deque
from functools import partial
from typing import cast
from urllib.parse import urlsplit

from mix import Load, mix_of

ANSWER_SECONDS = 30
CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
BODILESS = b" 304 "


class Crowd:
    """All connections."""

    def __init__(self, load: Load) -> None:
        self.by_status: Counter[str] = Counter()
        self.latencies_ms: list[float] = []
        self._load = load
        self._mix = mix_of(load)
        self._sent = 0
        self._deadline = math.inf
        self._free: deque[_Connection] = deque()
        self._due: deque[float] = deque()
        self._pacing = load.rate is not None
        self._first_asked_at = math.inf
        self._last_answered_at = 0.0

    @property
    def seconds(self) -> float:
        """From the first request to the last answer."""
        return max(self._last_answered_at - self._first_asked_at, 1e-6)

    async def run(self) -> int:
        """Drive until the time or the requests are used up and all is answered; how many were not."""
        target = urlsplit(self._load.url)
        loop = asyncio.get_running_loop()
        connections = [_Connection(self, loop.create_future()) for _ in range(self._load.connections)]
        self._deadline = time.perf_counter() + self._load.seconds
        for connection in connections:
            await loop.create_connection(partial(_itself, connection), target.hostname or "", target.port or 80)
        if self._load.rate is not None:
            await self._pace(self._load.rate)
        _, unanswered = await asyncio.wait(
            [connection.closed for connection in connections], timeout=self._load.seconds + ANSWER_SECONDS
        )
        failed = sum(connection.failed for connection in connections)
        return failed + len(unanswered)

    def turn(self, connection: "_Connection") -> None:
        """A connection has nothing to do: it asks, waits for what falls due, or is closed."""
        if self._load.rate is None:
            is_over = time.perf_counter() >= self._deadline or self._sent == self._load.requests
            connection.close() if is_over else self._ask(connection, time.perf_counter())
        elif self._due:
            self._ask(connection, self._due.popleft())
        elif self._pacing:
            self._free.append(connection)
        else:
            connection.close()

    def follow_up(self, answer: bytes) -> bytes | None:
        """What the same request goes on with before it counts as answered."""
        return self._mix.follow_up(answer)

    def answered(self, status: str, latency_ms: float) -> None:
        """Count an answer."""
        self.by_status[status] += 1
        self.latencies_ms.append(latency_ms)
        self._last_answered_at = time.perf_counter()

    async def _pace(self, rate: int) -> None:
        """Let requests fall due, one after the other, whatever becomes of those before; then send the connections home."""
        began = time.perf_counter()
        for number in range(min(rate * self._load.seconds, self._load.requests or 2**63)):
            due = began + number / rate
            early = due - time.perf_counter()
            if early > 0:
                await asyncio.sleep(early)
            if self._free:
                self._ask(self._free.popleft(), due)
            else:
                self._due.append(due)
        self._pacing = False
        while self._free:
            self._free.popleft().close()

    def _ask(self, connection: "_Connection", asked_at: float) -> None:
        self._sent += 1
        self._first_asked_at = min(self._first_asked_at, asked_at)
        connection.ask(self._mix.request(self._sent), asked_at)


class _Connection(asyncio.Protocol):
    """One keep-alive connection; one request is under way at a time."""

    def __init__(self, crowd: Crowd, closed: asyncio.Future[None]) -> None:
        self.closed = closed
        self.failed = False
        self._crowd = crowd
        self._transport: asyncio.WriteTransport | None = None
        self._received = b""
        self._asked_at = 0.0
        self._waiting = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is ready for its first request."""
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's class is not a subclass of it
        self._crowd.turn(self)

    def ask(self, request: bytes, asked_at: float) -> None:
        """Send a request; what counts is when it was due."""
        if self._transport is None or self._transport.is_closing():
            self.failed = True
            return
        self._waiting = True
        self._asked_at = asked_at
        self._transport.write(request)

    def close(self) -> None:
        """There is no more to ask."""
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Take an answer, whole or in parts."""
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator or len(body) < _length(head):
            return
        self._received = b""
        follow_up = self._crowd.follow_up(body)
        if follow_up is not None and self._transport is not None:
            self._transport.write(follow_up)
            return
        self._waiting = False
        self._crowd.answered(head[9:12].decode(), (time.perf_counter() - self._asked_at) * 1000)
        self._crowd.turn(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The server closed it, or we did; a request without an answer is a failure."""
        self.failed = self.failed or self._waiting
        if not self.closed.done():
            self.closed.set_result(None)


def _length(head: bytes) -> int:
    """How long the answer's body is."""
    if BODILESS in head[:16]:
        return 0
    length = CONTENT_LENGTH.search(head)
    if length is None:
        raise ValueError("an answer without Content-Length")
    return int(length[1])


def _itself(connection: _Connection) -> _Connection:
    return connection
