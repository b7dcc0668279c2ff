"""Resources that are free for the whole of a period."""

from collections.abc import Sequence
from zoneinfo import ZoneInfo

import asyncpg
import msgspec

from onebook.ledger.catalog import Catalog
from onebook.ledger.failures import UnknownName, Unprocessable
from onebook.model.hours import OpeningHours, covers
from onebook.model.resource import Kind, Unit
from onebook.views.availability import SQL
from onebook.views.period import Period, period_of


class Found(msgspec.Struct, frozen=True, omit_defaults=True):
    """A resource with the lowest number of units left in any cell of the period."""

    resource: str
    name: str
    kind: Kind
    available: int
    session: str | None = None


async def search(
    pool: asyncpg.Pool,
    catalog: Catalog,
    *,
    market: str | None,
    venue: str | None,
    kind: Kind | None,
    starts: str,
    ends: str,
    quantity: int,
    limit: int,
) -> list[Found]:
    """Free resources, those with the most left first; a session's seats are found once for each session of the period.

    Raises UnknownName, Unprocessable. In a market of several time zones, dates are read in each venue's own.
    """
    zone = (await catalog.venue(venue)).zone if venue is not None else await _zone_of_market(pool, market)
    period = period_of(starts, ends, zone)
    sessions = await pool.fetch(_SESSIONS, market, venue, *period.instants)
    return await find_free(
        pool, period, [row["id"] for row in sessions], market, venue, kind, quantity=quantity, limit=limit
    )


async def find_free(
    pool: asyncpg.Pool,
    period: Period,
    sessions: Sequence[int],
    market: str | None,
    venue: str | None,
    kind: Kind | None,
    *,
    quantity: int,
    limit: int,
) -> list[Found]:
    """Free resources in a period, or in sessions, whose ids are given."""
    rows = await pool.fetch(
        SQL["search"],
        market,
        venue,
        kind,
        period.first_night,
        period.end_night,
        period.first_minute,
        period.end_minute,
        sessions,
        quantity,
        limit,
    )
    return [
        Found(
            resource=row["key"],
            name=row["name"],
            kind=Kind(row["kind"]),
            available=row["available"],
            session=row["session"],
        )
        for row in rows
        if _is_open(row)
    ]


_SESSIONS = """
SELECT session.id FROM session JOIN venue ON venue.id = session.venue_id
WHERE ($1::text IS NULL OR market = $1) AND ($2::text IS NULL OR venue.code = $2)
  AND starts_at >= $3 AND starts_at < $4
"""


async def _zone_of_market(pool: asyncpg.Pool, market: str | None) -> ZoneInfo:
    if market is None:
        raise Unprocessable("place-missing", "give a market or a venue", "market")
    zone = await pool.fetchval("SELECT timezone FROM venue WHERE market = $1 ORDER BY id LIMIT 1", market)
    if zone is None:
        raise UnknownName("market", market)
    return ZoneInfo(zone)


def _is_open(row: asyncpg.Record) -> bool:
    if row["hours"] is None or row["unit"] != Unit.MINUTE:
        return True
    hours = msgspec.json.decode(row["hours"], type=OpeningHours)
    return covers(hours, ZoneInfo(row["timezone"]), row["first_minute"], row["end_minute"])
