"""What the ledger promises, said once more and plainly: dicts, sums over all bookings, no counters, no batches.

Written for the state machine, beside the ledger's rules and not from them. Cells are numbered 0, 1, 2, … as the
machine's texts are; what is taken is added up anew for every question.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

# What a command came to: "done", "same", or the refusal's code, with what is worth comparing.
Outcome = tuple[Any, ...]


@dataclass(frozen=True)
class Asked:
    """One line of a basket: `quantity` units of the cells [first, end)."""

    resource: str
    first: int
    end: int
    quantity: int = 1


@dataclass
class Thing:
    """Something sold. `open_cells` is None where there are no hours."""

    capacity: int
    overbooking: int = 0
    before: int = 0
    after: int = 0
    min_stay: int | None = None
    max_stay: int | None = None
    open_cells: frozenset[int] | None = None
    by_session: bool = False
    version: int = 1
    cells: dict[int, dict[str, Any]] = field(default_factory=dict)


@dataclass
class Taken:
    """A booking or a block: its state, and the cells it occupies, turnaround included."""

    state: str
    lines: tuple[Asked, ...]
    channel: str = ""
    payload: Any = None
    deadline: int | None = None

    def units(self, resource: str, cell: int) -> int:
        """How many units of a cell its lines come to."""
        return _units(self.lines, resource, cell)


class PlainModel:
    """The whole ledger."""

    def __init__(self, things: dict[str, Thing]) -> None:
        self.things = things
        self.now = 0
        self.bookings: dict[str, Taken] = {}
        self.blocks: dict[str, Taken] = {}
        self.by_key: dict[str, str] = {}

    def available(self, resource: str, cell: int) -> int:
        """Units on sale in a cell."""
        thing = self.things[resource]
        shut = thing.open_cells is not None and cell not in thing.open_cells
        return 0 if shut or self._rule(resource, cell, "closed") else self._left(resource, cell)

    def place(
        self, identity: str, channel: str, key: str, payload: Any, basket: tuple[Asked, ...], ttl: int | None
    ) -> Outcome:
        """A hold with a time to live, or without one a booking confirmed at once."""
        if (earlier := self.by_key.get(key)) is not None:
            return ("same", earlier) if self.bookings[earlier].payload == payload else ("idempotency-key-reused",)
        if (refusal := self._refusal(basket)) is not None:
            return refusal
        lines = tuple(self._with_turnaround(basket))
        deadline = None if ttl is None else self.now + ttl
        self.bookings[identity] = Taken("confirmed" if ttl is None else "held", lines, channel, payload, deadline)
        self.by_key[key] = identity
        self._raise_versions(lines)
        return ("done", self.bookings[identity].state)

    def move(self, identity: str, channel: str | None, move: str, ttl: int) -> Outcome:
        """Confirm, extend, release, cancel or expire."""
        booking = self.bookings[identity]
        overdue = booking.state == "held" and booking.deadline is not None and self.now >= booking.deadline
        if move == "expire":
            return self._end(booking, "expired") if overdue else ("same", identity)
        if channel not in (None, booking.channel):
            return ("not-found",)
        finished = {
            "confirm": ("confirmed",),
            "release": ("released", "expired"),
            "cancel": ("cancelled",),
            "extend": (),
        }
        if booking.state in finished[move]:
            return ("same", identity)
        if move in ("confirm", "extend") and (overdue or booking.state == "expired"):
            return ("hold-expired",)
        if booking.state != ("confirmed" if move == "cancel" else "held"):
            return ("wrong-state", booking.state)
        if move == "extend":
            booking.deadline = self.now + ttl
            self._raise_versions(booking.lines)
            return ("done", "held")
        return self._end(booking, {"confirm": "confirmed", "release": "released", "cancel": "cancelled"}[move])

    def amend(self, identity: str, channel: str | None, basket: tuple[Asked, ...]) -> Outcome:
        """Other lines for a living booking."""
        booking = self.bookings[identity]
        if channel not in (None, booking.channel):
            return ("not-found",)
        if booking.state == "expired" or (booking.deadline is not None and self.now >= booking.deadline):
            return ("hold-expired",)
        if booking.state not in ("held", "confirmed"):
            return ("wrong-state", booking.state)
        lines = tuple(self._with_turnaround(basket))
        if lines == booking.lines:
            return ("same", identity)
        if (refusal := self._refusal(basket, own=booking)) is not None:
            return refusal
        self._raise_versions((*booking.lines, *lines))
        booking.lines = lines
        return ("done", booking.state)

    def change(self, resource: str, first: int, end: int, values: dict[str, Any], version: int | None) -> Outcome:
        """New figures and restrictions for some cells."""
        thing = self.things[resource]
        if version not in (None, thing.version):
            return ("version-mismatch", thing.version)
        before = {cell: dict(thing.cells.get(cell, {})) for cell in range(first, end)}
        for cell in before:
            thing.cells[cell] = before[cell] | values
        if (excess := self._excess(resource)) > 0:
            thing.cells |= before
            return ("capacity-below-sold", excess)
        thing.version += 1
        return ("done",)

    def redefine(self, resource: str, capacity: int, overbooking: int, after: int) -> Outcome:
        """Another default capacity and overbooking, and another turnaround for what is sold from now on."""
        thing = self.things[resource]
        before = (thing.capacity, thing.overbooking, thing.after)
        thing.capacity, thing.overbooking, thing.after = capacity, overbooking, after
        if before == (capacity, overbooking, after):
            return ("done", thing.version)
        if (excess := self._excess(resource)) > 0:
            thing.capacity, thing.overbooking, thing.after = before
            return ("capacity-below-sold", excess)
        thing.version += 1
        return ("done", thing.version)

    def block(self, identity: str, basket: tuple[Asked, ...]) -> Outcome:
        """Units out of sale, whatever the restrictions say."""
        if short := [shortage for line in basket if (shortage := self._shortage(line, line, basket, None))]:
            return ("sold-out", *short)
        self.blocks[identity] = Taken("blocked", basket)
        self._raise_versions(basket)
        return ("done",)

    def lift(self, identity: str) -> Outcome:
        """A block's units back on sale."""
        block = self.blocks[identity]
        if block.state == "lifted":
            return ("same",)
        block.state = "lifted"
        self._raise_versions(block.lines)
        return ("done",)

    def sweep(self) -> int:
        """Expire what is due; how many that were."""
        return sum(self.move(identity, None, "expire", 0)[0] == "done" for identity in self.bookings)

    def _end(self, booking: Taken, state: str) -> Outcome:
        booking.state, booking.deadline = state, None
        self._raise_versions(booking.lines)
        return ("done", state)

    def _raise_versions(self, lines: Iterable[Asked]) -> None:
        for resource in {line.resource for line in lines}:
            self.things[resource].version += 1

    def _with_turnaround(self, basket: Iterable[Asked]) -> Iterator[Asked]:
        for line in basket:
            thing = self.things[line.resource]
            yield Asked(line.resource, line.first - thing.before, line.end + thing.after, line.quantity)

    def _rule(self, resource: str, cell: int, name: str) -> Any:
        """What a cell says for itself, or its resource for it; None given to a cell is the resource's again."""
        own = self.things[resource].cells.get(cell, {}).get(name)
        return getattr(self.things[resource], name, None) if own is None else own

    def _left(self, resource: str, cell: int, own: Taken | None = None) -> int:
        there = self._rule(resource, cell, "capacity") + self._rule(resource, cell, "overbooking")
        taken = sum(each.units(resource, cell) for each in self._living() if each is not own)
        return int(there) - taken

    def _living(self) -> Iterator[Taken]:
        everything = (*self.bookings.values(), *self.blocks.values())
        return (taken for taken in everything if taken.state in ("held", "confirmed", "blocked"))

    def _excess(self, resource: str) -> int:
        """By how many units the fullest cell would be oversold."""
        cells = {n for taken in self._living() for line in taken.lines for n in range(line.first, line.end)}
        return max((-self._left(resource, cell) for cell in cells | set(self.things[resource].cells)), default=0)

    def _refusal(self, basket: tuple[Asked, ...], own: Taken | None = None) -> Outcome | None:
        wide = tuple(self._with_turnaround(basket))
        found = [self._objection(line, taking, wide, own) for line, taking in zip(basket, wide, strict=True)]
        objections = [objection for objection in found if objection is not None]
        return (objections[0][0], *(detail for _, detail in objections)) if objections else None

    def _objection(self, line: Asked, taking: Asked, wide: tuple[Asked, ...], own: Taken | None) -> Outcome | None:
        thing, length = self.things[line.resource], line.end - line.first
        least, most = (self._rule(line.resource, line.first, name) for name in ("min_stay", "max_stay"))
        arrival, departure = (line.resource, (line.first,), 0), (line.resource, (line.end,), 0)
        shut = thing.open_cells is not None and not set(range(line.first, line.end)) <= thing.open_cells
        closed = tuple(n for n in range(line.first, line.end) if self._rule(line.resource, n, "closed"))
        if not thing.by_session:
            if self._rule(line.resource, line.first, "closed_to_arrival"):
                return ("closed-to-arrival", arrival)
            if self._rule(line.resource, line.end, "closed_to_departure"):
                return ("closed-to-departure", departure)
            if least is not None and length < least:
                return ("min-stay", arrival)
            if most is not None and length > most:
                return ("max-stay", arrival)
            if shut:
                return ("outside-hours", arrival)
        if closed:
            return ("closed", (line.resource, closed, 0))
        short = self._shortage(line, taking, wide, own)
        return None if short is None else ("sold-out", short)

    def _shortage(self, line: Asked, taking: Asked, wide: tuple[Asked, ...], own: Taken | None) -> Outcome | None:
        """The cells that the whole basket wants more of than is left, and what the others leave this line at the least."""
        spare = {
            n: self._left(line.resource, n, own) - _units(wide, line.resource, n)
            for n in range(taking.first, taking.end)
        }
        short = tuple(n for n, units in spare.items() if units < 0)
        return (line.resource, short, max(0, min(spare.values()) + line.quantity)) if short else None


def _units(lines: Iterable[Asked], resource: str, cell: int) -> int:
    return sum(line.quantity for line in lines if line.resource == resource and line.first <= cell < line.end)
