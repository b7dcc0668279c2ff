"""The benchmark's instruments agree with the database, and its quick rounds measure everything that they report."""

import asyncio
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import asyncpg
import msgspec
import pytest

from onebook.ops.bench.arrivals import Polled
from onebook.ops.bench.availability import run_availability
from onebook.ops.bench.checkout import run_checkout
from onebook.ops.bench.instruments import instrument
from onebook.ops.bench.report import LoadReport
from onebook.ops.bench.rounds import BenchPlan
from onebook.ops.bench.servers import Server, baseline, benchmarks_folder
from onebook.ops.bench.sync import run_sync
from onebook.ops.bench.targets import Target
from onebook.ops.bench.webhooks_report import WebhooksReport

CONNECTIONS = 4
RESOURCES = 3
NIGHTS = 30
RATE = 40
QUICK = BenchPlan(
    seconds=1,
    warm_up_seconds=1,
    rounds=1,
    connections=4,
    workers=1,
    driver="asyncio",
    clients=20,
    searched_resources=50,
)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A data folder; not tmp_path, whose parents are closed to the account that PostgreSQL has when we are root."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o711)
        yield Path(name)


async def test_every_201_of_the_asyncio_driver_is_a_hold_in_the_baseline(folder: Path) -> None:
    """Bookings, items, events and nights taken in the database are exactly the 201s that the driver counted."""
    first_night = datetime.now(UTC).date() + timedelta(days=1)
    async with baseline(
        folder / "baseline", workers=2, resources=RESOURCES, first_night=first_night, nights=NIGHTS, lock="resource"
    ) as server:
        before = server.cpu_seconds()
        report = await _drive(server, first_night)
        assert server.cpu_seconds() > before
        counts = await _counts(server.database)
    assert report.driver == "asyncio"
    assert report.broken == 0
    assert set(report.by_status) == {"201"}
    assert report.requests == report.placed > CONNECTIONS
    assert 0 < report.p50_ms <= report.p95_ms <= report.p99_ms
    assert counts == {
        "bookings": report.placed,
        "items": report.placed,
        "events": report.placed,
        "taken": 3 * report.placed,
    }


async def test_a_rate_is_kept_and_a_poller_sees_it_late(folder: Path) -> None:
    """At a rate, exactly as many holds are placed as fall due, and a poller sees each row that was committed in its order."""
    first_night = datetime.now(UTC).date() + timedelta(days=1)
    async with (
        baseline(
            folder / "baseline", workers=1, resources=RESOURCES, first_night=first_night, nights=NIGHTS, lock="nights"
        ) as server,
        instrument("poll.py", database=server.database, interval_seconds=0.2) as poller,
    ):
        await poller.tell("begin")
        report = await _drive(server, first_night, "--rate", str(RATE))
        polled = await poller.report(Polled, report.placed, seconds=10)
    assert (report.placed, report.requests, report.broken) == (RATE, RATE, 0)
    assert report.seconds > 0.9 * (RATE - 1) / RATE
    assert polled.rows == RATE == polled.arrivals.all.count + polled.missed
    assert 0 < polled.arrivals.all.p50_ms <= polled.arrivals.all.max_ms


@pytest.mark.slow
async def test_a_quick_round_of_sync_measures_all_that_it_reports() -> None:
    """Every client hears of every booking, with the pipeline holds go on beside those without, and no figure is missing."""
    told: list[str] = []
    report = await run_sync(QUICK, told.append)
    _all_measured(report.targets)
    assert report.polled.polled.arrivals.all.count > 0 < report.polled.load.placed
    assert report.paced.heard.fewest >= report.paced.load.placed > 0
    assert report.paced.heard.lost == report.crowd.paced.heard.lost == 0
    assert report.crowd.paced.heard.clients == 20
    assert report.crowd.paced.heard.arrivals.all.count >= 20 * report.crowd.paced.load.placed > 0
    assert {stage.name for stage in report.paced.stages} >= {"relay", "view", "push"}
    assert [each.with_pipeline.load.placed > 0 < each.without_pipeline.load.placed for each in report.full] == [True]
    assert any("its outbox polled" in line for line in told)


@pytest.mark.slow
async def test_a_quick_round_of_availability_measures_all_that_it_reports() -> None:
    """Both servers answer every read, some of Onebook's with 304, and no figure is missing."""
    report = await run_availability(QUICK)
    _all_measured(report.targets)
    assert [(each.server, each.mix) for each in report.readings] == [
        ("baseline", "spread"),
        ("onebook", "spread"),
        ("onebook", "popular"),
        ("onebook", "known"),
    ]
    for each in report.readings:
        assert each.answered == each.load.requests > 0 == each.load.broken
        assert each.bookings.placed > 0
    assert report.readings[-1].load.by_status["304"] > 0
    assert set(report.search.by_status) == {"200"}


async def test_a_quick_round_of_webhooks_as_users_start_it() -> None:
    """`onebook bench webhooks --json` reports every booking delivered once, with signatures that the official library accepts."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "onebook.cli", "bench", "webhooks", "--seconds", "1", "--rounds", "1", "--json"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, progress = await process.communicate()
    assert process.returncode == 0, progress.decode()
    [report] = msgspec.json.decode(output, type=list[WebhooksReport])
    _all_measured(report.targets)
    assert report.paced.received.deliveries == report.paced.load.placed > 0
    assert report.backlog.received.deliveries == report.backlog.load.placed > 0
    assert report.paced.received.verified > 0 == report.paced.received.forged


@pytest.mark.slow
async def test_a_quick_round_of_checkout_finds_every_payment_again() -> None:
    """What was told as paid is confirmed and captured once; nobody is told so while the gateway hangs, and holds go on."""
    report = await run_checkout(QUICK)
    _all_measured(report.targets)
    proof = report.proof
    assert 0 < proof.told <= proof.completed == proof.confirmed == proof.captured
    assert (proof.astray, proof.under_way, proof.balance_minor, proof.unposted_minor) == (0, 0, 0, 0)
    assert all(each.load.placed > 0 < each.cpu_ms_each.workers for each in report.full)
    assert [turn.hangs for turn in report.turns] == [False, True]
    for turn in report.turns:
        assert turn.holds.by_status == {"201": turn.holds.requests}
    assert report.turns[0].checkouts.placed > 0 == report.turns[1].checkouts.placed


def _all_measured(targets: Sequence[Target]) -> None:
    unmeasured = [target.what for target in targets if target.value is None]
    assert targets and not unmeasured


async def _drive(server: Server, first_night: date, *more: str) -> LoadReport:
    options = {
        "--url": server.url,
        "--token": server.token,
        "--driver": "asyncio",
        "--connections": CONNECTIONS,
        "--seconds": 1,
        "--resources": RESOURCES,
        "--first-night": first_night,
        "--nights": NIGHTS,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(benchmarks_folder() / "load.py"),
        *(str(word) for option in options.items() for word in option),
        *more,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    return msgspec.json.decode(output, type=LoadReport)


async def _counts(database: str) -> dict[str, int]:
    connection = await asyncpg.connect(database)
    try:
        row = await connection.fetchrow(
            "SELECT (SELECT count(*) FROM bookings) AS bookings, (SELECT count(*) FROM items) AS items,"
            " (SELECT count(*) FROM events) AS events, (SELECT sum(taken) FROM nights) AS taken"
        )
    finally:
        await connection.close()
    assert row is not None
    return {name: int(value) for name, value in row.items()}
