"""Names to definitions, remembered. Venues, resources and sessions are never deleted, so what is found stays found.

A definition may be older than the database's: the page compares its revision under the lock, and what is older
is read again. A session's times may be `SESSION_SECONDS` old, its cell never changes. Bounded by the
number of resources, of which a million fit in about a gigabyte.
"""

import asyncio
from collections.abc import Iterable, Sequence
from time import monotonic
from typing import Generic, TypeVar
from zoneinfo import ZoneInfo

import asyncpg
import msgspec

from onebook.ledger.failures import UnknownName
from onebook.model.booking import Item
from onebook.model.hours import OpeningHours
from onebook.model.resource import Kind, Resource, Session, Unit, Venue
from onebook.sql import statements

SQL = statements("onebook.ledger")
SESSION_SECONDS = 2.0
READ_SECONDS = 3.0


K = TypeVar("K")
V = TypeVar("V")


class Seen(Generic[K, V]):
    """What has been read, by name. Growing old takes nothing away: whoever is using a value goes on with it."""

    def __init__(self) -> None:
        self._values: dict[K, V] = {}
        self._old: set[K] = set()

    def __getitem__(self, name: K) -> V:
        return self._values[name]

    def __setitem__(self, name: K, value: V) -> None:
        self._values[name] = value
        self._old.discard(name)

    def missing(self, names: Iterable[K]) -> list[K]:
        """Those of the names that have to be read: not seen yet, or grown old."""
        return [name for name in names if name not in self._values or name in self._old]

    def grow_old(self) -> None:
        """Have every name read again when it is next asked for."""
        self._old.update(self._values)


class Catalog:
    """The definitions this process has seen."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._venues: Seen[str, Venue] = Seen()
        self._resources: Seen[str, Resource] = Seen()
        self._sessions: Seen[tuple[str, str], Session] = Seen()
        self._sessions_until = 0.0
        self._reading = asyncio.Lock()
        self.session_codes: dict[int, str] = {}

    def resource(self, key: str) -> Resource:
        """A definition that has been seen. Raises KeyError."""
        return self._resources[key]

    def session(self, venue: str, code: str) -> Session:
        """A session that has been seen. Raises KeyError."""
        return self._sessions[venue, code]

    async def venue(self, code: str) -> Venue:
        """A venue by its code. Raises UnknownName."""
        await self._read_venues([code])
        try:
            return self._venues[code]
        except KeyError:
            raise UnknownName("venue", code) from None

    async def find_session(self, venue: str, code: str, pointer: str | None = None) -> Session:
        """A session by its venue and code. Raises UnknownName."""
        await self.read_sessions([(venue, code)])
        try:
            return self._sessions[venue, code]
        except KeyError:
            raise UnknownName("session", code, pointer) from None

    async def find_resource(self, key: str) -> Resource:
        """A resource by "venue/code". Raises UnknownName."""
        await self.read_resources([key])
        try:
            return self._resources[key]
        except KeyError:
            raise UnknownName("resource", key) from None

    def missing_resources(self, keys: Iterable[str]) -> list[str]:
        """Those of the keys that have to be read."""
        return self._resources.missing(keys)

    def missing_sessions(self, names: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """Those of the (venue, code) pairs that have to be read."""
        if names and monotonic() > self._sessions_until:
            self._sessions.grow_old()
            self._sessions_until = monotonic() + SESSION_SECONDS
        return self._sessions.missing(names)

    def learn_sessions(self, items: Iterable[Item]) -> None:
        """Take the names of sessions from items that another process has resolved."""
        for item in items:
            if item.session is not None:
                self.session_codes[item.cells[0]] = item.session

    def grow_old(self) -> None:
        """Have everything read again when it is next asked for."""
        self._venues.grow_old()
        self._resources.grow_old()
        self._sessions.grow_old()

    async def read_resources(self, keys: Iterable[str]) -> None:
        """See these resources, where they have to be read; unknown ones stay unseen. Raises TimeoutError."""
        wanted = list(keys)
        if not self._resources.missing(wanted):
            return
        # One at a time: when a sale opens all ask at once, and the first to read brings the neighbours of the others.
        async with asyncio.timeout(READ_SECONDS), self._reading:
            if missing := self._resources.missing(wanted):
                await self._read_resources(missing)

    async def _read_resources(self, keys: Sequence[str]) -> None:
        names = [key.partition("/")[::2] for key in keys]
        await self._read_venues({venue for venue, _ in names})
        rows = await self._pool.fetch(SQL["resources"], [v for v, _ in names], [c for _, c in names])
        for row in rows:
            resource = resource_of(row, self._venues[row["venue"]])
            self._resources[resource.key] = resource

    async def read_sessions(self, names: Sequence[tuple[str, str]]) -> None:
        """See these (venue, code) pairs, where they have to be read; unknown ones stay unseen. Raises TimeoutError."""
        if missing := self.missing_sessions(names):
            async with asyncio.timeout(READ_SECONDS):
                await self._read_sessions(missing)

    async def _read_sessions(self, names: Sequence[tuple[str, str]]) -> None:
        rows = await self._pool.fetch(SQL["sessions"], [venue for venue, _ in names], [code for _, code in names])
        for row in rows:
            zone = (await self.venue(row["venue"])).zone
            self._sessions[row["venue"], row["code"]] = session_of(row, zone)
            self.session_codes[row["id"]] = row["code"]

    async def _read_venues(self, codes: Iterable[str]) -> None:
        if missing := self._venues.missing(codes):
            for row in await self._pool.fetch(SQL["venues"], missing):
                self._venues[row["code"]] = venue_of(row)


def venue_of(row: asyncpg.Record) -> Venue:
    """A venue from its row."""
    return Venue(
        id=row["id"],
        code=row["code"],
        name=row["name"],
        zone=ZoneInfo(row["timezone"]),
        currency=row["currency"],
        market=row["market"],
        prepaid=row["prepaid"],
    )


def session_of(row: asyncpg.Record, zone: ZoneInfo) -> Session:
    """A session from its row, its times in the venue's offset."""
    return Session(
        id=row["id"],
        venue=row["venue"],
        code=row["code"],
        starts=row["starts_at"].astimezone(zone).isoformat(),
        ends=row["ends_at"].astimezone(zone).isoformat(),
    )


def resource_of(row: asyncpg.Record, venue: Venue) -> Resource:
    """A definition from its row; buffers in whole cells."""
    cell_minutes = row["cell_minutes"]
    hours = row["hours"]
    return Resource(
        id=row["id"],
        key=f"{venue.code}/{row['code']}",
        venue=venue,
        kind=Kind(row["kind"]),
        name=row["name"],
        unit=Unit(row["unit"]),
        cell_minutes=cell_minutes,
        capacity=row["capacity"],
        overbooking=row["overbooking"],
        buffer_before=cells_for(row["buffer_before"], cell_minutes),
        buffer_after=cells_for(row["buffer_after"], cell_minutes),
        hours=None if hours is None else msgspec.json.decode(hours, type=OpeningHours),
        min_stay=row["min_stay"],
        max_stay=row["max_stay"],
        revision=row["revision"],
    )


def cells_for(minutes: int, cell_minutes: int) -> int:
    """How many cells a turnaround of so many minutes takes, rounded up."""
    return -(-minutes // cell_minutes) if minutes else 0
