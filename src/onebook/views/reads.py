"""The public face of the read side: what may be asked of it."""

import base64
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from uuid import UUID

import asyncpg
import msgspec
from msgspec.structs import replace

from onebook.ledger.catalog import Catalog
from onebook.ledger.failures import Unprocessable
from onebook.ledger.rows import booking_of
from onebook.log.read import START, CloudEvent, Cursor, read_events
from onebook.model.booking import Booking
from onebook.model.commands import Wanted
from onebook.model.periods import BadTime, night_date, night_number
from onebook.model.resource import Kind
from onebook.views.alternatives import Alternative, Alternatives
from onebook.views.availability import Availability, Behind, availability
from onebook.views.search import Found, search
from onebook.views.snapshot import SQL
from onebook.views.stock import Stock
from onebook.views.view import AvailabilityView


class BookingPage(msgspec.Struct, frozen=True):
    """Bookings, the latest arrival first, and where the next page begins; None on the last."""

    bookings: list[Booking]
    next_cursor: str | None


class EventPage(msgspec.Struct, frozen=True):
    """Events in the order of the log, and the cursor after the last that was looked at."""

    events: Sequence[CloudEvent]
    cursor: str


class Reads:
    """What is on sale is answered from the view; bookings and the log from the tables.

    Raises UnknownName, Unprocessable; LedgerUnavailable before the view is loaded; asyncpg's errors when the database is away.
    """

    def __init__(
        self, pool: asyncpg.Pool, catalog: Catalog, view: AvailabilityView, *, version_wait_seconds: float = 1.0
    ) -> None:
        self._pool = pool
        self._catalog = catalog
        self._version_wait_seconds = version_wait_seconds
        self._alternatives = Alternatives(catalog, view)
        self.view = view

    async def availability(
        self,
        venue: str,
        starts: str,
        ends: str,
        *,
        resources: Sequence[str] | None = None,
        quantity: int = 0,
        at_least: Mapping[str, int] | None = None,
    ) -> Availability:
        """What is on sale in a venue, cell by cell; of resources in `at_least`, as of that version or a later one.

        Waits `version_wait_seconds` for that; after it, the answer says which are behind.
        """
        wanted = at_least or {}
        await self._know(venue)
        if wanted:
            await self.view.reached(lambda stock: not behind(stock, wanted), self._version_wait_seconds)
        found = availability(self.view.stock, venue, starts, ends, resources=resources, quantity=quantity)
        missing = behind(self.view.stock, wanted)
        return replace(found, behind=missing) if missing else found

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
        if venue is not None:
            await self._know(venue)
        return search(
            self.view.stock,
            market=market,
            venue=venue,
            kind=kind,
            starts=starts,
            ends=ends,
            quantity=quantity,
            limit=limit,
        )

    async def _know(self, venue: str) -> None:
        """A venue that was defined a moment ago is waited for. Raises UnknownName for one that does not exist."""
        if venue not in self.view.stock.places:
            await self._catalog.venue(venue)
            await self.view.reached(lambda stock: venue in stock.places, self._version_wait_seconds)

    async def alternatives(self, wanted: Wanted) -> tuple[Alternative, ...]:
        """Up to three ways out of a refusal; cheap to ask again and again."""
        return self._alternatives.to(wanted)

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

    async def events(
        self, cursor: str | None, venue: str | None, limit: int, *, with_customers: bool = True
    ) -> EventPage:
        """The log after a cursor, in its order, with what is told of customers or without."""
        try:
            after = START if cursor is None else Cursor.parse(cursor)
        except ValueError as error:
            raise Unprocessable("bad-cursor", "this is no cursor of the log", "after") from error
        async with self._pool.acquire(timeout=2) as connection:
            events, reached = await read_events(
                connection, after, venue=venue, limit=limit, with_customers=with_customers
            )
        return EventPage(events=events, cursor=str(reached))


def behind(stock: Stock, wanted: Mapping[str, int]) -> list[Behind]:
    """The resources that have not reached the version wanted of them."""
    versions = {key: listing.version for key in wanted if (listing := stock.listings.get(key)) is not None}
    return [
        Behind(resource=key, wanted=version, version=versions.get(key, 0))
        for key, version in wanted.items()
        if versions.get(key, 0) < version
    ]


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
