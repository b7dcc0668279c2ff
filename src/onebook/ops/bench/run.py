"""`onebook bench holds|hot`: Onebook beside a baseline, under one load, in turns, in one run.

Both servers run for the whole benchmark, each on its own embedded PostgreSQL in a throw-away folder; only
one is under load at a time, and they take turns, so that a machine that drifts drifts for both. The CLI calls
it; nothing survives the run; bounded by the rounds asked for and the timeouts of `bench_servers`.
"""

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Literal

import asyncpg
import msgspec

from onebook.ops.bench.hardware import hardware
from onebook.ops.bench.lone import bare_commit_p50_ms
from onebook.ops.bench.report import BenchReport, Kind, LoadReport, Lone, Round, ServerName, render, total
from onebook.ops.bench.servers import BenchUnavailable, Server, baseline, benchmarks_folder, onebook_server

__all__ = ["BenchPlan", "BenchReport", "BenchUnavailable", "Driver", "Kind", "render", "run_bench"]

Driver = Literal["auto", "wrk", "asyncio"]

MAX_LONE_SECONDS = 60
LOAD_GRACE_SECONDS = 90  # for the load generator to start, and to wait for the last answers


class BenchPlan(msgspec.Struct, frozen=True):
    """How much to measure."""

    seconds: int = 10
    """Of each measured round."""
    warm_up_seconds: int = 3
    rounds: int = 2
    """For each server."""
    connections: int = 128
    workers: int = 2
    lone_holds: int = 500
    driver: Driver = "auto"
    seed: int = 1


class _Scenario(msgspec.Struct, frozen=True):
    """What is on sale: three-night stays in `resources` rooms, all within `nights` nights."""

    resources: int
    nights: int
    first_night: date


async def run_bench(
    kind: Kind, plan: BenchPlan | None = None, tell: Callable[[str], None] = lambda _: None
) -> BenchReport:
    """Measure; `tell` is called with a line of progress before each step.

    Raises BenchUnavailable where the baseline or its libraries are missing or a server does not start.
    """
    plan = plan or BenchPlan()
    benchmarks_folder()
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    scenario = _Scenario(1, 30, tomorrow) if kind == "hot" else _Scenario(1000, 365, tomorrow)
    with _throw_away_folder() as folder:
        async with _both_servers(folder, scenario, plan.workers, tell) as servers:
            return await _Bench(kind, plan, scenario, folder, servers, tell).run()


@contextmanager
def _throw_away_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="onebook-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o711)  # where root runs us, PostgreSQL has an account of its own, which must pass
        yield folder


@asynccontextmanager
async def _both_servers(
    folder: Path, scenario: _Scenario, workers: int, tell: Callable[[str], None]
) -> AsyncIterator[tuple[Server, Server]]:
    tell("starting the baseline")
    async with baseline(
        folder / "baseline",
        workers=workers,
        resources=scenario.resources,
        first_night=scenario.first_night,
        nights=scenario.nights,
    ) as slow:
        tell("starting onebook")
        async with onebook_server(folder / "onebook", workers=workers, resources=scenario.resources) as fast:
            yield slow, fast


@dataclass(frozen=True, slots=True)
class _Bench:
    """One run, while both servers live."""

    kind: Kind
    plan: BenchPlan
    scenario: _Scenario
    folder: Path
    servers: Sequence[Server]
    tell: Callable[[str], None]

    async def run(self) -> BenchReport:
        """All rounds, in turns, and the lone client."""
        rounds = []
        for number in range(1, self.plan.rounds + 1):
            for server in self.servers:
                self.tell(f"{server.name}, round {number} of {self.plan.rounds}")
                rounds.append(await self._round(server, number))
        lone = [await self._lone(server) for server in self.servers]
        return await self._report(rounds, lone)

    async def _round(self, server: Server, number: int) -> Round:
        plan = self.plan
        # What an earlier round left dirty is written now, and not into somebody's measurement.
        for each in self.servers:
            await _execute(each.database, "CHECKPOINT")
        if plan.warm_up_seconds:
            await self._drive(server, plan.connections, plan.warm_up_seconds, plan.seed + 1000 + number)
        before = server.cpu_seconds()
        load = await self._drive(server, plan.connections, plan.seconds, plan.seed + number)
        cpu_seconds = server.cpu_seconds() - before
        return Round(
            server=server.name,
            holds_per_second=load.placed / load.seconds,
            cpu_seconds_per_1000_holds=1000 * cpu_seconds / load.placed if load.placed else 0.0,
            load=load,
        )

    async def _lone(self, server: Server) -> Lone:
        self.tell(f"{server.name}, a lone client")
        holds = self.plan.lone_holds
        load = await self._drive(server, 1, MAX_LONE_SECONDS, self.plan.seed, requests=holds)
        bare = await bare_commit_p50_ms(server.database, holds) if server.name == "onebook" else None
        return Lone(server.name, load, bare)

    async def _drive(
        self, server: Server, connections: int, seconds: int, seed: int, requests: int | None = None
    ) -> LoadReport:
        """Run benchmarks/load.py in a process of its own, so that its processor time is its own too."""
        options: dict[str, object] = {
            "--url": server.url,
            "--token": server.token,
            "--driver": self.plan.driver if requests is None else "asyncio",
            "--connections": connections,
            "--seconds": seconds,
            "--resources": self.scenario.resources,
            "--first-night": self.scenario.first_night,
            "--nights": self.scenario.nights,
            "--seed": seed,
        }
        if requests is not None:
            options["--requests"] = requests
        return await _load(*(str(word) for option in options.items() for word in option))

    async def _report(self, rounds: Sequence[Round], lone: Sequence[Lone]) -> BenchReport:
        names: tuple[ServerName, ServerName] = ("baseline", "onebook")
        totals = [total(name, rounds) for name in names]
        slow, fast = totals
        comparable = slow.holds_per_second > 0 and fast.holds_per_second > 0
        postgresql = await _execute(self.servers[1].database, "SHOW server_version")
        machine = await asyncio.to_thread(hardware, self.folder, postgresql, rounds[0].load.driver)
        return BenchReport(
            kind=self.kind,
            connections=self.plan.connections,
            workers=self.plan.workers,
            resources=self.scenario.resources,
            nights=self.scenario.nights,
            seconds=self.plan.seconds,
            rounds=rounds,
            totals=totals,
            ratio=fast.holds_per_second / slow.holds_per_second if comparable else None,
            cpu_ratio=fast.cpu_seconds_per_1000_holds / slow.cpu_seconds_per_1000_holds if comparable else None,
            lone=lone,
            hardware=machine,
        )


async def _load(*options: str) -> LoadReport:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(benchmarks_folder() / "load.py"),
        *options,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    seconds = int(options[options.index("--seconds") + 1])
    try:
        async with asyncio.timeout(seconds + LOAD_GRACE_SECONDS):
            output, errors = await process.communicate()
    except TimeoutError as error:
        raise BenchUnavailable(f"The load generator did not end within {LOAD_GRACE_SECONDS} s of its time.") from error
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode != 0:
        raise BenchUnavailable(f"The load generator failed:\n{errors.decode(errors='replace')[-2000:]}")
    return msgspec.json.decode(output, type=LoadReport)


async def _execute(database: str, statement: str) -> str:
    connection = await asyncpg.connect(database)
    try:
        return str(await connection.fetchval(statement))
    finally:
        await connection.close()
