"""The whole pipeline survives the loss of any part: bookings go on, and within 30 s every mirror equals the ledger again."""

import asyncio
import random
import sys
import time
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.acceptance import faults
from tests.acceptance.faults import Fault
from tests.acceptance.mirror import CarelessMirror
from tests.acceptance.pipeline import ENVIRONMENT, PROMISED_SECONDS, VENUE, Pipeline
from tests.conftest import Server, data_folder, start_server

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]

WORKERS = 2

FAULTS: dict[str, Fault] = {
    "relay killed": faults.relay_killed,
    "relay frozen": faults.relay_frozen,
    "broker killed": faults.broker_killed,
    "broker and store lost": faults.broker_and_store_lost,
    "broker frozen": faults.broker_frozen,
    "broker away for 6 s": faults.broker_away(6),
    "slot dropped": faults.slot_dropped,
    "workers killed": faults.workers_killed,
    "sender killed": faults.sender_killed,
    "PostgreSQL killed": faults.database_killed,
    "poison": faults.poison,
    "slow client": faults.slow_client,
    "everything ten times": faults.everything_repeated,
}


@pytest.fixture(scope="module")
def served() -> Iterator[Server]:
    """A server that all faults of this file strike, one after the other."""
    with data_folder() as data:
        running = start_server(data, workers=WORKERS, environment=ENVIRONMENT)
        try:
            yield running
        finally:
            assert running.stop() == 0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pipeline(served: Server) -> AsyncIterator[Pipeline]:
    """Its market and its partners."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    async with Pipeline(served, seed) as opened:
        yield opened


@pytest.fixture(scope="module")
def table(pytestconfig: pytest.Config) -> Iterator[dict[str, float]]:
    """Recovery times, printed at the end."""
    seconds: dict[str, float] = {}
    yield seconds
    rows = [f"{name:<24}{took:6.2f} s until every mirror equalled the ledger" for name, took in seconds.items()]
    with pytestconfig.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print("", *rows, sep="\n", file=sys.stderr)


LONG_ABSENCE = pytest.param("broker away for 60 s", marks=pytest.mark.slow)


@pytest.mark.parametrize("name", [*FAULTS, LONG_ABSENCE])
async def test_recovers(pipeline: Pipeline, name: str, table: dict[str, float]) -> None:
    """After the fault all mirrors and views equal the ledger, webhooks are complete and in order, and the audit is clean."""
    fault = FAULTS[name] if name in FAULTS else faults.broker_away(60)
    table[name] = await pipeline.recovers_from(fault)
    print(pipeline.told)
    assert table[name] <= PROMISED_SECONDS


async def test_a_careless_mirror_goes_wrong(pipeline: Pipeline) -> None:
    """The control: without cursor and versions, a mirror that was right is wrong after what the others recover from."""
    careless = CarelessMirror(pipeline.server, VENUE)
    running = asyncio.create_task(careless.run())
    try:

        async def is_right() -> bool:
            return not await pipeline.wrong_in(careless)

        async with pipeline.market.closed():
            await pipeline.until(is_right, PROMISED_SECONDS)
        await faults.worker_killed(pipeline, pipeline.server.status["workers"][0])
        async with asyncio.timeout(PROMISED_SECONDS):
            await careless.is_away.wait()
            await pipeline.market.after(50)
            careless.may_return.set()
            await careless.is_back.wait()
        async with pipeline.market.closed():
            await pipeline.until_right(time.monotonic() + PROMISED_SECONDS)
            assert await pipeline.wrong_in(careless)
    finally:
        running.cancel()
        await asyncio.wait([running])
