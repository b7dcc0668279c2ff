"""One write for a short answer: the head waits for the body.

uvicorn writes head and body apart, and each write is a system call through the whole of TCP, which costs more than
anything else in answering a request. The head is kept until the body follows, or until the loop comes round again.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class CorkedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1, with its writes joined."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Put the cork in."""
        super().connection_made(transport)
        self.transport = _Corked(transport, self.loop)  # type: ignore[assignment]


class _Corked:
    """A transport that joins what is written within one turn of the loop."""

    __slots__ = ("_kept", "_loop", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._kept = b""

    def write(self, data: bytes) -> None:
        """Keep a head, which ends in an empty line; write anything else after what was kept."""
        if self._kept:
            self._transport.write(self._kept + data)
            self._kept = b""
        elif data.endswith(b"\r\n\r\n"):
            self._kept = data
            self._loop.call_soon(self._flush)
        else:
            self._transport.write(data)

    def close(self) -> None:
        """Close, after what was kept."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._kept:
            self._transport.write(self._kept)
            self._kept = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
