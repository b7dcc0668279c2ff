"""The ledger against the plain model: commands of all kinds, every verdict, every cell and every booking compared; and the
availability view, which follows the log, against both.

The ledger is the real one on a database of its own for each example, and definitions are changed by another worker, so
that what this one remembers is out of date. The database's clock stands until the machine moves it.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from hashlib import md5
from typing import Any, ClassVar
from uuid import uuid4

import asyncpg
import pytest
from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from msgspec.structs import replace
from tests.clock import pass_time, stop_clock, sweep_by_stopped_clock
from tests.conftest import TEMPLATE, Bench, open_bench, with_database
from tests.follow import Follower
from tests.integration.market import (
    DEFINITIONS,
    FIRST_MINUTE,
    MINUTES_BEFORE,
    NIGHTLY,
    OPENING,
    SESSIONS,
    VENUE,
    Amend,
    Command,
    Dice,
    Place,
    outcome_of,
    refusal_of,
    text_of,
    thing_of,
    wanted_of,
    written,
)
from tests.integration.plain_model import Asked, Outcome, PlainModel

from onebook.ledger import catalog
from onebook.ledger.definitions import Defined
from onebook.ledger.expiry import Sweeper
from onebook.ledger.ledger import Placing
from onebook.ledger.page import Settled
from onebook.ledger.resolve import Cells, resolve
from onebook.model.booking import BookingId
from onebook.model.commands import (
    AmendBooking,
    BookingMove,
    CancelBooking,
    ConfirmBooking,
    ExpireHold,
    ExtendHold,
    ReleaseHold,
)
from onebook.model.decide import Verdict
from onebook.model.decision import Decision
from onebook.model.resource import Unit
from onebook.ops.verify.audit import verify
from onebook.views.compare import differences
from onebook.views.snapshot import load

STEPS_PER_EXAMPLE = 100
EVERYTHING = {
    *(
        "booking.held",
        "booking.confirmed",
        "booking.extended",
        "booking.released",
        "booking.expired",
        "booking.cancelled",
    ),
    *("booking.amended", "inventory.changed", "block.placed", "block.lifted", "same"),
    *("sold-out", "closed", "min-stay", "max-stay", "closed-to-arrival", "closed-to-departure", "outside-hours"),
    *("idempotency-key-reused", "not-found", "wrong-state", "hold-expired", "version-mismatch", "capacity-below-sold"),
}

Submission = tuple[Callable[[], "asyncio.Future[Settled]"], Callable[[Verdict], Outcome]]


class LedgerAndModel(RuleBasedStateMachine):
    """Sends the same commands to both."""

    steps = 0
    seen: ClassVar[Counter[str]] = Counter()

    def __init__(self, postgres_url: str) -> None:
        super().__init__()
        self.model = PlainModel({code: thing_of(definition) for code, definition in DEFINITIONS.items()})
        self.requests: list[Place] = []
        self.taken = 0
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.runner.run(self._open(postgres_url))

    def teardown(self) -> None:
        """The auditor finds nothing, however the example went."""
        try:
            self.runner.run(self._audit())
        finally:
            self.runner.run(self.stack.aclose())
            self.runner.close()

    @rule(seed=st.integers(0, 2**64 - 1))
    def step(self, seed: int) -> None:
        """One thing happens, mostly that somebody buys. The dice choose, so that no example leaves a kind of step out."""
        LedgerAndModel.steps += 1
        dice = Dice(seed, self.taken)
        self.taken += 1
        happenings = (
            [self._settle] * 8 + [self._change_inventory] * 3 + [self._redefine, self._block] + [self._wait] * 2
        )
        dice.one(*happenings)(dice)

    @invariant()
    def agree(self) -> None:
        """Every cell, version, state and deadline is what the plain model says; the view is what the tables say."""
        self.runner.run(self._agree())

    def _settle(self, dice: Dice) -> None:
        """Commands that arrive together are decided one after the other, in one batch."""
        possible = [command for command in dice.commands() if isinstance(command, Place) or self.model.bookings]
        for command in possible:
            note(f"{command}")
        self.runner.run(self._settle_all(possible))

    def _change_inventory(self, dice: Dice) -> None:
        """The operator changes cells, sometimes with a version in mind, which may have passed."""
        asked, values = dice.line(), dice.values()
        seen = self.model.things[asked.resource].version - dice.one(0, 1) if dice.chance(0.3) else None
        wanted = wanted_of(asked)
        note(f"{wanted} gets {values} at version {seen}")
        cells = Cells(starts=wanted.starts, ends=wanted.ends, session=wanted.session, values=values)
        settled = self.runner.run(self.bench.ledger.change_inventory(wanted.resource, [cells], expected_version=seen))
        self._compare(settled.verdict, self.model.change(asked.resource, asked.first, asked.end, values, seen))

    def _redefine(self, dice: Dice) -> None:
        """Another worker puts another definition."""
        old = DEFINITIONS[dice.code()]
        capacity, overbooking = dice.one(old.capacity, old.capacity, 1, 2, 5), dice.one(0, 1)
        cells_after = dice.one(0, 1) if old.unit is Unit.MINUTE else 0
        put = replace(old, capacity=capacity, overbooking=overbooking, buffer_after=cells_after * old.cell_minutes)
        note(f"{put}")
        found = self.runner.run(self.other.definitions.put_resources(VENUE, [put]))
        outcome = ("done", *found.versions.values()) if isinstance(found, Defined) else refusal_of(found)
        assert outcome == self.model.redefine(old.code, capacity, overbooking, cells_after)

    def _block(self, dice: Dice) -> None:
        """The operator takes units out of sale, or puts them back."""
        if dice.chance(0.5):
            self._place_block((dice.line(),))
        elif self.model.blocks:
            self._lift_block(dice.one(*self.model.blocks))

    def _wait(self, dice: Dice) -> None:
        """Time passes, often exactly up to a deadline; the sweeper, if it comes, expires what is due and nothing else."""
        seconds = dice.one(10, 30, 60)
        note(f"{seconds} seconds pass")
        self.runner.run(pass_time(self.bench.reader, seconds))
        self.model.now += seconds
        if dice.chance(0.5):
            expired = self.runner.run(self.sweeper.run_once())
            assert expired == self.model.sweep()
            LedgerAndModel.seen["booking.expired"] += expired

    async def _open(self, postgres_url: str) -> None:
        self.stack.push_async_callback(
            _execute, postgres_url, f"DROP DATABASE IF EXISTS {(name := _name())} WITH (FORCE)"
        )
        await _execute(postgres_url, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        # Nothing crashes here, so nothing has to wait for the disk.
        await _execute(postgres_url, f"ALTER DATABASE {name} SET synchronous_commit = off")
        self.url = with_database(postgres_url, name)
        await stop_clock(self.url)
        self.bench: Bench = await self.stack.enter_async_context(open_bench(self.url))
        self.other: Bench = await self.stack.enter_async_context(open_bench(self.url))
        self.sweeper = Sweeper(self.bench.reader, self.bench.committer, interval_seconds=1)
        self.follower = Follower(self.bench.view, self.bench.reader)
        await self.follower.catch_up()  # nothing is defined yet: all that the view will know it learns from the log
        self.began = await self.bench.reader.fetchval("SELECT now FROM clock")
        define = self.other.definitions
        await define.put_venue(VENUE, VENUE, "Europe/Lisbon", "EUR", "lisboa")
        await define.put_resources(VENUE, list(DEFINITIONS.values()))
        for number, session in enumerate(SESSIONS):
            starts = FIRST_MINUTE + timedelta(hours=2 * number)
            await define.put_session(VENUE, session, starts, starts + timedelta(hours=2))

    async def _audit(self) -> None:
        report = await verify(self.url)
        assert report.ok, [finding for check in report.checks for finding in check.findings]

    def _place_block(self, basket: tuple[Asked, ...]) -> None:
        settled = self.runner.run(self.bench.ledger.place_block([wanted_of(asked) for asked in basket]))
        block = settled.verdict.block if isinstance(settled.verdict, Decision) else None
        self._compare(settled.verdict, self.model.block("none" if block is None else block.id, basket))

    def _lift_block(self, block: str) -> None:
        settled = self.runner.run(self.bench.ledger.lift_block(block, venue=VENUE))
        self._compare(settled.verdict, self.model.lift(block))

    async def _settle_all(self, commands: Sequence[Command]) -> None:
        submissions = [await self._submission(command) for command in commands]
        # Nothing waits between these, so that they lie in the queue in this order and go into one batch.
        answers = [submit() for submit, _ in submissions]
        for answer, (_, expected) in zip(answers, submissions, strict=True):
            verdict = (await answer).verdict
            self._compare(verdict, expected(verdict))

    async def _submission(self, command: Command) -> Submission:
        """How to send a command to the ledger, and how then to ask the model."""
        if isinstance(command, Place):
            return await self._place(command)
        identity = list(self.model.bookings)[command.pick % len(self.model.bookings)]
        booking, channel, submit = BookingId(identity), command.channel, self.bench.committer.submit
        if isinstance(command, Amend):
            found = await resolve([wanted_of(asked) for asked in command.basket], self.bench.catalog)
            basket, amendment = command.basket, AmendBooking(booking=booking, channel=channel, lines=found)
            return lambda: submit(amendment), lambda _: self.model.amend(identity, channel, basket)
        name, ttl = command.move, command.ttl
        moves: dict[str, BookingMove] = {
            "confirm": ConfirmBooking(booking=booking, channel=channel),
            "extend": ExtendHold(booking=booking, channel=channel, ttl_seconds=ttl),
            "release": ReleaseHold(booking=booking, channel=channel),
            "cancel": CancelBooking(booking=booking, channel=channel, reason=None),
            "expire": ExpireHold(booking=booking),
        }
        return lambda: submit(moves[name]), lambda _: self.model.move(identity, channel, name, ttl)

    async def _place(self, command: Place) -> Submission:
        number = len(self.requests)
        if command.repeats is not None and self.requests:
            number = command.repeats % len(self.requests)
            command = self.requests[number] if command.same else command
        else:
            self.requests.append(command)
        basket, ttl, key = command.basket, command.ttl, f"key-{number}"
        payload = md5(repr((basket, ttl)).encode(), usedforsecurity=False).digest()
        placing = Placing("web", key, payload, ttl_seconds=ttl or 60, confirm=ttl is None)
        wanted = [wanted_of(asked) for asked in basket]
        await resolve(wanted, self.bench.catalog)

        def submit() -> "asyncio.Future[Settled]":
            answer = self.bench.ledger.place_known(wanted, placing)
            assert answer is not None
            return answer

        def expected(verdict: Verdict) -> Outcome:
            placed = verdict.booking if isinstance(verdict, Decision) else None
            return self.model.place("none" if placed is None else placed.id, "web", key, payload, basket, ttl)

        return submit, expected

    def _compare(self, verdict: Verdict, expected: Outcome) -> None:
        assert outcome_of(verdict) == written(expected)
        LedgerAndModel.seen[verdict.event if isinstance(verdict, Decision) else expected[0]] += 1

    async def _agree(self) -> None:
        reads = self.bench.reads
        await self.follower.catch_up()
        nights, day, rows = await asyncio.gather(
            reads.availability(VENUE, "2026-12-01", "2026-12-12", resources=NIGHTLY),
            reads.availability(VENUE, *OPENING, resources=[*DEFINITIONS.keys() - set(NIGHTLY)]),
            self.bench.reader.fetch("SELECT id::text, status, expires_at FROM booking"),
        )
        assert len(nights.resources) + len(day.resources) == len(DEFINITIONS)
        for found in (*nights.resources, *day.resources):
            code = found.resource.partition("/")[2]
            by_minute = DEFINITIONS[code].unit is Unit.MINUTE
            first = -MINUTES_BEFORE // DEFINITIONS[code].cell_minutes if by_minute else 0
            numbers = range(first, first + len(found.cells))
            assert found.cells == [text_of(code, number) for number in numbers]
            assert found.available == [self.model.available(code, number) for number in numbers], code
            assert found.version == self.model.things[code].version, code
        assert {row["id"]: (row["status"], row["expires_at"]) for row in rows} == {
            identity: (
                booking.state,
                None if booking.deadline is None else self.began + timedelta(seconds=booking.deadline),
            )
            for identity, booking in self.model.bookings.items()
        }
        async with self.bench.reader.acquire() as connection:
            stored, _ = await load(connection)
        assert differences(self.bench.view.stock, stored) == []


def _name() -> str:
    return f"test_{uuid4().hex}"


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _run(postgres_url: str, monkeypatch: pytest.MonkeyPatch, examples: int, **options: Any) -> None:
    """As many examples, which must have come across everything that can come of a command."""
    sweep_by_stopped_clock(monkeypatch)
    monkeypatch.setattr(catalog, "SESSION_SECONDS", 3600.0)  # a batch must not have to look a session up
    LedgerAndModel.steps = 0
    LedgerAndModel.seen.clear()

    class Machine(LedgerAndModel):
        def __init__(self) -> None:
            super().__init__(postgres_url)

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=STEPS_PER_EXAMPLE,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
            **options,
        ),
    )
    assert LedgerAndModel.seen.keys() >= EVERYTHING


def test_the_ledger_does_what_the_plain_model_says(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over 2,000 steps of commands of all kinds, ledger and model agree on every verdict, cell and booking."""
    _run(postgres_url, monkeypatch, examples=21, derandomize=True)
    assert LedgerAndModel.steps >= 2_000


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_the_ledger_does_what_the_plain_model_says_for_long(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over 100,000 steps they still agree."""
    _run(postgres_url, monkeypatch, examples=1_100)
    assert LedgerAndModel.steps >= 100_000
