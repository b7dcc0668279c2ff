"""Dead letters: events that a consumer could not handle, and deliveries given up, kept with their reason.

Operators list, show, replay and purge them; asking for a replay only marks a letter, and its consumer tries it again within a
heartbeat. A letter is one for all workers that run the same consumer: a replay stands for REPLAY_SECONDS, so that each of them
handles the event, and is withdrawn by the first that fails.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import msgspec

from onebook.log.read import CloudEvent, event_of
from onebook.sql import statements

SQL = statements("onebook.broker")
REPLAY_SECONDS = 2.0
MAX_REASON = 2_000


class DeadLetter(msgspec.Struct, frozen=True):
    """One event that one consumer could not handle."""

    id: int
    consumer: str
    txn: int
    position: int
    type: str
    subject: str
    reason: str
    attempts: int
    first_at: datetime
    last_at: datetime
    replay_requested_at: datetime | None


class LetterWithEvent(msgspec.Struct, frozen=True):
    """A letter and its event, which is null where the letter stands for no entry of the log."""

    letter: DeadLetter
    event: CloudEvent | None


class WantedReplay(msgspec.Struct, frozen=True):
    """A letter that is to be tried again; once `due`, a success takes it out."""

    id: int
    consumer: str
    txn: int
    position: int
    type: str
    subject: str
    due: bool


class DeadLetters:
    """The letters of all consumers. Raises asyncpg's errors when the database is away."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def list(self, *, consumer: str | None, after: int, limit: int) -> list[DeadLetter]:
        """Up to `limit` letters whose id is above `after`, in the order in which they came."""
        return [_letter(row) for row in await self._pool.fetch(SQL["letters"], after, consumer, limit)]

    async def show(self, identity: int) -> LetterWithEvent | None:
        """A letter with its event; None if there is no such letter."""
        row = await self._pool.fetchrow(SQL["letter"], identity)
        if row is None:
            return None
        entry = await self.entry(row["txn"], row["position"])
        return LetterWithEvent(_letter(row), None if entry is None else event_of(entry))

    async def replay(self, identities: Sequence[int]) -> Sequence[int]:
        """Ask for another try of these; those that exist."""
        return _ids(await self._pool.fetch(SQL["replay"], identities))

    async def replay_all(self, consumer: str | None) -> Sequence[int]:
        """Ask for another try of all letters of a consumer, or of all there are."""
        return _ids(await self._pool.fetch(SQL["replay_all"], consumer))

    async def purge(self, identities: Sequence[int]) -> Sequence[int]:
        """Throw these away; those that existed."""
        return _ids(await self._pool.fetch(SQL["purge"], identities))

    async def purge_all(self, consumer: str | None) -> Sequence[int]:
        """Throw away all letters of a consumer, or all there are."""
        return _ids(await self._pool.fetch(SQL["purge_all"], consumer))

    async def park(self, consumer: str, txn: int, position: int, kind: str, subject: str, reason: str) -> None:
        """Keep an event that this consumer could not handle, or count one more failure of it."""
        # PostgreSQL has no place for NUL in a text, and whatever a handler said must not keep its event from being parked.
        said = reason[:MAX_REASON].replace("\0", "�")
        await self._pool.execute(SQL["park"], consumer, txn, position, kind, subject, said)

    async def wanted(self, consumers: Sequence[str], limit: int) -> Sequence[WantedReplay]:
        """Letters of these consumers that are to be tried again."""
        rows = await self._pool.fetch(SQL["wanted_replays"], consumers, timedelta(seconds=REPLAY_SECONDS), limit)
        return [WantedReplay(**row) for row in rows]

    async def entry(self, txn: int, position: int) -> Any:
        """The row of the log, or None."""
        return await self._pool.fetchrow(SQL["entry"], txn, position)

    async def settle(self, identity: int) -> None:
        """It was handled after all."""
        await self._pool.execute(SQL["settle"], identity)


def _letter(row: Any) -> DeadLetter:
    return DeadLetter(**row)


def _ids(rows: Sequence[Any]) -> Sequence[int]:
    return sorted(row["id"] for row in rows)
