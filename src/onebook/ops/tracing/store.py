"""The table of spans: written by every process, cleaned by every process, within bounds.

What survives a crash: what was written, but for the last moments, since nobody waits for its WAL. What bounds me: MAX_ROWS,
`tracing.keep_hours`, and the time a statement may take.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import asyncpg
import msgspec
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import format_span_id, format_trace_id

from onebook.sql import statements

MAX_ROWS = 1_000_000
CLEAN_ROWS = 5_000

_SQL = statements("onebook.ops.tracing")
_SETTINGS = {
    "application_name": "onebook-traces",
    "synchronous_commit": "off",  # a span is not worth an fsync, which bookings would wait for
    "statement_timeout": "4s",
    "jit": "off",
}
_encode = msgspec.json.Encoder().encode


class SpanStore:
    """Spans in PostgreSQL. Raises what asyncpg raises, and OSError, when the database is away."""

    def __init__(self, pool: asyncpg.Pool, process: str, *, max_rows: int = MAX_ROWS) -> None:
        self._pool = pool
        self._process = process
        self._max_rows = max_rows

    async def write(self, spans: Sequence[ReadableSpan]) -> None:
        """Store them, all or none."""
        await self._pool.executemany(_SQL["store"], [_row(span, self._process) for span in spans])

    async def forget(self, keep: timedelta, *, limit: int = CLEAN_ROWS) -> int:
        """Delete what is too old or too much, among the oldest `limit`; returns how many."""
        status: str = await self._pool.execute(_SQL["forget"], datetime.now(UTC) - keep, self._max_rows, limit)
        return int(status.removeprefix("DELETE "))


@asynccontextmanager
async def open_store(database_url: str, process: str) -> AsyncIterator[SpanStore]:
    """A store with one connection of its own, which is opened when there is something to write."""
    pool = await asyncpg.create_pool(
        database_url, min_size=0, max_size=1, timeout=2, command_timeout=4, server_settings=_SETTINGS
    )
    try:
        yield SpanStore(pool, process)
    finally:
        pool.terminate()


def _row(span: ReadableSpan, process: str) -> tuple[object, ...]:
    context, parent = span.get_span_context(), span.parent
    if context is None:
        raise ValueError("a span that has ended has a place")
    return (
        format_trace_id(context.trace_id),
        format_span_id(context.span_id),
        None if parent is None else format_span_id(parent.span_id),
        span.name,
        process,
        _time(span.start_time),
        _time(span.end_time),
        _encode(dict(span.attributes or {})).decode(),
    )


def _time(nanoseconds: int | None) -> datetime:
    return datetime.fromtimestamp((nanoseconds or 0) / 1e9, UTC)
