"""A resource as the log has told of it so far: definition, version, cells, by the auditor's own arithmetic."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import lru_cache
from operator import attrgetter
from zoneinfo import ZoneInfo

from msgspec import UNSET

from onebook.ops.verify.facts import Change, Definition, Item, SessionTold

_EPOCH = date(1970, 1, 1)

CELL_COLUMNS = (
    "held",
    "booked",
    "blocked",
    "capacity",
    "overbooking",
    "min_stay",
    "max_stay",
    "own_capacity",
    "own_overbooking",
    "closed",
    "closed_to_arrival",
    "closed_to_departure",
)


@dataclass(slots=True)
class Cell:
    """The counters and restrictions of one cell."""

    capacity: int
    overbooking: int
    held: int = 0
    booked: int = 0
    blocked: int = 0
    min_stay: int | None = None
    max_stay: int | None = None
    own_capacity: bool = False
    own_overbooking: bool = False
    closed: bool = False
    closed_to_arrival: bool = False
    closed_to_departure: bool = False

    def columns(self) -> tuple[int | bool | None, ...]:
        """Its values in the order of CELL_COLUMNS."""
        return _columns(self)


_columns = attrgetter(*CELL_COLUMNS)


@dataclass(slots=True)
class Stock:
    """A resource. `sessions` are those of its venue, by code, and grow while the log is read."""

    definition: Definition
    zone: ZoneInfo
    sessions: Mapping[str, SessionTold]
    version: int = 0
    cells: dict[int, Cell] = field(default_factory=dict)

    def cell(self, number: int) -> Cell:
        """The cell; one never touched before begins with the resource's figures."""
        cell = self.cells.get(number)
        if cell is None:
            cell = self.cells[number] = Cell(self.definition.capacity, self.definition.overbooking)
        return cell

    def redefine(self, definition: Definition) -> None:
        """Take on another definition: cells without figures of their own follow it."""
        self.definition = definition
        for cell in self.cells.values():
            if not cell.own_capacity:
                cell.capacity = definition.capacity
            if not cell.own_overbooking:
                cell.overbooking = definition.overbooking

    def change(self, change: Change) -> None:
        """Take on an operator's figures and restrictions."""
        for number in range(change.first, change.end):
            cell = self.cell(number)
            if change.capacity is not UNSET:
                cell.own_capacity = change.capacity is not None
                cell.capacity = self.definition.capacity if change.capacity is None else change.capacity
            if change.overbooking is not UNSET:
                cell.own_overbooking = change.overbooking is not None
                cell.overbooking = self.definition.overbooking if change.overbooking is None else change.overbooking
            if change.closed is not UNSET:
                cell.closed = change.closed
            if change.min_stay is not UNSET:
                cell.min_stay = change.min_stay
            if change.max_stay is not UNSET:
                cell.max_stay = change.max_stay
            if change.closed_to_arrival is not UNSET:
                cell.closed_to_arrival = change.closed_to_arrival
            if change.closed_to_departure is not UNSET:
                cell.closed_to_departure = change.closed_to_departure

    def available(self, numbers: Iterable[int]) -> tuple[int, ...]:
        """What cells that were touched have on sale."""
        cells = [self.cells[number] for number in numbers]
        return tuple([0 if c.closed else c.capacity + c.overbooking - c.held - c.booked - c.blocked for c in cells])

    def unsound(self, numbers: Iterable[int]) -> list[int]:
        """Those of the touched cells that have more taken than there is, or less than nothing."""
        return [
            number
            for number in numbers
            if (c := self.cells[number]).held + c.booked + c.blocked > c.capacity + c.overbooking
            or c.held < 0
            or c.booked < 0
            or c.blocked < 0
        ]

    def numbers(self, labels: Iterable[str]) -> list[int | None]:
        """The cells that labels stand for; None for one that is no cell of this resource."""
        if self.definition.unit == "night":
            return [_day(label) for label in labels]
        if self.definition.unit == "session":
            return [None if (s := self.sessions.get(label)) is None else s.id for label in labels]
        return [self._minute_cell(label) for label in labels]

    def label(self, number: int) -> str:
        """A cell as people write it."""
        if self.definition.unit == "night":
            return (_EPOCH + timedelta(days=number)).isoformat()
        if self.definition.unit == "session":
            codes = (code for code, session in self.sessions.items() if session.id == number)
            return next(codes, f"cell {number}")
        return datetime.fromtimestamp(number * self.definition.cell_minutes * 60, self.zone).isoformat()

    def cells_of(self, item: Item, turnaround: bool) -> tuple[int, int] | None:
        """The cells of an item's period by the present definition; None if it is no period of this grid.

        An operator's block takes no turnaround.
        """
        if self.definition.unit == "session":
            # A session's times may be moved, its cell may not: its code alone says what the item takes.
            session = self.sessions.get(item.session or "")
            span = None if session is None else (session.id, session.id + 1)
        else:
            first, end = self.numbers((item.starts, item.ends))
            span = None if first is None or end is None or end <= first else (first, end)
        if span is None or not turnaround:
            return span
        before, after = self.definition.buffer_before, self.definition.buffer_after
        return span[0] - self._cells_for(before), span[1] + self._cells_for(after)

    def _minute_cell(self, label: str) -> int | None:
        minute = _minute(label)
        if minute is None:
            return None
        number, rest = divmod(minute, self.definition.cell_minutes)
        return None if rest else number

    def _cells_for(self, minutes: int) -> int:
        """How many cells a turnaround takes, rounded up."""
        return -(-minutes // self.definition.cell_minutes) if minutes else 0


@lru_cache(maxsize=65536)
def _day(text: str) -> int | None:
    """Days from 1970-01-01 to a date written YYYY-MM-DD."""
    try:
        return (date.fromisoformat(text) - _EPOCH).days
    except ValueError:
        return None


@lru_cache(maxsize=65536)
def _minute(text: str) -> int | None:
    """Whole minutes from the UTC epoch to an instant written with its offset."""
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        return None
    if instant.tzinfo is None:
        return None
    minute, rest = divmod(instant.timestamp(), 60)
    return None if rest else int(minute)
