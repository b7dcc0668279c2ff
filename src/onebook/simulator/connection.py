"""A connection to the simulator: HTTP/1.1 on httptools, kept alive, one write per answer.

Who calls me: the loop. What bounds me: MAX_REQUEST_BYTES; one request under way, since a pipelined one ends the connection;
MAX_CONNECTIONS; the server, which closes who is silent for long.
"""

import asyncio
from http import HTTPStatus
from typing import cast

import httptools

from onebook.simulator.api import Api, Reply, Request

MAX_REQUEST_BYTES = 32_768
MAX_CONNECTIONS = 2_000

_HEADS = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: ".encode() for status in HTTPStatus}


class Connection(asyncio.Protocol):
    """One of them."""

    def __init__(self, api: Api, connections: "set[Connection]") -> None:
        self.quiet_since = 0.0
        self._api = api
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._received = 0
        self._under_way = False
        self._clear()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Too many are turned away."""
        self._transport = cast(asyncio.Transport, transport)
        self._connections.add(self)
        self.quiet_since = self._loop.time()
        if len(self._connections) > MAX_CONNECTIONS:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Whatever its answer would have been, nobody waits for it."""
        self._connections.discard(self)

    def data_received(self, data: bytes) -> None:
        """Requests are answered as soon as they are whole."""
        self.quiet_since = self._loop.time()
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError:
            self.close()
            raise  # not the client's fault but ours: the loop's log has it
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.close()
        if self._received > MAX_REQUEST_BYTES:
            self.close()

    def close(self) -> None:
        """Without an answer."""
        self._transport.abort()

    def on_url(self, url: bytes) -> None:
        """Called by the parser, with a part of it if it came in parts."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser; one header matters."""
        if name.lower() == b"authorization":
            self._authorization = value

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self._body += body

    def on_message_complete(self) -> None:
        """Called by the parser: the request is whole."""
        if self._under_way or self._transport.is_closing():
            self.close()
            return
        self._received = 0
        reply = self._api.reply(Request(self._parser.get_method(), self._target, self._authorization, self._body))
        self._clear()
        if reply.after_seconds:
            self._under_way = True
            self._loop.call_later(reply.after_seconds, self._send, reply)
        else:
            self._send(reply)

    def _send(self, reply: Reply) -> None:
        self._under_way = False
        if self._transport.is_closing():
            return
        if reply.dropped:
            self.close()
            return
        self._transport.write(
            b"%b%b\r\ncontent-length: %d\r\n\r\n%b"
            % (_HEADS[reply.status], reply.content_type, len(reply.body), reply.body)
        )
        if not self._parser.should_keep_alive():
            self._transport.close()

    def _clear(self) -> None:
        self._target = b""
        self._authorization = b""
        self._body = b""
