"""From the spans that rooms report to where they go, in the background.

Who calls me: `tracing.record`, for every span that is followed; open_tracing runs me. What I own: a queue. What survives a crash:
what was written; a trace is worth no more. What bounds me: MAX_WAITING spans in the queue, BATCH_SPANS every GATHER_SECONDS
(less than cleaning takes away, so that the table is bounded too), one attempt at writing a batch. What does not fit or
cannot be written is dropped and counted: nobody waits for a trace, and no memory grows for one.
"""

import asyncio
from collections import deque
from datetime import timedelta

import asyncpg
import structlog
from opentelemetry.sdk.trace import ReadableSpan
from prometheus_client import Counter

from onebook.ops.tracing.otel import SpanMaker
from onebook.ops.tracing.store import CLEAN_ROWS, SpanStore
from onebook.tracing import Span

MAX_WAITING = 8_192
BATCH_SPANS = 1_024
# Making spans holds the event loop: between so many, requests get their turn.
SPANS_A_TURN = 32
GATHER_SECONDS = 0.2
CLEAN_SECONDS = 60.0
MAX_CLEANING_ROUNDS = 100

SPANS = Counter("onebook_trace_spans_total", "Spans stored.")
DROPPED = Counter("onebook_trace_spans_dropped_total", "Spans dropped, by why: queue-full, database.", ["reason"])

_AWAY = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)

log = structlog.get_logger()


class Recorder:
    """The queue of one process, and the two loops behind it."""

    def __init__(self, maker: SpanMaker, store: SpanStore, keep: timedelta, *, max_waiting: int = MAX_WAITING) -> None:
        self._maker = maker
        self._store = store
        self._keep = keep
        self._max_waiting = max_waiting
        self._queue: deque[Span] = deque()
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()

    def sink(self, span: Span) -> None:
        """Take a span; never waits, never raises. Called in the event loop."""
        if len(self._queue) >= self._max_waiting:
            DROPPED.labels("queue-full").inc()
            return
        self._queue.append(span)
        self._wake.set()

    async def run_once(self) -> int:
        """Write one batch; returns how many spans it took from the queue."""
        taken = [self._queue.popleft() for _ in range(min(len(self._queue), BATCH_SPANS))]
        made: list[ReadableSpan] = []
        for first in range(0, len(taken), SPANS_A_TURN):
            turn = map(self._maker.make, taken[first : first + SPANS_A_TURN])
            made += [span for span in turn if span is not None]
            await asyncio.sleep(0)
        if made:
            await self._write(made)
        return len(taken)

    async def run(self) -> None:
        """Write batch after batch until `stop`, then what is still in the queue."""
        while self._queue or not self._stopping.is_set():
            if self._queue:
                await self.run_once()
            else:
                self._wake.clear()
                await self._wake.wait()
            await self._pause(GATHER_SECONDS)

    async def run_cleaning(self) -> None:
        """Forget what is too old or too much, every CLEAN_SECONDS until `stop`."""
        while not self._stopping.is_set():
            try:
                await self._clean()
            except _AWAY as error:
                log.warning("traces_not_cleaned", reason=repr(error))
            await self._pause(CLEAN_SECONDS)

    def stop(self) -> None:
        """Take it that no more comes; `run` ends when the queue is empty."""
        self._stopping.set()
        self._wake.set()

    async def _write(self, spans: list[ReadableSpan]) -> None:
        try:
            await self._store.write(spans)
        except _AWAY as error:
            DROPPED.labels("database").inc(len(spans))
            log.warning("spans_dropped", spans=len(spans), reason=repr(error))
        else:
            SPANS.inc(len(spans))

    async def _clean(self) -> None:
        for _ in range(MAX_CLEANING_ROUNDS):
            if await self._store.forget(self._keep) < CLEAN_ROWS:
                return

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), timeout=seconds)
        except TimeoutError:
            return
