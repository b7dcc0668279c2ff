"""What is on sale, cell by cell."""

from collections.abc import Sequence
from typing import Any

import asyncpg
import msgspec

from onebook.ledger.catalog import Catalog, resource_of
from onebook.ledger.failures import Unprocessable
from onebook.model.hours import covers
from onebook.model.resource import Resource, Unit, time_label
from onebook.sql import statements
from onebook.views.period import Period, period_of

SQL = statements("onebook.views")
MAX_CELLS_PER_ANSWER = 200_000


class OnSale(msgspec.Struct, frozen=True):
    """One resource: `available[i]` units in `cells[i]`, as of `version`."""

    resource: str
    version: int
    cells: list[str]
    available: list[int]


class Availability(msgspec.Struct, frozen=True, rename={"starts": "from", "ends": "to"}):
    """The resources of a venue in a period."""

    venue: str
    starts: str
    ends: str
    resources: list[OnSale]


async def availability(
    pool: asyncpg.Pool,
    catalog: Catalog,
    venue: str,
    starts: str,
    ends: str,
    *,
    resources: Sequence[str] | None,
    quantity: int,
) -> Availability:
    """Every cell of the period; resources that nowhere have `quantity` units are left out (0: none is).

    One snapshot. `resources` are codes or "venue/code". Raises UnknownName, Unprocessable.
    """
    place = await catalog.venue(venue)
    period = period_of(starts, ends, place.zone)
    codes = None if resources is None else [key.rpartition("/")[2] for key in resources]
    async with (
        pool.acquire(timeout=2) as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        rows = await connection.fetch(SQL["venue_resources"], venue, codes)
        found = [(resource_of(row, place), row["version"]) for row in rows]
        sessions = await connection.fetch(SQL["sessions_within"], venue, *period.instants)
        spans = [(resource, *_range(resource, period, sessions)) for resource, _ in found]
        if sum(end - first for _, first, end in spans) > MAX_CELLS_PER_ANSWER:
            raise Unprocessable(
                "answer-too-large",
                f"the answer would have more than {MAX_CELLS_PER_ANSWER} cells: name resources or a shorter period",
                "to",
            )
        stored = await connection.fetch(
            SQL["cells_within"],
            [resource.id for resource, _, _ in spans],
            [first for _, first, _ in spans],
            [end for _, _, end in spans],
        )
    known = {(row["resource_id"], row["number"]): row["available"] for row in stored}
    answers = [_on_sale(resource, version, period, sessions, known) for resource, version in found]
    kept = [answer for answer in answers if max(answer.available, default=0) >= quantity]
    return Availability(venue=venue, starts=starts, ends=ends, resources=kept)


def _range(resource: Resource, period: Period, sessions: Sequence[Any]) -> tuple[int, int]:
    if resource.unit is Unit.NIGHT:
        return period.first_night, period.end_night
    if resource.unit is Unit.MINUTE:
        return period.cells(resource.cell_minutes)
    numbers = [row["id"] for row in sessions]
    return (min(numbers), max(numbers) + 1) if numbers else (0, 0)


def _on_sale(
    resource: Resource,
    version: int,
    period: Period,
    sessions: Sequence[Any],
    known: dict[tuple[int, int], int],
) -> OnSale:
    if resource.unit is Unit.SESSION:
        numbers = [row["id"] for row in sessions]
        labels = [row["code"] for row in sessions]
    else:
        numbers = list(range(*_range(resource, period, sessions)))
        labels = [time_label(resource.unit, n, resource.cell_minutes, resource.venue.zone) for n in numbers]
    default = resource.capacity + resource.overbooking
    available = [known.get((resource.id, number), default) if _open(resource, number) else 0 for number in numbers]
    return OnSale(resource=resource.key, version=version, cells=labels, available=available)


def _open(resource: Resource, number: int) -> bool:
    if resource.hours is None:
        return True
    minutes = resource.cell_minutes
    return covers(resource.hours, resource.venue.zone, number * minutes, (number + 1) * minutes)
