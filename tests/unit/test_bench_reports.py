"""What the benchmarks of the pipeline make of what they saw."""

import io
import random
from datetime import date

import pytest
from rich.console import Console

from onebook.ops.bench.arrivals import Arrivals, Heard, Latencies, Received, Record
from onebook.ops.bench.availability import queries
from onebook.ops.bench.availability_report import Mix, Reading, ratio_of
from onebook.ops.bench.checkout_report import (
    CheckoutReport,
    FullSpeed,
    PacedCheckouts,
    Processors,
    Proof,
    Turn,
    checkout_targets,
    held_up,
    rate_of,
    render_checkout,
)
from onebook.ops.bench.passage import Stage, stages_line
from onebook.ops.bench.report import Hardware, LoadReport, ServerName
from onebook.ops.bench.rounds import Scenario
from onebook.ops.bench.sync_report import Paced
from onebook.ops.bench.targets import at_least, at_most, targets_table
from onebook.ops.bench.webhooks_report import Backlog, PacedWebhooks, webhooks_targets

NONE = Latencies(0, 0.0, 0.0, 0.0, 0.0)


def test_a_latency_is_counted_from_the_events_time() -> None:
    """From the instant in the event, in whatever offset it is written, until it arrived."""
    record = Record()
    record.add(b"2026-11-22T01:35:32.500000Z", 1795311332.504)
    record.add(b"2026-11-22T02:35:32.500000+01:00", 1795311332.510)
    found = record.arrivals().all
    assert found.count == 2
    assert [found.p50_ms, found.max_ms] == pytest.approx([4, 10], abs=0.01)


def test_percentiles_are_samples() -> None:
    """The smallest latency that so many of all do not exceed."""
    record = Record()
    for number in random.Random(1).sample(range(1, 201), 200):
        record.add_instant(0.0, number / 1000)
    found = record.arrivals().all
    assert (found.p50_ms, found.p95_ms, found.p99_ms, found.max_ms) == pytest.approx((100, 190, 198, 200))


def test_growth_compares_the_last_third_with_the_first() -> None:
    """A lag that grows through the run shows, whatever its middle is like; without arrivals nothing is claimed."""
    record = Record()
    for tenth in range(300):
        lag = 0.010 if tenth < 100 else 0.500 if tenth < 200 else 0.040
        record.add_instant(tenth / 10 - lag, tenth / 10)
    arrivals = record.arrivals()
    assert arrivals.growth == pytest.approx(4, abs=0.01)
    assert arrivals.all.p99_ms == pytest.approx(500)
    record.clear()
    assert record.arrivals() == Arrivals(NONE, NONE, NONE)
    assert record.arrivals().growth is None


def test_a_target_is_missed_where_nothing_was_measured() -> None:
    """Bounds are inclusive, and what could not be measured reaches nothing, and says so."""
    reached = [at_most("a", 4.0, 4), at_least("b", 0.7, 0.7)]
    missed = [at_most("c", 4.1, 4), at_least("d", 0.69, 0.7), at_most("e", None, 1), at_least("f", None, 1)]
    assert [each.reached for each in reached + missed] == [True] * 2 + [False] * 4
    text = io.StringIO()
    Console(file=text, width=100).print(targets_table(reached + missed))
    assert text.getvalue().count("missed") == 4
    assert text.getvalue().count("not measured") == 2


def test_the_ratio_is_of_the_spread_mix_over_all_rounds() -> None:
    """Queries that are kept ready do not count, and nothing is divided by a baseline that answered nothing."""
    readings = [
        _reading("baseline", "spread", 100, 1),
        _reading("onebook", "spread", 900, 1),
        _reading("onebook", "popular", 5000, 1),
        _reading("baseline", "spread", 200, 2),
        _reading("onebook", "spread", 2100, 2),
    ]
    assert ratio_of(readings) == pytest.approx(10)
    assert ratio_of(readings[1:3]) is None


def test_queries_ask_for_thirty_nights_that_are_on_sale() -> None:
    """Every query lies within the window, and they are seldom alike."""
    made = queries(random.Random(1), Scenario(10, 40, date(2026, 12, 1)), 50)
    assert len(set(made)) > 25
    for query in made:
        words = dict(part.split("=") for part in query.partition("?")[2].split("&"))
        first, end = date.fromisoformat(words["from"]), date.fromisoformat(words["to"])
        assert date(2026, 12, 1) <= first and (end - first).days == 30 and end <= date(2027, 1, 10)


def test_a_backlogs_rate_is_what_came_after_the_last_booking() -> None:
    """Deliveries made while bookings came in are counted apart; without a backlog there is no rate."""
    backlog = Backlog(_load(1000, 2.0), 400, _received(1000), drain_seconds=0.5)
    assert (backlog.meanwhile_per_second, backlog.drained_per_second) == (200, 1200)
    assert Backlog(_load(1000, 2.0), 1000, _received(1000), drain_seconds=0.001).drained_per_second is None


def test_a_delivery_that_is_missing_misses_its_target() -> None:
    """Fewer deliveries than bookings, or a wrong signature, are told."""
    good = PacedWebhooks(200, _load(200, 1.0), _received(200), [])
    bad = PacedWebhooks(200, _load(200, 1.0), _received(199, forged=1), [])
    backlog = Backlog(_load(10, 1.0), 10, _received(10), 0.1)
    assert [each.what for each in webhooks_targets(good, backlog) if not each.reached] == []
    assert [each.what for each in webhooks_targets(bad, backlog) if not each.reached] == [
        "bookings that were not delivered",
        "signatures that were wrong",
    ]


def test_stages_that_nothing_passed_are_left_out() -> None:
    """A consumer without observations has no percentiles to show."""
    stages = [Stage("relay", 1.0, 2.0), Stage("webhooks", None, None)]
    assert stages_line(stages).endswith("relay 1.0 / 2.0")
    assert stages_line(stages[1:]).endswith("nothing")


def test_the_client_that_heard_least_counts() -> None:
    """What clients lack is measured by the one that got the fewest events."""
    heard = Heard(3, 0, 9, 12, Arrivals(NONE, NONE, NONE))
    assert Paced(500, _load(10, 1.0), heard, []).missing == 1
    assert Paced(500, _load(8, 1.0), heard, []).missing == 0


def test_holds_beside_a_hanging_gateway_are_compared_with_those_of_the_same_run() -> None:
    """Each side's p99 is averaged over its turns; where one side has placed nothing there is nothing to compare."""
    turns = [_turn(False, 10.0), _turn(True, 15.0), _turn(False, 30.0), _turn(True, 35.0)]
    assert held_up(turns) == pytest.approx(1.25)
    assert held_up(turns[::2]) is None
    assert held_up([]) is None
    assert held_up([_turn(False, 10.0), Turn(True, _load(0, 1.0), _load(0, 1.0))]) is None


def test_checkouts_reach_their_targets_only_where_all_is_true() -> None:
    """What was told and is not so, differs, has not ended or does not balance misses its target, however fast it was."""
    full = [FULL, FullSpeed(_load(400, 1.0), 400.0, CPU)]
    paced, turns = PacedCheckouts(150, _load(150, 1.0)), [_turn(False, 10.0), _turn(True, 11.0)]
    assert rate_of(full) == 500
    assert [each.what for each in checkout_targets(full, paced, turns, PROVEN) if not each.reached] == []
    untrue = Proof(
        told=11, completed=10, confirmed=9, captured=12, astray=3, under_way=1, balance_minor=1, unposted_minor=-1
    )
    slow = PacedCheckouts(150, _load(140, 1.0))
    missed = [each.what for each in checkout_targets(full[1:], slow, turns, untrue) if not each.reached]
    assert missed == [
        "whole checkouts",
        "checkouts made at 150/s",
        "checkouts told as paid that are not",
        "completed, confirmed and captured that differ",
        "checkouts that have not ended",
        "trial balance, minor units",
        "captured and not in the books, minor units",
    ]


def test_a_report_of_checkouts_shows_every_load_and_what_was_proved() -> None:
    """People see the rates, the turns beside each other, and the figures of the proof."""
    turns = [
        _turn(False, 10.0),
        Turn(True, _load(100, 1.0), LoadReport("asyncio", 9, 1.0, {"202": 9}, 0, 1, 1, 1, 0.1)),
    ]
    paced = PacedCheckouts(150, _load(150, 1.0))
    report = CheckoutReport(
        seconds=1,
        workers=2,
        clients=64,
        full=[FULL],
        paced=paced,
        holds_rate=200,
        checkouts_rate=30,
        turns=turns,
        held_up=held_up(turns),
        proof=PROVEN,
        targets=checkout_targets([FULL], paced, turns, PROVEN),
        hardware=Hardware("a processor", 2, 4.0, "Linux", 0.2, "18.6", "asyncio"),
    )
    text = io.StringIO()
    render_checkout(report, Console(file=text, width=200))
    for shown in ("64 clients", "at 150/s", "hangs", "9 × 202", "10 checkouts completed", "together 2.50"):
        assert shown in text.getvalue()


CPU = Processors(workers=1.0, gateway=0.25, postgresql=0.75, others=0.5)
PROVEN = Proof(
    told=10, completed=10, confirmed=10, captured=10, astray=0, under_way=0, balance_minor=0, unposted_minor=0
)


def _turn(hangs: bool, p99_ms: float) -> Turn:
    holds = LoadReport("asyncio", 100, 1.0, {"201": 100}, 0, 1.0, 2.0, p99_ms, 0.1)
    return Turn(hangs, holds, _load(10, 1.0))


def _load(placed: int, seconds: float) -> LoadReport:
    return LoadReport("asyncio", placed, seconds, {"201": placed}, 0, 1.0, 2.0, 3.0, 0.1)


FULL = FullSpeed(_load(600, 1.0), 600.0, CPU)


def _received(deliveries: int, forged: int = 0) -> Received:
    some = Latencies(deliveries, 1.0, 2.0, 3.0, 4.0)
    return Received(deliveries, 0, 10, forged, Arrivals(some, some, some))


def _reading(server: ServerName, mix: Mix, answered: int, seconds: float) -> Reading:
    load = LoadReport("wrk", answered, seconds, {"200": answered}, 0, 1.0, 2.0, 3.0, 0.1)
    return Reading(server, mix, 1, answered / seconds, 0.1, load, load)
