"""The public face of the read side: what may be asked of it."""

import base64
from collections.abc import Sequence
from datetime import date, datetime
from uuid import UUID

import asyncpg
import msgspec

from onebook.ledger.catalog import Catalog
from onebook.ledger.failures import Unprocessable
from onebook.ledger.rows import booking_of
from onebook.log.read import START, CloudEvent, Cursor, read_events
from onebook.model.booking import Booking
from onebook.model.commands import Wanted
from onebook.model.periods import BadTime, night_date, night_number
from onebook.model.resource import Kind
from onebook.views.alternatives import Alternative, Alternatives
from onebook.views.availability import SQL, Availability, availability
from onebook.views.search import Found, search


class BookingPage(msgspec.Struct, frozen=True):
    """Bookings, the latest arrival first, and where the next page begins; None on the last."""

    bookings: list[Booking]
    next_cursor: str | None


class EventPage(msgspec.Struct, frozen=True):
    """Events in the order of the log, and the cursor after the last that was looked at."""

    events: Sequence[CloudEvent]
    cursor: str


class Reads:
    """Answers from the ledger's tables. Raises UnknownName, Unprocessable, and asyncpg's errors when the database is away."""

    def __init__(self, pool: asyncpg.Pool, catalog: Catalog) -> None:
        self._pool = pool
        self._catalog = catalog
        self._alternatives = Alternatives(pool, catalog)

    async def ping(self) -> None:
        """Returns if the database answers."""
        await self._pool.fetchval("SELECT 1")

    async def availability(
        self, venue: str, starts: str, ends: str, *, resources: Sequence[str] | None = None, quantity: int = 0
    ) -> Availability:
        """What is on sale in a venue, cell by cell."""
        return await availability(
            self._pool, self._catalog, venue, starts, ends, resources=resources, quantity=quantity
        )

    async def search(
        self,
        *,
        market: str | None,
        venue: str | None,
        kind: Kind | None,
        starts: str,
        ends: str,
        quantity: int,
        limit: int,
    ) -> list[Found]:
        """Resources that are free for the whole period."""
        return await search(
            self._pool,
            self._catalog,
            market=market,
            venue=venue,
            kind=kind,
            starts=starts,
            ends=ends,
            quantity=quantity,
            limit=limit,
        )

    async def alternatives(self, wanted: Wanted) -> tuple[Alternative, ...]:
        """Up to three ways out of a refusal; cheap to ask again and again."""
        return await self._alternatives.to(wanted)

    async def booking(self, identity: str, channel: str | None) -> tuple[Booking, datetime] | None:
        """A booking and the database's time; None if there is none, or not of this channel."""
        row = await self._pool.fetchrow(SQL["booking"], identity, channel)
        return None if row is None else (booking_of(row), row["read_at"])

    async def bookings(
        self,
        *,
        channel: str | None,
        venue: str | None,
        starts: str | None,
        ends: str | None,
        status: str | None,
        cursor: str | None,
        limit: int,
    ) -> BookingPage:
        """Bookings whose stay touches the dates [from, to)."""
        if venue is not None:
            await self._catalog.venue(venue)
        after_day, after_id = (None, None) if cursor is None else _parse_cursor(cursor)
        rows = await self._pool.fetch(
            SQL["bookings"],
            channel,
            venue,
            _day(starts, "from"),
            _day(ends, "to"),
            status,
            after_day,
            after_id,
            limit + 1,
        )
        last = rows[limit - 1] if len(rows) > limit else None
        return BookingPage(
            bookings=[booking_of(row) for row in rows[:limit]],
            next_cursor=None if last is None else _cursor(last["first_day"], last["id"]),
        )

    async def events(self, cursor: str | None, venue: str | None, limit: int) -> EventPage:
        """The log after a cursor, in its order."""
        try:
            after = START if cursor is None else Cursor.parse(cursor)
        except ValueError as error:
            raise Unprocessable("bad-cursor", "this is no cursor of the log", "after") from error
        async with self._pool.acquire(timeout=2) as connection:
            events, reached = await read_events(connection, after, venue=venue, limit=limit)
        return EventPage(events=events, cursor=str(reached))


def _day(text: str | None, parameter: str) -> date | None:
    if text is None:
        return None
    try:
        return night_date(night_number(text))
    except BadTime as error:
        raise Unprocessable("bad-time", str(error), parameter) from error


def _cursor(day: date, identity: str) -> str:
    return base64.urlsafe_b64encode(f"{day}.{identity}".encode()).decode().rstrip("=")


def _parse_cursor(text: str) -> tuple[date, str]:
    try:
        day, identity = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode("ascii").split(".")
        return date.fromisoformat(day), str(UUID(identity))
    except ValueError as error:
        raise Unprocessable("bad-cursor", "this is no cursor of the list", "cursor") from error
