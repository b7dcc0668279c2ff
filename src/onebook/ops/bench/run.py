"""`onebook bench holds|hot`: Onebook beside a baseline, under one load, in turns, in one run.

Both servers run for the whole benchmark, each on its own embedded PostgreSQL in a throw-away folder; only
one is under load at a time, and they take turns, so that a machine that drifts drifts for both. The CLI calls
it; nothing survives the run; bounded by the rounds asked for and the timeouts of servers.py and rounds.py.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from onebook.ops.bench.hardware import hardware
from onebook.ops.bench.lone import bare_commit_p50_ms
from onebook.ops.bench.report import BenchReport, Kind, Lone, Round, ServerName, total
from onebook.ops.bench.rounds import BenchPlan, Rounds, Scenario, execute, throw_away_folder
from onebook.ops.bench.servers import Server, baseline, benchmarks_folder, onebook_server

MAX_LONE_SECONDS = 60


async def run_bench(
    kind: Kind, plan: BenchPlan | None = None, tell: Callable[[str], None] = lambda _: None
) -> BenchReport:
    """Measure; `tell` is called with a line of progress before each step.

    Raises BenchUnavailable where the baseline or its libraries are missing or a server does not start.
    """
    plan = plan or BenchPlan()
    benchmarks_folder()
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    scenario = Scenario(1, 30, tomorrow) if kind == "hot" else Scenario(1000, 365, tomorrow)
    with throw_away_folder() as folder:
        async with _both_servers(folder, scenario, plan, tell) as servers:
            return await _Bench(kind, Rounds(plan, scenario, servers), folder, tell).run()


@asynccontextmanager
async def _both_servers(
    folder: Path, scenario: Scenario, plan: BenchPlan, tell: Callable[[str], None]
) -> AsyncIterator[tuple[Server, Server]]:
    tell(f"starting the baseline, which locks {plan.baseline_lock}")
    async with baseline(
        folder / "baseline",
        workers=plan.workers,
        resources=scenario.resources,
        first_night=scenario.first_night,
        nights=scenario.nights,
        lock=plan.baseline_lock,
    ) as slow:
        tell("starting onebook")
        async with onebook_server(folder / "onebook", workers=plan.workers, resources=scenario.resources) as fast:
            yield slow, fast


@dataclass(frozen=True, slots=True)
class _Bench:
    """One run, while both servers live."""

    kind: Kind
    rounds: Rounds
    folder: Path
    tell: Callable[[str], None]

    async def run(self) -> BenchReport:
        """All rounds, in turns, and the lone client."""
        measured = []
        for number in range(1, self.rounds.plan.rounds + 1):
            for server in self.rounds.servers:
                self.tell(f"{server.name}, round {number} of {self.rounds.plan.rounds}")
                measured.append(await self.rounds.measure(server, number))
        lone = [await self._lone(server) for server in self.rounds.servers]
        return await self._report(measured, lone)

    async def _lone(self, server: Server) -> Lone:
        self.tell(f"{server.name}, a lone client")
        plan = self.rounds.plan
        load = await self.rounds.drive(server, 1, MAX_LONE_SECONDS, plan.seed, requests=plan.lone_holds)
        bare = await bare_commit_p50_ms(server.database, plan.lone_holds) if server.name == "onebook" else None
        return Lone(server.name, load, bare)

    async def _report(self, measured: Sequence[Round], lone: Sequence[Lone]) -> BenchReport:
        plan, scenario = self.rounds.plan, self.rounds.scenario
        names: tuple[ServerName, ServerName] = ("baseline", "onebook")
        totals = [total(name, measured) for name in names]
        slow, fast = totals
        comparable = slow.holds_per_second > 0 and fast.holds_per_second > 0
        postgresql = await execute(self.rounds.servers[1].database, "SHOW server_version")
        machine = await asyncio.to_thread(hardware, self.folder, postgresql, measured[0].load.driver)
        return BenchReport(
            kind=self.kind,
            connections=plan.connections,
            workers=plan.workers,
            resources=scenario.resources,
            nights=scenario.nights,
            seconds=plan.seconds,
            rounds=measured,
            totals=totals,
            ratio=fast.holds_per_second / slow.holds_per_second if comparable else None,
            cpu_ratio=fast.cpu_seconds_per_1000_holds / slow.cpu_seconds_per_1000_holds if comparable else None,
            lone=lone,
            hardware=machine,
        )
