"""The auditor and the ledger agree about whatever a crowd does to it."""

import asyncio
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from tests.conftest import Bench

from onebook.ledger.definitions import ResourceDefinition
from onebook.ledger.expiry import Sweeper
from onebook.ledger.ledger import Placing
from onebook.ledger.resolve import Cells
from onebook.model.booking import BookingId
from onebook.model.commands import (
    BookingMove,
    CancelBooking,
    ConfirmBooking,
    ExtendHold,
    ReleaseHold,
    Wanted,
)
from onebook.model.decision import Decision
from onebook.model.hours import OpeningHours
from onebook.model.resource import Kind, Unit
from onebook.ops.verify.audit import verify

CLIENTS = 16
COMMANDS_PER_CLIENT = 100
ALWAYS_OPEN = OpeningHours(weekly=(((0, 1440),),) * 7, exceptions={})

DEFINITIONS = {
    "alfama": [
        ResourceDefinition("double", Kind.ROOM, "Double", Unit.NIGHT, 1440, 3, overbooking=1, max_stay=5),
        ResourceDefinition("suite", Kind.ROOM, "Suite", Unit.NIGHT, 1440, 1, buffer_after=1440),
        ResourceDefinition("ana", Kind.STAFF, "Ana", Unit.MINUTE, 15, 1, 0, 10, 20, ALWAYS_OPEN),
    ],
    "opera": [
        ResourceDefinition("A-42", Kind.SEAT, "A 42", Unit.SESSION, 1, 1),
        ResourceDefinition("tour", Kind.ACTIVITY, "Tour", Unit.SESSION, 1, 8),
    ],
}
SESSIONS = ("matinee", "evening")
NIGHTS = [f"2026-12-{day:02}" for day in range(1, 29)]
# The clocks are put back in Lisbon in this night.
QUARTERS = [datetime(2026, 10, 24, 22, tzinfo=UTC) + timedelta(minutes=15 * n) for n in range(96)]
EVERY_TYPE = {
    *("venue.defined", "session.defined", "resource.defined", "inventory.changed", "block.placed", "block.lifted"),
    *("booking.held", "booking.confirmed", "booking.extended", "booking.released", "booking.expired"),
    *("booking.cancelled", "booking.amended"),
}


class Client:
    """One of the crowd: does one thing after the other, as its seed will have it. Most of it may well be refused."""

    def __init__(self, name: str, seed: str, bench: Bench) -> None:
        self._name = name
        self._random = Random(seed)
        self._bench = bench
        self._sweeper = Sweeper(bench.reader, bench.committer, interval_seconds=1)
        self._bookings: list[BookingId] = []
        self._blocks: list[tuple[str, str]] = []

    async def run(self) -> None:
        """Send every command."""
        for number in range(COMMANDS_PER_CLIENT):
            action = self._random.choice([self._place] * 5 + [self._move] * 4 + [self._amend] * 2 + [self._operate])
            await action(number)

    async def _place(self, number: int) -> None:
        settled = await self._bench.ledger.place(
            self._basket(),
            Placing(
                channel=self._name,
                idempotency_key=str(number),
                request_hash=bytes(16),
                ttl_seconds=self._random.choice([0, 600]),
                confirm=self._random.random() < 0.3,
            ),
        )
        if isinstance(settled.verdict, Decision) and settled.verdict.booking is not None:
            self._bookings.append(settled.verdict.booking.id)

    async def _move(self, _number: int) -> None:
        if not self._bookings:
            return
        booking = self._random.choice(self._bookings)
        moves: list[BookingMove] = [
            ConfirmBooking(booking, self._name),
            ReleaseHold(booking, self._name),
            CancelBooking(booking, self._name, "changed my mind"),
            ExtendHold(booking, self._name, self._random.choice([0, 900])),
        ]
        await self._bench.ledger.move(self._random.choice(moves))

    async def _amend(self, _number: int) -> None:
        if not self._bookings:
            return
        booking = self._random.choice(self._bookings)
        await self._bench.ledger.amend(booking, self._basket(), channel=self._name)

    async def _operate(self, _number: int) -> None:
        action = self._random.choice([self._change, self._block, self._lift, self._redefine, self._sweep])
        await action()

    async def _change(self) -> None:
        first = self._random.randrange(len(NIGHTS) - 1)
        values: dict[str, int | bool | None] = self._random.choice(
            [
                {"capacity": 4},
                {"capacity": None},
                {"overbooking": 2},
                {"closed": True},
                {"closed": False, "min_stay": 2},
            ]
        )
        cells = Cells(NIGHTS[first], NIGHTS[first + 1], None, values)
        await self._bench.ledger.change_inventory("alfama/double", [cells])

    async def _block(self) -> None:
        settled = await self._bench.ledger.place_block([self._line()], reason="painting")
        if isinstance(settled.verdict, Decision) and settled.verdict.block is not None:
            venue = settled.verdict.resources[0].partition("/")[0]
            self._blocks.append((settled.verdict.block.id, venue))

    async def _lift(self) -> None:
        if self._blocks:
            block, venue = self._random.choice(self._blocks)
            await self._bench.ledger.lift_block(block, venue=venue)

    async def _redefine(self) -> None:
        capacity, buffer = self._random.choice([3, 5]), self._random.choice([0, 20])
        await self._bench.definitions.put_resources(
            "alfama",
            [
                ResourceDefinition("double", Kind.ROOM, "Double", Unit.NIGHT, 1440, capacity, overbooking=1),
                ResourceDefinition("ana", Kind.STAFF, "Ana", Unit.MINUTE, 15, 1, 0, 10, buffer, ALWAYS_OPEN),
            ],
        )

    async def _sweep(self) -> None:
        await self._sweeper.run_once()

    def _basket(self) -> list[Wanted]:
        return [self._line() for _ in range(self._random.choice([1, 1, 1, 2, 3]))]

    def _line(self) -> Wanted:
        resource = self._random.choice(
            ["alfama/double"] * 3 + ["alfama/suite", "alfama/ana", "opera/A-42", "opera/tour"]
        )
        quantity = self._random.choice([1, 1, 2])
        if resource.startswith("opera/"):
            return Wanted(resource=resource, session=self._random.choice(SESSIONS), quantity=quantity)
        times = [quarter.isoformat() for quarter in QUARTERS] if resource == "alfama/ana" else NIGHTS
        first, last = sorted(self._random.sample(range(len(times)), 2))
        return Wanted(resource=resource, starts=times[first], ends=times[min(last, first + 3)], quantity=quantity)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_the_auditor_agrees_with_the_ledger_about_a_crowd(bench: Bench, seed: int) -> None:
    """After any mixture of commands from a crowd, the auditor's own arithmetic comes to the ledger's state."""
    for venue, definitions in DEFINITIONS.items():
        await bench.definitions.put_venue(venue, venue, "Europe/Lisbon", "EUR", "lisbon")
        await bench.definitions.put_resources(venue, definitions)
    for number, session in enumerate(SESSIONS):
        starts = datetime(2026, 12, 24, 15 + 4 * number, tzinfo=UTC)
        await bench.definitions.put_session("opera", session, starts, starts + timedelta(hours=3))
    crowd = [Client(f"c{number}", f"{seed}/{number}", bench) for number in range(CLIENTS)]
    running = asyncio.gather(*(client.run() for client in crowd))
    during = await verify(bench.url)
    await running
    after = await verify(bench.url)
    assert [check.findings for report in (during, after) for check in report.checks if not check.ok] == []
    assert {row["type"] for row in await bench.reader.fetch("SELECT DISTINCT type FROM log")} == EVERY_TYPE
