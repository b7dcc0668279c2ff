"""A client whose transport has a task of its own and takes what it sends from a queue: a WebSocket.

Who calls me: the hub writes, the task takes. What bounds me: the hub, which ends a client whose backlog is too large.
"""

import asyncio
from collections import deque

from onebook.push.client import Ending
from onebook.push.frames import SOCKET, Filter, Wire

DRAINED_BYTES = 64 * 1024


class QueuedClient:
    """Payloads on their way. `ending` is set when the server has ended the stream."""

    __slots__ = ("_bytes", "_moved", "_payloads", "ending", "expires_at", "filter", "is_gone", "wire")

    def __init__(self, wanted: Filter, expires_at: float) -> None:
        self.wire: Wire = SOCKET
        self.filter = wanted
        self.expires_at = expires_at
        self.is_gone = False
        self.ending: Ending | None = None
        self._payloads: deque[bytes] = deque()
        self._bytes = 0
        self._moved = asyncio.Event()

    def backlog_bytes(self) -> int:
        """What has not been taken yet, and what was taken last: it has left when more is asked for."""
        return self._bytes

    def write(self, payload: bytes) -> None:
        """Queue it."""
        self._payloads.append(payload)
        self._bytes += len(payload)
        self._turn()

    async def take(self) -> bytes:
        """The next payload; empty when there will be none any more."""
        while not self._payloads and not self.is_gone:
            await self._moved.wait()
        return self._payloads.popleft() if self._payloads else b""

    def sent(self, payload: bytes) -> None:
        """A payload has left."""
        self._bytes -= len(payload)
        self._turn()

    async def drained(self) -> None:
        """Returns when little is left, or the client is gone."""
        while self._bytes > DRAINED_BYTES and not self.is_gone:
            await self._moved.wait()

    def end(self, ending: Ending) -> None:
        """Nothing more comes; what has not been sent to one who is too slow is thrown away."""
        self.ending = ending
        if ending is Ending.TOO_SLOW:
            self._payloads.clear()
        self.lost()

    def lost(self) -> None:
        """The connection is gone."""
        self.is_gone = True
        self._turn()

    async def over(self) -> None:
        """Returns when the connection is gone, or the server has ended the stream."""
        while not self.is_gone:
            await self._moved.wait()

    def _turn(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()
