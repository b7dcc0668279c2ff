"""Streams on the protocol itself: a connection that /v1/stream has taken over needs no task and no ASGI messages.

Who calls me: uvicorn, one instance a connection; the route (stream_routes.py) finds the connection of its request in
CONNECTION, and takes it over when everything about the request is good. To uvicorn that request's client has then left.
What bounds me: the hub drops who does not read; half-open connections are found by TCP itself.
"""

import asyncio
import random
import socket
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from onebook.api.corked import CorkedProtocol
from onebook.push.client import Ending
from onebook.push.frames import SSE, Filter, Wire
from onebook.push.hub import Hub

STREAM_PATH = "/v1/stream"
CUT_OFF_SECONDS = 5.0
"""After which what an ended stream has not read is thrown away."""
RETRY_MILLISECONDS = (1000, 3000)
"""When clients come back: spread, so that those of a worker that stopped do not come all at once."""

CONNECTION: ContextVar["StreamingProtocol | None"] = ContextVar("connection", default=None)
"""The connection that a request for a stream came on, in the task that answers it."""

_STREAM_URL = STREAM_PATH.encode()
_LAST_CHUNK = b"0\r\n\r\n"
_HEAD = (
    b"content-type: text/event-stream\r\ncache-control: no-store\r\nx-accel-buffering: no\r\n"
    b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n"
)
_SOCKET_OPTIONS = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    # What was sent and not acknowledged for so long ends the connection: its other end is gone without a word.
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30_000),
    # What the kernel keeps for one who does not read is bounded too; left alone, it grows to megabytes.
    (socket.SOL_SOCKET, socket.SO_SNDBUF, 128 * 1024),
)


class _Left:
    """What uvicorn finds where a request was: its client is gone, and nobody waits for anything."""

    disconnected = True
    response_complete = False
    keep_alive = False
    message_event = asyncio.Event()


class StreamingProtocol(CorkedProtocol):
    """uvicorn's HTTP/1.1 with connections that become streams."""

    stream: "SseClient | None" = None

    def data_received(self, data: bytes) -> None:
        """Parse; on a stream only the server speaks."""
        if self.stream is None:
            super().data_received(data)

    def on_headers_complete(self) -> None:
        """A request for a stream knows its connection, if that can become one."""
        can_stream = (
            self.url.partition(b"?")[0] == _STREAM_URL
            and (self.cycle is None or self.cycle.response_complete)
            and self.parser.get_http_version() == "1.1"
        )
        if not can_stream:
            super().on_headers_complete()
            return
        token = CONNECTION.set(self)
        try:
            super().on_headers_complete()
        finally:
            CONNECTION.reset(token)

    def handle_websocket_upgrade(self) -> None:
        """The socket's task knows its connection as well: it has to cut it off if it does not drain."""
        harden(self.transport)
        token = CONNECTION.set(self)
        try:
            super().handle_websocket_upgrade()
        finally:
            CONNECTION.reset(token)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        stream, self.stream = self.stream, None
        if stream is not None:
            stream.is_gone = True
            stream.hub.leave(stream)
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """The server stops: streams say so and end."""
        if self.stream is None:
            super().shutdown()
        else:
            self.stream.hub.end(self.stream, Ending.RESTARTING)

    def take_over(self, hub: Hub, wanted: Filter, expires_at: float) -> "SseClient":
        """Make a stream of the connection. What the application still sends for the request is thrown away."""
        harden(self.transport)
        self.cycle.disconnected = True
        self.cycle = _Left()  # type: ignore[assignment]
        self.scope, self.headers = {}, []  # type: ignore[typeddict-item]
        self.pipeline.clear()
        self.flow.resume_reading()
        self.stream = SseClient(self, hub, wanted, expires_at)
        return self.stream


class SseClient:
    """A client of the hub (see push/client.py) on a connection of its own."""

    __slots__ = ("_head", "_protocol", "_write", "backlog_bytes", "expires_at", "filter", "hub", "is_gone", "wire")

    def __init__(self, protocol: StreamingProtocol, hub: Hub, wanted: Filter, expires_at: float) -> None:
        self.hub = hub
        self.wire: Wire = SSE
        self.filter = wanted
        self.expires_at = expires_at
        self.is_gone = False
        self._protocol = protocol
        self._write = protocol.transport.write
        self.backlog_bytes: Callable[[], int] = protocol.transport.get_write_buffer_size
        date = b"".join(b"%b: %b\r\n" % header for header in protocol.server_state.default_headers)
        retry = b"retry: %d\n: onebook\n\n" % random.randint(*RETRY_MILLISECONDS)  # noqa: S311  # not a secret
        self._head = b"%b%b%b%x\r\n%b\r\n" % (STATUS_LINE[200], date, _HEAD, len(retry), retry)

    def write(self, payload: bytes) -> None:
        """Send it; the answer's head goes before the first."""
        if self._head:
            payload, self._head = self._head + payload, b""
        self._write(payload)

    async def drained(self) -> None:
        """Returns when the transport takes more, or the connection is lost."""
        await self._protocol.flow.drain()

    def end(self, ending: Ending) -> None:
        """The last event, then the end of the answer; cut off if that does not get through."""
        self.is_gone = True
        transport = self._protocol.transport
        self.write(self.wire.note(ending.note, {"code": ending.value}, None) + _LAST_CHUNK)
        transport.close()
        self._protocol.loop.call_later(CUT_OFF_SECONDS, transport.abort)


def harden(transport: asyncio.Transport) -> None:
    """Have TCP find out that the other end is gone, and bound what the kernel keeps."""
    connection: Any = transport.get_extra_info("socket")
    if connection is not None and connection.family in {socket.AF_INET, socket.AF_INET6}:
        for option in _SOCKET_OPTIONS:
            connection.setsockopt(*option)
