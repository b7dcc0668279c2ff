"""Kept-alive HTTP/1.1 connections to one gateway beside us, for calls on the hot path.

Who calls me: a gateway's client. What I own: at most `connections` connections, made when they are needed. What survives a crash:
nothing. What bounds me: `connections`, `timeout_seconds` for each of waiting for one, connecting and being answered,
MAX_ANSWER_BYTES. I repeat nothing: whether a call may be repeated is for the caller to know.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple, cast
from urllib.parse import urlsplit

import httptools

MAX_ANSWER_BYTES = 4 * 1024 * 1024


class NotSent(Exception):
    """Nothing of the request has left this process."""


class Unanswered(Exception):
    """The request may have arrived; no answer to it has."""


class Answer(NamedTuple):
    """A whole answer."""

    status: int
    body: bytes


class Connections:
    """All connections to one origin."""

    def __init__(self, url: str, authorization: str, *, connections: int, timeout_seconds: float) -> None:
        """`url` is http://HOST:PORT; `authorization` goes with every request."""
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"not an http URL: {url!r}")
        if not authorization.isprintable():
            raise ValueError("a header has no line breaks")
        self._host, self._port = parts.hostname, parts.port or 80
        self._fields = f" HTTP/1.1\r\nhost: {parts.netloc}\r\nauthorization: {authorization}\r\n".encode()
        self._timeout_seconds = timeout_seconds
        self._slots = asyncio.Semaphore(connections)
        self._idle: list[_Connection] = []

    async def request(self, method: str, target: str, body: bytes | None = None) -> Answer:
        """Send a request, read its answer. `target` is quoted already. Raises NotSent and Unanswered."""
        head = f"{method} {target}".encode("ascii") + self._fields
        if body is None:
            message = head + b"\r\n"
        else:
            message = b"%bcontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (head, len(body), body)
        async with self._connection() as connection:
            try:
                async with asyncio.timeout(self._timeout_seconds):
                    return await connection.ask(message)
            except TimeoutError:
                raise Unanswered(f"no answer within {self._timeout_seconds:g} s") from None

    def close(self) -> None:
        """End those that are idle; call it when no request is under way."""
        for connection in self._idle:
            connection.abort()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator["_Connection"]:
        """One for a single exchange; kept for the next unless it ended, or the exchange did not."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._slots.acquire()
        except TimeoutError:
            raise NotSent("all connections are busy") from None
        try:
            connection = self._take_idle() or await self._connect()
            try:
                yield connection
            finally:
                if connection.reusable():
                    self._idle.append(connection)
                else:
                    connection.abort()
        finally:
            self._slots.release()

    def _take_idle(self) -> "_Connection | None":
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable():
                return connection
        return None

    async def _connect(self) -> "_Connection":
        try:
            async with asyncio.timeout(self._timeout_seconds):
                loop = asyncio.get_running_loop()
                _, connection = await loop.create_connection(_Connection, self._host, self._port)
                return connection
        except OSError as error:  # TimeoutError is one
            raise NotSent(f"cannot reach {self._host}:{self._port}: {error}") from error


class _Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[Answer] | None = None
        self._body = b""
        self._keeps_alive = True

    def reusable(self) -> bool:
        """Whether it can take another request."""
        return self._answer is None and self._keeps_alive and not self._transport.is_closing()

    async def ask(self, message: bytes) -> Answer:
        """Raises Unanswered. Who is cancelled leaves the connection unfit for others."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._answer = answer
        self._body = b""
        self._transport.write(message)
        return await answer

    def abort(self) -> None:
        """End it at once."""
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop: who waits will not be answered."""
        self._keeps_alive = False
        self._fail("the connection ended before the answer")

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail("the answer is not HTTP")
            self.abort()
        if len(self._body) > MAX_ANSWER_BYTES:
            self._fail("the answer is too large")
            self.abort()

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self._body += body

    def on_message_complete(self) -> None:
        """Called by the parser: the answer is whole."""
        self._keeps_alive = self._parser.should_keep_alive()
        answer, self._answer = self._answer, None
        if answer is None:
            self.abort()  # an answer to nothing: whatever comes next cannot be trusted to be the next one's
        elif not answer.done():
            answer.set_result(Answer(self._parser.get_status_code(), self._body))

    def _fail(self, why: str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(Unanswered(why))
