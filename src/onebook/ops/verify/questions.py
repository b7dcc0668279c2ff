"""What workers are asked: periods of a venue, over all stored cells of its resources, in pieces of a bounded size."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from operator import itemgetter
from time import time

import asyncpg

from onebook.ops.verify.facts import SessionTold

RESOURCES_PER_QUESTION = 50
CELLS_PER_QUESTION = 10_000

_EPOCH = date(1970, 1, 1)
_MINUTES_PER_DAY = 24 * 60
_grid = itemgetter("venue", "unit", "cell_minutes")


@dataclass(frozen=True, slots=True)
class Question:
    """Resources of one grid, by key with their ids, in a period. A period of sessions has no numbers: they may move."""

    venue: str
    resources: dict[str, int]
    starts: str
    ends: str
    numbers: range = range(0)
    is_session: bool = False


def questions_of(grids: Sequence[asyncpg.Record], sessions: Sequence[asyncpg.Record]) -> list[Question]:
    """Every question there is to ask. A resource without stored cells is asked for those of its neighbours, or of today."""
    beginnings: dict[str, set[datetime]] = {}
    for session in sessions:
        beginnings.setdefault(session["venue"], set()).add(session["starts_at"].replace(second=0, microsecond=0))
    questions: list[Question] = []
    for (venue, unit, minutes), group in groupby(sorted(grids, key=_grid), key=_grid):
        today = int(time()) // 60 // (minutes if unit == "minute" else _MINUTES_PER_DAY)
        rows = sorted(group, key=lambda row: today if row["first"] is None else row["first"])
        for index in range(0, len(rows), RESOURCES_PER_QUESTION):
            chunk = rows[index : index + RESOURCES_PER_QUESTION]
            if unit == "session":
                questions += _of_sessions(venue, chunk, sorted(beginnings.get(venue, ())))
            else:
                questions += _of_cells(venue, chunk, today)
    return questions


def sessions_of(rows: Sequence[asyncpg.Record], question: Question) -> dict[str, SessionTold]:
    """The sessions that begin in the period of a question, by code."""
    starts, ends = datetime.fromisoformat(question.starts), datetime.fromisoformat(question.ends)
    return {
        row["session"]: SessionTold(
            id=row["id"],
            session=row["session"],
            venue=row["venue"],
            starts=row["starts_at"].isoformat(),
            ends=row["ends_at"].isoformat(),
        )
        for row in rows
        if row["venue"] == question.venue and starts <= row["starts_at"] < ends
    }


def _of_cells(venue: str, chunk: Sequence[asyncpg.Record], today: int) -> Iterator[Question]:
    stored = [row for row in chunk if row["first"] is not None]
    first = min((row["first"] for row in stored), default=today)
    end = max((row["end"] for row in stored), default=today + 1)
    step = CELLS_PER_QUESTION // len(chunk)
    for number in range(first, end, step):
        numbers = range(number, min(number + step, end))
        yield Question(venue, _resources(chunk), _text(chunk[0], numbers.start), _text(chunk[0], numbers.stop), numbers)


def _of_sessions(venue: str, chunk: Sequence[asyncpg.Record], beginnings: Sequence[datetime]) -> Iterator[Question]:
    step = CELLS_PER_QUESTION // len(chunk)
    for index in range(0, len(beginnings), step):
        part = beginnings[index : index + step]
        ends = part[-1] + timedelta(minutes=1)
        yield Question(venue, _resources(chunk), part[0].isoformat(), ends.isoformat(), is_session=True)


def _resources(chunk: Sequence[asyncpg.Record]) -> dict[str, int]:
    return {row["resource"]: row["id"] for row in chunk}


def _text(row: asyncpg.Record, number: int) -> str:
    """Where a cell begins: a date, or an instant."""
    if row["unit"] == "night":
        return (_EPOCH + timedelta(days=number)).isoformat()
    return datetime.fromtimestamp(number * row["cell_minutes"] * 60, UTC).isoformat()
