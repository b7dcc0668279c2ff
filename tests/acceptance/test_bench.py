"""The benchmark's two instruments, the baseline and the load generator, agree with the database."""

import asyncio
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import asyncpg
import msgspec
import pytest

from onebook.ops.bench.report import LoadReport
from onebook.ops.bench.servers import Server, baseline, benchmarks_folder

CONNECTIONS = 4
RESOURCES = 3
NIGHTS = 30


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


async def _drive(server: Server, first_night: date) -> LoadReport:
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
