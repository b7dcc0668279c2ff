"""Ways out of a refusal: the same resource at the nearest other times, then others of its kind and venue.

Who calls me: the API, for every refused basket, which is most of the traffic when everybody wants the last room. So the
answer to a wish is remembered for half a second, and those who ask meanwhile wait for the same search. What bounds me:
`MAX_REMEMBERED` wishes, `MAX_SHIFT_CELLS` either way, `MAX_SEARCHES` at once; beyond that a refusal has no alternatives.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Iterator

import asyncpg
import msgspec
from msgspec.structs import replace

from onebook.ledger import rows
from onebook.ledger.catalog import Catalog
from onebook.ledger.failures import UnknownName, Unprocessable
from onebook.ledger.resolve import resolve
from onebook.model.book import Book, Shelf
from onebook.model.bookable import refusal_of_basket
from onebook.model.commands import Line, Wanted
from onebook.model.resource import Unit, time_label
from onebook.views.availability import SQL
from onebook.views.period import Period, period_of
from onebook.views.search import find_free

MAX_ALTERNATIVES = 3
MAX_SHIFT_CELLS = 14
MAX_SEARCHES = 2
MAX_REMEMBERED = 4096
REMEMBERED_SECONDS = 0.5


class Alternative(msgspec.Struct, frozen=True, omit_defaults=True, rename={"starts": "from", "ends": "to"}):
    """Something like what was refused, that was free a moment ago."""

    resource: str
    starts: str | None = None
    ends: str | None = None
    session: str | None = None


Answer = tuple[Alternative, ...]


class Alternatives:
    """Finds and remembers alternatives."""

    def __init__(self, pool: asyncpg.Pool, catalog: Catalog) -> None:
        self._pool = pool
        self._catalog = catalog
        self._remembered: OrderedDict[Wanted, tuple[float, asyncio.Future[Answer]]] = OrderedDict()
        self._searching = 0

    async def to(self, wanted: Wanted) -> Answer:
        """Up to three alternatives; none where the search fails or too many are under way."""
        remembered = self._remembered.get(wanted)
        if remembered is not None and remembered[0] > time.monotonic():
            return await asyncio.shield(remembered[1])
        if self._searching >= MAX_SEARCHES:
            return ()
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._remember(wanted, answer)
        self._searching += 1
        found: Answer = ()
        try:
            found = await self._search(wanted)
        except (
            asyncpg.PostgresError,
            asyncpg.InterfaceError,
            OSError,
            TimeoutError,
            UnknownName,
            Unprocessable,
        ):
            found = ()  # a refusal is complete without them
        finally:
            self._searching -= 1
            answer.set_result(found)
        return found

    def _remember(self, wanted: Wanted, answer: "asyncio.Future[Answer]") -> None:
        self._remembered[wanted] = (time.monotonic() + REMEMBERED_SECONDS, answer)
        self._remembered.move_to_end(wanted)
        if len(self._remembered) > MAX_REMEMBERED:
            self._remembered.popitem(last=False)

    async def _search(self, wanted: Wanted) -> Answer:
        (line,) = await resolve([wanted], self._catalog)
        found = [] if line.resource.unit is Unit.SESSION else await self._other_times(line)
        if len(found) < MAX_ALTERNATIVES:
            found += await self._others(line)
        return tuple(found[:MAX_ALTERNATIVES])

    async def _other_times(self, line: Line) -> list[Alternative]:
        first, end = line.occupied
        stored = await self._pool.fetch(
            SQL["cells_of"], line.resource.id, first - MAX_SHIFT_CELLS, end + MAX_SHIFT_CELLS + 1
        )
        shelf = Shelf(line.resource, 0, {})
        for row in stored:
            cell = rows.cell_of(row)
            shelf.cells[cell.number] = cell
        book = Book()
        book.shelves[line.resource.key] = shelf
        free = [shifted for shifted in _shifted(line) if refusal_of_basket([shifted], book) is None]
        return [
            Alternative(resource=shifted.resource.key, starts=shifted.starts, ends=shifted.ends)
            for shifted in free[: MAX_ALTERNATIVES - 1]
        ]

    async def _others(self, line: Line) -> list[Alternative]:
        venue = line.resource.venue
        if line.session is None:
            period, sessions = period_of(line.starts, line.ends, venue.zone), []
        else:
            period, sessions = Period(0, 0, 0, 0), [line.first]
        found = await find_free(
            self._pool,
            period,
            sessions,
            None,
            venue.code,
            line.resource.kind,
            quantity=line.quantity,
            limit=MAX_ALTERNATIVES + 1,
        )
        by_session = line.session is not None
        return [
            Alternative(
                resource=other.resource,
                starts=None if by_session else line.starts,
                ends=None if by_session else line.ends,
                session=line.session,
            )
            for other in found
            if other.resource != line.resource.key
        ]


def _shifted(line: Line) -> Iterator[Line]:
    """The same length at other times, the nearest first."""
    resource = line.resource
    for distance in range(1, MAX_SHIFT_CELLS + 1):
        for shift in (distance, -distance):
            first, end = line.first + shift, line.end + shift
            starts, ends = (
                time_label(resource.unit, n, resource.cell_minutes, resource.venue.zone) for n in (first, end)
            )
            yield replace(line, first=first, end=end, starts=starts, ends=ends)
