"""Holds that run out: soon, once, by the database's clock, and whoever else is asleep."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import cast

import asyncpg
from tests.conftest import Bench, open_bench

from onebook.ledger.committer import Committer
from onebook.ledger.expiry import CLAIM_SECONDS, SWEEP_LIMIT, Sweeper
from onebook.ledger.ledger import Placing
from onebook.ledger.page import Settled
from onebook.model.booking import BookingId, Status
from onebook.model.commands import ConfirmBooking, ExpireHold, Wanted
from onebook.model.decision import Decision
from onebook.model.refusals import HoldExpired
from onebook.ops.verify.audit import verify

PROMISED_SECONDS = 5.0
END_SECONDS = 30.0
INTERVAL_SECONDS = 0.25


async def hold(bench: Bench, count: int, ttl_seconds: int = 600) -> Sequence[BookingId]:
    """Place holds."""
    await bench.room("alfama/double", capacity=count)
    stay = Wanted(resource="alfama/double", starts="2030-03-01", ends="2030-03-03")
    settled = await asyncio.gather(
        *(
            bench.ledger.place((stay,), Placing("web", f"key-{number}", b"0" * 16, ttl_seconds))
            for number in range(count)
        )
    )
    return [
        placed.verdict.booking.id
        for placed in settled
        if isinstance(placed.verdict, Decision) and placed.verdict.booking
    ]


async def make_due(bench: Bench) -> None:
    """Put every hold's deadline to now: an hour need not pass for a test."""
    await bench.reader.execute("UPDATE booking SET expires_at = clock_timestamp() WHERE status = 'held'")


async def until_none_is_held(bench: Bench) -> None:
    """Return when every hold has ended."""
    async with asyncio.timeout(END_SECONDS):
        while await bench.reader.fetchval("SELECT EXISTS (SELECT FROM booking WHERE status = 'held')"):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def ends(bench: Bench) -> dict[str, int]:
    """How often each hold has ended, says the log."""
    rows = await bench.reader.fetch("SELECT subject, count(*) FROM log WHERE type = 'booking.expired' GROUP BY subject")
    return {row["subject"].removeprefix("bookings/"): row["count"] for row in rows}


@asynccontextmanager
async def sweeping(bench: Bench) -> AsyncIterator[Sweeper]:
    """A sweeper at work."""
    sweeper = Sweeper(bench.reader, bench.committer, interval_seconds=INTERVAL_SECONDS)
    running = asyncio.create_task(sweeper.run())
    try:
        yield sweeper
    finally:
        sweeper.stop()
        await running


async def test_due_holds_are_gone_soon(bench: Bench) -> None:
    """Holds past their deadline end within the promise, and what they held is free again."""
    async with sweeping(bench):
        placed = await hold(bench, 2 * SWEEP_LIMIT, ttl_seconds=1)
        await until_none_is_held(bench)
    assert await ends(bench) == dict.fromkeys(placed, 1)
    late = await bench.reader.fetchrow(
        "SELECT extract(epoch FROM max(ended.time - due))::float AS longest,"
        "       extract(epoch FROM percentile_cont(0.5) WITHIN GROUP (ORDER BY ended.time - due))::float AS usual"
        " FROM log AS ended JOIN log AS held USING (subject)"
        " CROSS JOIN LATERAL (SELECT (held.data->>'expires_at')::timestamptz AS due)"
        " WHERE ended.type = 'booking.expired' AND held.type = 'booking.held'"
    )
    assert late is not None
    print(f"{len(placed)} holds ended {late['usual']:.2f} s after their deadline, the latest {late['longest']:.2f} s")
    assert 0 <= late["usual"] <= late["longest"] <= PROMISED_SECONDS
    assert await bench.reader.fetchval("SELECT sum(held) FROM cell") == 0


async def test_a_deadline_needs_no_sweeper(bench: Bench) -> None:
    """A confirm after the deadline is refused with 410 although nobody has swept yet."""
    [booking] = await hold(bench, 1)
    await make_due(bench)
    settled = await bench.ledger.move(ConfirmBooking(booking=booking, channel="web"))
    assert isinstance(settled.verdict, HoldExpired)
    assert settled.verdict.status == 410
    assert await bench.reader.fetchval("SELECT status FROM booking") in {Status.HELD, Status.EXPIRED}


async def test_a_living_hold_is_left_alone(bench: Bench) -> None:
    """Neither a sweep nor the command to expire ends a hold before its deadline."""
    [booking] = await hold(bench, 1)
    assert await Sweeper(bench.reader, bench.committer, interval_seconds=INTERVAL_SECONDS).run_once() == 0
    await bench.committer.submit(ExpireHold(booking=booking))
    assert await bench.reader.fetchval("SELECT status FROM booking") == Status.HELD


async def test_several_workers_sweep(bench: Bench) -> None:
    """With a sweeper in each of four workers every hold ends once, and is counted once."""
    placed = await hold(bench, 300, ttl_seconds=1)
    await bench.reader.execute("SELECT pg_sleep(extract(epoch FROM max(expires_at) - clock_timestamp())) FROM booking")
    async with AsyncExitStack() as workers:
        benches = [bench, *[await workers.enter_async_context(open_bench(bench.url)) for _ in range(3)]]
        sweepers = [Sweeper(b.reader, b.committer, interval_seconds=INTERVAL_SECONDS) for b in benches]
        ended = sum(await asyncio.gather(*(sweeper.run_once() for sweeper in sweepers)))
        ended += sum(await asyncio.gather(*(sweeper.run_once() for sweeper in sweepers)))
    assert ended == len(placed)
    assert await ends(bench) == dict.fromkeys(placed, 1)
    assert (await verify(bench.url, expect_sweeper=True)).ok


async def test_without_a_claim_each_hold_still_ends_once(bench: Bench) -> None:
    """The claim only saves work: three workers that all expire the same holds at once end each of them once."""
    placed = await hold(bench, 100)
    await make_due(bench)
    async with open_bench(bench.url) as second, open_bench(bench.url) as third:
        settled = await asyncio.gather(
            *(b.committer.submit(ExpireHold(booking=booking)) for booking in placed for b in (bench, second, third))
        )
    assert sum(isinstance(one.verdict, Decision) for one in settled) == len(placed)
    assert await ends(bench) == dict.fromkeys(placed, 1)


class FrozenCommitter:
    """Never answers, as a process that has been stopped in the middle of a sweep."""

    async def submit(self, _command: object) -> Settled:
        """Wait for ever."""
        never: asyncio.Future[Settled] = asyncio.get_running_loop().create_future()
        return await never


async def test_a_frozen_sweeper_is_overtaken(bench: Bench) -> None:
    """A worker that freezes with the claim in its hand loses it to the database's clock, and the holds still end in time."""
    placed = await hold(bench, 10)
    await make_due(bench)
    frozen = Sweeper(bench.reader, cast(Committer, FrozenCommitter()), interval_seconds=INTERVAL_SECONDS)
    stuck = asyncio.create_task(frozen.run_once())
    await until_claimed(bench)
    awake = Sweeper(bench.reader, bench.committer, interval_seconds=INTERVAL_SECONDS)
    assert await awake.run_once() == 0, "the claim is another's"
    async with sweeping(bench):
        await until_none_is_held(bench)
    assert await ends(bench) == dict.fromkeys(placed, 1)
    seconds = await bench.reader.fetchval(
        "SELECT extract(epoch FROM max(time) FILTER (WHERE type = 'booking.expired')"
        " - max(time) FILTER (WHERE type = 'booking.held'))::float FROM log"
    )
    print(f"overtaken after {seconds:.2f} s")
    assert CLAIM_SECONDS - 0.5 <= seconds <= PROMISED_SECONDS
    stuck.cancel()
    with suppress(asyncio.CancelledError, asyncpg.PostgresError, asyncpg.InterfaceError):
        await stuck


async def until_claimed(bench: Bench) -> None:
    """Return when some sweeper has the claim and waits."""
    claimed = (
        "SELECT EXISTS (SELECT FROM pg_locks JOIN pg_stat_activity USING (pid)"
        " WHERE locktype = 'advisory' AND classid = 79111 AND state = 'idle in transaction'"
        " AND datname = current_database())"
    )
    async with asyncio.timeout(END_SECONDS):
        while not await bench.reader.fetchval(claimed):  # noqa: ASYNC110 - the database does not tell us
            await asyncio.sleep(0.01)
