"""The calendar, the audit, the desk and the report of `onebook replay`, without a server of Onebook's."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import date, timedelta
from io import StringIO
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from tests.serving import serving

from onebook.ops.http_client import Client
from onebook.ops.replay import desk as replay_desk
from onebook.ops.replay.calendar import (
    Room,
    calendar,
    capacities,
    fullest,
    needlessly_refused,
    oversold_nights,
)
from onebook.ops.replay.desk import Desk, MarketRefused, Outcome, Sale, Tokens
from onebook.ops.replay.market import Market
from onebook.ops.replay.report import EXIT_FAILED, EXIT_INVARIANT, EXIT_OK, ReplayReport, exit_code, report_on
from onebook.ops.replay.rows import Reason, Rejected, Stay
from onebook.ops.replay.screen import render

DAY = date(2016, 3, 1)
ROOM = Room("Resort Hotel", "A")


def _stay(line: int, booked: int, arrival: int, nights: int, cancelled: int | None = None) -> Stay:
    return Stay(
        line=line,
        hotel=ROOM.hotel,
        room_type=ROOM.room_type,
        channel="direct",
        booked_on=DAY + timedelta(days=booked),
        arrival=DAY + timedelta(days=arrival),
        nights=nights,
        cancelled_on=None if cancelled is None else DAY + timedelta(days=cancelled),
        guests=2,
        adr=80.0,
    )


@st.composite
def _demand(draw: st.DrawFn) -> list[Stay]:
    stays = []
    for line in range(draw(st.integers(1, 25))):
        booked = draw(st.integers(0, 6))
        arrival, nights = booked + draw(st.integers(0, 3)), draw(st.integers(1, 4))
        cancelled = draw(st.none() | st.integers(booked, arrival + nights - 1))
        stays.append(_stay(line, booked, arrival, nights, cancelled))
    return stays


def test_a_day_cancels_then_books_then_cancels_what_it_booked() -> None:
    """Yesterday's stay is given up before today's are booked; one booked and given up today comes last."""
    old, both, new = _stay(2, 0, 5, 1, cancelled=1), _stay(3, 1, 5, 1, cancelled=1), _stay(4, 1, 5, 1)
    first, second = calendar([old, both, new])
    assert (first.on, first.cancelled, first.booked, first.given_up) == (DAY, (), (old,), ())
    assert (second.cancelled, second.booked, second.given_up) == ((old,), (both, new), (both,))


def test_capacity_is_nine_tenths_of_the_fullest_night() -> None:
    """Ten at once for one night make nine units; stays that never meet, or were given up before, do not add up."""
    ten = [_stay(line, 0, 5, 2) for line in range(10)]
    apart = [_stay(line, 0, 7, 1) for line in range(10, 20)]
    given_up = [_stay(20, 0, 5, 1, cancelled=0), _stay(21, 1, 5, 1)]
    assert capacities(ten) == {ROOM: 9}
    assert capacities(ten + apart) == {ROOM: 9}
    assert fullest(given_up) == {(ROOM, DAY + timedelta(days=5)): 1}
    assert capacities(given_up) == {ROOM: 1}


@given(_demand())
def test_the_fullest_night_is_what_counting_every_moment_finds(stays: list[Stay]) -> None:
    """The count in one pass equals the slow count of every stay alive on every night of every day."""
    slow: dict[tuple[Room, date], int] = {}
    for today in {stay.booked_on for stay in stays}:
        alive = [
            stay
            for stay in stays
            if stay.booked_on == today
            or (stay.booked_on < today and (stay.cancelled_on is None or stay.cancelled_on > today))
        ]
        for night in (DAY + timedelta(days=n) for n in range(20)):
            units = sum(stay.arrival <= night < stay.departure for stay in alive)
            if units:
                slow[ROOM, night] = max(units, slow.get((ROOM, night), 0))
    assert fullest(stays) == slow


@given(_demand(), st.integers(1, 4), st.randoms(use_true_random=False))
def test_an_honest_server_passes_the_audit_in_any_order(stays: list[Stay], units: int, chance: random.Random) -> None:
    """Whatever the order in which a day's bookings are decided, selling while there is room is never accused."""
    sold, refused = _sell(stays, units, chance)
    assert oversold_nights([stay for stay in stays if stay.line in sold], {ROOM: units}) == 0
    assert needlessly_refused(stays, sold, refused, {ROOM: units}) == 0


@given(_demand(), st.integers(1, 3), st.randoms(use_true_random=False))
def test_the_audit_sees_one_sold_too_many_and_one_refused_too_many(
    stays: list[Stay], units: int, chance: random.Random
) -> None:
    """Selling to one who was rightly refused, or refusing who could have had the room, is found."""
    sold, refused = _sell(stays, units, chance)
    for line in refused:
        assert oversold_nights([stay for stay in stays if stay.line in sold | {line}], {ROOM: units}) > 0
    for line in sold:
        assert needlessly_refused(stays, sold - {line}, {line}, {ROOM: units}) == 1


def _sell(stays: list[Stay], units: int, chance: random.Random) -> tuple[set[int], set[int]]:
    """An honest server: sells while each night has a unit left, a day's bookings in any order."""
    sold: dict[int, Stay] = {}
    refused: set[int] = set()
    live: dict[int, Stay] = {}
    for day in calendar(stays):
        for stay in day.cancelled:
            live.pop(stay.line, None)
        for stay in chance.sample(day.booked, len(day.booked)):
            nights = [stay.arrival + timedelta(days=n) for n in range(stay.nights)]
            if all(sum(o.arrival <= night < o.departure for o in live.values()) < units for night in nights):
                sold[stay.line] = live[stay.line] = stay
            else:
                refused.add(stay.line)
        for stay in day.given_up:
            live.pop(stay.line, None)
    return set(sold), refused


Request = tuple[str, str, str]
Answers = Callable[[str, str], tuple[int, object]]


class Counterpart:
    """A server that answers as the test says and notes each request with its token and idempotency key."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self.requests: list[Request] = []
        self.under_way = 0
        self.most_under_way = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:-2])
                await reader.readexactly(int(fields.get("content-length", 0)))
                method, path, _ = head.split(" ", 2)
                token = fields["authorization"].removeprefix("Bearer ")
                self.requests.append((f"{method} {path}", token, fields.get("idempotency-key", "")))
                self.under_way += 1
                self.most_under_way = max(self.most_under_way, self.under_way)
                await asyncio.sleep(0)
                self.under_way -= 1
                status, body = self.answers(method, path)
                content = msgspec.json.encode(body)
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(content), content))


@asynccontextmanager
async def _desk(answers: Answers, *, concurrency: int = 4) -> AsyncIterator[tuple[Desk, Counterpart]]:
    counterpart = Counterpart(answers)
    async with (
        serving(counterpart.serve) as port,
        Client(f"http://127.0.0.1:{port}", connections=concurrency) as client,
    ):
        tokens = Tokens("admin", {"direct": "direct's own"})
        market = Market("test", {ROOM: 2})
        yield Desk(client, tokens, market, concurrency=concurrency, chance=random.Random(1)), counterpart


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay_desk, "PAUSES_SECONDS", (0.0, 0.0))


def _confirmed(method: str, path: str) -> tuple[int, object]:
    return (200 if path.endswith("/cancel") else 201), {"id": "b1", "status": "confirmed"}


async def test_the_desk_books_and_cancels_under_the_channel() -> None:
    """Venue and room type are set up by the setup token; each stay has its own key and its channel's token."""
    async with _desk(_confirmed) as (desk, counterpart):
        await desk.open_market()
        for day in calendar([_stay(2, 0, 5, 1, cancelled=1)]):
            await desk.work(day)
    assert counterpart.requests == [
        ("PUT /v1/venues/resort-hotel-test", "admin", ""),
        ("PUT /v1/venues/resort-hotel-test/resources/room-a", "admin", ""),
        ("POST /v1/bookings", "direct's own", "replay-test-2"),
        ("POST /v1/bookings/b1/cancel", "direct's own", ""),
    ]
    sale = desk.sales[2]
    assert (sale.outcome, sale.cancelled) == (Outcome.SOLD, True)


async def test_concurrency_is_bounded_and_used() -> None:
    """A day's bookings are under way together, but never more than `concurrency` of them."""
    (day,) = calendar(_stay(line, 0, 5, 1) for line in range(40))
    async with _desk(_confirmed, concurrency=3) as (desk, counterpart):
        await desk.work(day)
    assert len(desk.sales) == 40
    assert 2 <= counterpart.most_under_way <= 3


@pytest.mark.parametrize("busy", [429, 503])
async def test_a_busy_server_is_asked_again_with_the_same_key(busy: int) -> None:
    """Busy answers are repeated and counted, and cost nothing else."""
    told = iter([(busy, {}), (busy, {}), (201, {"id": "b1", "status": "confirmed"})])
    (day,) = calendar([_stay(2, 0, 5, 1)])
    async with _desk(lambda method, path: next(told)) as (desk, counterpart):
        await desk.work(day)
    assert desk.sales[2].outcome is Outcome.SOLD
    assert desk.retries == 2
    assert [key for _, _, key in counterpart.requests] == ["replay-test-2"] * 3


@pytest.mark.parametrize(
    ("status", "body", "outcome", "code"),
    [
        (200, {"id": "b1", "status": "confirmed"}, Outcome.SOLD, ""),
        (409, {"code": "sold-out"}, Outcome.REFUSED, "sold-out"),
        (409, {"code": "min-stay"}, Outcome.REFUSED, "min-stay"),
        (409, {}, Outcome.FAILED, "HTTP 409 with a wrong body"),
        (201, {"id": "b1", "status": "held"}, Outcome.FAILED, "HTTP 201"),
        (201, {}, Outcome.FAILED, "HTTP 201 with a wrong body"),
        (422, {"code": "invalid", "detail": "no"}, Outcome.FAILED, "HTTP 422 invalid no"),
        (500, "oops", Outcome.FAILED, "HTTP 500"),
        (503, {"code": "away"}, Outcome.FAILED, "HTTP 503 away"),
    ],
)
async def test_every_answer_is_sold_refused_or_failed(status: int, body: object, outcome: Outcome, code: str) -> None:
    """Only a confirmed booking is sold and only a 409 with a code is a refusal: all else is a failure in words."""
    (day,) = calendar([_stay(2, 0, 5, 1, cancelled=0)])

    def answers(method: str, path: str) -> tuple[int, object]:
        return (200, {}) if path.endswith("/cancel") else (status, body)

    async with _desk(answers) as (desk, _):
        await desk.work(day)
    sale = desk.sales[2]
    assert sale.outcome is outcome
    assert sale.code.startswith(code)
    assert sale.cancelled == (outcome is Outcome.SOLD)


async def test_a_market_that_cannot_be_set_up_ends_the_replay() -> None:
    """A refused venue is an error that names the request and the problem."""
    async with _desk(lambda method, path: (403, {"code": "forbidden"})) as (desk, _):
        with pytest.raises(MarketRefused, match=r"PUT /v1/venues/resort-hotel-test: HTTP 403 forbidden"):
            await desk.open_market()


def _sale(stay: Stay, outcome: Outcome, **more: Any) -> Sale:
    return Sale(stay, outcome, 0.002, **more)


def _report(sales: Sequence[Sale], units: int = 1) -> ReplayReport:
    rejected = [Rejected(9, Reason.NO_NIGHTS, "none"), Rejected(12, Reason.NO_NIGHTS, "[bold]none")]
    capacity = {ROOM: units} if sales else {}
    return report_on(sales, rejected, capacity, file="f.csv", run="test", retries=0, seconds=1.0)


KEPT = _sale(_stay(2, 0, 5, 2), Outcome.SOLD)
GIVEN_UP = _sale(_stay(3, 0, 7, 2, cancelled=1), Outcome.SOLD, cancelled=True)
REFUSED = _sale(_stay(4, 0, 6, 1), Outcome.REFUSED, code="sold-out")
FAILED = _sale(_stay(5, 0, 9, 6), Outcome.FAILED, code="HTTP 500")


def test_the_report_adds_up() -> None:
    """Rows = asked + rejected, asked = sold + refused + failed, in the total as in each of its parts."""
    report = _report([KEPT, GIVEN_UP, REFUSED, FAILED])
    total = report.total
    assert report.rows == total.asked + len(report.rejected) == 6
    assert (total.asked, total.sold, total.refused, total.failed, total.cancelled) == (4, 2, {"sold-out": 1}, 1, 1)
    assert (total.nights_kept, total.nights_offered, total.occupancy_percent) == (2, 10, 20.0)
    assert [part.count for part in report.room_types] == [total]
    assert [part.count for part in report.channels] == [total]
    assert [part.count for part in report.channels_by_room_type] == [total]
    assert report.rejected_by_reason == {Reason.NO_NIGHTS: 2}
    assert [(trouble.line, trouble.what) for trouble in report.troubles] == [(5, "HTTP 500")]
    assert msgspec.json.decode(msgspec.json.encode(report), type=ReplayReport) == report


def test_the_exit_code_tells_the_worst() -> None:
    """Refusals are fine, a failure is 1, a book that is wrong is 7; with failures only overselling is certain."""
    needless = _sale(_stay(4, 0, 20, 1), Outcome.REFUSED, code="sold-out")
    twice = _sale(_stay(6, 1, 6, 1), Outcome.SOLD)
    uncancelled = _sale(_stay(3, 0, 9, 2, cancelled=1), Outcome.SOLD, cancel_failure="HTTP 500")
    assert exit_code(_report([KEPT, GIVEN_UP, REFUSED])) == EXIT_OK
    assert exit_code(_report([KEPT, FAILED])) == EXIT_FAILED
    assert exit_code(_report([KEPT, uncancelled])) == EXIT_FAILED
    assert exit_code(_report([KEPT, needless])) == EXIT_INVARIANT
    assert exit_code(_report([KEPT, needless, FAILED])) == EXIT_FAILED
    assert exit_code(_report([KEPT, twice, FAILED])) == EXIT_INVARIANT


def test_nothing_asked_is_still_a_report() -> None:
    """A file without one good row is reported, not divided by zero."""
    report = _report([])
    assert (report.total.asked, report.total.occupancy_percent, report.total.latency) == (0, 0.0, None)
    assert exit_code(report) == EXIT_OK


def test_people_see_the_tables() -> None:
    """The page tells the sums, the refusals, the rejected lines and the failure, with markup taken literally."""
    screen = StringIO()
    render(_report([KEPT, GIVEN_UP, REFUSED, FAILED]), Console(file=screen, width=80))
    text = screen.getvalue()
    for words in ("6 rows = 4 asked + 2 rejected", "sold-out", "20.0 %", "no-nights", "9, 12", "line 5: book failed"):
        assert words in text
    assert "oversold nights 0, refused though free unknown" in text.replace("\n", " ")
