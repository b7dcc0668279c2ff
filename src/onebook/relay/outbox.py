"""Transactions between the WAL and the broker: in order, bounded, kept until the broker has acknowledged them."""

import asyncio
from collections import deque

from onebook.relay.transactions import Transaction


class Outbox:
    """One reader puts, one publisher takes; what was taken comes again after `rewind`."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._waiting: deque[Transaction] = deque()
        self._taken: deque[Transaction] = deque()
        self._filled = asyncio.Event()
        self._room = asyncio.Event()
        self.bytes = 0

    async def put(self, transaction: Transaction) -> None:
        """Add at the end; waits while the bound is reached, so that it is exceeded by one transaction at the most."""
        while self.bytes >= self._max_bytes:
            self._room.clear()
            await self._room.wait()
        self.bytes += transaction.bytes
        self._waiting.append(transaction)
        self._filled.set()

    async def take(self) -> Transaction:
        """The next to publish."""
        while not self._waiting:
            self._filled.clear()
            await self._filled.wait()
        transaction = self._waiting.popleft()
        self._taken.append(transaction)
        return transaction

    def settle(self) -> None:
        """The oldest that was taken is with the broker."""
        self.bytes -= self._taken.popleft().bytes
        self._room.set()

    def rewind(self) -> None:
        """What was taken and not settled is to be taken again."""
        while self._taken:
            self._waiting.appendleft(self._taken.pop())
        self._filled.set()

    @property
    def oldest(self) -> Transaction | None:
        """The one that has waited longest; None when all is with the broker."""
        if self._taken:
            return self._taken[0]
        return self._waiting[0] if self._waiting else None
