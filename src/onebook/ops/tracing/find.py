"""What was kept of a booking's traces, or of one trace, put in order for telling."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from onebook.sql import statements

MAX_ENTRIES = 100
MAX_SPANS = 5_000

_SQL = statements("onebook.ops.tracing")
_TRACE_ID = re.compile(r"[0-9a-f]{32}")
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f][13579bdf]")


class Command(msgspec.Struct, frozen=True):
    """An entry of the booking's log; `trace_id` where the command was followed."""

    type: str
    time: datetime
    trace_id: str | None


class Bar(msgspec.Struct, frozen=True):
    """A span in its waterfall: `offset_ms` after the trace's first, `depth` below its root."""

    name: str
    process: str
    depth: int
    offset_ms: float
    duration_ms: float
    attributes: dict[str, Any]
    span_id: str
    parent_id: str | None


class Waterfall(msgspec.Struct, frozen=True):
    """One trace, parents before their children. `commands` are those of the booking that it brought about."""

    trace_id: str
    started_at: datetime
    duration_ms: float
    commands: tuple[str, ...]
    spans: tuple[Bar, ...]


class Found(msgspec.Struct, frozen=True):
    """All that is known. `commands` is empty for a trace id, and for a booking that does not exist."""

    subject: str
    commands: tuple[Command, ...]
    waterfalls: tuple[Waterfall, ...]


class NotNamed(Exception):
    """The text is neither a booking's id nor a trace's."""


async def find(database_url: str, subject: str) -> Found:
    """The traces of a booking, by its id, or the one trace with that id of 32 hex digits. Raises NotNamed.

    A booking's id without its hyphens is a trace id by its looks: whichever is kept is taken.
    """
    connection = await asyncpg.connect(database_url, timeout=5)
    try:
        entries = await connection.fetch(_SQL["entries_of_booking"], _booking(subject), MAX_ENTRIES)
        commands = tuple(Command(row["type"], row["time"], _followed(row["traceparent"])) for row in entries)
        wanted = list(dict.fromkeys(command.trace_id for command in commands if command.trace_id))
        if not commands and _TRACE_ID.fullmatch(subject):
            wanted = [subject]
        rows = await connection.fetch(_SQL["spans_of_traces"], wanted, MAX_SPANS)
    finally:
        await connection.close()
    by_trace: defaultdict[str, list[Any]] = defaultdict(list)
    for row in rows:
        by_trace[row["trace_id"]].append(row)
    falls = (_waterfall(trace, by_trace[trace], commands) for trace in wanted if trace in by_trace)
    return Found(subject, commands, tuple(falls))


def _booking(subject: str) -> str:
    try:
        return str(UUID(subject))
    except ValueError:
        raise NotNamed(subject) from None


def _followed(traceparent: str | None) -> str | None:
    found = None if traceparent is None else _TRACEPARENT.fullmatch(traceparent)
    return None if found is None else found[1]


def _waterfall(trace_id: str, rows: Sequence[Any], commands: Iterable[Command]) -> Waterfall:
    began = min(row["started_at"] for row in rows)
    known = {row["span_id"] for row in rows}
    children: defaultdict[str | None, list[Any]] = defaultdict(list)
    for row in rows:
        # Whoever called us keeps spans of their own: what hangs below one of theirs begins here.
        children[row["parent_id"] if row["parent_id"] in known else None].append(row)
    bars: list[Bar] = []
    waiting = [(row, 0) for row in reversed(children.pop(None, []))]
    while waiting:
        row, depth = waiting.pop()
        bars.append(_bar(row, depth, began))
        waiting += [(child, depth + 1) for child in reversed(children.pop(row["span_id"], []))]
    return Waterfall(
        trace_id=trace_id,
        started_at=began,
        duration_ms=_milliseconds(began, max(row["ended_at"] for row in rows)),
        commands=tuple(command.type for command in commands if command.trace_id == trace_id),
        spans=tuple(bars),
    )


def _bar(row: Any, depth: int, began: datetime) -> Bar:
    return Bar(
        name=row["name"],
        process=row["process"],
        depth=depth,
        offset_ms=_milliseconds(began, row["started_at"]),
        duration_ms=_milliseconds(row["started_at"], row["ended_at"]),
        attributes=msgspec.json.decode(row["attributes"]),
        span_id=row["span_id"],
        parent_id=row["parent_id"],
    )


def _milliseconds(first: datetime, last: datetime) -> float:
    return round((last - first).total_seconds() * 1000, 3)
