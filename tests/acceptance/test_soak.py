"""Many events later, relay, sender and workers are no further behind and no larger than they were.

`ONEBOOK_SOAK_EVENTS` says how many: 200,000 unless it is set, 1,000,000 to see all that is promised.
"""

import asyncio
import os
import random
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import psutil
import pytest

from onebook.ledger.ledger import Placing
from onebook.model.commands import ReleaseHold, Wanted
from onebook.model.decision import Decision
from onebook.model.resource import Kind, Unit
from tests.acceptance.crowd import OPENING
from tests.acceptance.mirror import answered
from tests.conftest import Bench, Server, open_bench

EVENTS = int(os.environ.get("ONEBOOK_SOAK_EVENTS", "200000"))
RESOURCES = 200
NIGHTS = 300
CAPACITY = 10_000
CLIENTS = 256
SAMPLE_SECONDS = 0.5
PATIENCE_SECONDS = 60.0
GROWTH = 1.25
GROWTH_BYTES = 30 * 2**20
LAG_MARGIN_SECONDS = 0.5


@dataclass(frozen=True)
class Sample:
    """How things stood after some share of the events."""

    share: float
    lag_seconds: dict[str, float]
    bytes: dict[str, int]


class Load:
    """Holds and their releases as fast as the ledger takes them, from a process beside the workers."""

    def __init__(self, bench: Bench, events: int) -> None:
        self._ledger = bench.ledger
        self._left = self._events = events
        self._draw = random.Random(0)

    @property
    def share(self) -> float:
        """How much of it has been done."""
        return 1 - self._left / self._events

    async def run(self) -> None:
        """All of them."""
        async with asyncio.TaskGroup() as group:
            for number in range(CLIENTS):
                group.create_task(self._live(number))

    async def _live(self, number: int) -> None:
        turn = 0
        while self._left > 0:
            turn += 1
            first = OPENING + timedelta(days=self._draw.randrange(NIGHTS))
            wanted = Wanted(
                resource=f"soak/room-{self._draw.randrange(RESOURCES)}",
                starts=str(first),
                ends=str(first + timedelta(days=2)),
            )
            settled = await self._ledger.place([wanted], Placing("soak", f"{number}-{turn}", b"h", 3600))
            assert isinstance(settled.verdict, Decision) and settled.verdict.booking is not None
            await self._ledger.move(ReleaseHold(settled.verdict.booking.id, "soak"))
            self._left -= 2


async def sample(server: Server, share: float) -> Sample:
    """Lag as /metrics has it, and resident memory."""
    async with answered(server, "/metrics") as (wire, _):
        told = dict(re.findall(r'^onebook_cdc_lag_seconds\{consumer="(\w+)"\} (\S+)$', await wire.text(), re.MULTILINE))
    status = server.status
    processes = {"relay": status["relay"], "sender": status["sender"]}
    processes |= {f"worker {number}": pid for number, pid in enumerate(status["workers"])}
    return Sample(
        share,
        {name: float(lag) for name, lag in told.items()},
        {name: psutil.Process(pid).memory_info().rss for name, pid in processes.items()},
    )


@pytest.mark.slow
@pytest.mark.timeout(3600)
async def test_nothing_grows(new_server: Callable[..., Server]) -> None:
    """Lag and memory at the end of many events are what they were after a tenth of them, and the views are right."""
    server = await asyncio.to_thread(new_server, workers=2)
    samples: list[Sample] = []
    async with open_bench(server.database_url, timeout_seconds=PATIENCE_SECONDS) as bench:
        rooms = [f"soak/room-{number}" for number in range(RESOURCES)]
        for room in rooms:
            await bench.resource(room, kind=Kind.ROOM, unit=Unit.NIGHT, capacity=CAPACITY)
        await bench.catalog.read_resources(rooms)
        began = time.monotonic()
        load = Load(bench, EVENTS)
        loading = asyncio.create_task(load.run())
        while not loading.done():
            samples.append(await sample(server, load.share))
            await asyncio.wait([loading], timeout=SAMPLE_SECONDS)
        await loading
        seconds = time.monotonic() - began
    print(f"\n{EVENTS} events in {seconds:.0f} s, {EVENTS / seconds:.0f} a second")
    early = [each for each in samples if 0.05 <= each.share <= 0.15]
    late = [each for each in samples if each.share >= 0.9]
    for name in samples[-1].lag_seconds:
        before, after = (statistics.median(each.lag_seconds[name] for each in part) for part in (early, late))
        print(f"lag of {name:<12}{before * 1000:8.1f} ms at 10 %, {after * 1000:8.1f} ms at 100 %")
        assert after <= 2 * before + LAG_MARGIN_SECONDS, name
    for name in samples[-1].bytes:
        before, after = (statistics.median(each.bytes[name] for each in part) for part in (early, late))
        print(f"memory of {name:<10}{before / 2**20:8.1f} MiB at 10 %, {after / 2**20:6.1f} MiB at 100 %")
        assert after <= GROWTH * before + GROWTH_BYTES, name
