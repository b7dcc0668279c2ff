"""The market that the state machine trades in, and its words: definitions, texts of cells, commands, verdicts."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import TypeVar

from tests.integration.plain_model import Asked, Outcome, Thing

from onebook.ledger.definitions import ResourceDefinition
from onebook.model.commands import Wanted
from onebook.model.decide import Verdict
from onebook.model.decision import Decision, Unchanged
from onebook.model.hours import OpeningHours
from onebook.model.refusals import BelowSold, NotBookable, Refusal, VersionMismatch, WrongState
from onebook.model.resource import Kind, Unit

T = TypeVar("T")

VENUE = "alfama"
SESSIONS = ("matinee", "evening")
FIRST_NIGHT, FIRST_MINUTE = date(2026, 12, 1), datetime(2026, 12, 1, 9, tzinfo=UTC)
# Open from 9:00 to 11:30 and from 12:00 to 15:00, in half hours from 9:00 on.
HOURS = OpeningHours(weekly=(((540, 690), (720, 900)),) * 7, exceptions={})
OPEN_CELLS = frozenset({*range(5), *range(6, 12)})

DEFINITIONS = {
    each.code: each
    for each in (
        ResourceDefinition("double", Kind.ROOM, "Double", Unit.NIGHT, 1440, 3, overbooking=1),
        ResourceDefinition("suite", Kind.ROOM, "Suite", Unit.NIGHT, 1440, 1, min_stay=2, max_stay=3),
        ResourceDefinition("table", Kind.TABLE, "Table", Unit.MINUTE, 30, 2, buffer_after=30),
        ResourceDefinition("van", Kind.VEHICLE, "Van", Unit.MINUTE, 60, 2, buffer_before=60, buffer_after=60),
        ResourceDefinition("ana", Kind.STAFF, "Ana", Unit.MINUTE, 30, 1, hours=HOURS),
        ResourceDefinition("A-42", Kind.SEAT, "A 42", Unit.SESSION, 1, 1),
        ResourceDefinition("tour", Kind.ACTIVITY, "Tour", Unit.SESSION, 1, 6),
    )
}

NIGHTLY = ["double", "suite"]
# Every minute cell that the machine can reach, turnaround included, and the sessions.
MINUTES_BEFORE = 60
OPENING = ("2026-12-01T08:00:00+00:00", "2026-12-01T19:00:00+00:00")


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


Command = Place | Move | Amend


class Dice:
    """What a step asks for, drawn from a seed and the step's number: Hypothesis chooses the kinds of steps and their seeds.

    Drawn piece by piece by Hypothesis itself, steps repeat each other, and hardly anything is ever sold.
    """

    def __init__(self, seed: int, step: int) -> None:
        self._random = Random(f"{seed} {step}")

    def chance(self, probability: float) -> bool:
        """Whether something happens."""
        return self._random.random() < probability

    def one(self, *values: T) -> T:
        """One of the values."""
        return self._random.choice(values)

    def code(self) -> str:
        """Something that is sold."""
        return self._random.choice(list(DEFINITIONS))

    def line(self) -> Asked:
        """A line for a few cells of anything."""
        code, quantity = self.code(), self.one(1, 1, 1, 2)
        if DEFINITIONS[code].unit is Unit.SESSION:
            session = self.one(0, 1)
            return Asked(code, session, session + 1, quantity)
        first = self._random.randrange(7)
        return Asked(code, first, first + self.one(1, 2, 3), quantity)

    def basket(self) -> tuple[Asked, ...]:
        """One to three lines."""
        return tuple(self.line() for _ in range(self.one(1, 1, 2, 3)))

    def commands(self) -> list[Command]:
        """One to five commands that arrive together."""
        return [self.one(self.place, self.place, self.move, self.amend)() for _ in range(self.one(1, 1, 2, 3, 5))]

    def place(self) -> Command:
        """A hold, a booking at once, or the repeat of a key."""
        ttl = self.one(30, 60, 60, 90, None)
        repeats = self._random.randrange(40) if self.chance(0.15) else None
        return Place(self.basket(), ttl, repeats, same=self.chance(0.7))

    def move(self) -> Command:
        """Mostly by the channel that placed the booking."""
        step = self.one("confirm", "confirm", "extend", "release", "cancel", "cancel", "expire")
        return Move(self._random.randrange(40), self._channel(), step, self.one(30, 60, 90))

    def amend(self) -> Command:
        """Other lines for a booking."""
        return Amend(self._random.randrange(40), self._channel(), self.basket())

    def values(self) -> dict[str, int | bool | None]:
        """What an operator sets for some cells; mostly something that lets people buy."""
        return self.one(
            {"capacity": self.one(None, 1, 2, 3, 4, 5), "overbooking": self.one(None, 0, 1)},
            {"capacity": self.one(0, 1, 2)},
            {"closed": self.chance(0.4)},
            {"closed_to_arrival": self.chance(0.6), "closed_to_departure": self.chance(0.6)},
            {"min_stay": self.one(None, 1, 2), "max_stay": self.one(None, 2, 3)},
        )

    def _channel(self) -> str | None:
        return self.one("web", "web", "web", None, "desk")
