"""The proof at the end of the demo: every mirror against the ledger's own tables, cell by cell.

Called by `run_demo` when the crowd has gone home. The tables are read by SQL, in one snapshot, and turned into the names that
people use by arithmetic of its own: neither the view nor the API has a part in it. Waiting for the last events is bounded by
DRAIN_SECONDS; what has not arrived by then counts as a difference.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from time import perf_counter
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import msgspec

from onebook.ops.demo.follower import Follower
from onebook.ops.demo.mirror import Picture, Shelf
from onebook.ops.demo.source import CannotRead, Source
from onebook.sql import statements

DRAIN_SECONDS = 30.0
POLL_SECONDS = 0.05
CONNECT_SECONDS = 10.0

SQL = statements("onebook.ops.demo")
_EPOCH = date(1970, 1, 1)


class Deliveries(msgspec.Struct, frozen=True):
    """What became of the webhooks; `retried` took more than one attempt."""

    delivered: int
    retried: int
    dead: int
    pending: int


class Proof(msgspec.Struct, frozen=True):
    """What the comparison found. `differences` has the first of each mirror that is not equal, by its name."""

    cells: int
    drained_seconds: float
    differences: dict[str, str]
    server_difference: str | None
    deliveries: Deliveries


async def prove(database_url: str, followers: Sequence[Follower], first: date, end: date) -> Proof:
    """Wait until the mirrors are where the ledger is, and compare them, and the server's own answers, with its tables."""
    began = perf_counter()
    connection = await asyncpg.connect(database_url, timeout=CONNECT_SECONDS)
    try:
        await _drained(connection, followers)
        drained_seconds = perf_counter() - began
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            ledger = await picture_of(connection, first, end)
        deliveries = await _deliveries(connection)
    finally:
        await connection.close()
    found = {follower.name: difference(follower.mirror.shelves, ledger) for follower in followers}
    return Proof(
        cells=sum(len(shelf.cells) for shelf in ledger.values()),
        drained_seconds=round(drained_seconds, 3),
        differences={name: text for name, text in found.items() if text is not None},
        server_difference=await _server_difference(followers[0].source, ledger),
        deliveries=deliveries,
    )


def difference(mirror: Picture, ledger: Picture) -> str | None:
    """The first difference, in words; None where the two are equal, cell by cell and version by version."""
    if mirror == ledger:
        return None
    for resource in sorted(mirror.keys() | ledger.keys()):
        mine, theirs = mirror.get(resource), ledger.get(resource)
        if mine == theirs:
            continue
        if mine is None or theirs is None:
            return f"{resource} is known only to the {'mirror' if theirs is None else 'ledger'}"
        for cell in sorted(mine.cells.keys() | theirs.cells.keys()):
            if mine.cells.get(cell) != theirs.cells.get(cell):
                left, right = mine.cells.get(cell), theirs.cells.get(cell)
                return f"{resource} {cell}: {left} in the mirror, {right} in the ledger"
        return f"{resource}: version {mine.version} in the mirror, {theirs.version} in the ledger"
    return None


async def picture_of(connection: Any, first: date, end: date) -> Picture:
    """The whole inventory of a period as the ledger's tables have it."""
    sessions: dict[str, dict[int, str]] = {}
    for row in await connection.fetch(SQL["sessions"], datetime.combine(first, time()), datetime.combine(end, time())):
        sessions.setdefault(row["venue"], {})[row["id"]] = row["code"]
    stored: dict[int, dict[int, int]] = {}
    for row in await connection.fetch(SQL["cells"]):
        stored.setdefault(row["resource_id"], {})[row["number"]] = row["free"]
    picture: Picture = {}
    for row in await connection.fetch(SQL["resources"]):
        known = stored.get(row["id"], {})
        labels = _labels(row, sessions.get(row["venue"], {}), first, end)
        cells = {label: known.get(number, row["free"]) if is_open else 0 for number, label, is_open in labels}
        picture[f"{row['venue']}/{row['code']}"] = Shelf(row["version"], cells)
    return picture


async def _server_difference(source: Source, ledger: Picture) -> str | None:
    try:
        found = await source.snapshot({resource: shelf.version for resource, shelf in ledger.items()})
    except CannotRead as error:
        return str(error)
    told = {one.resource: Shelf(one.version, dict(zip(one.cells, one.available, strict=True))) for one in found}
    # Resources that have nothing left at all are not in an answer.
    return difference(
        told, {name: shelf for name, shelf in ledger.items() if name in told or any(shelf.cells.values())}
    )


async def _drained(connection: Any, followers: Sequence[Follower]) -> None:
    """Returns when every mirror is where the ledger is and no webhook waits, or when the time for that is over."""
    until = perf_counter() + DRAIN_SECONDS
    while perf_counter() < until:
        ledger = {row["resource"]: row["version"] for row in await connection.fetch(SQL["versions"])}
        pending = (await _deliveries(connection)).pending
        if not pending and all(_versions(follower) == ledger for follower in followers):
            return
        await asyncio.sleep(POLL_SECONDS)


async def _deliveries(connection: Any) -> Deliveries:
    return Deliveries(**await connection.fetchrow(SQL["deliveries"]))


def _versions(follower: Follower) -> dict[str, int]:
    return {resource: shelf.version for resource, shelf in follower.mirror.shelves.items()}


def _labels(
    row: Mapping[str, Any], sessions: Mapping[int, str], first: date, end: date
) -> Iterator[tuple[int, str, bool]]:
    """The cells of a period: number, name, and whether it lies within the opening hours."""
    if row["unit"] == "session":
        yield from ((number, code, True) for number, code in sessions.items())
    elif row["unit"] == "night":
        for number in range((first - _EPOCH).days, (end - _EPOCH).days):
            yield number, (_EPOCH + timedelta(days=number)).isoformat(), True
    else:
        zone, minutes = ZoneInfo(row["timezone"]), row["cell_minutes"]
        weekly = None if row["hours"] is None else msgspec.json.decode(row["hours"])["weekly"]
        from_minute, to_minute = (int(datetime.combine(day, time(), zone).timestamp()) // 60 for day in (first, end))
        for number in range(from_minute // minutes, -(-to_minute // minutes)):
            starts = datetime.fromtimestamp(number * minutes * 60, UTC).astimezone(zone)
            yield number, starts.isoformat(), weekly is None or _is_open(weekly[starts.weekday()], starts, minutes)


def _is_open(intervals: Sequence[Sequence[int]], starts: datetime, minutes: int) -> bool:
    """By the wall clock: the market opens and closes on the same day, far from the hour when clocks change."""
    at = starts.hour * 60 + starts.minute
    return any(opens <= at and at + minutes <= closes for opens, closes in intervals)
