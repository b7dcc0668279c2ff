"""Names to definitions, remembered. Venues, resources and sessions are never deleted, so what is found stays found.

A definition may be older than the database's: the page compares its revision under the lock, and what is older
is forgotten and read again. A session's times may be `SESSION_SECONDS` old, its cell never changes. Bounded by the
number of resources, of which a million fit in about a gigabyte.
"""

import asyncio
from collections.abc import Iterable, Sequence
from time import monotonic
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


class Catalog:
    """The definitions this process has seen."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._venues: dict[str, Venue] = {}
        self._resources: dict[str, Resource] = {}
        self._sessions: dict[tuple[str, str], Session] = {}
        self._sessions_until = 0.0
        self.session_codes: dict[int, str] = {}

    def resource(self, key: str) -> Resource:
        """A definition that has been seen. Raises KeyError."""
        return self._resources[key]

    def session(self, venue: str, code: str) -> Session:
        """A session that has been seen. Raises KeyError."""
        return self._sessions[venue, code]

    async def venue(self, code: str) -> Venue:
        """A venue by its code. Raises UnknownName."""
        if code not in self._venues:
            await self._read_venues([code])
        try:
            return self._venues[code]
        except KeyError:
            raise UnknownName("venue", code) from None

    async def find_session(self, venue: str, code: str, pointer: str | None = None) -> Session:
        """A session by its venue and code. Raises UnknownName."""
        if self.missing_sessions([(venue, code)]):
            await self.read_sessions([(venue, code)])
        try:
            return self._sessions[venue, code]
        except KeyError:
            raise UnknownName("session", code, pointer) from None

    async def find_resource(self, key: str) -> Resource:
        """A resource by "venue/code". Raises UnknownName."""
        if key not in self._resources:
            await self.read_resources([key])
        try:
            return self._resources[key]
        except KeyError:
            raise UnknownName("resource", key) from None

    def missing_resources(self, keys: Iterable[str]) -> list[str]:
        """Those of the keys that have not been seen."""
        return [key for key in keys if key not in self._resources]

    def missing_sessions(self, names: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """Those of the (venue, code) pairs that have not been seen."""
        if not names:
            return []
        if monotonic() > self._sessions_until:
            self._sessions.clear()
            self._sessions_until = monotonic() + SESSION_SECONDS
        return [name for name in names if name not in self._sessions]

    def learn_sessions(self, items: Iterable[Item]) -> None:
        """Take the names of sessions from items that another process has resolved."""
        for item in items:
            if item.session is not None:
                self.session_codes[item.cells[0]] = item.session

    def forget_all(self) -> None:
        """Have everything read again when it is next asked for."""
        self._venues.clear()
        self._resources.clear()
        self._sessions.clear()

    async def read_resources(self, keys: Iterable[str]) -> None:
        """See the resources of these keys; unknown ones stay unseen. Raises TimeoutError."""
        async with asyncio.timeout(READ_SECONDS):
            await self._read_resources(keys)

    async def _read_resources(self, keys: Iterable[str]) -> None:
        names = [key.partition("/")[::2] for key in keys]
        await self._read_venues({venue for venue, _ in names} - self._venues.keys())
        rows = await self._pool.fetch(SQL["resources"], [v for v, _ in names], [c for _, c in names])
        for row in rows:
            resource = resource_of(row, self._venues[row["venue"]])
            self._resources[resource.key] = resource

    async def read_sessions(self, names: Iterable[tuple[str, str]]) -> None:
        """See the sessions of these (venue, code) pairs; unknown ones stay unseen. Raises TimeoutError."""
        async with asyncio.timeout(READ_SECONDS):
            await self._read_sessions(names)

    async def _read_sessions(self, names: Iterable[tuple[str, str]]) -> None:
        pairs = list(names)
        rows = await self._pool.fetch(SQL["sessions"], [v for v, _ in pairs], [c for _, c in pairs])
        for row in rows:
            zone = (await self.venue(row["venue"])).zone
            self._sessions[row["venue"], row["code"]] = session_of(row, zone)
            self.session_codes[row["id"]] = row["code"]

    async def _read_venues(self, codes: Iterable[str]) -> None:
        wanted = list(codes)
        if wanted:
            for row in await self._pool.fetch(SQL["venues"], wanted):
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
