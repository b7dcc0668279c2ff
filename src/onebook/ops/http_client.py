"""A small HTTP/1.1 client for the load we make ourselves: `demo` and `replay` drive the server with it.

A `Client` owns at most `connections` kept-alive connections to one origin; nothing survives it. Every wait is
bounded by `timeout_seconds`, every read by a byte limit. It follows no redirects, keeps no cookies, and
repeats a request only where repeating cannot act twice (see `Client.request`).
"""

import asyncio
import ssl
from collections.abc import Mapping
from contextlib import suppress
from time import perf_counter
from typing import Any, Self
from urllib.parse import urlsplit

import msgspec

MAX_HEAD_BYTES = 64 * 1024
MAX_BODY_BYTES = 16 * 1024 * 1024
MAX_CLOSE_SECONDS = 2.0

_REPEATABLE_METHODS = frozenset({"GET", "HEAD", "PUT", "DELETE"})
_BODILESS_STATUSES = frozenset({204, 304})


class ConnectionFailed(Exception):
    """The network, not the server, ended the exchange: whether the request took effect is unknown."""


class Answer(msgspec.Struct, frozen=True):
    """One complete answer. Header names are lower-case; `seconds` runs from the call to the last byte."""

    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float

    def json(self) -> Any:
        """The decoded body; raises `msgspec.DecodeError` where it is not JSON."""
        return msgspec.json.decode(self.body)


class Client:
    """Keep-alive connections to one origin, shared by any number of tasks of one event loop."""

    def __init__(self, base_url: str, *, connections: int = 64, timeout_seconds: float = 10.0) -> None:
        url = urlsplit(base_url)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError(f"not an http or https URL: {base_url!r}")
        self._tls = ssl.create_default_context() if url.scheme == "https" else None
        self._address = (url.hostname, url.port or (443 if self._tls else 80))
        self._authority = url.netloc.rpartition("@")[2]
        self._prefix = url.path.rstrip("/")
        self._timeout_seconds = timeout_seconds
        self._slots = asyncio.Semaphore(connections)
        self._idle: list[_Connection] = []

    async def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request and read its whole answer, whatever its status.

        A kept-alive connection that the server has meanwhile closed is replaced once by a new one, but only
        for a method that may be repeated (RFC 9110, 9.2.2) or a request with an Idempotency-Key. Raises
        `ConnectionFailed` on network trouble, a malformed or oversized answer, or when `timeout_seconds` have
        passed, a wait for a free connection included.
        """
        started = perf_counter()
        fields = {name.lower(): value for name, value in (headers or {}).items()}
        if token is not None:
            fields["authorization"] = f"Bearer {token}"
        repeatable = method in _REPEATABLE_METHODS or "idempotency-key" in fields
        message = self._message(method, path, fields, b"" if json is None else msgspec.json.encode(json))
        try:
            async with asyncio.timeout(self._timeout_seconds), self._slots:
                status, answered, body = await self._exchange(message, method, repeatable)
        except TimeoutError as error:
            raise ConnectionFailed(f"no answer to {method} {path} in {self._timeout_seconds:g} s") from error
        except OSError as error:
            raise ConnectionFailed(f"cannot reach {self._authority}: {error}") from error
        return Answer(status, answered, body, perf_counter() - started)

    async def close(self) -> None:
        """Close the idle connections; call it when no request is under way."""
        idle, self._idle = self._idle, []
        await asyncio.gather(*(connection.close() for connection in idle))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _message(self, method: str, path: str, fields: Mapping[str, str], body: bytes) -> bytes:
        lines = [f"{method} {self._prefix}{path} HTTP/1.1", f"host: {self._authority}"]
        lines += [f"{name}: {value}" for name, value in fields.items()]
        if body:
            lines += ["content-type: application/json", f"content-length: {len(body)}"]
        elif method not in ("GET", "HEAD"):
            lines.append("content-length: 0")
        # A token read from a file often ends in a newline; on the wire that would start a header of its own.
        if any("\r" in line or "\n" in line for line in lines):
            raise ValueError("a line break in the method, path or headers")
        return "\r\n".join([*lines, "", ""]).encode() + body

    async def _exchange(self, message: bytes, method: str, repeatable: bool) -> "_Parts":
        if kept := self._take_idle():
            try:
                return await self._talk(kept, message, method)
            except _Stale:
                if not repeatable:
                    raise
        reader, writer = await asyncio.open_connection(*self._address, ssl=self._tls, limit=MAX_HEAD_BYTES)
        return await self._talk(_Connection(reader, writer), message, method)

    def _take_idle(self) -> "_Connection | None":
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open():
                return connection
            connection.abort()
        return None

    async def _talk(self, connection: "_Connection", message: bytes, method: str) -> "_Parts":
        keep = False
        try:
            status, headers, body, keep = await connection.talk(message, method)
        finally:
            if keep:
                self._idle.append(connection)
            else:
                # Also when this task is cancelled: half an answer must never be read as the next one.
                connection.abort()
        return status, headers, body


_Parts = tuple[int, dict[str, str], bytes]


class _Stale(ConnectionFailed):
    """The connection ended before an answer began."""


class _Connection:
    """One connection, one exchange at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def is_open(self) -> bool:
        return not (self._reader.at_eof() or self._writer.is_closing())

    def abort(self) -> None:
        self._writer.transport.abort()

    async def close(self) -> None:
        self._writer.close()
        with suppress(OSError, TimeoutError):
            await asyncio.wait_for(self._writer.wait_closed(), MAX_CLOSE_SECONDS)

    async def talk(self, message: bytes, method: str) -> tuple[int, dict[str, str], bytes, bool]:
        """Write the request, read the answer; the last value says whether the connection can be reused."""
        try:
            self._writer.write(message)
            await self._writer.drain()
            head = await self._reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise _Stale("the connection was closed before an answer came") from error
        except asyncio.LimitOverrunError as error:
            raise ConnectionFailed(f"the head of the answer exceeds {MAX_HEAD_BYTES} bytes") from error
        status, headers = _parse_head(head)
        try:
            body, delimited = await self._read_body(method, status, headers)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
            raise ConnectionFailed("the answer broke off or is malformed") from error
        return status, headers, body, delimited and headers.get("connection", "").lower() != "close"

    async def _read_body(self, method: str, status: int, headers: dict[str, str]) -> tuple[bytes, bool]:
        if method == "HEAD" or status in _BODILESS_STATUSES:
            return b"", True
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return await self._read_chunks(), True
        if "content-length" in headers:
            return await self._reader.readexactly(_within_limit(int(headers["content-length"]))), True
        body = bytearray()
        while piece := await self._reader.read(MAX_HEAD_BYTES):
            body += piece
            _within_limit(len(body))
        return bytes(body), False

    async def _read_chunks(self) -> bytes:
        body = bytearray()
        while size := int((await self._reader.readuntil(b"\r\n")).partition(b";")[0], 16):
            body += await self._reader.readexactly(_within_limit(len(body) + size) - len(body))
            await self._reader.readexactly(2)
        while await self._reader.readuntil(b"\r\n") != b"\r\n":
            pass  # Trailers carry nothing for us; the timeout of the request bounds them.
        return bytes(body)


def _parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    status_line, *lines = head.decode("latin-1").split("\r\n")[:-2]
    version, _, rest = status_line.partition(" ")
    if version != "HTTP/1.1" or not rest[:3].isdigit():
        raise ConnectionFailed(f"not an HTTP/1.1 answer: {status_line[:80]!r}")
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        key = name.lower()
        headers[key] = f"{headers[key]}, {value.strip()}" if key in headers else value.strip()
    return int(rest[:3]), headers


def _within_limit(size: int) -> int:
    if not 0 <= size <= MAX_BODY_BYTES:
        raise ConnectionFailed(f"the body of the answer exceeds {MAX_BODY_BYTES} bytes")
    return size
