"""Everybody wants the last one, through several workers at once."""

import asyncio
from random import Random

import pytest
from tests.clock import pass_time, stop_clock, sweep_by_stopped_clock
from tests.concurrency.crowd import CLIENTS, assert_sound, hold, place, sold, stay, workers

from onebook.ledger.expiry import Sweeper
from onebook.ledger.resolve import Cells
from onebook.model.booking import Status
from onebook.model.commands import ConfirmBooking
from onebook.model.decision import Decision, Unchanged
from onebook.model.refusals import BelowSold, HoldExpired, KeyReused, SoldOut
from onebook.model.resource import Kind, Unit

ROUNDS = 8


@pytest.mark.parametrize("capacity", [1, 2, 3, 4, 5])
async def test_exactly_what_there_is_is_sold(database_url: str, capacity: int) -> None:
    """64 clients at once for the same nights: as many get them as there are units, all others are told so."""
    async with workers(database_url) as benches:
        await benches[0].room("alfama/double", capacity=capacity)
        for night in range(1, ROUNDS + 1):
            wanted = stay("alfama/double", night, night + 3)
            verdicts = await asyncio.gather(*(place(benches[n % 3], wanted) for n in range(CLIENTS)))
            refusals = [v for v in verdicts if not isinstance(v, Decision)]
            # The stays overlap: only the first round finds its nights untouched, later ones the nights of those before.
            free = capacity if night % 3 == 1 else 0
            assert len(sold(verdicts)) == free
            assert {type(refusal) for refusal in refusals} == {SoldOut}
    await assert_sound(database_url)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_overlapping_wishes_never_oversell(database_url: str, seed: int) -> None:
    """Random stays, seats and quantities, released and taken again, leave nothing oversold and no version missing."""
    random = Random(seed)

    async with workers(database_url) as benches:
        await benches[0].room("alfama/double", capacity=3)
        await benches[0].resource("alfama/van", kind=Kind.VEHICLE, unit=Unit.NIGHT, capacity=1)

        async def client(number: int) -> None:
            bench = benches[number % 3]
            for _ in range(6):
                first = random.randint(1, 20)
                wanted = stay("alfama/double", first, first + random.randint(1, 7), random.randint(1, 2))
                others = [stay("alfama/van", first, first + 1)] if random.random() < 0.3 else []
                for booking in sold([await place(bench, wanted, *others)]):
                    if random.random() < 0.5:
                        await bench.ledger.move(ConfirmBooking(booking=booking.id, channel=None))

        await asyncio.gather(*(client(n) for n in range(CLIENTS)))
    await assert_sound(database_url)


async def test_opposite_orders_do_not_deadlock(database_url: str) -> None:
    """Baskets that name two rooms in opposite orders all come through, without PostgreSQL ending a single one."""
    async with workers(database_url) as benches:
        for code in ("east", "west"):
            await benches[0].room(f"alfama/{code}", capacity=CLIENTS // 2)
        basket = [stay("alfama/east", 1, 4), stay("alfama/west", 2, 5)]
        async with asyncio.timeout(30):
            verdicts = await asyncio.gather(
                *(place(benches[n % 3], *(basket if n % 2 else reversed(basket))) for n in range(CLIENTS))
            )
        assert len(sold(verdicts)) == CLIENTS // 2
        found = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        assert await benches[0].reader.fetchval(found) == 0
    await assert_sound(database_url)


async def test_one_key_has_one_effect(database_url: str) -> None:
    """One key sent 60 times through three workers at once makes one booking, and everybody is told of that one."""
    async with workers(database_url) as benches:
        await benches[0].room("alfama/double", capacity=60)
        for night in range(1, ROUNDS + 1):
            wanted = stay("alfama/double", night, night + 2)
            verdicts = await asyncio.gather(*(place(benches[n % 3], wanted, key=f"k{night}") for n in range(60)))
            [booking] = sold(verdicts)
            repeats = [v for v in verdicts if not isinstance(v, Decision)]
            assert all(isinstance(v, Unchanged) and v.replayed and v.booking == booking for v in repeats)
        assert await benches[0].reader.fetchval("SELECT count(*) FROM booking") == ROUNDS
    await assert_sound(database_url)


async def test_one_key_with_several_payloads_has_one_effect(database_url: str) -> None:
    """Different requests race with one key, for different rooms, so under different locks: exactly one wins."""
    async with workers(database_url) as benches:
        for number in range(3):
            await benches[0].room(f"alfama/{number}", capacity=CLIENTS)
        for night in range(1, ROUNDS + 1):
            requests = [(stay(f"alfama/{n % 3}", night, night + 1), bytes([n % 3] * 16)) for n in range(CLIENTS)]
            verdicts = await asyncio.gather(
                *(
                    place(benches[n % 3], wanted, key=f"k{night}", request_hash=digest)
                    for n, (wanted, digest) in enumerate(requests)
                )
            )
            [winner] = sold(verdicts)
            for (_, digest), verdict in zip(requests, verdicts, strict=True):
                if digest != winner.request_hash:
                    assert isinstance(verdict, KeyReused)
                elif not isinstance(verdict, Decision):
                    assert isinstance(verdict, Unchanged) and verdict.booking == winner
    await assert_sound(database_url)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_capacity_does_not_sink_below_what_is_being_sold(database_url: str, seed: int) -> None:
    """While 64 clients buy, the operator lowers capacity: each change is made in time or refused with true figures."""
    random = Random(seed)
    async with workers(database_url) as benches:
        await benches[0].room("alfama/double", capacity=5)

        async def lower(number: int) -> object:
            cells = Cells(starts="2026-12-01", ends="2026-12-03", session=None, values={"capacity": number % 5})
            return (await benches[number % 3].ledger.change_inventory("alfama/double", [cells])).verdict

        wishes = [place(benches[n % 3], stay("alfama/double", 1, 3)) for n in range(CLIENTS)]
        asked = [*wishes, *(lower(n) for n in range(16))]
        random.shuffle(asked)
        answers = await asyncio.gather(*asked)
        for refusal in (answer for answer in answers if isinstance(answer, BelowSold)):
            assert refusal.taken > refusal.capacity + refusal.overbooking
        rows = await benches[0].reader.fetch("SELECT held, capacity FROM cell")
        assert all(row["held"] <= row["capacity"] for row in rows)
        assert sum(row["held"] for row in rows) == 2 * sum(
            isinstance(a, Decision) and a.booking is not None for a in answers
        )
    await assert_sound(database_url)


async def test_a_hold_is_confirmed_or_expires(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the deadline passes, clients confirm and sweepers sweep: each hold has one end, and its client knows which."""
    async with workers(database_url) as benches:
        await stop_clock(database_url)
        sweep_by_stopped_clock(monkeypatch)
        await benches[0].room("alfama/double", capacity=CLIENTS)
        wanted = stay("alfama/double", 1, 3)
        holds = [await hold(benches[n % 3], wanted, ttl_seconds=60) for n in range(CLIENTS)]
        sweepers = [Sweeper(bench.reader, bench.committer, interval_seconds=1) for bench in benches]

        async def confirm(number: int) -> object:
            move = ConfirmBooking(booking=holds[number].id, channel="web")
            return (await benches[number % 3].ledger.move(move)).verdict

        early = [asyncio.create_task(confirm(n)) for n in range(0, CLIENTS, 2)]
        passing = asyncio.create_task(pass_time(benches[0].reader, 60))
        late = [asyncio.create_task(confirm(n)) for n in range(1, CLIENTS, 2)]
        swept = [asyncio.create_task(sweeper.run_once()) for sweeper in sweepers]
        await asyncio.gather(passing, *swept)
        ends = dict(
            zip([*range(0, CLIENTS, 2), *range(1, CLIENTS, 2)], await asyncio.gather(*early, *late), strict=True)
        )
        await sweepers[0].run_once()

        rows = await benches[0].reader.fetch("SELECT id::text, status FROM booking")
        status = {row["id"]: row["status"] for row in rows}
        for number, verdict in ends.items():
            confirmed = status[holds[number].id] == Status.CONFIRMED
            assert confirmed or status[holds[number].id] == Status.EXPIRED
            assert isinstance(verdict, Decision if confirmed else HoldExpired)
        ended = "SELECT count(*) FROM log WHERE type IN ('booking.confirmed', 'booking.expired')"
        assert await benches[0].reader.fetchval(ended) == CLIENTS
    await assert_sound(database_url)


async def test_amendments_of_one_booking_follow_each_other(database_url: str) -> None:
    """Several amendments of one booking at once are made one after the other, and the last is what it has."""
    async with workers(database_url) as benches:
        for code in ("east", "west"):
            await benches[0].room(f"alfama/{code}", capacity=1)
        booking = await hold(benches[0], stay("alfama/east", 1, 3))
        wishes = [stay(f"alfama/{code}", night, night + 2) for code in ("east", "west") for night in range(1, 7)]
        settled = await asyncio.gather(
            *(benches[n % 3].ledger.amend(booking.id, [wish], channel="web") for n, wish in enumerate(wishes))
        )
        made = [s.verdict.booking for s in settled if isinstance(s.verdict, Decision) and s.verdict.booking is not None]
        revisions = sorted(amended.revision for amended in made)
        assert revisions == list(range(2, len(made) + 2))
        stored = await benches[0].reads.booking(booking.id, None)
        assert stored is not None and stored[0] == max(made, key=lambda amended: amended.revision)
        assert await benches[0].reader.fetchval("SELECT sum(held) FROM cell") == 2
    await assert_sound(database_url)


async def test_bookings_cannot_both_move_to_one_room(database_url: str) -> None:
    """Two bookings amended at once to the same free room, or to each other's, never share it."""
    async with workers(database_url) as benches:
        for code in ("east", "west", "free"):
            await benches[0].room(f"alfama/{code}")
        first, second = [await hold(benches[0], stay(f"alfama/{code}", 1, 3)) for code in ("east", "west")]
        both = [(benches[1], first), (benches[2], second)]
        for target in ("free", "east", "west", "free"):
            await asyncio.gather(
                *(
                    bench.ledger.amend(booking.id, [stay(f"alfama/{target}", 1, 3)], channel=None)
                    for bench, booking in both
                )
            )
            taken = await benches[0].reader.fetch("SELECT held FROM cell WHERE held <> 0")
            assert [row["held"] for row in taken] == [1, 1, 1, 1]
    await assert_sound(database_url)
