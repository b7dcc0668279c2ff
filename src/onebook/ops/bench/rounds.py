"""One measured round: a server under load from a process of its own, and what that cost the server.

Every benchmark measures with it, on the servers that it has started. Nothing survives; bounded by the seconds of the plan
and the grace that the load generator has for its last answers.
"""

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal

import asyncpg
import msgspec

from onebook.ops.bench.report import LoadReport, Round
from onebook.ops.bench.servers import BenchUnavailable, Server, benchmarks_folder

Driver = Literal["auto", "wrk", "asyncio"]
BaselineLock = Literal["nights", "resource"]

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
    baseline_lock: BaselineLock = "nights"
    """What the baseline locks: the nights alone, or the resource's row before them."""
    seed: int = 1
    clients: int = 2000
    """Of one worker's stream."""
    searched_resources: int = 10_000


class Scenario(msgspec.Struct, frozen=True):
    """What is on sale: three-night stays in `resources` rooms, all within `nights` nights."""

    resources: int
    nights: int
    first_night: date


@contextmanager
def throw_away_folder() -> Iterator[Path]:
    """Where everything of a benchmark is kept, until it ends."""
    with tempfile.TemporaryDirectory(prefix="onebook-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o711)  # where root runs us, PostgreSQL has an account of its own, which must pass
        yield folder


@dataclass(frozen=True, slots=True)
class Rounds:
    """How the rounds of one run are measured; only one server is under load at a time."""

    plan: BenchPlan
    scenario: Scenario
    servers: Sequence[Server]

    async def measure(self, server: Server, number: int) -> Round:
        """One round against one of the servers, warmed up."""
        await self.warm_up(server, number)
        return await self.warmed_up(server, number)

    async def warm_up(self, server: Server, number: int) -> None:
        """What comes before a round, and is not measured."""
        plan = self.plan
        # What an earlier round left dirty is written now, and not into somebody's measurement.
        for each in self.servers:
            await execute(each.database, "CHECKPOINT")
        if plan.warm_up_seconds:
            await self.drive(server, plan.connections, plan.warm_up_seconds, plan.seed + 1000 + number)

    async def warmed_up(self, server: Server, number: int) -> Round:
        """The round alone."""
        plan = self.plan
        before = server.cpu_seconds()
        load = await self.drive(server, plan.connections, plan.seconds, plan.seed + number)
        cpu_seconds = server.cpu_seconds() - before
        return Round(
            server=server.name,
            holds_per_second=load.placed / load.seconds,
            cpu_seconds_per_1000_holds=1000 * cpu_seconds / load.placed if load.placed else 0.0,
            load=load,
        )

    async def drive(
        self,
        server: Server,
        connections: int,
        seconds: int,
        seed: int,
        *,
        requests: int | None = None,
        rate: int | None = None,
        reads: Path | None = None,
        pays: bool = False,
    ) -> LoadReport:
        """Run benchmarks/load.py in a process of its own, so that its processor time is its own too.

        Holds, with `pays` paid for, or GETs of the lines of `reads`; for `seconds`, or until there were `requests`; `rate` a
        second, or at full speed.
        """
        needs_asyncio = requests is not None or rate is not None or pays
        options: dict[str, object] = {
            "--url": server.url,
            "--token": server.token,
            "--driver": "asyncio" if needs_asyncio else self.plan.driver,
            "--connections": connections,
            "--seconds": seconds,
            "--resources": self.scenario.resources,
            "--first-night": self.scenario.first_night,
            "--nights": self.scenario.nights,
            "--seed": seed,
        }
        chosen = {"--requests": requests, "--rate": rate, "--reads": reads}
        options |= {option: value for option, value in chosen.items() if value is not None}
        words = [str(word) for option in options.items() for word in option]
        return await _load(*words, *(["--pays"] if pays else []))


async def _load(*options: str) -> LoadReport:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(benchmarks_folder() / "load.py"),
        *options,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,  # a group of its own, to be ended with the wrk that it has started
    )
    seconds = int(options[options.index("--seconds") + 1])
    try:
        async with asyncio.timeout(seconds + LOAD_GRACE_SECONDS):
            output, errors = await process.communicate()
    except TimeoutError as error:
        raise BenchUnavailable(f"The load generator did not end within {LOAD_GRACE_SECONDS} s of its time.") from error
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
    if process.returncode != 0:
        raise BenchUnavailable(f"The load generator failed:\n{errors.decode(errors='replace')[-2000:]}")
    return msgspec.json.decode(output, type=LoadReport)


async def execute(database: str, statement: str) -> str:
    """One statement on a connection of its own; its value as text."""
    connection = await asyncpg.connect(database)
    try:
        return str(await connection.fetchval(statement))
    finally:
        await connection.close()
