"""The hub: every event of the stream, to every client of this worker that may see it and wants to.

Who calls me: the consumer (see broker/consumer.py), with events in the order of their commits; the routes, for each client. What
I own: the ring of the last events, and the clients. What survives a crash: nothing; clients come again with their cursor and
miss nothing. What bounds me: `max_clients`, `kept_events`, and per client `max_client_buffer_kib` and one batch of SLICE
events, shared by all; a client that lets more pile up is dropped. No task per client, one timer for all, and after WRITES writes
the loop's other business has its turn.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import Any

import asyncpg

from onebook import tracing
from onebook.config import PushSettings
from onebook.ledger.failures import UnknownName
from onebook.log.stream import StreamEvent
from onebook.push.audience import Audience, Audiences
from onebook.push.client import Client, Ending
from onebook.push.frames import Wire
from onebook.push.metrics import CLIENTS, ENDED, RESUMED
from onebook.push.resume import ACQUIRE_SECONDS, NOW, SQL, Resumption, Start
from onebook.push.ring import Kept, Ring

SLICE = 256
WRITES = 256
TICK_SECONDS = 1.0


class Hub:
    """A handler of the stream (see broker/handler.py)."""

    name = "push"

    def __init__(self, pool: "asyncpg.Pool[Any]", settings: PushSettings) -> None:
        self._pool = pool
        self._settings = settings
        self._max_backlog_bytes = settings.max_client_buffer_kib * 1024
        self._ring = Ring(settings.kept_events)
        self._clients: set[Client] = set()
        self._audiences = Audiences()
        self._resumption = Resumption(self._ring, pool, self._listen, self.end)
        self._timer: asyncio.TimerHandle | None = None
        self._is_sending = False
        self._venues: set[str] = set()

    async def start(self) -> int:
        """The log's horizon; after a failure the last one that was reached, so that no client misses what came since."""
        if self._ring.place.horizon == 0:
            async with self._pool.acquire(timeout=ACQUIRE_SECONDS) as connection:
                self._ring.begin(await connection.fetchval(SQL["horizon"]))
        return self._ring.place.horizon

    async def handle(self, events: Sequence[StreamEvent]) -> None:
        """Send them to whom they concern; while there are many of one or the other, requests get their turn."""
        for first in range(0, len(events), SLICE):
            await self._spread(events[first : first + SLICE])

    async def checkpoint(self, horizon: int) -> None:
        """Cursors issued from now on say that everything below it has been seen."""
        self._ring.advance(horizon)
        self._resumption.turned()

    async def rebuild(self) -> None:
        """Nothing here is derived from earlier events."""

    async def require_venues(self, venues: Iterable[str]) -> None:
        """Raises UnknownName. Venues are never deleted, so those found are remembered: as many as there are."""
        missing = [venue for venue in venues if venue not in self._venues]
        if not missing:
            return
        async with self._pool.acquire(timeout=ACQUIRE_SECONDS) as connection:
            self._venues.update(row["code"] for row in await connection.fetch(SQL["known_venues"], missing))
        for venue in missing:
            if venue not in self._venues:
                raise UnknownName("venue", venue)

    async def start_of(self, cursor: str | None) -> Start:
        """Where a stream goes on. Raises MalformedCursor, and asyncpg's errors when the database is away."""
        return NOW if cursor is None else await self._resumption.start_of(cursor)

    @property
    def cursor(self) -> str | None:
        """Where a stream goes on from what has been handled here so far; None before anything has."""
        return str(self._ring.place) if self._ring.place.horizon else None

    @property
    def is_full(self) -> bool:
        """Whether further clients have to come back later."""
        return len(self._clients) >= self._settings.max_clients

    def join(self, client: Client, start: Start) -> None:
        """Take a client in. When it is told `ready`, nothing that is committed from then on will be missed."""
        self._clients.add(client)
        CLIENTS.inc()
        RESUMED.labels(start.source).inc()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick)
        cursor = start.cursor or str(self._ring.place)
        reset = b"" if start.reason is None else client.wire.note("reset", {"reason": start.reason}, cursor)
        client.write(reset + client.wire.note("ready", {"from": start.source}, cursor))
        if start.place is None:
            self._listen(client)
        else:
            self._resumption.begin(client, start)

    def leave(self, client: Client) -> None:
        """Forget a client; may be called again."""
        if client in self._clients:
            self._clients.discard(client)
            self._audiences.leave(client)
            CLIENTS.dec()

    def end(self, client: Client, ending: Ending) -> None:
        """Forget a client after telling it why; one that has left already is not told."""
        if client in self._clients:
            ENDED.labels(ending.value).inc()
            self.leave(client)
            client.end(ending)

    def close(self) -> None:
        """End all streams; clients connect again elsewhere."""
        self._resumption.stop()
        for client in tuple(self._clients):
            self.end(client, Ending.RESTARTING)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _listen(self, client: Client) -> None:
        if client in self._clients:
            self._audiences.join(client, asyncio.get_running_loop().time())

    async def _spread(self, events: Sequence[StreamEvent]) -> None:
        began = time.time()
        taken: list[Kept] = []
        try:
            for event in events:
                kept = self._ring.add(event)
                if kept is not None:
                    taken.append(kept)
        finally:  # what stands before one that cannot be shown is in the ring, so it must go out now
            await self._send(taken)
        for event in events:
            tracing.record("push", event.traceparent, began, clients=len(self._clients))

    async def _send(self, taken: Sequence[Kept]) -> None:
        """To all who listen at this moment: who joins while others are served has seen these events in the ring."""
        writes = [
            (client, payload)
            for audience, frames in self._frames(taken).items()
            for payload in (b"".join(frames),)
            for client in audience.clients
        ]
        self._resumption.turned()
        self._is_sending = True
        try:
            for number, (client, payload) in enumerate(writes, 1):
                self._write(client, payload)
                if number % WRITES == 0:
                    await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.close()  # some have these events and some do not: with their cursors they get them elsewhere
            raise
        finally:
            self._is_sending = False

    def _frames(self, events: Iterable[Kept]) -> dict[Audience, list[bytes]]:
        """What each audience gets; a frame is made once, whoever gets it."""
        now = asyncio.get_running_loop().time()
        frames: dict[Audience, list[bytes]] = {}
        for kept in events:
            made: dict[tuple[Wire, bytes], bytes] = {}
            for audience in self._audiences.of(kept.venues):
                body = audience.filter.body_of(kept)
                if body is None:
                    continue
                audience.spoken_at = now
                key = (audience.wire, body)
                if key not in made:
                    made[key] = audience.wire.event(kept, body)
                frames.setdefault(audience, []).append(made[key])
        return frames

    def _write(self, client: Client, payload: bytes) -> None:
        """Give it to a client, unless it has too much before it already: then it is dropped instead."""
        if client.is_gone:
            return
        if client.backlog_bytes() > self._max_backlog_bytes:
            self.end(client, Ending.TOO_SLOW)
        else:
            client.write(payload)

    def _tick(self) -> None:
        """Once a second: end what has expired, and say to those who hear nothing that they are heard of."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(TICK_SECONDS, self._tick) if self._clients else None
        now = time.time()
        for client in [each for each in self._clients if each.expires_at <= now]:
            self.end(client, Ending.TOKEN_EXPIRED)
        if self._is_sending:
            return  # a sign of life names the latest place, which some have not reached
        silent_since = loop.time() - self._settings.comment_seconds + TICK_SECONDS
        for audience in self._audiences:
            if audience.spoken_at <= silent_since:
                audience.spoken_at = loop.time()
                alive = audience.wire.alive(str(self._ring.place))
                for client in tuple(audience.clients):
                    self._write(client, alive)
