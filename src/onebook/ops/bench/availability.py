"""`onebook bench availability`: answers from memory beside a baseline that SELECTs for each request, in turns, in one run.

Onebook answers with one worker, the baseline with as many as a plan has. Bookings go on meanwhile, a few a second, so that
answers change. Before anything is measured both servers are asked for the same, and must answer alike. The CLI calls it; nothing
survives the run; bounded by the rounds of the plan and the timeouts of servers.py and rounds.py.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import msgspec

from onebook.ops.bench.availability_report import (
    AvailabilityReport,
    Mix,
    Reading,
    answered,
    availability_targets,
    ratio_of,
)
from onebook.ops.bench.hardware import hardware
from onebook.ops.bench.report import LoadReport
from onebook.ops.bench.rounds import BenchPlan, Rounds, Scenario, execute, throw_away_folder
from onebook.ops.bench.servers import BenchUnavailable, Server, baseline, benchmarks_folder, onebook_server
from onebook.ops.http_client import Answer, Client, ConnectionFailed

NIGHTS_ON_SALE = 365
RESOURCES = 1000  # of which availability is asked; searches look at all that there are
SHOWN_NIGHTS = 30
SEARCHED_NIGHTS = 14
CONNECTIONS = 64
SPREAD = 100_000  # ten times what a worker keeps ready by default
POPULAR = 500
SEARCHES = 1000
BOOKINGS_PER_SECOND = 20
BOOKING_CONNECTIONS = 4
MAX_SEARCH_SECONDS = 60


async def run_availability(
    plan: BenchPlan | None = None, tell: Callable[[str], None] = lambda _: None
) -> AvailabilityReport:
    """Measure; `tell` is called with a line of progress before each step.

    Raises BenchUnavailable where the baseline or its libraries are missing, a server does not start, or the two do not
    answer alike.
    """
    plan = plan or BenchPlan()
    benchmarks_folder()
    resources = min(RESOURCES, plan.searched_resources)
    scenario = Scenario(resources, NIGHTS_ON_SALE, datetime.now(UTC).date() + timedelta(days=1))
    with throw_away_folder() as folder:
        tell("starting the baseline")
        async with baseline(
            folder / "baseline",
            workers=plan.workers,
            resources=scenario.resources,
            first_night=scenario.first_night,
            nights=scenario.nights,
            lock=plan.baseline_lock,
        ) as slow:
            tell(f"starting onebook, with {plan.searched_resources:,} resources")
            async with onebook_server(folder / "onebook", workers=1, resources=plan.searched_resources) as fast:
                return await _Reads(Rounds(plan, scenario, (slow, fast)), folder, tell).run()


class _OnSale(msgspec.Struct, frozen=True):
    """What must be the same in both answers."""

    cells: list[str]
    available: list[int]


class _Answered(msgspec.Struct, frozen=True):
    resources: list[_OnSale]


@dataclass(frozen=True, slots=True)
class _Reads:
    """One run, while both servers live."""

    rounds: Rounds
    folder: Path
    tell: Callable[[str], None]

    async def run(self) -> AvailabilityReport:
        """All rounds, in turns, and the searches."""
        plan, scenario = self.rounds.plan, self.rounds.scenario
        slow, fast = self.rounds.servers
        dice = random.Random(plan.seed)  # noqa: S311 - a load, no secret
        await self._must_agree(queries(dice, scenario, 10))
        spread = self._file("spread", queries(dice, scenario, SPREAD))
        popular = queries(dice, scenario, POPULAR)
        readings = []
        for number in range(1, plan.rounds + 1):
            readings.append(await self._read(slow, number, "spread", spread, SPREAD))
            readings.append(await self._read(fast, number, "spread", spread, SPREAD))
            readings.append(await self._read(fast, number, "popular", self._file("popular", popular), POPULAR))
            known = self._file("known", [await self._known(fast, query) for query in popular])
            readings.append(await self._read(fast, number, "known", known, POPULAR))
        search = await self._search(fast, dice)
        ratio = ratio_of(readings)
        postgresql = await execute(fast.database, "SHOW server_version")
        return AvailabilityReport(
            connections=CONNECTIONS,
            baseline_workers=plan.workers,
            seconds=plan.seconds,
            nights=SHOWN_NIGHTS,
            bookings_per_second=BOOKINGS_PER_SECOND,
            readings=readings,
            ratio=ratio,
            searched_resources=plan.searched_resources,
            searched_nights=SEARCHED_NIGHTS,
            search=search,
            targets=availability_targets(readings, ratio, search, plan.searched_resources),
            hardware=await asyncio.to_thread(hardware, self.folder, postgresql, readings[0].load.driver),
        )

    async def _read(self, server: Server, number: int, mix: Mix, file: Path, count: int) -> Reading:
        """One round of reads, warmed up, while bookings go on."""
        plan = self.rounds.plan
        self.tell(f"{server.name}, {mix}, round {number} of {plan.rounds}")
        await self._warm_up(server, number, file)
        before = server.cpu_seconds()
        load, bookings = await asyncio.gather(
            self.rounds.drive(server, CONNECTIONS, plan.seconds, plan.seed + number, reads=file),
            self._book(server, plan.seconds, plan.seed + number),
        )
        cpu_seconds = server.cpu_seconds() - before
        requests = answered(load)
        return Reading(
            server=server.name,
            mix=mix,
            queries=count,
            requests_per_second=requests / load.seconds,
            cpu_seconds_per_1000_requests=1000 * cpu_seconds / requests if requests else 0.0,
            load=load,
            bookings=bookings,
        )

    async def _warm_up(self, server: Server, number: int, file: Path) -> None:
        plan = self.rounds.plan
        for each in self.rounds.servers:
            await execute(each.database, "CHECKPOINT")
        if plan.warm_up_seconds:
            await self.rounds.drive(server, CONNECTIONS, plan.warm_up_seconds, plan.seed + 1000 + number, reads=file)

    async def _book(self, server: Server, seconds: int, seed: int) -> LoadReport:
        return await self.rounds.drive(server, BOOKING_CONNECTIONS, seconds, seed, rate=BOOKINGS_PER_SECOND)

    async def _search(self, server: Server, dice: random.Random) -> LoadReport:
        """One client, one search after the other, no two alike, while bookings go on."""
        plan, scenario = self.rounds.plan, self.rounds.scenario
        self.tell(f"onebook, searches over {plan.searched_resources:,} resources")
        targets = [
            f"/v1/search?venue=bench&{_period(dice, scenario, SEARCHED_NIGHTS)}&quantity={dice.randint(1, 9)}&limit=50"
            for _ in range(SEARCHES)
        ]
        file = self._file("search", targets)
        searches = asyncio.create_task(
            self.rounds.drive(server, 1, MAX_SEARCH_SECONDS, plan.seed, requests=SEARCHES, reads=file)
        )
        try:
            while not searches.done():
                await self._book(server, 1, plan.seed)
        finally:
            searches.cancel()
            await asyncio.wait([searches])
        return searches.result()

    async def _must_agree(self, targets: Sequence[str]) -> None:
        """Both answer the same cells with the same numbers. Raises BenchUnavailable."""
        for target in targets:
            slow, fast = [await _get(server, target) for server in self.rounds.servers]
            answers = [msgspec.json.decode(each.body, type=_Answered) for each in (slow, fast) if each.status == 200]
            if len(answers) < 2 or answers[0] != answers[1] or len(answers[0].resources[0].cells) != SHOWN_NIGHTS:
                raise BenchUnavailable(
                    f"GET {target} is answered with {slow.status} {slow.body[:200]!r} by the baseline and with "
                    f"{fast.status} {fast.body[:200]!r} by Onebook: what differs cannot be compared."
                )

    async def _known(self, server: Server, target: str) -> str:
        """A query with the ETag of its answer."""
        return f"{target}\t{(await _get(server, target)).headers.get('etag', '')}"

    def _file(self, name: str, lines: Sequence[str]) -> Path:
        file = self.folder / f"{name}.txt"
        file.write_text("\n".join(lines))
        return file


def queries(dice: random.Random, scenario: Scenario, count: int) -> list[str]:
    """Random resources and periods; each asks for one resource."""
    return [
        f"/v1/availability?venue=bench&resource=r{dice.randrange(scenario.resources)}&"
        f"{_period(dice, scenario, SHOWN_NIGHTS)}"
        for _ in range(count)
    ]


def _period(dice: random.Random, scenario: Scenario, nights: int) -> str:
    first: date = scenario.first_night + timedelta(days=dice.randrange(scenario.nights - nights))
    return f"from={first}&to={first + timedelta(days=nights)}"


async def _get(server: Server, target: str) -> Answer:
    try:
        async with Client(server.url) as client:
            return await client.request("GET", target, token=server.token)
    except ConnectionFailed as error:
        raise BenchUnavailable(f"GET {target} was not answered: {error}") from error
