"""`onebook bench grown`: whether the rate of holds stays what it was when the ledger has grown.

One Onebook server, in one run: measure, fill the ledger with generated bookings, vacuum and analyze as autovacuum
would, measure again. What else differs between the two is taken away: every night of the window on sale is booked once
beforehand, since a night's first hold writes a new row; and the holds of the first stage must not expire during
the second. The CLI calls it; nothing survives the run; bounded by the rounds, the chunks of the fill and `EXPIRY_POLLS`.
"""

import asyncio
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg

from onebook.ops.bench.fill import SQL, book_every_night, fill
from onebook.ops.bench.grown_report import Fill, GrownReport, Stage, TableSize
from onebook.ops.bench.hardware import hardware
from onebook.ops.bench.report import total
from onebook.ops.bench.rounds import BenchPlan, Rounds, Scenario, execute, throw_away_folder
from onebook.ops.bench.servers import BenchUnavailable, Server, onebook_server

RESOURCES = 1000
NIGHTS = 365

# Measured; a booking's row, its log entry, their indexes and its share of the cells.
BYTES_PER_BOOKING = 1200
WAL_BYTES = 5 * 2**30  # max_wal_size of the embedded PostgreSQL, and what comes during a checkpoint

# A hold lives for ten minutes unless its client says otherwise, and the load does not.
EXPIRY_POLLS = 900
EXPIRY_POLL_SECONDS = 1
ROUND_GRACE_SECONDS = 10  # a round's checkpoint, and the start of its load generator


async def run_grown(
    bookings: int, plan: BenchPlan | None = None, tell: Callable[[str], None] = lambda _: None
) -> GrownReport:
    """Measure before and after `bookings` bookings, rounded up to a whole number for each resource.

    `tell` is called with lines of progress. Raises BenchUnavailable where the disk is too small or no server starts.
    """
    plan = plan or BenchPlan()
    scenario = Scenario(RESOURCES, NIGHTS, datetime.now(UTC).date() + timedelta(days=1))
    per_resource = -(-bookings // RESOURCES)
    with throw_away_folder() as folder:
        _must_have_room(folder, per_resource * RESOURCES, tell)
        tell("starting onebook")
        async with onebook_server(folder / "onebook", workers=plan.workers, resources=RESOURCES) as server:
            return await _Grown(Rounds(plan, scenario, [server]), server, folder, tell).run(per_resource)


def _must_have_room(folder: Path, bookings: int, tell: Callable[[str], None]) -> None:
    """Twice what will be used, so that no other program on the machine is starved. Raises BenchUnavailable."""
    needed, free = bookings * BYTES_PER_BOOKING + WAL_BYTES, shutil.disk_usage(folder).free
    tell(f"{bookings:,} bookings take up to {needed / 2**30:.1f} GiB in {folder}, which is removed afterwards")
    if free < 2 * needed:
        raise BenchUnavailable(
            f"{bookings:,} bookings take up to {needed / 2**30:.1f} GiB in {folder}, and twice that must be free: "
            f"{free / 2**30:.1f} GiB are. Ask for fewer --bookings, or set TMPDIR to a folder on a larger disk."
        )


@dataclass(frozen=True, slots=True)
class _Grown:
    """One run, while the server lives."""

    rounds: Rounds
    server: Server
    folder: Path
    tell: Callable[[str], None]

    async def run(self, per_resource: int) -> GrownReport:
        """Both stages, and the fill between them."""
        scenario = self.rounds.scenario
        await book_every_night(self.server.database, scenario.first_night, scenario.nights)
        await self._vacuum()
        before = await self._stage("before")
        filled = await self._fill(per_resource)
        after = await self._stage("after")
        return await self._report(before, filled, after)

    async def _stage(self, name: str) -> Stage:
        count = self.rounds.plan.rounds
        bookings = int(await execute(self.server.database, "SELECT count(*) FROM booking"))
        sizes = await _sizes(self.server.database)
        measured = []
        for number in range(1, count + 1):
            self.tell(f"{name}, {bookings:,} bookings: round {number} of {count}")
            measured.append(await self.rounds.measure(self.server, number))
        return Stage(bookings, sizes, measured, total("onebook", measured))

    async def _fill(self, per_resource: int) -> Fill:
        began = time.monotonic()
        bookings = await fill(self.server.database, per_resource, self.tell)
        filled = time.monotonic()
        self.tell("waiting until no earlier hold falls due")
        await self._until_none_falls_due()
        waited = time.monotonic()
        self.tell("vacuum and analyze")
        await self._vacuum()
        return Fill(
            bookings=bookings,
            seconds=filled - began,
            waited_seconds=waited - filled,
            vacuum_seconds=time.monotonic() - waited,
        )

    async def _until_none_falls_due(self) -> None:
        """Wait for the sweeper, unless the next stage ends before it has anything to do."""
        plan = self.rounds.plan
        stage_seconds = plan.rounds * (plan.warm_up_seconds + plan.seconds + ROUND_GRACE_SECONDS)
        connection = await asyncpg.connect(self.server.database)
        try:
            for _ in range(EXPIRY_POLLS):
                if not await connection.fetchval(SQL["falling_due"], stage_seconds):
                    return
                await asyncio.sleep(EXPIRY_POLL_SECONDS)
        finally:
            await connection.close()
        raise BenchUnavailable(f"Holds had not expired {EXPIRY_POLLS * EXPIRY_POLL_SECONDS} s after the fill.")

    async def _vacuum(self) -> None:
        """What autovacuum comes to sooner or later, now and not within a round."""
        await execute(self.server.database, "VACUUM (ANALYZE) booking, log, cell, head")
        await execute(self.server.database, "CHECKPOINT")

    async def _report(self, before: Stage, filled: Fill, after: Stage) -> GrownReport:
        plan, scenario = self.rounds.plan, self.rounds.scenario
        comparable = before.total.holds_per_second > 0 and after.total.holds_per_second > 0
        postgresql = await execute(self.server.database, "SHOW server_version")
        machine = await asyncio.to_thread(hardware, self.folder, postgresql, before.rounds[0].load.driver)
        slow, fast = after.total, before.total
        return GrownReport(
            connections=plan.connections,
            workers=plan.workers,
            resources=scenario.resources,
            nights=scenario.nights,
            seconds=plan.seconds,
            before=before,
            fill=filled,
            after=after,
            ratio=slow.holds_per_second / fast.holds_per_second if comparable else None,
            cpu_ratio=slow.cpu_seconds_per_1000_holds / fast.cpu_seconds_per_1000_holds if comparable else None,
            hardware=machine,
        )


async def _sizes(database: str) -> list[TableSize]:
    connection = await asyncpg.connect(database)
    try:
        return [TableSize(**dict(row)) for row in await connection.fetch(SQL["sizes"])]
    finally:
        await connection.close()
