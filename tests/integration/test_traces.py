"""A followed booking leaves its spans, with right parents and nested times; they are kept within bounds and sent where wanted."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from time import time
from typing import Any

import asyncpg
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tests.conftest import Bench, onebook, open_bench

from onebook import tracing
from onebook.config import TracingSettings
from onebook.ledger.ledger import Placing
from onebook.ledger.page import Settled
from onebook.model.booking import Booking
from onebook.model.commands import Wanted
from onebook.model.decision import Decision, Unchanged
from onebook.model.refusals import Refusal
from onebook.ops.tracing.find import Found, Waterfall, find
from onebook.ops.tracing.lifetime import open_tracing
from onebook.ops.tracing.otel import SpanMaker
from onebook.ops.tracing.store import SpanStore, open_store
from onebook.tracing import Span

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"
FOLLOWED = f"00-{TRACE}-{CALLER}-01"
ROOM = "alfama/double"
STEPS = ["request", "queue", "lock", "decide", "commit"]


@asynccontextmanager
async def followed(url: str, sample_ratio: float = 0.0, otlp_endpoint: str = "") -> AsyncIterator[Bench]:
    """A ledger in a process that follows; every span is written when the block has ended."""
    settings = TracingSettings(sample_ratio=sample_ratio, otlp_endpoint=otlp_endpoint, keep_hours=1)
    async with open_tracing(settings, url, "test"), open_bench(url) as bench:
        await bench.room(ROOM)
        yield bench


async def place(bench: Bench, traceparent: str | None, key: str = "a") -> Settled:
    """Place a hold as the API does for a request."""
    entered = tracing.enter(traceparent)
    settled = await bench.ledger.place(
        [Wanted(resource=ROOM, starts="2026-12-01", ends="2026-12-03")],
        Placing(channel="web", idempotency_key=key, request_hash=b"-" * 32, ttl_seconds=60, traceparent=entered.place),
    )
    tracing.leave(entered, "request", operation="create_booking", status=201)
    return settled


def placed(settled: Settled) -> Booking:
    """The booking that was placed."""
    assert isinstance(settled.verdict, Decision)
    assert settled.verdict.booking is not None
    return settled.verdict.booking


async def test_a_followed_booking_has_its_spans(database_url: str) -> None:
    """The ledger's steps hang below the request, one after the other within it, and the event hands on the commit's place."""
    async with followed(database_url) as bench:
        booking = placed(await place(bench, FOLLOWED))
    fall = only(await find(database_url, booking.id))
    assert [(bar.name, bar.depth) for bar in fall.spans] == [(name, int(name != "request")) for name in STEPS]
    assert (fall.trace_id, fall.commands) == (TRACE, ("booking.held",))
    request, *steps = fall.spans
    assert request.parent_id == CALLER
    assert {bar.parent_id for bar in steps} == {request.span_id}
    ended = 0.0
    for bar in steps:
        assert bar.offset_ms >= ended - 0.01
        ended = bar.offset_ms + bar.duration_ms
        assert bar.duration_ms >= 0
    assert ended <= request.duration_ms + 0.01
    assert steps[1].attributes == {"commands": 1, "resource": ROOM}
    assert steps[2].attributes["outcome"] == "done"
    assert await traceparents(database_url) == [f"00-{TRACE}-{steps[-1].span_id}-01"]


async def test_what_comes_after_the_commit_hangs_below_it(database_url: str) -> None:
    """A consumer that reports a span with the event's place stands below the commit in the waterfall."""
    async with followed(database_url) as bench:
        booking = placed(await place(bench, FOLLOWED))
        (event,) = await traceparents(database_url)
        tracing.record("view", event, time(), consumer="availability")
    fall = only(await find(database_url, booking.id))
    assert [(bar.name, bar.depth) for bar in fall.spans[-2:]] == [("commit", 1), ("view", 2)]


async def test_a_refusal_and_a_replay_commit_nothing(database_url: str) -> None:
    """A command without effect has no commit, and tells what came of it; a repeat in another trace has the same effect."""
    async with followed(database_url) as bench:
        booking = placed(await place(bench, None))
        again = await place(bench, FOLLOWED)
        sold_out = await place(bench, FOLLOWED, key="b")
    assert isinstance(again.verdict, Unchanged)
    assert again.verdict.booking == booking
    assert isinstance(sold_out.verdict, Refusal)
    fall = only(await find(database_url, TRACE))
    assert sorted(bar.name for bar in fall.spans) == sorted(2 * STEPS[:-1])
    outcomes = {bar.attributes["outcome"] for bar in fall.spans if bar.name == "decide"}
    assert outcomes == {"replayed", sold_out.verdict.code}


@pytest.mark.parametrize(("sample_ratio", "traces"), [(0.0, 0), (1.0, 1)])
async def test_the_share_of_requests_followed_unasked(database_url: str, sample_ratio: float, traces: int) -> None:
    """With a share of 0 a request without a trace leaves no spans, with 1 it begins a trace that the event carries."""
    async with followed(database_url, sample_ratio) as bench:
        booking = placed(await place(bench, None))
    found = await find(database_url, booking.id)
    assert len(found.waterfalls) == traces
    assert [command.type for command in found.commands] == ["booking.held"]
    for fall in found.waterfalls:
        assert [bar.name for bar in fall.spans] == STEPS
        assert fall.spans[0].parent_id is None


async def test_commands_of_one_batch_are_each_followed(database_url: str) -> None:
    """Of commands that share a batch each has its own spans, and those not followed have none."""
    async with followed(database_url) as bench:
        flagged = [f"00-{number:032x}-{CALLER}-01" for number in range(1, 21)]
        await asyncio.gather(*(place(bench, trace, key=str(n)) for n, trace in enumerate([*flagged, *[None] * 20])))
    for trace in flagged:
        fall = only(await find(database_url, trace.split("-")[1]))
        assert [bar.name for bar in fall.spans][:4] == STEPS[:4]
    assert await count(database_url) == 20 * 4 + 1, "one of them got the room; it may be one of those not followed"


async def test_old_and_surplus_spans_are_forgotten(database_url: str) -> None:
    """Spans from before the time to keep go, and the oldest beyond the number of rows; no round deletes more than its limit."""
    hours = 3600
    async with open_store(database_url, "test") as store:
        await write(store, [time() - 3 * hours] * 10)
        await write(store, [time()] * 5)
        assert await store.forget(timedelta(hours=2), limit=4) == 4
        assert await store.forget(timedelta(hours=2)) == 6
        assert await store.forget(timedelta(hours=2)) == 0
    assert await count(database_url) == 5
    pool = await asyncpg.create_pool(database_url, min_size=0, max_size=1)
    try:
        assert await SpanStore(pool, "test", max_rows=2).forget(timedelta(hours=2)) == 3
    finally:
        await pool.close()
    assert await count(database_url) == 2


async def test_spans_go_to_a_collector(database_url: str) -> None:
    """With an OTLP endpoint every span is also posted there, under the process's name, before the process ends."""
    with collector() as (endpoint, posted):
        async with followed(database_url, otlp_endpoint=endpoint) as bench:
            await place(bench, FOLLOWED)
    resources = [spans for request in posted for spans in request.resource_spans]
    names = {a.value.string_value for r in resources for a in r.resource.attributes if a.key == "service.name"}
    spans = [span for r in resources for scope in r.scope_spans for span in scope.spans]
    assert names == {"onebook test"}
    assert sorted(span.name for span in spans) == sorted(STEPS)
    assert {span.trace_id.hex() for span in spans} == {TRACE}
    assert next(span.parent_span_id.hex() for span in spans if span.name == "request") == CALLER


async def test_trace_prints_the_waterfall(database_url: str) -> None:
    """`onebook trace` draws the booking's spans, gives them as JSON, and takes a trace's id as well."""
    async with followed(database_url) as bench:
        booking = placed(await place(bench, FOLLOWED))
    told = await asyncio.to_thread(onebook, "trace", booking.id, "--database", database_url)
    lines = told.stdout.splitlines()
    assert lines[0].startswith("booking.held  ")
    assert [next(name for name in STEPS if name in line) for line in lines[2:7]] == STEPS
    as_json = await asyncio.to_thread(onebook, "trace", TRACE, "--database", database_url, "--json")
    assert [span["name"] for span in json.loads(as_json.stdout)["waterfalls"][0]["spans"]] == STEPS


async def test_trace_says_how_to_follow(database_url: str) -> None:
    """`onebook trace` of a booking that was not followed ends with 1 and says how to follow; nonsense ends with 2."""
    async with followed(database_url) as bench:
        booking = placed(await place(bench, None))
    arguments = ("trace", "--database", database_url)
    told = await asyncio.to_thread(onebook, *arguments, booking.id, check=False)
    assert told.returncode == 1
    assert "was not followed" in told.stderr
    assert "ONEBOOK_TRACING_SAMPLE_RATIO" in told.stderr
    unknown = await asyncio.to_thread(onebook, *arguments, TRACE, check=False)
    assert (unknown.returncode, "neither a booking nor a trace" in unknown.stderr) == (1, True)
    assert (await asyncio.to_thread(onebook, *arguments, "nonsense", check=False)).returncode == 2


def only(found: Found) -> Waterfall:
    """The one waterfall found."""
    (fall,) = found.waterfalls
    return fall


async def write(store: SpanStore, times: list[float]) -> None:
    """Spans that began at these times and took a second."""
    maker = SpanMaker("test", "")
    made = [maker.make(Span("view", FOLLOWED, at, at + 1, {})) for at in times]
    maker.close()
    await store.write([span for span in made if span is not None])


async def count(url: str) -> int:
    """How many spans are kept."""
    return int(await value(url, "SELECT count(*) FROM span"))


async def traceparents(url: str) -> list[str | None]:
    """What the bookings' entries in the log hand on."""
    return list(await value(url, "SELECT array_agg(traceparent) FROM log WHERE subject LIKE 'bookings/%'"))


async def value(url: str, statement: str) -> Any:
    """One value, as the database has it."""
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


@contextmanager
def collector() -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    """A collector's traces endpoint, and what is posted to it."""
    posted: list[ExportTraceServiceRequest] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """Keep it."""
            posted.append(ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1/traces", posted
        finally:
            server.shutdown()
            thread.join()
