"""The demo's crowd, its witness, its figures and what people see of them, without a server."""

import io
import itertools
import math
from datetime import date

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from rich.console import Console

from onebook.checkout.books.reconcile import Difference, Kind
from onebook.checkout.gateways.protocol import Payment, PaymentState
from onebook.model.offers.coupon import CouponTerms
from onebook.model.offers.plan import RatePlan
from onebook.model.offers.policy import Policy
from onebook.model.offers.tax import Tax
from onebook.ops.demo.board import Board, Pace
from onebook.ops.demo.books import MoneyProof, wrong_receipts
from onebook.ops.demo.intents import CHANNELS, Plot, intents
from onebook.ops.demo.market import RUSH_UNITS, Market, lisboa, nights
from onebook.ops.demo.mirror import Front
from onebook.ops.demo.money_text import amounts
from onebook.ops.demo.prices import offers
from onebook.ops.demo.proof import Deliveries, Proof
from onebook.ops.demo.report import EXIT_FAILED, EXIT_INVARIANT, EXIT_OK, DemoReport, report_of
from onebook.ops.demo.screen import frame, plain_line
from onebook.ops.demo.tally import Latencies, Rush, Tally
from onebook.ops.demo.till import Books, Outage, Till
from onebook.ops.demo.verdict import next_booking_curl, render_verdict
from onebook.ops.demo.witness import Witness

OPENING = date(2027, 1, 4)
EQUAL = Proof(cells=100, drained_seconds=0.0, differences={}, server_difference=None, deliveries=Deliveries(3, 1, 0, 0))
BALANCED = MoneyProof(
    books=Books(taken_minor={"EUR": 1_234_550}, coupon_used=2, refunds=1),
    payments=4,
    differences=(),
    imbalances={},
    sold_unpaid=0,
    receipts_wrong=0,
)


@pytest.fixture
def market() -> Market:
    """The three venues, opened on a Monday."""
    return lisboa(OPENING)


@pytest.fixture
def witness(market: Market) -> Witness:
    """A witness who knows the capacities of the market."""
    return Witness(market.capacities(), {market.rush_line().cells[0]: RUSH_UNITS})


@pytest.fixture
def board(market: Market, witness: Witness) -> Board:
    """The board of a run of three seconds that began at zero."""
    rush = Rush("the last 5 rooms", RUSH_UNITS, starts_at=2.0, attempts_left=10)
    tallies = {name: Tally() for name in CHANNELS}
    till = Till("TEJO20", coupon_limit=3)
    return Board("Lisboa", 7, 3.0, 0.0, len(market.capacities()), tallies, rush, witness, Front(), till)


def test_intents_repeat_with_their_seed(market: Market) -> None:
    """One seed and one channel give the same attempts again; another seed or channel gives others."""

    def first(seed: int, channel: str) -> list[object]:
        return list(itertools.islice(intents(seed, channel, market), 200))

    assert first(7, "app") == first(7, "app")
    assert first(7, "app") != first(8, "app")
    assert first(7, "app") != first(7, "desk")


def test_a_crowd_tries_everything(market: Market) -> None:
    """Within two thousand attempts every plot, every kind, every card and a basket across three venues occur."""
    attempts = list(itertools.islice(intents(1, "website", market), 2000))
    kinds = {offer.key: offer.kind for offer in (*market.offers, *market.seats)}
    items = [line.item for attempt in attempts for line in attempt.lines]
    assert {attempt.plot for attempt in attempts} == set(Plot)
    assert len({attempt.means.token for attempt in attempts}) == 5
    assert {kinds[item["resource"]] for item in items} == {*("room", "table", "vehicle", "seat", "staff", "activity")}
    venues = [{line.item["resource"].split("/")[0] for line in attempt.lines} for attempt in attempts]
    assert {"alfama", "chiado", "opera"} in venues


def test_nobody_wants_the_nights_set_aside(market: Market) -> None:
    """The crowd leaves the night of the rush to the rush, and the free night to the reader's own curl."""
    wanted = {
        cell
        for channel in CHANNELS
        for attempt in itertools.islice(intents(1, channel, market), 1000)
        for line in (*attempt.lines, *attempt.instead)
        for cell in line.cells
    }
    double = market.offers[0]
    assert not wanted & set(market.rush_line().cells)
    assert not wanted & set(nights(double, market.free_night, 2).cells)


def test_the_witness_sees_a_planted_double_booking(market: Market, witness: Witness) -> None:
    """One room more than there are, promised for one night, is found with its cell and figure."""
    suite = market.offers[1]
    for number in range(suite.capacity):
        witness.promised(f"b{number}", [nights(suite, OPENING, 2)], None, now=1.0)
    assert witness.double_booked == {}
    witness.promised("one more", [nights(suite, OPENING, 1)], None, now=2.0)
    assert witness.double_booked == {("alfama/suite", OPENING.isoformat()): suite.capacity + 1}


def test_the_witness_knows_the_few_rooms_of_the_rush(market: Market, witness: Witness) -> None:
    """On the night of the rush the sixth room is a double booking, although the hotel has more."""
    for number in range(RUSH_UNITS + 1):
        witness.promised(f"b{number}", [market.rush_line()], None, now=1.0)
    assert list(witness.double_booked.values()) == [RUSH_UNITS + 1]


def test_the_witness_frees_what_was_given_up_or_ran_out(market: Market, witness: Witness) -> None:
    """A unit may be promised again after its end was asked for, or its deadline, and not before."""
    seat = nights(market.seats[0], OPENING, 1)
    witness.promised("first", [seat], until=10.0, now=1.0)
    witness.promised("after the deadline", [seat], None, now=10.0)
    witness.given_up("after the deadline")
    witness.promised("after the end", [seat], None, now=11.0)
    assert witness.double_booked == {}
    witness.promised("too early", [seat], None, now=12.0)
    assert len(witness.double_booked) == 1


def test_the_witness_follows_a_hold_that_is_extended_and_confirmed(market: Market, witness: Witness) -> None:
    """A later deadline or none at all replaces the first; repeats of an answer count once."""
    seat = nights(market.seats[0], OPENING, 1)
    witness.promised("a", [seat], until=10.0, now=1.0)
    witness.promised("a", [seat], until=20.0, now=9.0)
    witness.promised("a", [seat], until=None, now=19.0)
    assert witness.double_booked == {}
    witness.promised("b", [seat], None, now=30.0)
    assert len(witness.double_booked) == 1


@given(st.lists(st.floats(min_value=2e-5, max_value=100), min_size=1, max_size=200), st.sampled_from([50, 95, 99]))
def test_percentiles_are_right_within_a_per_cent(samples: list[float], percent: int) -> None:
    """The histogram's percentile is the nearest-rank one, at most one per cent too high."""
    latencies = Latencies()
    for sample in samples:
        latencies.add(sample)
    exact = sorted(samples)[max(1, math.ceil(len(samples) * percent / 100)) - 1]
    assert exact * 0.999999 <= latencies.percentile_seconds(percent) <= exact * 1.0101


def test_merged_latencies_are_those_of_all() -> None:
    """Two channels' histograms together give the percentiles of all samples."""
    fast, slow = Latencies(), Latencies()
    for _ in range(98):
        fast.add(0.001)
    for _ in range(2):
        slow.add(1.0)
    both = Latencies.merged((fast, slow))
    assert both.count == 100
    assert both.percentile_seconds(50) == pytest.approx(0.001, rel=0.02)
    assert both.percentile_seconds(99) == pytest.approx(1.0, rel=0.02)


def test_the_rush_hands_out_each_attempt_once() -> None:
    """Nothing before its time, then the numbers in order, then nothing again."""
    rush = Rush("rooms", 5, starts_at=10.0, attempts_left=2)
    assert [rush.claim(now) for now in (9.9, 10.0, 10.1, 10.2)] == [None, 1, 2, None]
    assert rush.began == 10.0


def test_the_pace_is_even_and_makes_nobody_hurry() -> None:
    """Attempts asked for at once are spread; one that comes after a pause does not have to wait."""
    pace = Pace()
    waits = [pace.wait_seconds(10.0) for _ in range(3)]
    assert waits == pytest.approx([0.0, waits[1], 2 * waits[1]])
    assert pace.wait_seconds(20.0) == 0.0


def test_the_report_adds_up_and_is_json(board: Board) -> None:
    """Totals are the channels' sums, and the whole report survives a trip through JSON."""
    _sell(board)
    report = report_of(board, OPENING, EQUAL, BALANCED)
    assert (report.attempts, report.sold, report.refused_by_code) == (18, 6, {"sold-out": 12})
    assert report.bookings_per_second == 2.0
    assert report.command == "onebook demo --seed 7 --seconds 3"
    assert msgspec.json.decode(msgspec.json.encode(report), type=DemoReport) == report


def test_exit_codes_tell_a_violation_from_a_surprise(market: Market, board: Board) -> None:
    """A clean run ends with 0, an unexpected answer or a webhook lost with 1, a double booking or a wrong mirror with 7."""
    assert report_of(board, OPENING, EQUAL, BALANCED).exit_code == EXIT_OK
    waiting = replace(EQUAL, deliveries=Deliveries(delivered=2, retried=1, dead=0, pending=1))
    assert report_of(board, OPENING, waiting, BALANCED).exit_code == EXIT_FAILED
    stale = replace(EQUAL, server_difference="alfama/double 2027-01-04: 3 in the mirror, 2 in the ledger")
    assert report_of(board, OPENING, stale, BALANCED).exit_code == EXIT_INVARIANT
    board.tallies["app"].surprise("booking: 500")
    assert report_of(board, OPENING, EQUAL, BALANCED).exit_code == EXIT_FAILED
    for booking in ("first", "second"):
        board.witness.promised(booking, [nights(market.seats[0], OPENING, 1)], None, now=1.0)
    assert report_of(board, OPENING, EQUAL, BALANCED).exit_code == EXIT_INVARIANT


@pytest.mark.parametrize(
    "wrong",
    [
        {"differences": (Difference(Kind.ORPHAN_CHARGE, "c", None, "EUR", 0, 100),)},
        {"differences": (Difference(Kind.REFUND_DIFFERS, "c", "b", "EUR", 0, 100),)},
        {"imbalances": {"EUR": 1}},
        {"sold_unpaid": 1},
        {"receipts_wrong": 1},
        {"books": Books(coupon_used=4)},
    ],
)
def test_money_that_does_not_add_up_is_a_violation(board: Board, wrong: dict[str, object]) -> None:
    """A charge for nothing, a refund that differs, books off balance, a sale unpaid, a false receipt, a coupon too many: 7."""
    assert report_of(board, OPENING, EQUAL, replace(BALANCED, **wrong)).exit_code == EXIT_INVARIANT


def test_a_checkout_without_end_is_a_failure(board: Board) -> None:
    """What was still under way is not judged, but told."""
    assert report_of(board, OPENING, EQUAL, replace(BALANCED, books=Books(unfinished=1))).exit_code == EXIT_FAILED


def test_receipts_are_held_against_the_gateways_list() -> None:
    """Paid has to be taken as it was told, and declined has to be kept nowhere; what was given back may have been taken."""
    till = Till("TEJO20", 3, receipts={"paid": 500, "other": 500, "lost": 500}, declined={"declined", "kept", "back"})
    theirs = [
        *(_payment("paid", 500), _payment("other", 400)),
        *(_payment("declined", 0), _payment("kept", 700), _payment("back", 700, 700)),
    ]
    assert wrong_receipts(till, theirs) == 3


def test_what_things_cost_can_be_put() -> None:
    """Every offer of the market is one that the API takes, and each venue has prices for all that it sells."""
    shapes = {"policies": Policy, "taxes": Tax, "rates": RatePlan, "coupons": CouponTerms}
    put = offers(uses=5)
    for path, definition in put:
        msgspec.json.decode(msgspec.json.encode(definition), type=shapes[path.split("/")[4]])
    assert {path.split("/")[3] for path, _ in put if "/rates/" in path} == {"alfama", "chiado", "opera"}


def test_amounts_are_told_in_their_currency() -> None:
    """Each currency with its own decimals."""
    assert amounts({"EUR": 1_234_050, "JPY": 900}) == "12,340.50 EUR, 900 JPY"
    assert amounts({}) == "nothing"


def test_people_see_the_figures(board: Board) -> None:
    """Frame, plain line and verdict show the sales, the rush and the count of double bookings."""
    _sell(board)
    console = Console(record=True, width=100, file=io.StringIO())
    console.print(frame(board, 2.5))
    console.print(plain_line(board, 2.5))
    render_verdict(report_of(board, OPENING, EQUAL, BALANCED), console)
    text = console.export_text()
    for expected in (
        "double bookings  0",
        "sold-out 12",
        "18 attempts",
        "has not looked",
        "--seed 7",
        "equal to the ledger",
        "12,345.50 EUR taken",
        "TEJO20 0 of 3",
        "0 orphan charges",
        "books balance",
    ):
        assert expected in text


def test_the_frame_fits_a_small_terminal(board: Board) -> None:
    """In 80 columns and 24 lines every line is whole, with nothing cut and nothing wrapped."""
    _sell(board)
    board.till.paid, board.till.challenged = 1_240, 104
    board.till.books = BALANCED.books
    board.till.outage = Outage(at=1.0, seconds=2.1, ended_seconds=12.3)
    console = Console(record=True, width=80, file=io.StringIO())
    console.print(frame(board, 2.5, 80))
    text = console.export_text()
    assert len(text.splitlines()) < 24
    assert "…" not in text
    assert "1,240 paid · 0 declined · 104 challenged · 1 refunded" in text


def test_the_curl_line_books_a_free_night(market: Market, board: Board) -> None:
    """The line names the URL, the token and a night that is beyond the crowd's horizon."""
    line = next_booking_curl("http://127.0.0.1:8080", "TOKEN", report_of(board, OPENING, EQUAL, BALANCED))
    assert "http://127.0.0.1:8080/v1/bookings" in line
    assert "Bearer TOKEN" in line
    assert market.free_night.isoformat() in line


def _payment(key: str, captured_minor: int, refunded_minor: int = 0) -> Payment:
    state = PaymentState.CAPTURED if captured_minor else PaymentState.DECLINED
    return Payment(key, key, state, 700, "EUR", captured_minor, refunded_minor)


def _sell(board: Board) -> None:
    """Each channel sells one and is refused two, a second into the run."""
    for tally in board.tallies.values():
        tally.attempts, tally.sold = 3, 1
        tally.refused["sold-out"] = 2
        tally.latencies.add(0.004)
        board.mark_sold(1.0)
