"""What an entry of the log says: full facts, so that no reader has to ask the database again.

Every entry names, for each resource touched, the version it brought about and what is available in the cells touched.
"""

from datetime import datetime

import msgspec

from onebook.model.book import Book, Shelf
from onebook.model.booking import Item
from onebook.model.decision import Decision

_encode = msgspec.json.Encoder().encode


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A row to append. `data` is JSON text."""

    type: str
    subject: str
    venues: list[str]
    traceparent: str | None
    data: str


class Touched(msgspec.Struct, frozen=True):
    """One resource after the change: its version, and what each touched cell has on sale."""

    resource: str
    version: int
    cells: list[str]
    available: list[int]


class BookingFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """The whole booking after a move."""

    booking: str
    status: str
    channel: str
    revision: int
    placed_at: datetime
    items: tuple[Item, ...]
    resources: list[Touched]
    expires_at: datetime | None = None
    reference: str | None = None
    customer: str | None = None
    reason: str | None = None


class BlockFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """The whole block after a move."""

    block: str
    revision: int
    items: tuple[Item, ...]
    resources: list[Touched]
    reason: str | None = None


class InventoryFacts(msgspec.Struct, frozen=True):
    """The changes made, by cell number, and what came of them."""

    resource: str
    changes: tuple[dict[str, int | bool | None], ...]
    resources: list[Touched]


def entry_of(decision: Decision, book: Book, traceparent: str | None) -> Entry:
    """The log entry of a decision that has been applied to the book."""
    touched = _touched(decision, book)
    facts: BookingFacts | BlockFacts | InventoryFacts
    if decision.booking is not None:
        booking = decision.booking
        subject = f"bookings/{booking.id}"
        facts = BookingFacts(
            booking=booking.id,
            status=booking.status,
            channel=booking.channel,
            revision=booking.revision,
            placed_at=booking.placed_at,
            items=booking.lines,
            resources=touched,
            expires_at=booking.expires_at,
            reference=booking.reference,
            customer=booking.customer,
            reason=decision.reason,
        )
    elif decision.block is not None:
        block = decision.block
        subject = f"blocks/{block.id}"
        facts = BlockFacts(
            block=block.id, revision=block.revision, items=block.items, resources=touched, reason=block.reason
        )
    else:
        resource = decision.resources[0]
        subject = f"resources/{resource}"
        changes = tuple(msgspec.to_builtins(change) for change in decision.changes)
        facts = InventoryFacts(resource=resource, changes=changes, resources=touched)
    return Entry(decision.event, subject, venues_of(decision.resources), traceparent, _encode(facts).decode())


def venues_of(resources: tuple[str, ...]) -> list[str]:
    """The venues of resource keys, each once, in their order."""
    if len(resources) == 1:
        return [resources[0].partition("/")[0]]
    return list(dict.fromkeys(key.partition("/")[0] for key in resources))


def _touched(decision: Decision, book: Book) -> list[Touched]:
    spans = [(move.resource, move.first, move.end) for move in decision.moves]
    spans += [(decision.resources[0], change.first, change.end) for change in decision.changes]
    if len(spans) == 1:
        return [_touched_shelf(book.shelves[spans[0][0]], range(*spans[0][1:]))]
    numbers: dict[str, set[int]] = {key: set() for key in decision.resources}
    for key, first, end in spans:
        numbers[key].update(range(first, end))
    return [_touched_shelf(book.shelves[key], sorted(cells)) for key, cells in numbers.items()]


def _touched_shelf(shelf: Shelf, numbers: range | list[int]) -> Touched:
    return Touched(
        resource=shelf.resource.key,
        version=shelf.version,
        cells=[shelf.label(number) for number in numbers],
        available=[shelf.cell(number).available for number in numbers],
    )
