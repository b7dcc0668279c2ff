"""Bringing a client up to date before it listens: from the ring, or, where that no longer has what it missed, from the log.

Who calls me: the hub, for clients that came with a cursor. A client that missed much is sent it as fast as it reads, by a task
that ends when it has caught up. What bounds me: MAX_ENTRIES of the log (older cursors are reset), a piece in memory per client,
ASKING questions to the database at a time, CATCH_UP_SECONDS for all of it.

No gap where log and ring meet: the horizon H is read first, so every entry below it can be seen by the reads that follow. Of
those at or above H, the ones handled here so far are in the ring (checked: its floor is not above H), and the others will
be handled later, while the client gets everything that enters the ring. What is below H and is handled here only later
was sent from the log already, and is left out until the hub's own horizon has passed H; then the client joins its audience in
the same turn of the loop that sent it the ring's last event.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import asyncpg
import structlog

from onebook.log.read import Cursor as LogCursor
from onebook.log.stream import readable_events
from onebook.push.client import Client, Ending
from onebook.push.cursor import Place, parse
from onebook.push.ring import Kept, Ring
from onebook.sql import statements

SQL = statements("onebook.push")
MAX_ENTRIES = 10_000
PIECE = 256
ASKING = 2
ACQUIRE_SECONDS = 2.0
CATCH_UP_SECONDS = 60.0

log = structlog.get_logger()

_FAULTS = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


@dataclass(frozen=True, slots=True)
class Start:
    """Where a client's stream begins."""

    source: Literal["now", "ring", "log", "reset"]
    cursor: str | None = None
    """The client's own, where it goes on from there."""
    place: Place | LogCursor | None = None
    reason: str | None = None
    """Why it cannot go on where it wanted to."""


NOW = Start("now")


class Resumption:
    """Clients on their way to listening. `listen` is called when one has caught up, `end` when it cannot."""

    def __init__(
        self,
        ring: Ring,
        pool: "asyncpg.Pool[Any]",
        listen: Callable[[Client], None],
        end: Callable[[Client, Ending], None],
    ) -> None:
        self._ring = ring
        self._pool = pool
        self._listen = listen
        self._end = end
        self._asking = asyncio.Semaphore(ASKING)
        self._turned = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start_of(self, text: str) -> Start:
        """Where to go on after a cursor. Raises MalformedCursor, and asyncpg's errors when the database is away."""
        place = parse(text)
        if isinstance(place, Place) and self._ring.number_of(place) is not None:
            return Start("ring", text, place)
        if place is None:
            return Start("reset", reason="unknown-cursor")
        seen = place.in_log if isinstance(place, Place) else place
        row = (await self._ask("behind", seen.txn, seen.position, MAX_ENTRIES + 1))[0]
        if seen > LogCursor(row["horizon"], 0):
            return Start("reset", reason="unknown-cursor")  # of another database, or one that was set back
        if row["entries"] > MAX_ENTRIES:
            return Start("reset", reason="too-old")
        return Start("log", text, seen)

    def begin(self, client: Client, start: Start) -> None:
        """Have it catch up, at once where little is missing."""
        number = self._ring.number_of(start.place) if isinstance(start.place, Place) else None
        if number is not None and self._ring.next - number < PIECE:
            self._send(client, self._ring.after(number, PIECE))
            self._listen(client)
            return
        task = asyncio.create_task(self._catch_up(client, start.place, number))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def turned(self) -> None:
        """The ring has something new, or its horizon has moved."""
        self._turned.set()
        self._turned = asyncio.Event()

    def stop(self) -> None:
        """Give up all that are under way."""
        for task in self._tasks:
            task.cancel()

    async def _catch_up(self, client: Client, place: Place | LogCursor | None, number: int | None) -> None:
        deadline = asyncio.timeout(CATCH_UP_SECONDS)
        try:
            async with deadline:
                horizon = 0
                if number is None and place is not None:
                    # A place can leave the ring between the answer to its cursor and this moment.
                    seen = place.in_log if isinstance(place, Place) else place
                    horizon = await self._from_log(client, seen)
                    number = self._ring.number_from(horizon)
                await self._from_ring(client, number or 0, horizon)
        except LookupError:
            self._end(client, Ending.TOO_SLOW)
        except _FAULTS:
            is_slow = deadline.expired() and client.backlog_bytes() > 0
            self._end(client, Ending.TOO_SLOW if is_slow else Ending.UNAVAILABLE)
        except Exception as error:  # whatever it is, this client must not wait for ever, and others are not concerned
            log.error("resumption_failed", exc_info=error)
            self._end(client, Ending.UNAVAILABLE)

    async def _from_log(self, client: Client, seen: LogCursor) -> int:
        """Send what the log has after a cursor. Returns the horizon below which that is everything."""
        venues = list(client.filter.venues)
        while not client.is_gone:
            (row,) = await self._ask("horizon")
            horizon: int = row[0]
            while not client.is_gone:
                rows = await self._ask("since", seen.txn, seen.position, horizon, venues, PIECE)
                events = readable_events(rows)
                self._send(client, [Kept(event, LogCursor(event.txn, event.position)) for event in events])
                await client.drained()
                if len(rows) < PIECE:
                    break
                seen = LogCursor(rows[-1]["txn"], rows[-1]["position"])
            if self._ring.floor <= horizon:
                return horizon
            seen = Place(horizon, 0).in_log
        return 0

    async def _from_ring(self, client: Client, number: int, horizon: int) -> None:
        """Send the ring from a number on, without what lies below the horizon; when it is at its end, have the client listen."""
        while not client.is_gone:
            turned = self._turned
            kept = self._ring.after(number, PIECE)
            number += len(kept)
            self._send(client, (each for each in kept if each.txn >= horizon))
            if len(kept) == PIECE:
                await client.drained()
            elif horizon <= self._ring.place.horizon:
                self._listen(client)
                return
            else:
                await turned.wait()

    def _send(self, client: Client, events: Iterable[Kept]) -> None:
        if client.is_gone:  # it may have left while the log was read
            return
        wanted, wire = client.filter, client.wire
        frames = [
            wire.event(kept, body)
            for kept in events
            if wanted.touches(kept) and (body := wanted.body_of(kept)) is not None
        ]
        if frames:
            client.write(b"".join(frames))

    async def _ask(self, statement: str, *arguments: Any) -> list[Any]:
        async with self._asking, self._pool.acquire(timeout=ACQUIRE_SECONDS) as connection:
            return await connection.fetch(SQL[statement], *arguments)
