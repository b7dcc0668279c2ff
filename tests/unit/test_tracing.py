"""Which requests are followed, what is handed on, and that nobody ever waits for a trace."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from opentelemetry.trace import format_span_id, format_trace_id

from onebook import tracing
from onebook.api.headers import traceparent_of
from onebook.ops.tracing.otel import SpanMaker
from onebook.ops.tracing.recorder import DROPPED, Recorder
from onebook.ops.tracing.store import open_store
from onebook.tracing import Span

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"
FOLLOWED = f"00-{TRACE}-{CALLER}-01"
PASSED_ON = f"00-{TRACE}-{CALLER}-00"
NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"


@pytest.fixture
def told() -> Iterator[list[Span]]:
    """The spans reported during the test; nothing is followed unasked."""
    spans: list[Span] = []
    tracing.install(spans.append, 0.0)
    yield spans
    tracing.install(None, 0.0)


def test_a_flagged_request_hands_on_its_own_place(told: list[Span]) -> None:
    """A request that is followed is a span below its caller's, and what it hands on is its own place in the same trace."""
    entered = tracing.enter(FOLLOWED)
    tracing.leave(entered, "request", status=201)
    assert entered.place == f"00-{TRACE}-{entered.span_id}-01"
    assert entered.span_id != CALLER
    (span,) = told
    assert (span.name, span.traceparent, span.span_id) == ("request", FOLLOWED, entered.span_id)
    assert span.attributes == {"status": 201}


@pytest.mark.parametrize(("flags", "is_followed"), [("00", False), ("01", True), ("02", False), ("03", True)])
def test_the_lowest_flag_decides(told: list[Span], flags: str, is_followed: bool) -> None:
    """Only the sampled flag makes a request followed, whatever other flags stand beside it; it is passed on unchanged if not."""
    traceparent = f"00-{TRACE}-{CALLER}-{flags}"
    entered = tracing.enter(traceparent)
    tracing.leave(entered, "request")
    assert bool(told) == is_followed
    assert (entered.place == traceparent) != is_followed


def test_without_tracing_a_place_is_passed_on_as_it_came() -> None:
    """Where no spans are wanted a trace goes through untouched and nothing is followed."""
    assert not tracing.followed(FOLLOWED)
    assert tracing.enter(FOLLOWED).place == FOLLOWED


def test_a_sample_ratio_of_nought_follows_nobody_unasked(told: list[Span]) -> None:
    """A request without a trace is not followed when the share is 0."""
    assert all(tracing.enter(None).place is None for _ in range(1000))
    assert told == []


def test_a_sample_ratio_of_one_follows_everybody(told: list[Span]) -> None:
    """A request without a trace begins one of its own when the share is 1, and is the root of it."""
    tracing.install(told.append, 1.0)
    places = {tracing.enter(None) for _ in range(100)}
    assert len({entered.place for entered in places}) == 100
    for entered in places:
        assert traceparent_of(entered.place) == entered.place
        tracing.leave(entered, "request")
    assert {span.traceparent.split("-")[2] for span in told} == {tracing.NOBODY}


@pytest.mark.parametrize(
    "broken",
    ["", "broken", FOLLOWED.upper(), f"{FOLLOWED}-more", f"00-{'0' * 32}-{CALLER}-01", f"00-{TRACE}-{'0' * 16}-01"],
)
def test_a_malformed_traceparent_is_ignored(told: list[Span], broken: str) -> None:
    """A broken trace is none at all."""
    entered = tracing.enter(traceparent_of(broken))
    tracing.leave(entered, "request")
    assert entered.place is None
    assert told == []


def test_a_span_never_ends_before_it_began(told: list[Span]) -> None:
    """A clock set back between two readings makes a span of no length."""
    tracing.record("relay", FOLLOWED, 1000.0, 999.0)
    assert (told[0].started_at, told[0].ended_at) == (1000.0, 1000.0)


@pytest.mark.parametrize("given", [None, "00f067aa0ba902b7"])
def test_the_sdk_makes_spans_with_the_ids_that_were_handed_on(given: str | None) -> None:
    """A span has the trace, parent, id and times that it was told with; an id is made where none was given."""
    maker = SpanMaker("test", "")
    made = maker.make(Span("commit", FOLLOWED, 1_700_000_000.25, 1_700_000_000.5, {"commands": 3}, given))
    maker.close()
    assert made is not None
    assert made.context is not None
    assert made.parent is not None
    assert format_trace_id(made.context.trace_id) == TRACE
    assert format_span_id(made.parent.span_id) == CALLER
    if given is not None:
        assert format_span_id(made.context.span_id) == given
    assert (made.start_time, made.end_time) == (1_700_000_000_250_000_000, 1_700_000_000_500_000_000)
    assert dict(made.attributes or {}) == {"commands": 3}
    assert made.resource.attributes["service.name"] == "onebook test"


def test_a_new_trace_has_a_root_without_a_parent() -> None:
    """The first span of a trace begun here hangs below nobody, in the trace that was handed on."""
    maker = SpanMaker("test", "")
    made = maker.make(Span("request", f"00-{TRACE}-{tracing.NOBODY}-01", 1.0, 2.0, {}, CALLER))
    maker.close()
    assert made is not None
    assert made.context is not None
    assert made.parent is None
    assert (format_trace_id(made.context.trace_id), format_span_id(made.context.span_id)) == (TRACE, CALLER)


async def test_what_does_not_fit_the_queue_is_dropped_and_counted() -> None:
    """A full queue takes no more spans, counts each, and never raises."""
    async with open_store(NOWHERE, "test") as store:
        recorder = Recorder(SpanMaker("test", ""), store, timedelta(hours=1), max_waiting=3)
        before = _dropped("queue-full")
        for _ in range(10):
            recorder.sink(Span("view", FOLLOWED, 1.0, 2.0, {}))
    assert _dropped("queue-full") - before == 7


async def test_a_database_that_is_away_costs_spans_and_nothing_else() -> None:
    """Spans that cannot be written are dropped and counted; the loop goes on."""
    async with open_store(NOWHERE, "test") as store:
        recorder = Recorder(SpanMaker("test", ""), store, timedelta(hours=1))
        recorder.sink(Span("view", FOLLOWED, 1.0, 2.0, {}))
        before = _dropped("database")
        assert await recorder.run_once() == 1
    assert _dropped("database") - before == 1


def _dropped(reason: str) -> float:
    return float(DROPPED.labels(reason)._value.get())
