"""What a server answers, held against the tables: a truthful one passes, and each kind of untruth is found at its place."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta

import msgspec
import pytest
from aiohttp import web
from msgspec.structs import replace
from tests.conftest import Bench

from onebook.ledger.ledger import Placing
from onebook.ledger.resolve import Cells
from onebook.model.commands import Wanted
from onebook.model.hours import OpeningHours
from onebook.model.resource import Kind, Unit
from onebook.ops.verify.audit import Served, verify
from onebook.ops.verify.report import Check
from onebook.views.availability import OnSale

Untruth = Callable[[OnSale], OnSale | None]
MORNING = datetime(2026, 12, 1, 9, tzinfo=UTC)


@pytest.fixture
async def market(bench: Bench) -> Bench:
    """A room with a few nights sold, staff with hours in a town that puts its clocks back, and seats of two sessions."""
    await bench.room("alfama/double", capacity=3)
    await bench.room("alfama/suite")
    exceptions: dict[date, tuple[tuple[int, int], ...]] = {(MORNING + timedelta(days=1)).date(): ((600, 660),)}
    hours = OpeningHours(weekly=(((540, 1080), (1080, 1500)),) * 7, exceptions=exceptions)
    options = {"unit": Unit.MINUTE, "cell_minutes": 15, "hours": hours}
    await bench.resource("alfama/ana", kind=Kind.STAFF, **options)
    for number, code in enumerate(("matinee", "evening")):
        starts = MORNING + timedelta(hours=4 * number)
        await bench.definitions.put_session("alfama", code, starts, starts + timedelta(hours=2))
    await bench.resource("alfama/seat", kind=Kind.SEAT, unit=Unit.SESSION, capacity=2)
    for number in range(3):
        night = f"2026-12-{number + 1:02}"
        await place(bench, "alfama/double", night, f"2026-12-{number + 3:02}")
    for at in ("01T09:00", "02T10:00", "04T00:30"):
        begins = datetime.fromisoformat(f"2026-12-{at}:00+00:00")
        await place(bench, "alfama/ana", begins.isoformat(), (begins + timedelta(minutes=30)).isoformat())
    await bench.ledger.change_inventory("alfama/double", [Cells("2026-12-04", "2026-12-06", None, {"closed": True})])
    await place(bench, "alfama/seat", session="evening")
    return bench


async def place(
    bench: Bench, resource: str, starts: str | None = None, ends: str | None = None, session: str | None = None
) -> None:
    """Hold one unit."""
    wanted = [Wanted(resource=resource, starts=starts, ends=ends, session=session)]
    await bench.ledger.place(wanted, Placing("web", f"{resource}{starts}", b"h" * 16, 3600))


@asynccontextmanager
async def standing_in(bench: Bench, untruth: Untruth = lambda told: told, status: int = 200) -> AsyncIterator[Served]:
    """A server that answers from a view loaded anew, and puts what it says of each resource through `untruth`."""

    async def answer(request: web.Request) -> web.Response:
        query = request.query
        await bench.view.start()
        told = await bench.reads.availability(
            query["venue"], query["from"], query["to"], resources=query.getall("resource"), quantity=1
        )
        said = [untruth(each) for each in told.resources]
        body = msgspec.json.encode(replace(told, resources=[each for each in said if each is not None]))
        return web.Response(body=body, status=status)

    app = web.Application()
    app.router.add_get("/v1/availability", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield Served(f"http://127.0.0.1:{runner.addresses[0][1]}", "token", 1)
    finally:
        await runner.cleanup()


async def views(bench: Bench, served: Served) -> Check:
    """What the audit says of the views; of everything else it must say nothing."""
    report = await verify(bench.url, served=served)
    assert [check.name for check in report.checks if not check.ok and check.name != "views"] == []
    return next(check for check in report.checks if check.name == "views")


async def test_a_truthful_server_passes(market: Bench) -> None:
    """Nights, quarters of hours within opening hours, and sessions are as the auditor itself reckons them."""
    async with standing_in(market) as served:
        check = await views(market, served)
    assert (check.ok, check.checked, check.total) == (True, True, 0)
    # Two rooms, Ana and the seats, over four connections.
    assert check.remark == "12 answers over 4 connections to 1 workers"
    assert check.examined > 4 * (2 * 5 + 2)


def one_more(told: OnSale) -> OnSale:
    """One night of one room has one more than there is."""
    if told.resource != "alfama/double":
        return told
    return replace(told, available=[told.available[0] + 1, *told.available[1:]])


def open_at_night(told: OnSale) -> OnSale:
    """Ana is on sale a quarter of an hour after she has gone."""
    night = "2026-12-02T01:00:00+00:00"
    return replace(told, available=[int(c == night) or n for c, n in zip(told.cells, told.available, strict=True)])


def a_seat_too_few(told: OnSale) -> OnSale:
    """A session is not answered."""
    return replace(told, cells=told.cells[:1], available=told.available[:1]) if told.resource == "alfama/seat" else told


def without_suite(told: OnSale) -> OnSale | None:
    """A room that is on sale is said to be sold out."""
    return None if told.resource == "alfama/suite" else told


def yesterdays(told: OnSale) -> OnSale:
    """A view that stands still."""
    return replace(told, version=told.version - 1)


@pytest.mark.parametrize(
    ("untruth", "where", "what"),
    [
        (one_more, "alfama/double 2026-12-01, connection 1", "another availability at version 5"),
        (open_at_night, "alfama/ana 2026-12-02T01:00:00+00:00, connection 1", "another availability at version 4"),
        (a_seat_too_few, "alfama/seat, connection 1", "cells on sale are not answered"),
        (without_suite, "alfama/suite, connection 1", "cells on sale are not answered"),
        (yesterdays, "alfama/double, connection 1", "a view behind its ledger"),
    ],
)
async def test_an_untruth_is_found(market: Bench, untruth: Untruth, where: str, what: str) -> None:
    """A server that answers something else than the tables is found out, cell by cell."""
    async with standing_in(market, untruth) as served:
        check = await views(market, served)
    assert not check.ok
    assert (where, what) in {(finding.where, finding.what) for finding in check.findings}


async def test_a_view_ahead_of_the_rows_is_not_wrong(market: Bench) -> None:
    """What has always moved on when its rows are read is left uncompared, and the remark says so."""
    async with standing_in(market, lambda told: replace(told, version=told.version + 1)) as served:
        check = await views(market, served)
    assert (check.ok, check.total, check.examined) == (True, 0, 0)
    assert "sold too fast to be compared" in check.remark


async def test_sales_meanwhile_are_no_findings(market: Bench) -> None:
    """While units are taken, answers of later versions are asked for again until one is compared."""
    await market.room("alfama/big", capacity=1_000)

    async def sell() -> None:
        for number in range(100_000):
            wanted = [Wanted(resource="alfama/big", starts="2026-12-01", ends="2026-12-02")]
            await market.ledger.place(wanted, Placing("web", f"big{number}", b"h" * 16, 3600))
            await asyncio.sleep(0.01)

    selling = asyncio.create_task(sell())
    async with standing_in(market) as served:
        check = await views(market, served)
    selling.cancel()
    assert (check.ok, check.total) == (True, 0)
    assert check.examined > 0


@pytest.mark.parametrize("status", [401, 500, 503])
async def test_a_server_that_does_not_answer_is_not_taken_for_right(market: Bench, status: int) -> None:
    """Where no answer came the line says that nothing was checked, and why."""
    async with standing_in(market, status=status) as served:
        check = await views(market, served)
    assert not check.checked
    assert f"status {status}" in check.remark
