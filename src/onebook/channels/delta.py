"""Everything in a venue that changed since a time, in its latest state: for a partner who was away, or distrusts its mirror.

Who calls me: the API. From the log comes what was touched, from the ledger how it stands now, both in one snapshot. What bounds
me: MAX_EVENTS entries, MAX_CELLS cells, and the connection's statement timeout; beyond these a partner reads a snapshot instead.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import msgspec

from onebook.channels.handler import SQL
from onebook.ledger.catalog import Catalog, resource_of
from onebook.ledger.failures import Unprocessable
from onebook.log.facts import Touched
from onebook.log.read import Cursor
from onebook.model.hours import covers
from onebook.model.periods import BadTime, minute_number, night_number
from onebook.model.resource import Resource, Unit, time_label

MAX_EVENTS = 200_000
MAX_CELLS = 200_000
# An entry's time is that of its decision; it is committed within the ledger's statement and idle timeouts after that.
COMMITTED_WITHIN = timedelta(seconds=10)


class Changed(msgspec.Struct, frozen=True):
    """One resource: `available[i]` units in `cells[i]`, as of `version`.

    Where `redefined`, its definition is new: `cells` are then all that differ from it, and `otherwise` is what every other cell
    has, in its opening hours.
    """

    resource: str
    version: int
    cells: list[str]
    available: list[int]
    redefined: bool = False
    otherwise: int | None = None


class Delta(msgspec.Struct, frozen=True):
    """What changed. The next call goes on with `until` as `since`; the stream goes on with `cursor`."""

    venue: str
    since: datetime
    until: datetime
    cursor: str
    resources: list[Changed]


class _Data(msgspec.Struct, frozen=True):
    resources: list[Touched] = []
    definitions: list[msgspec.Raw] = []
    session: str | None = None


_decode = msgspec.json.Decoder(_Data).decode


class Deltas:
    """Raises UnknownName, Unprocessable, and asyncpg's errors when the database is away."""

    def __init__(self, pool: asyncpg.Pool, catalog: Catalog) -> None:
        self._pool = pool
        self._catalog = catalog

    async def since(self, venue: str, since: datetime) -> Delta:
        """Every cell touched since a time, as it is now."""
        place = await self._catalog.venue(venue)
        async with (
            self._pool.acquire(timeout=2) as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            [mark] = await connection.fetch(SQL["read_mark"])
            touched = await _touched(connection, venue, since)
            rows = await connection.fetch(SQL["resources_of"], venue)
            found = [(resource_of(row, place), row["version"]) for row in rows]
            changed = [pair for pair in found if touched.has(pair[0])]
            sessions = {row["code"]: row["id"] for row in await connection.fetch(SQL["sessions_of"], venue)}
            answers = await _answers(connection, changed, touched, sessions)
        return Delta(venue, since, mark["read_at"], str(Cursor(mark["horizon"], 0)), answers)


class _Touched:
    """What the log names: cells by resource, resources redefined, sessions put."""

    def __init__(self, entries: Iterable[_Data]) -> None:
        self.cells: dict[str, set[str]] = {}
        self.redefined: set[str] = set()
        self.sessions: set[str] = set()
        for entry in entries:
            if entry.session is not None:
                self.sessions.add(entry.session)
            for touched in entry.resources:
                self.cells.setdefault(touched.resource, set()).update(touched.cells)
                if entry.definitions:
                    self.redefined.add(touched.resource)

    def has(self, resource: Resource) -> bool:
        """Whether anything of a resource has changed; a session that is put is a new cell of all that is sold by session."""
        return resource.key in self.cells or (bool(self.sessions) and resource.unit is Unit.SESSION)

    def numbers(self, resource: Resource, sessions: Mapping[str, int]) -> dict[int, str]:
        """The cells of a resource, by number; labels of a grid that it no longer has are left out."""
        labels = self.cells.get(resource.key, set()) | (self.sessions if resource.unit is Unit.SESSION else set())
        found: dict[int, str] = {}
        for label in labels:
            with suppress(BadTime, KeyError):
                found[_number(resource, label, sessions)] = label
        return dict(sorted(found.items()))


async def _touched(connection: Any, venue: str, since: datetime) -> _Touched:
    try:
        rows = await connection.fetch(SQL["touched_since"], venue, since - COMMITTED_WITHIN, MAX_EVENTS + 1)
    except asyncpg.QueryCanceledError as error:
        raise _too_large() from error
    if len(rows) > MAX_EVENTS:
        raise _too_large()
    prefix = f"{venue}/"
    entries = []
    for row in rows:
        with suppress(msgspec.MsgspecError):  # consumers park what nobody can read; all others have to be answered
            entries.append(_decode(row["data"]))
    return _Touched(
        msgspec.structs.replace(entry, resources=[t for t in entry.resources if t.resource.startswith(prefix)])
        for entry in entries
    )


async def _answers(
    connection: Any, changed: list[tuple[Resource, int]], touched: _Touched, sessions: Mapping[str, int]
) -> list[Changed]:
    whole = [resource.id for resource, _ in changed if resource.key in touched.redefined]
    numbers = {
        resource.id: touched.numbers(resource, sessions) for resource, _ in changed if resource.id not in set(whole)
    }
    pairs = [(identity, number) for identity, cells in numbers.items() for number in cells]
    stored = await connection.fetch(SQL["cells_stored"], whole, MAX_CELLS + 1)
    if len(pairs) + len(stored) > MAX_CELLS:
        raise _too_large()
    named = await connection.fetch(SQL["cells_numbered"], [pair[0] for pair in pairs], [pair[1] for pair in pairs])
    known: dict[int, dict[int, int]] = {}
    for row in (*stored, *named):
        known.setdefault(row["resource_id"], {})[row["number"]] = row["available"]
    codes = {identity: code for code, identity in sessions.items()}
    return [
        _whole(resource, version, known.get(resource.id, {}), codes)
        if resource.key in touched.redefined
        else _named(resource, version, known.get(resource.id, {}), numbers[resource.id])
        for resource, version in changed
    ]


def _named(resource: Resource, version: int, known: Mapping[int, int], cells: Mapping[int, str]) -> Changed:
    default = resource.capacity + resource.overbooking
    available = [known.get(number, default) if _is_open(resource, number) else 0 for number in cells]
    return Changed(resource.key, version, list(cells.values()), available)


def _whole(resource: Resource, version: int, known: Mapping[int, int], codes: Mapping[int, str]) -> Changed:
    labels = [
        codes[number]
        if resource.unit is Unit.SESSION
        else time_label(resource.unit, number, resource.cell_minutes, resource.venue.zone)
        for number in known
    ]
    available = [left if _is_open(resource, number) else 0 for number, left in known.items()]
    otherwise = resource.capacity + resource.overbooking
    return Changed(resource.key, version, labels, available, redefined=True, otherwise=otherwise)


def _is_open(resource: Resource, number: int) -> bool:
    if resource.hours is None:
        return True
    minutes = resource.cell_minutes
    return covers(resource.hours, resource.venue.zone, number * minutes, (number + 1) * minutes)


def _number(resource: Resource, label: str, sessions: Mapping[str, int]) -> int:
    if resource.unit is Unit.SESSION:
        return sessions[label]
    if resource.unit is Unit.NIGHT:
        return night_number(label)
    return minute_number(label, resource.cell_minutes)


def _too_large() -> Unprocessable:
    return Unprocessable(
        "answer-too-large",
        f"more than {MAX_CELLS} cells or {MAX_EVENTS} events: read a snapshot from /v1/availability, or a shorter time",
        "since",
    )
