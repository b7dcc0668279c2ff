"""The positive control of the races: with every protection removed the same race oversells; with any one of them it does not.

What keeps a unit from being sold twice stands in three layers, each enough by itself: the lock on the resource, the
comparison of its version when it is written, and the constraint on its cells. They are removed in the test's own
database and in the test's own statements, by their text, which must be there.
"""

import asyncio

import asyncpg
import pytest
from structlog.testing import capture_logs
from tests.clock import ledger_open, replaced
from tests.concurrency.crowd import CLIENTS, hold, is_oversold, place, sold, stay, workers

from onebook.ledger.catalog import SQL
from onebook.model.commands import ReleaseHold

LAYERS = ("lock", "comparison", "constraint")
CAPACITY = 2
ROUNDS = 5
MAX_ROUNDS = 40


async def remove(layer: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take one protection away."""
    if layer == "comparison":
        monkeypatch.setitem(SQL, "write_page", replaced(SQL["write_page"], " AND head.version = new.found", ""))
        return
    lock = "PERFORM pg_advisory_xact_lock(79110, locked.id) FROM unnest(resources) AS locked (id);"
    connection = await asyncpg.connect(url)
    try:
        if layer == "lock":
            await connection.execute(replaced(ledger_open(), lock, ""))
        else:
            await connection.execute("ALTER TABLE cell DROP CONSTRAINT cell_is_never_oversold")
    finally:
        await connection.close()


async def race(url: str, rounds: int) -> list[int]:
    """64 clients for the same night, round after round until more than there is has been sold: the sales of each round.

    The cells exist already, or their primary key alone would decide the race.
    """
    sales = []
    async with workers(url) as benches:
        await benches[0].room("alfama/double", capacity=CAPACITY)
        for _ in range(rounds):
            first = await hold(benches[0], stay("alfama/double", 1, 3))
            await benches[0].ledger.move(ReleaseHold(booking=first.id, channel=None))
            verdicts = await asyncio.gather(
                *(place(benches[n % 3], stay("alfama/double", 1, 3)) for n in range(CLIENTS))
            )
            sales.append(len(sold(verdicts)))
            if sales[-1] > CAPACITY:
                break
            for booking in sold(verdicts):
                await benches[0].ledger.move(ReleaseHold(booking=booking.id, channel=None))
    return sales


async def test_without_protection_the_race_oversells(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With lock, comparison and constraint removed, more is sold than there is, and the auditor sees it."""
    for layer in LAYERS:
        await remove(layer, database_url, monkeypatch)
    with capture_logs():
        sales = await race(database_url, MAX_ROUNDS)
    assert max(sales) > CAPACITY
    assert await is_oversold(database_url)


@pytest.mark.parametrize("kept", LAYERS)
async def test_each_protection_alone_is_enough(database_url: str, monkeypatch: pytest.MonkeyPatch, kept: str) -> None:
    """With any one layer left standing, exactly what there is is sold."""
    for layer in LAYERS:
        if layer != kept:
            await remove(layer, database_url, monkeypatch)
    with (
        capture_logs()
    ):  # a batch that the constraint refused is logged with its traceback, which takes a second to print
        sales = await race(database_url, ROUNDS)
    assert sales == [CAPACITY] * ROUNDS
    assert not await is_oversold(database_url)
