"""A page of the ledger for tests of the rules: resources, lines and commands without a database.

Nights are numbers: 0 is 1970-01-01. What is decided is applied to the book, as the ledger does.
"""

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from onebook.model.book import Book, Shelf
from onebook.model.booking import Booking, BookingId
from onebook.model.commands import (
    AmendBooking,
    ChangeInventory,
    Command,
    InventoryChange,
    Line,
    PlaceBlock,
    PlaceHold,
    Wanted,
)
from onebook.model.decide import Verdict, decide
from onebook.model.decision import Decision
from onebook.model.refusals import NotBookable
from onebook.model.resource import Kind, Resource, Unit, Venue

NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)
LISBON = Venue(id=1, code="alfama", name="Alfama", zone=ZoneInfo("Europe/Lisbon"), currency="EUR", market="lisboa")
SESSION_CODES = {1: "matinee", 2: "evening"}

R = TypeVar("R")
_numbers = count(1)


def resource(code: str = "double", **options: Any) -> Resource:
    """A definition; by default a room of one unit, sold by the night."""
    number = next(_numbers)
    given: dict[str, Any] = {
        "id": number,
        "key": f"{LISBON.code}/{code}",
        "venue": LISBON,
        "kind": Kind.ROOM,
        "name": code,
        "unit": Unit.NIGHT,
        "cell_minutes": 1,
        "capacity": 1,
        "overbooking": 0,
        "buffer_before": 0,
        "buffer_after": 0,
        "hours": None,
        "min_stay": None,
        "max_stay": None,
        "revision": 1,
    }
    return Resource(**given | options)


def line(of: Resource, first: int, end: int, quantity: int = 1) -> Line:
    """A line of a basket for the cells [first, end)."""
    session = SESSION_CODES[first] if of.unit is Unit.SESSION else None
    wanted = Wanted(resource=of.key)
    return Line(
        resource=of,
        first=first,
        end=end,
        quantity=quantity,
        starts=f"cell {first}",
        ends=f"cell {end}",
        session=session,
        wanted=wanted,
    )


class Page:
    """A book with resources in it, and a clock that tests move."""

    def __init__(self, *resources: Resource) -> None:
        self.book = Book()
        self.now = NOON
        for each in resources:
            self.book.shelves[each.key] = Shelf(each, 1, SESSION_CODES)

    def ask(self, command: Command) -> Verdict:
        """The verdict on a command, whose effect is then in the book."""
        verdict = decide(command, self.book, self.now)
        if isinstance(verdict, Decision):
            self.book.apply(verdict)
            if verdict.booking is not None:
                self.book.add_booking(verdict.booking)
            if verdict.block is not None:
                self.book.blocks[verdict.block.id] = verdict.block
        return verdict

    def place(self, *lines: Line, key: str | None = None, **options: Any) -> Verdict:
        """The verdict on a hold."""
        identity = BookingId(f"booking-{next(_numbers)}")
        given: dict[str, Any] = {
            "id": identity,
            "channel": "web",
            "idempotency_key": key or identity,
            "request_hash": b"0" * 16,
            "lines": lines,
            "ttl_seconds": 600,
            "confirm": False,
            "reference": None,
            "customer": None,
        }
        return self.ask(PlaceHold(**given | options))

    def hold(self, *lines: Line, **options: Any) -> Booking:
        """A hold that must succeed."""
        return booking_of(self.place(*lines, **options))

    def amend(self, booking: Booking, *lines: Line, channel: str | None = "web") -> Verdict:
        """The verdict on other lines for a booking."""
        return self.ask(AmendBooking(booking=booking.id, channel=channel, lines=lines))

    def change(
        self, of: Resource, first: int, end: int, *, expected_version: int | None = None, **values: Any
    ) -> Verdict:
        """The verdict on new figures for the cells [first, end)."""
        change = InventoryChange(first=first, end=end, **values)
        return self.ask(ChangeInventory(resource=of, changes=(change,), expected_version=expected_version))

    def block(self, *lines: Line) -> Verdict:
        """The verdict on taking units out of sale."""
        return self.ask(PlaceBlock(id=f"block-{next(_numbers)}", lines=lines, reason="paint"))

    def pass_time(self, seconds: int) -> None:
        """Move the clock on."""
        self.now += timedelta(seconds=seconds)

    def available(self, of: Resource, first: int, end: int) -> list[int]:
        """Units on sale in the cells [first, end)."""
        return [self.book.shelves[of.key].cell(number).available for number in range(first, end)]

    def version(self, of: Resource) -> int:
        """The version that the resource has come to."""
        return self.book.shelves[of.key].version


def booking_of(verdict: Verdict) -> Booking:
    """The booking of a command that must have had an effect."""
    assert isinstance(verdict, Decision), verdict
    assert verdict.booking is not None
    return verdict.booking


def named(verdict: Verdict, kind: type[NotBookable]) -> list[tuple[tuple[str, ...], int]]:
    """The cells and the units left that a refusal of this kind names, line by line."""
    assert type(verdict) is kind, verdict
    return [(item.unavailable, item.available) for item in verdict.items]


def refused(verdict: Verdict, kind: type[R]) -> R:
    """The refusal, which must be of this kind."""
    assert type(verdict) is kind, verdict
    return verdict
