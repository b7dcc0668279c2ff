"""The ledger against the plain model: commands of all kinds, every verdict, every cell and every booking compared.

The ledger is the real one on a database of its own for each example, and definitions are changed by another worker, so
that what this one remembers is out of date. The database's clock stands until the machine moves it.
"""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from hashlib import md5
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from tests.clock import pass_time, stop_clock, sweep_by_stopped_clock
from tests.conftest import TEMPLATE, Bench, open_bench, with_database
from tests.integration.plain_model import Asked, Outcome, PlainModel, Thing

from onebook.ledger import catalog
from onebook.ledger.definitions import Defined, ResourceDefinition
from onebook.ledger.expiry import Sweeper
from onebook.ledger.ledger import Placing
from onebook.ledger.page import Settled
from onebook.ledger.resolve import Cells, resolve
from onebook.model.booking import BookingId
from onebook.model.commands import (
    AmendBooking,
    CancelBooking,
    ConfirmBooking,
    ExpireHold,
    ExtendHold,
    ReleaseHold,
    Wanted,
)
from onebook.model.decide import Verdict
from onebook.model.decision import Decision, Unchanged
from onebook.model.hours import OpeningHours
from onebook.model.refusals import BelowSold, NotBookable, Refusal, VersionMismatch, WrongState
from onebook.model.resource import Kind, Unit

VENUE = "alfama"
SESSIONS = ("matinee", "evening")
FIRST_NIGHT, FIRST_MINUTE = date(2026, 12, 1), datetime(2026, 12, 1, 9, tzinfo=UTC)
# Open from 9:00 to 11:30 and from 12:00 to 15:00, in half hours from 9:00 on.
HOURS = OpeningHours(weekly=(((540, 690), (720, 900)),) * 7, exceptions={})
OPEN_CELLS = frozenset({*range(5), *range(6, 12)})

DEFINITIONS = {
    each.code: each
    for each in (
        ResourceDefinition("double", Kind.ROOM, "Double", Unit.NIGHT, 1440, 2, overbooking=1),
        ResourceDefinition("suite", Kind.ROOM, "Suite", Unit.NIGHT, 1440, 1, min_stay=2, max_stay=3),
        ResourceDefinition("table", Kind.TABLE, "Table", Unit.MINUTE, 30, 1, buffer_after=30),
        ResourceDefinition("van", Kind.VEHICLE, "Van", Unit.MINUTE, 60, 2, buffer_before=60, buffer_after=60),
        ResourceDefinition("ana", Kind.STAFF, "Ana", Unit.MINUTE, 30, 1, hours=HOURS),
        ResourceDefinition("A-42", Kind.SEAT, "A 42", Unit.SESSION, 1, 1),
        ResourceDefinition("tour", Kind.ACTIVITY, "Tour", Unit.SESSION, 1, 3),
    )
}


def thing_of(definition: ResourceDefinition) -> Thing:
    """What the plain model has to know of a definition."""
    return Thing(
        capacity=definition.capacity,
        overbooking=definition.overbooking,
        before=definition.buffer_before // definition.cell_minutes,
        after=definition.buffer_after // definition.cell_minutes,
        min_stay=definition.min_stay,
        max_stay=definition.max_stay,
        open_cells=None if definition.hours is None else OPEN_CELLS,
        by_session=definition.unit is Unit.SESSION,
    )


def text_of(code: str, cell: int) -> str:
    """A cell as people write it."""
    definition = DEFINITIONS[code]
    if definition.unit is Unit.SESSION:
        return SESSIONS[cell]
    if definition.unit is Unit.NIGHT:
        return (FIRST_NIGHT + timedelta(days=cell)).isoformat()
    return (FIRST_MINUTE + timedelta(minutes=cell * definition.cell_minutes)).isoformat()


def wanted_of(asked: Asked) -> Wanted:
    """A line as a client writes it."""
    resource = f"{VENUE}/{asked.resource}"
    if DEFINITIONS[asked.resource].unit is Unit.SESSION:
        return Wanted(resource=resource, session=SESSIONS[asked.first], quantity=asked.quantity)
    starts, ends = text_of(asked.resource, asked.first), text_of(asked.resource, asked.end)
    return Wanted(resource=resource, starts=starts, ends=ends, quantity=asked.quantity)


def outcome_of(verdict: Verdict) -> Outcome:
    """What is worth comparing of a verdict."""
    if isinstance(verdict, Decision):
        return ("done",) if verdict.booking is None else ("done", verdict.booking.status)
    if isinstance(verdict, Unchanged):
        return ("same",) if verdict.booking is None else ("same", verdict.booking.id)
    return refusal_of(verdict)


def refusal_of(refusal: Refusal) -> Outcome:
    """What is worth comparing of a refusal."""
    if isinstance(refusal, NotBookable):
        return (refusal.code, *((item.resource, item.unavailable, item.available) for item in refusal.items))
    if isinstance(refusal, WrongState):
        return (refusal.code, refusal.state)
    if isinstance(refusal, VersionMismatch):
        return (refusal.code, refusal.version)
    if isinstance(refusal, BelowSold):
        return (refusal.code, refusal.taken - refusal.capacity - refusal.overbooking)
    return (refusal.code,)


def written(outcome: Outcome) -> Outcome:
    """An outcome of the plain model with its cells as people write them."""
    return tuple(
        (f"{VENUE}/{part[0]}", tuple(text_of(part[0], cell) for cell in part[1]), part[2])
        if isinstance(part, tuple)
        else part
        for part in outcome
    )


@dataclass(frozen=True)
class Place:
    """A basket; with `repeats`, under the key of an earlier one, and as `same` the very same request."""

    basket: tuple[Asked, ...]
    ttl: int | None
    repeats: int | None
    same: bool


@dataclass(frozen=True)
class Move:
    """A move of one of the bookings there are."""

    pick: int
    channel: str | None
    move: str
    ttl: int


@dataclass(frozen=True)
class Amend:
    """Other lines for one of the bookings there are."""

    pick: int
    channel: str | None
    basket: tuple[Asked, ...]


@st.composite
def lines(draw: st.DrawFn) -> Asked:
    """A line for a few cells of anything."""
    code = draw(st.sampled_from(sorted(DEFINITIONS)))
    quantity = draw(st.sampled_from([1, 1, 1, 2]))
    if DEFINITIONS[code].unit is Unit.SESSION:
        session = draw(st.sampled_from([0, 1]))
        return Asked(code, session, session + 1, quantity)
    first = draw(st.integers(0, 5))
    return Asked(code, first, first + draw(st.integers(1, 3)), quantity)


BASKETS = st.lists(lines(), min_size=1, max_size=3).map(tuple)
PICKS = st.integers(0, 40)
CHANNELS = st.sampled_from(["web", "web", None, "desk"])
TTLS = st.sampled_from([30, 60, 90])
STEPS = st.sampled_from(["confirm", "extend", "release", "cancel", "expire"])
COMMANDS = st.one_of(
    st.builds(Place, BASKETS, st.one_of(st.none(), TTLS), st.one_of(st.none(), st.none(), PICKS), st.booleans()),
    st.builds(Move, PICKS, CHANNELS, STEPS, TTLS),
    st.builds(Amend, PICKS, CHANNELS, BASKETS),
)
RESTRICTIONS = st.fixed_dictionaries(
    {},
    optional={
        "capacity": st.one_of(st.none(), st.integers(0, 4)),
        "overbooking": st.one_of(st.none(), st.integers(0, 1)),
        "closed": st.booleans(),
        "min_stay": st.sampled_from([None, 1, 2]),
        "max_stay": st.sampled_from([None, 1, 2]),
        "closed_to_arrival": st.booleans(),
        "closed_to_departure": st.booleans(),
    },
)

Submission = tuple[Callable[[], "asyncio.Future[Settled]"], Callable[[Verdict], Outcome]]


class LedgerAndModel(RuleBasedStateMachine):
    """Sends the same commands to both."""

    steps = 0

    def __init__(self, postgres_url: str) -> None:
        super().__init__()
        self.model = PlainModel({code: thing_of(definition) for code, definition in DEFINITIONS.items()})
        self.requests: list[Place] = []
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

    @rule(commands=st.lists(COMMANDS, min_size=1, max_size=4))
    def settle(self, commands: list[Place | Move | Amend]) -> None:
        """Commands that arrive together are decided one after the other, in one batch."""
        self.runner.run(self._settle(commands))

    @rule(asked=lines(), values=RESTRICTIONS, version=st.one_of(st.none(), st.none(), st.sampled_from([0, 1])))
    def change_inventory(self, asked: Asked, values: dict[str, Any], version: int | None) -> None:
        """The operator changes cells; `version` is how far the one he has seen is behind."""
        seen = None if version is None else self.model.things[asked.resource].version - version
        wanted = wanted_of(asked)
        cells = Cells(starts=wanted.starts, ends=wanted.ends, session=wanted.session, values=values)
        settled = self.runner.run(self.bench.ledger.change_inventory(wanted.resource, [cells], expected_version=seen))
        self._compare(settled.verdict, self.model.change(asked.resource, asked.first, asked.end, values, seen))

    @rule(
        code=st.sampled_from(sorted(DEFINITIONS)),
        capacity=st.integers(0, 3),
        overbooking=st.integers(0, 1),
        after=st.booleans(),
    )
    def redefine(self, code: str, capacity: int, overbooking: int, after: bool) -> None:
        """Another worker puts another definition."""
        old = DEFINITIONS[code]
        cells_after = int(after and old.unit is Unit.MINUTE)
        put = ResourceDefinition(
            **{name: getattr(old, name) for name in old.__struct_fields__}
            | {"capacity": capacity, "overbooking": overbooking, "buffer_after": cells_after * old.cell_minutes}
        )
        found = self.runner.run(self.other.definitions.put_resources(VENUE, [put]))
        outcome = ("done", *found.versions.values()) if isinstance(found, Defined) else refusal_of(found)
        assert outcome == self.model.redefine(code, capacity, overbooking, cells_after)

    @rule(basket=BASKETS)
    def place_block(self, basket: tuple[Asked, ...]) -> None:
        """The operator takes units out of sale."""
        settled = self.runner.run(self.bench.ledger.place_block([wanted_of(asked) for asked in basket]))
        block = settled.verdict.block if isinstance(settled.verdict, Decision) else None
        self._compare(settled.verdict, self.model.block("none" if block is None else block.id, basket))

    @precondition(lambda self: self.model.blocks)
    @rule(pick=PICKS)
    def lift_block(self, pick: int) -> None:
        """The operator puts them back."""
        block = list(self.model.blocks)[pick % len(self.model.blocks)]
        settled = self.runner.run(self.bench.ledger.lift_block(block, venue=VENUE))
        self._compare(settled.verdict, self.model.lift(block))

    @rule(seconds=st.sampled_from([10, 30, 60]))
    def wait(self, seconds: int) -> None:
        """Time passes, often exactly up to a deadline."""
        self.runner.run(pass_time(self.bench.reader, seconds))
        self.model.now += seconds

    @rule()
    def sweep(self) -> None:
        """The sweeper expires what is due, and nothing else."""
        assert self.runner.run(self.sweeper.run_once()) == self.model.sweep()

    @invariant()
    def agree(self) -> None:
        """Every cell, version, state and deadline is what the plain model says."""
        LedgerAndModel.steps += 1
        self.runner.run(self._agree())

    async def _open(self, postgres_url: str) -> None:
        self.stack.push_async_callback(
            _execute, postgres_url, f"DROP DATABASE IF EXISTS {(name := _name())} WITH (FORCE)"
        )
        await _execute(postgres_url, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        self.url = with_database(postgres_url, name)
        await stop_clock(self.url)
        self.bench: Bench = await self.stack.enter_async_context(open_bench(self.url))
        self.other: Bench = await self.stack.enter_async_context(open_bench(self.url))
        self.sweeper = Sweeper(self.bench.reader, self.bench.committer, interval_seconds=1)
        self.began = await self.bench.reader.fetchval("SELECT now FROM clock")
        define = self.other.definitions
        await define.put_venue(VENUE, VENUE, "Europe/Lisbon", "EUR", "lisboa")
        await define.put_resources(VENUE, list(DEFINITIONS.values()))
        for number, session in enumerate(SESSIONS):
            starts = FIRST_MINUTE + timedelta(hours=6 + 4 * number)
            await define.put_session(VENUE, session, starts, starts + timedelta(hours=2))

    async def _audit(self) -> None:
        from onebook.ops.verify import verify

        report = await verify(self.url)
        assert report.ok, [finding for check in report.checks for finding in check.findings]

    async def _settle(self, commands: list[Place | Move | Amend]) -> None:
        submissions = [await self._submission(command) for command in commands if self._possible(command)]
        # Nothing waits between these, so that they lie in the queue in this order and go into one batch.
        answers = [submit() for submit, _ in submissions]
        for answer, (_, expected) in zip(answers, submissions, strict=True):
            verdict = (await answer).verdict
            self._compare(verdict, expected(verdict))

    def _possible(self, command: Place | Move | Amend) -> bool:
        return isinstance(command, Place) or bool(self.model.bookings)

    async def _submission(self, command: Place | Move | Amend) -> Submission:
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
        move = {
            "confirm": ConfirmBooking(booking=booking, channel=channel),
            "extend": ExtendHold(booking=booking, channel=channel, ttl_seconds=ttl),
            "release": ReleaseHold(booking=booking, channel=channel),
            "cancel": CancelBooking(booking=booking, channel=channel, reason=None),
            "expire": ExpireHold(booking=booking),
        }[name]
        return lambda: submit(move), lambda _: self.model.move(identity, channel, name, ttl)

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

    async def _agree(self) -> None:
        nights = await self.bench.reads.availability(VENUE, "2026-12-01", "2026-12-12", resources=["double", "suite"])
        day = await self.bench.reads.availability(
            VENUE, "2026-12-01", "2026-12-02", resources=["table", "van", "ana", "A-42", "tour"]
        )
        assert len(nights.resources) + len(day.resources) == len(DEFINITIONS)
        for found in (*nights.resources, *day.resources):
            code = found.resource.partition("/")[2]
            first = 0 if DEFINITIONS[code].unit is not Unit.MINUTE else -9 * 60 // DEFINITIONS[code].cell_minutes
            numbers = range(first, first + len(found.cells))
            assert found.cells == [text_of(code, number) for number in numbers]
            assert found.available == [self.model.available(code, number) for number in numbers], code
            assert found.version == self.model.things[code].version, code
        rows = await self.bench.reader.fetch("SELECT id::text, status, expires_at FROM booking")
        assert {row["id"]: (row["status"], row["expires_at"]) for row in rows} == {
            identity: (
                booking.state,
                None if booking.deadline is None else self.began + timedelta(seconds=booking.deadline),
            )
            for identity, booking in self.model.bookings.items()
        }


def _name() -> str:
    return f"test_{uuid4().hex}"


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _run(postgres_url: str, monkeypatch: pytest.MonkeyPatch, examples: int, steps: int) -> int:
    """How many steps were made."""
    sweep_by_stopped_clock(monkeypatch)
    monkeypatch.setattr(catalog, "SESSION_SECONDS", 3600.0)  # a batch must not have to look a session up
    LedgerAndModel.steps = 0
    run_state_machine_as_test(
        lambda: LedgerAndModel(postgres_url),
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
    return LedgerAndModel.steps


def test_the_ledger_does_what_the_plain_model_says(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over 2,000 steps of commands of all kinds, ledger and model agree on every verdict, cell and booking."""
    assert _run(postgres_url, monkeypatch, examples=42, steps=50) >= 2_000


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_the_ledger_does_what_the_plain_model_says_for_long(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over 100,000 steps they still agree."""
    assert _run(postgres_url, monkeypatch, examples=1_010, steps=100) >= 100_000
