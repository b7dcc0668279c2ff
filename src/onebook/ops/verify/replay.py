"""The log, replayed from zero into the auditor's own books: each entry is held against those before it.

Pure: rows of the log in, findings out. It keeps every cell, and the items of those bookings that will be amended.
Of other bookings each entry says enough by itself; the check of bookings proves that entries agree.
"""

from collections.abc import Collection, Iterable
from zoneinfo import ZoneInfo

import msgspec

from onebook.ops.verify.facts import (
    BlockTold,
    BookingTold,
    CheckoutTold,
    CustomerTold,
    InventoryTold,
    Item,
    OfferTold,
    ResourcesTold,
    SessionTold,
    Touched,
    UnreadableEntryError,
    VenueTold,
    read_entry,
)
from onebook.ops.verify.report import Tally
from onebook.ops.verify.stock import Stock

# What a booking's units add to the counters (held, booked). One confirmed at once, or amended, has rules of its own.
_STEPS = {
    "booking.held": (1, 0),
    "booking.confirmed": (-1, 1),
    "booking.extended": (0, 0),
    "booking.released": (-1, 0),
    "booking.expired": (-1, 0),
    "booking.cancelled": (0, -1),
}
_COUNTERS = {"held": (1, 0), "confirmed": (0, 1)}

Numbers = dict[str, set[int]]


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A row of the log."""

    txn: int
    position: int
    type: str
    subject: str
    venues: list[str]
    data: str

    @property
    def where(self) -> str:
        """Its place, which is also its name."""
        return f"log {self.txn}/{self.position}"


class Replay:
    """The books so far. `versions`, `entries` and `history` gather what is wrong on the way."""

    def __init__(self, amended: Iterable[str]) -> None:
        self._items_of: dict[str, tuple[Item, ...] | None] = dict.fromkeys(amended)
        self._zones: dict[str, ZoneInfo] = {}
        self.venues: dict[str, VenueTold] = {}
        self.sessions: dict[str, dict[str, SessionTold]] = {}
        self.stocks: dict[str, Stock] = {}
        self.versions = Tally("versions", (4,), "versions are dense per resource, in the log's order, to its head")
        self.entries = Tally("entries", (4,), "every entry says what the entries before it lead to")
        self.history = Tally("history", (1,), "at no time was more taken than there was")

    def apply(self, entry: Entry) -> None:
        """Carry out the next entry, and check what it says."""
        self.entries.examined += 1
        try:
            told = read_entry(entry.type, entry.data)
        except UnreadableEntryError as error:
            self.entries.add(entry.where, "an entry that cannot be read", entry.type, error)
            return
        if isinstance(told, VenueTold):
            self._venue(entry, told)
            return
        if isinstance(told, SessionTold):
            self._session(entry, told)
            return
        if isinstance(told, CustomerTold):
            self._customer(entry, told)
            return
        if isinstance(told, CheckoutTold):
            self._checkout(entry, told)
            return
        if isinstance(told, OfferTold):
            self._check_venues(entry, [told.venue])
            return
        touched = self._effect(entry, told)
        self._check_venues(entry, (key.partition("/")[0] for key in touched))
        self._check_touched(entry, told.resources, touched)

    def _effect(self, entry: Entry, told: BookingTold | BlockTold | InventoryTold | ResourcesTold) -> Numbers:
        """Do what the entry tells of; the cells it must therefore have touched, by resource."""
        if isinstance(told, BookingTold):
            return self._booking(entry, told)
        if isinstance(told, BlockTold):
            return self._block(entry, told)
        if isinstance(told, InventoryTold):
            return self._inventory(entry, told)
        return self._definitions(entry, told)

    def _venue(self, entry: Entry, told: VenueTold) -> None:
        self._check_venues(entry, [told.venue])
        try:
            zone = ZoneInfo(told.timezone)
        except (ValueError, KeyError):  # ZoneInfoNotFoundError is a KeyError
            self.entries.add(f"{entry.where} {told.venue}", "an unknown time zone", "a zone", told.timezone)
            return
        self.venues[told.venue] = told
        self._zones[told.venue] = zone

    def _session(self, entry: Entry, told: SessionTold) -> None:
        self._check_venues(entry, [told.venue])
        self.sessions.setdefault(told.venue, {})[told.session] = told

    def _customer(self, entry: Entry, told: CustomerTold) -> None:
        self._check_venues(entry, ())
        if entry.subject != f"customers/{told.customer}":
            self.entries.add(entry.where, "another customer than its subject", entry.subject, told.customer)

    def _checkout(self, entry: Entry, told: CheckoutTold) -> None:
        self._check_venues(entry, told.venues)
        if entry.subject != f"checkouts/{told.checkout}":
            self.entries.add(entry.where, "another checkout than its subject", entry.subject, told.checkout)

    def _definitions(self, entry: Entry, told: ResourcesTold) -> Numbers:
        for definition in told.definitions:
            key = definition.resource
            code = key.partition("/")[0]
            zone = self._zones.get(code)
            if zone is None:
                self.entries.add(f"{entry.where} {key}", "a resource of an unknown venue", "a venue", code)
                continue
            stock = self.stocks.get(key)
            if stock is None:
                self.stocks[key] = Stock(definition, zone, self.sessions.setdefault(code, {}))
            else:
                stock.redefine(definition)
                self._check_sound(entry, stock, stock.cells)
        return {definition.resource: set() for definition in told.definitions}

    def _inventory(self, entry: Entry, told: InventoryTold) -> Numbers:
        numbers = {number for change in told.changes for number in range(change.first, change.end)}
        stock = self._stock(entry, told.resource)
        if stock is not None:
            for change in told.changes:
                stock.change(change)
        return {told.resource: numbers}

    def _block(self, entry: Entry, told: BlockTold) -> Numbers:
        touched: Numbers = {}
        placed = entry.type == "block.placed"
        self._move(entry, told.items, (0, 0, 1 if placed else -1), touched)
        if placed:
            self._check_items(entry, told.items, told.resources, turnaround=False)
        return touched

    def _booking(self, entry: Entry, told: BookingTold) -> Numbers:
        touched: Numbers = {item.resource: set() for item in told.items}
        amends, places = entry.type == "booking.amended", told.revision == 1
        if amends:
            held, booked = _COUNTERS.get(told.status, (0, 0))
            self._move(entry, told.items, (held, booked, 0), touched)
            self._move(entry, self._items_before(entry), (-held, -booked, 0), touched)
        else:
            held, booked = _COUNTERS.get(told.status, (0, 0)) if places else _STEPS[entry.type]
            if held or booked:
                self._move(entry, told.items, (held, booked, 0), touched)
        if places or amends:
            self._check_items(entry, told.items, told.resources, turnaround=True)
        if entry.subject in self._items_of:
            self._items_of[entry.subject] = told.items
        return touched

    def _items_before(self, entry: Entry) -> tuple[Item, ...]:
        items = self._items_of.get(entry.subject)
        if items is None:
            self.entries.add(
                f"{entry.where} {entry.subject}", "an amendment of a booking not placed", "a booking", "none"
            )
            return ()
        return items

    def _move(self, entry: Entry, items: tuple[Item, ...], units: tuple[int, int, int], touched: Numbers) -> None:
        """Add `units` (held, booked, blocked) of each item, times its quantity, to its cells."""
        for item in items:
            numbers = range(*item.cells)
            touched.setdefault(item.resource, set()).update(numbers)
            stock = self._stock(entry, item.resource)
            if stock is None:
                continue
            held, booked, blocked = (unit * item.quantity for unit in units)
            for number in numbers:
                cell = stock.cell(number)
                cell.held += held
                cell.booked += booked
                cell.blocked += blocked

    def _stock(self, entry: Entry, key: str) -> Stock | None:
        stock = self.stocks.get(key)
        if stock is None:
            self.entries.add(f"{entry.where} {key}", "a resource that is not defined", "a definition", "none")
        return stock

    def _check_items(
        self, entry: Entry, items: tuple[Item, ...], resources: tuple[Touched, ...], turnaround: bool
    ) -> None:
        """Items taken just now: their quantity, their version, their cells by the present definition."""
        versions = {told.resource: told.version for told in resources}
        for item in items:
            key = item.resource
            if item.quantity <= 0:
                self.entries.add(f"{entry.where} {key}", "an item of no units", "at least 1", item.quantity)
            if item.version != (version := versions.get(key)):
                self.entries.add(f"{entry.where} {key}", "an item of another version", version, item.version)
            stock = self.stocks.get(key)
            if stock is not None and (cells := stock.cells_of(item, turnaround)) != item.cells:
                what = f"an item whose cells are not its period {item.starts} – {item.ends}"
                self.entries.add(f"{entry.where} {key}", what, cells, item.cells)

    def _check_touched(self, entry: Entry, resources: tuple[Touched, ...], touched: Numbers) -> None:
        named = {told.resource for told in resources}
        if named != touched.keys():
            what = "other resources than those touched"
            self.entries.add(entry.where, what, sorted(touched), sorted(named))
        for told in resources:
            stock = self._stock(entry, told.resource)
            if stock is not None:
                self._check_version(entry, told, stock)
                self._check_available(entry, told, stock, sorted(touched.get(told.resource, ())))

    def _check_version(self, entry: Entry, told: Touched, stock: Stock) -> None:
        self.versions.examined += 1
        expected = stock.version + 1
        if told.version != expected:
            what = "versions are missing before this one" if told.version > expected else "a version again"
            self.versions.add(f"{entry.where} {told.resource}", what, expected, told.version)
        stock.version = max(stock.version, told.version)

    def _check_available(self, entry: Entry, told: Touched, stock: Stock, numbers: list[int]) -> None:
        self._check_sound(entry, stock, numbers)
        if stock.numbers(told.cells) != numbers:
            labels = [stock.label(number) for number in numbers]
            where = f"{entry.where} {told.resource}"
            self.entries.add(where, "other cells than those touched", labels, list(told.cells))
            return
        available = stock.available(numbers)
        if available != told.available:
            where = f"{entry.where} {told.resource} {told.cells[0] if told.cells else 'no cells'}"
            self.entries.add(where, "another availability", list(available), list(told.available))

    def _check_sound(self, entry: Entry, stock: Stock, numbers: Collection[int]) -> None:
        self.history.examined += len(numbers)
        for number in stock.unsound(numbers):
            cell = stock.cell(number)
            where = f"{entry.where} {stock.definition.resource} {stock.label(number)}"
            taken = f"{cell.held} held, {cell.booked} booked, {cell.blocked} blocked"
            self.history.add(where, "oversold", f"0 to {cell.capacity} + {cell.overbooking}", taken)

    def _check_venues(self, entry: Entry, codes: Iterable[str]) -> None:
        expected = set(codes)
        if set(entry.venues) != expected or len(entry.venues) != len(expected):
            self.entries.add(entry.where, "other venues than its resources'", sorted(expected), entry.venues)
