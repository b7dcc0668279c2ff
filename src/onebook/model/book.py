"""The open page of the ledger: the resources, cells and bookings that one batch works on, in memory.

A decision is checked against it and then applied to it, so each command of a batch sees the effect of those before.
Whatever was touched is what the ledger writes back.
"""

from collections.abc import Mapping

from msgspec import UNSET

from onebook.model.booking import Block, Booking, BookingId
from onebook.model.commands import InventoryChange
from onebook.model.decision import Decision, Move
from onebook.model.resource import Resource, Unit, time_label

RESTRICTIONS = ("closed", "min_stay", "max_stay", "closed_to_arrival", "closed_to_departure")


class Cell:
    """The counters and restrictions of one resource at one time."""

    __slots__ = (
        "blocked",
        "booked",
        "capacity",
        "closed",
        "closed_to_arrival",
        "closed_to_departure",
        "found",
        "held",
        "max_stay",
        "min_stay",
        "number",
        "overbooking",
        "own_capacity",
        "own_overbooking",
        "reshaped",
        "stored",
        "touched",
    )

    def __init__(self, number: int, capacity: int, overbooking: int) -> None:
        self.number = number
        self.capacity = capacity
        self.overbooking = overbooking
        self.own_capacity = self.own_overbooking = False
        self.held = self.booked = self.blocked = 0
        self.found = (0, 0, 0)  # held, booked and blocked as they are stored
        self.closed = self.closed_to_arrival = self.closed_to_departure = False
        self.min_stay: int | None = None
        self.max_stay: int | None = None
        self.stored = self.touched = self.reshaped = False

    @property
    def taken(self) -> int:
        """Units that cannot be sold."""
        return self.held + self.booked + self.blocked

    @property
    def free(self) -> int:
        """Units that could still be taken, were the sale open."""
        return self.capacity + self.overbooking - self.held - self.booked - self.blocked

    @property
    def available(self) -> int:
        """Units on sale."""
        return 0 if self.closed else self.free

    def twin(self) -> "Cell":
        """A copy to try a change on."""
        twin = Cell(self.number, self.capacity, self.overbooking)
        for name in Cell.__slots__:
            setattr(twin, name, getattr(self, name))
        return twin

    def reshape(self, change: InventoryChange, resource: Resource) -> None:
        """Take on the values that a change names; None gives a value back to the resource's default."""
        self.reshaped = True
        if change.capacity is not UNSET:
            self.own_capacity = change.capacity is not None
            self.capacity = resource.capacity if change.capacity is None else change.capacity
        if change.overbooking is not UNSET:
            self.own_overbooking = change.overbooking is not None
            self.overbooking = resource.overbooking if change.overbooking is None else change.overbooking
        for name in RESTRICTIONS:
            if (value := getattr(change, name)) is not UNSET:
                setattr(self, name, value)


class Shelf:
    """One resource with its version and the cells that were fetched; a cell not stored is at the default."""

    __slots__ = ("cells", "found_version", "resource", "session_codes", "touched", "version")

    def __init__(self, resource: Resource, version: int, session_codes: Mapping[int, str]) -> None:
        self.resource = resource
        self.version = self.found_version = version
        self.session_codes = session_codes
        self.cells: dict[int, Cell] = {}
        self.touched: list[Cell] = []

    def cell(self, number: int) -> Cell:
        """The cell, made from the resource's defaults where nothing is stored."""
        cell = self.cells.get(number)
        if cell is None:
            cell = self.cells[number] = Cell(number, self.resource.capacity, self.resource.overbooking)
        return cell

    def touch(self, number: int) -> Cell:
        """The cell, to be written back."""
        cell = self.cell(number)
        if not cell.touched:
            cell.touched = True
            self.touched.append(cell)
        return cell

    def label(self, number: int) -> str:
        """A cell as people write it."""
        resource = self.resource
        if resource.unit is Unit.SESSION:
            return self.session_codes[number]
        return time_label(resource.unit, number, resource.cell_minutes, resource.venue.zone)


class Book:
    """Everything a batch of commands may decide on."""

    __slots__ = ("_by_key", "blocks", "bookings", "shelves")

    def __init__(self) -> None:
        self.shelves: dict[str, Shelf] = {}
        self.bookings: dict[BookingId, Booking] = {}
        self.blocks: dict[str, Block] = {}
        self._by_key: dict[tuple[str, str], Booking] = {}

    def add_booking(self, booking: Booking) -> None:
        """Put in a booking that was read or has been placed."""
        self.bookings[booking.id] = booking
        self._by_key[booking.channel, booking.idempotency_key] = booking

    def placed_with(self, channel: str, key: str) -> Booking | None:
        """The booking that a channel's idempotency key has brought about."""
        return self._by_key.get((channel, key))

    def apply(self, decision: Decision) -> None:
        """Carry out a decision: move the counters and raise the version of every resource by one."""
        for move in decision.moves:
            self._move(move)
        for change in decision.changes:
            self._reshape(self.shelves[decision.resources[0]], change)
        for key in decision.resources:
            self.shelves[key].version += 1

    def _move(self, move: Move) -> None:
        shelf = self.shelves[move.resource]
        for number in range(move.first, move.end):
            cell = shelf.touch(number)
            cell.held += move.held
            cell.booked += move.booked
            cell.blocked += move.blocked

    def _reshape(self, shelf: Shelf, change: InventoryChange) -> None:
        for number in range(change.first, change.end):
            shelf.touch(number).reshape(change, shelf.resource)
