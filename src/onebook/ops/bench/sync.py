"""`onebook bench sync`: how long after a booking everybody else knows, beside a poller of an outbox table, in one run.

Four parts, one after the other: the baseline's outbox, polled; bookings at a rate, with clients on the stream; holds at full
speed, in turns on a server with its pipeline and on one without; and a crowd of clients on one worker. Each server is one as
users start it, in a throw-away folder. The CLI calls it; nothing survives the run; bounded by the seconds and rounds of the
plan and the timeouts of servers.py, rounds.py and instruments.py.
"""

import asyncio
import resource
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil

from onebook.ops.bench.arrivals import Heard, Polled
from onebook.ops.bench.hardware import hardware
from onebook.ops.bench.instruments import Instrument, instrument
from onebook.ops.bench.passage import scrape, stages_between
from onebook.ops.bench.report import LoadReport
from onebook.ops.bench.rounds import BenchPlan, Rounds, Scenario, execute, throw_away_folder
from onebook.ops.bench.servers import BenchUnavailable, Server, baseline, benchmarks_folder, onebook_server
from onebook.ops.bench.sync_report import Crowd, Full, Paced, PolledOutbox, SyncReport, sync_targets

RESOURCES = 1000
NIGHTS = 365
LISTENERS = 2  # each gets every event; they share the processors with what is measured
PACED_RATE = 500
POLLED_RATE = 100  # the baseline bears some 400 holds/s; how late a poller is does not depend on it
CROWD_RATE = 10  # with 2,000 clients that is 20,000 messages a second
PACED_CONNECTIONS = 64
SETTLE_SECONDS = 30  # for the last events to arrive
POLLED_SECONDS = 3  # a row that has not been seen after three polls never will be
WITHOUT_PIPELINE = {"ONEBOOK_RELAY_ENABLED": "false"}
SPARE_FILES = 256  # that a process has open beside one for each client


async def run_sync(plan: BenchPlan | None = None, tell: Callable[[str], None] = lambda _: None) -> SyncReport:
    """Measure; `tell` is called with a line of progress before each step.

    Raises BenchUnavailable where the baseline or its libraries are missing or a server does not start.
    """
    plan = plan or BenchPlan()
    benchmarks_folder()
    scenario = Scenario(RESOURCES, NIGHTS, datetime.now(UTC).date() + timedelta(days=1))
    with throw_away_folder() as folder:
        return await _Sync(plan, scenario, folder, tell).run()


@dataclass(frozen=True, slots=True)
class _Sync:
    """One run."""

    plan: BenchPlan
    scenario: Scenario
    folder: Path
    tell: Callable[[str], None]

    async def run(self) -> SyncReport:
        """All parts, and what they come to."""
        plan = self.plan
        polled = await self._polled()
        async with self._onebook("with") as with_pipeline, self._onebook("without", WITHOUT_PIPELINE) as without:
            rounds = Rounds(plan, self.scenario, [with_pipeline, without])
            self.tell(f"onebook, {PACED_RATE} bookings a second, {LISTENERS} clients on the stream")
            async with _listening(with_pipeline, LISTENERS) as listeners:
                paced = await self._paced(rounds, with_pipeline, listeners, PACED_RATE)
                full = [await self._full(rounds, listeners, number) for number in range(1, plan.rounds + 1)]
            postgresql = await execute(with_pipeline.database, "SHOW server_version")
        crowd = await self._crowd()
        kept = _kept(full)
        driver = full[0].with_pipeline.load.driver
        return SyncReport(
            seconds=plan.seconds,
            workers=plan.workers,
            polled=polled,
            paced=paced,
            full=full,
            kept=kept,
            crowd=crowd,
            kb_per_client=crowd.kb_per_client,
            targets=sync_targets(paced, full, kept, crowd),
            hardware=await asyncio.to_thread(hardware, self.folder, postgresql, driver),
        )

    async def _polled(self) -> PolledOutbox:
        """The baseline, and a poller of its outbox."""
        self.tell(f"baseline, {POLLED_RATE} bookings a second, its outbox polled")
        plan, scenario = self.plan, self.scenario
        async with (
            baseline(
                self.folder / "baseline",
                workers=plan.workers,
                resources=scenario.resources,
                first_night=scenario.first_night,
                nights=scenario.nights,
                lock=plan.baseline_lock,
            ) as server,
            instrument("poll.py", database=server.database) as poller,
        ):
            rounds = Rounds(plan, scenario, [server])
            load = await self._at_rate(rounds, server, poller, POLLED_RATE, POLLED_SECONDS)
            return PolledOutbox(POLLED_RATE, load, await poller.report(Polled, load.placed, POLLED_SECONDS))

    async def _paced(self, rounds: Rounds, server: Server, listeners: Instrument, rate: int) -> Paced:
        """Bookings at a rate while clients listen."""
        before = await scrape(server)
        load = await self._at_rate(rounds, server, listeners, rate, SETTLE_SECONDS)
        heard = await listeners.report(Heard, load.placed, SETTLE_SECONDS)
        return Paced(rate, load, heard, stages_between(before, await scrape(server)))

    async def _at_rate(
        self, rounds: Rounds, server: Server, measuring: Instrument, rate: int, settle_seconds: int
    ) -> LoadReport:
        """Bookings at a rate, warmed up; `measuring` sees what is not warm-up."""
        plan = self.plan
        if plan.warm_up_seconds:
            warm_up = await rounds.drive(server, PACED_CONNECTIONS, plan.warm_up_seconds, plan.seed + 1000, rate=rate)
            await measuring.report(dict[str, object], warm_up.placed, settle_seconds)
        await measuring.tell("begin")
        return await rounds.drive(server, PACED_CONNECTIONS, plan.seconds, plan.seed, rate=rate)

    async def _full(self, rounds: Rounds, listeners: Instrument, number: int) -> Full:
        """Holds as fast as they are answered: with the pipeline, while clients listen, and without it."""
        with_pipeline, without = rounds.servers
        self.tell(f"onebook at full speed, with its pipeline, round {number} of {self.plan.rounds}")
        await rounds.warm_up(with_pipeline, number)
        await listeners.tell("begin")
        before = await scrape(with_pipeline)
        measured = await rounds.warmed_up(with_pipeline, number)
        heard = await listeners.report(Heard, measured.load.placed, SETTLE_SECONDS)
        stages = stages_between(before, await scrape(with_pipeline))
        self.tell(f"onebook at full speed, without its pipeline, round {number} of {self.plan.rounds}")
        return Full(measured, await rounds.measure(without, number), heard, stages)

    async def _crowd(self) -> Crowd:
        """One worker, and as many clients as are wanted; the memory that they take there."""
        wanted = self.plan.clients
        clients = min(wanted, _open_files() - SPARE_FILES)
        if clients < 1:
            raise BenchUnavailable("This machine allows too few open files: raise `ulimit -n`.")
        async with self._onebook("crowd", workers=1) as server:
            rounds = Rounds(self.plan, self.scenario, [server])
            if self.plan.warm_up_seconds:
                await rounds.drive(server, 1, self.plan.warm_up_seconds, self.plan.seed, rate=PACED_RATE)
            rss_before = _rss(server)
            self.tell(f"onebook, one worker, {clients} clients on its stream")
            async with _listening(server, clients) as listeners:
                paced = await self._paced(rounds, server, listeners, CROWD_RATE)
                return Crowd(wanted, paced, rss_before, _rss(server))

    @asynccontextmanager
    async def _onebook(
        self, name: str, settings: dict[str, str] | None = None, workers: int | None = None
    ) -> AsyncIterator[Server]:
        self.tell(f"starting onebook ({name})")
        async with onebook_server(
            self.folder / name,
            workers=workers or self.plan.workers,
            resources=self.scenario.resources,
            settings=settings,
        ) as server:
            yield server


@asynccontextmanager
async def _listening(server: Server, clients: int) -> AsyncIterator[Instrument]:
    url = f"{server.url}/v1/stream?venue=bench"
    async with instrument("listen.py", url=url, token=server.token, clients=clients) as listeners:
        yield listeners


def _kept(full: Sequence[Full]) -> float | None:
    """The rate with the pipeline over the rate without, over all rounds."""
    rates = [
        sum(each.load.placed for each in rounds) / sum(each.load.seconds for each in rounds)
        for rounds in zip(*((each.with_pipeline, each.without_pipeline) for each in full), strict=True)
    ]
    return rates[0] / rates[1] if rates[1] > 0 else None


def _rss(server: Server) -> int:
    return sum(psutil.Process(pid).memory_info().rss for pid in server.worker_pids)


def _open_files() -> int:
    """As many as the machine allows, from now on for us and for what we start."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
