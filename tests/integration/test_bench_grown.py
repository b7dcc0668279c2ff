"""The generated bookings of `onebook bench grown` are what the ledger would have written."""

import asyncio
import shutil
from collections.abc import Mapping
from datetime import date
from types import SimpleNamespace

import msgspec
import pytest
from tests.conftest import Bench

from onebook.ledger.ledger import Placing
from onebook.model.commands import Wanted
from onebook.model.decision import Decision
from onebook.ops.bench.fill import STAYS, STAYS_PER_CHUNK, book_every_night, chunks, fill
from onebook.ops.bench.grown import run_grown
from onebook.ops.bench.servers import BenchUnavailable
from onebook.ops.verify import verify

ROOMS = 100
PER_ROOM = 202  # six chunks, of which the last ends within a stay
WINDOW = date(2026, 12, 1)


async def test_a_filled_ledger_verifies(bench: Bench) -> None:
    """Generated bookings, and those of the ledger before, beside and after them, pass every check of the auditor."""
    for number in range(ROOMS):
        await bench.room(f"alfama/r{number}", capacity=1000)
    await asyncio.gather(*(_hold(bench, number, "before") for number in range(ROOMS)))

    assert await book_every_night(bench.url, WINDOW, nights=7) == 3 * ROOMS
    told: list[str] = []
    filled, *_ = await asyncio.gather(
        fill(bench.url, PER_ROOM, told.append), *(_hold(bench, number, "beside") for number in range(ROOMS))
    )
    assert filled == PER_ROOM * ROOMS
    assert told[-1].startswith(f"filled {PER_ROOM * ROOMS:,} of {PER_ROOM * ROOMS:,}")

    await asyncio.gather(*(_hold(bench, number, "after") for number in range(ROOMS)))
    report = await verify(bench.url, expect_sweeper=True)
    wrong = {check.name: check.findings for check in report.checks if check.findings}
    assert report.ok, wrong
    assert await bench.reader.fetchval("SELECT count(*) FROM booking") == (PER_ROOM + 3 + 3) * ROOMS


async def test_a_generated_booking_looks_like_the_ledgers(bench: Bench) -> None:
    """Row and log entry have the same columns set and the same fields in the same order as a booking made by a command."""
    await bench.room("alfama/r0", capacity=1000)
    await fill(bench.url, 1)
    generated = await _latest(bench)
    await _hold(bench, 0, "ledger", confirm=True)
    assert await _latest(bench) == generated


async def test_the_years_are_filled_over_again(bench: Bench) -> None:
    """Chunks on nights that are booked already count on from what they find."""
    await bench.room("alfama/r0", capacity=1000)
    await fill(bench.url, 41)
    await fill(bench.url, 41)
    assert (await verify(bench.url)).ok
    assert await bench.reader.fetchval("SELECT max(booked) FROM cell") == 8


@pytest.mark.parametrize("per_resource", [1, 40, 41, 10_000, 20_000])
def test_chunks_hold_every_booking(per_resource: int) -> None:
    """Chunks are as many bookings as asked for, and stay within the years that they fill."""
    made = list(chunks(per_resource))
    first = made[0][0]
    assert sum(bookings for _, bookings in made) == per_resource
    assert max(cell for cell, _ in made) <= first + 3 * (STAYS - STAYS_PER_CHUNK)


async def test_a_disk_without_room_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is started where the bookings would fill more than half of what is free."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=20 * 2**30))
    told: list[str] = []
    with pytest.raises(BenchUnavailable, match=r"twice that must be free: 20\.0 GiB are"):
        await run_grown(10_000_000, tell=told.append)
    assert len(told) == 1 and told[0].startswith("10,000,000 bookings take up to 16.2 GiB in ")


async def _hold(bench: Bench, number: int, key: str, confirm: bool = False) -> None:
    """A hold through the ledger, over some of the nights of the window."""
    wanted = Wanted(resource=f"alfama/r{number}", starts="2026-12-02", ends="2026-12-05")
    placing = Placing(
        channel="bench", idempotency_key=f"{key}-{number}", request_hash=bytes(16), ttl_seconds=600, confirm=confirm
    )
    settled = await bench.ledger.place((wanted,), placing)
    assert isinstance(settled.verdict, Decision)


async def _latest(bench: Bench) -> list[list[tuple[str, str]]]:
    """The names and types of what the latest booking and its log entry are made of."""
    booking = await bench.reader.fetchrow("SELECT * FROM booking ORDER BY id DESC LIMIT 1")
    entry = await bench.reader.fetchrow("SELECT * FROM log ORDER BY txn DESC, position DESC LIMIT 1")
    assert booking is not None and entry is not None and entry["subject"] == f"bookings/{booking['id']}"
    facts = msgspec.json.decode(entry["data"])
    [item], [touched] = msgspec.json.decode(booking["items"]), facts["resources"]
    assert facts["items"] == [item]
    return [_shape(part) for part in (booking, entry, facts, item, touched)]


def _shape(fields: Mapping[str, object]) -> list[tuple[str, str]]:
    return [(name, type(value).__name__) for name, value in fields.items()]
