"""From the lines of a command to the items of a booking, and what items take of the cells."""

from collections import Counter
from collections.abc import Iterable

from onebook.model.book import Book
from onebook.model.booking import Item, ItemKey, Status
from onebook.model.commands import Line
from onebook.model.decision import Move
from onebook.model.offers.quote import QuotedItem


def items_of(lines: Iterable[Line], book: Book) -> tuple[Item, ...]:
    """The lines as they are written down, with the version that this decision brings about."""
    return tuple(
        Item(
            resource=line.resource.key,
            starts=line.starts,
            ends=line.ends,
            quantity=line.quantity,
            version=book.shelves[line.resource.key].version + 1,
            cells=line.occupied,
            session=line.session,
        )
        for line in lines
    )


def keys_of(items: Iterable[Item | QuotedItem | Line]) -> frozenset[ItemKey]:
    """What items are about, whatever their order: two baskets are the same if this is. A session may have moved."""
    counted = Counter(
        (
            item.resource.key if isinstance(item, Line) else item.resource,
            *(("", "") if item.session else (item.starts, item.ends)),
            item.session,
            item.quantity,
        )
        for item in items
    )
    return frozenset((*about, count) for about, count in counted.items())


def takings(items: Iterable[Item], status: Status, sign: int = 1) -> Iterable[Move]:
    """The units that items take in a status; with `sign` -1, the same units given back."""
    for item in items:
        held, booked = _counters(status, item.quantity * sign)
        yield Move(resource=item.resource, first=item.cells[0], end=item.cells[1], held=held, booked=booked)


def resources_of(items: Iterable[Item]) -> tuple[str, ...]:
    """The resources of items, each once, in their order."""
    return tuple(dict.fromkeys(item.resource for item in items))


def _counters(status: Status, quantity: int) -> tuple[int, int]:
    """How many units (held, booked) a booking of this status takes."""
    if status is Status.HELD:
        return quantity, 0
    if status is Status.CONFIRMED:
        return 0, quantity
    return 0, 0
