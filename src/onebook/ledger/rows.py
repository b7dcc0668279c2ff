"""Between the tables' rows and the structs of the model. Order of columns as in queries.sql."""

from collections.abc import Iterator, Sequence
from datetime import datetime

import asyncpg
import msgspec

from onebook.ledger.packing import flags, numbers, numbers_or_null, texts, texts_or_null
from onebook.log.facts import Entry
from onebook.model.book import Book, Cell, Shelf
from onebook.model.booking import Block, Booking, BookingId, Item, Status

Columns = tuple[str, ...]
Touched = Sequence[tuple[int, Cell]]

_encode = msgspec.json.Encoder().encode
_decode_items = msgspec.json.Decoder(tuple[Item, ...]).decode


def cells_of(page: asyncpg.Record) -> Iterator[tuple[int, Cell]]:
    """The stored cells of an opened page, with the resource of each."""
    columns = zip(
        page["cell_resources"] or (),
        page["cell_numbers"] or (),
        page["cell_held"] or (),
        page["cell_booked"] or (),
        page["cell_blocked"] or (),
        page["cell_capacities"] or (),
        page["cell_overbooking"] or (),
        strict=True,
    )
    special = {(row[0], row[1]): row for row in page["special_cells"] or ()}
    for resource_id, number, held, booked, blocked, capacity, overbooking in columns:
        if special and (row := special.get((resource_id, number))) is not None:
            yield resource_id, cell_of(row)
            continue
        cell = Cell(number, capacity, overbooking)
        cell.held, cell.booked, cell.blocked = cell.found = (held, booked, blocked)
        cell.stored = True
        yield resource_id, cell


def cell_of(row: asyncpg.Record) -> Cell:
    """A stored cell; the columns in the order of the table."""
    cell = Cell(row[1], row[5], row[6])
    cell.held, cell.booked, cell.blocked = cell.found = (row[2], row[3], row[4])
    cell.min_stay, cell.max_stay = row[7], row[8]
    cell.own_capacity, cell.own_overbooking, cell.closed = row[9], row[10], row[11]
    cell.closed_to_arrival, cell.closed_to_departure = row[12], row[13]
    cell.stored = True
    return cell


def booking_of(row: asyncpg.Record) -> Booking:
    """A booking from its row."""
    return Booking(
        id=BookingId(row["id"]),
        status=Status(row["status"]),
        channel=row["channel"],
        idempotency_key=row["idempotency_key"],
        request_hash=row["request_hash"],
        placed_at=row["placed_at"],
        ttl_seconds=row["ttl_seconds"],
        items=_decode_items(row["items"]),
        amended=None if row["amended"] is None else _decode_items(row["amended"]),
        expires_at=row["expires_at"],
        reference=row["reference"],
        customer=row["customer"],
        revision=row["revision"],
    )


def block_of(row: asyncpg.Record) -> Block:
    """A block from its row."""
    return Block(
        id=row["id"],
        reason=row["reason"],
        placed_at=row["placed_at"],
        lifted_at=row["lifted_at"],
        items=_decode_items(row["items"]),
        revision=row["revision"],
    )


def head_columns(shelves: Sequence[Shelf]) -> Columns:
    """Resource id, version found, new version."""
    return (
        numbers([shelf.resource.id for shelf in shelves]),
        numbers([shelf.found_version for shelf in shelves]),
        numbers([shelf.version for shelf in shelves]),
    )


def moved_counter_columns(touched: Touched) -> Columns:
    """Resource id, cell, and by how much held, booked and blocked have changed."""
    return (
        numbers([resource_id for resource_id, _ in touched]),
        numbers([cell.number for _, cell in touched]),
        numbers([cell.held - cell.found[0] for _, cell in touched]),
        numbers([cell.booked - cell.found[1] for _, cell in touched]),
        numbers([cell.blocked - cell.found[2] for _, cell in touched]),
    )


def counter_columns(touched: Touched) -> Columns:
    """Resource id, cell, held, booked, blocked."""
    return (
        numbers([resource_id for resource_id, _ in touched]),
        numbers([cell.number for _, cell in touched]),
        numbers([cell.held for _, cell in touched]),
        numbers([cell.booked for _, cell in touched]),
        numbers([cell.blocked for _, cell in touched]),
    )


def created_columns(touched: Touched) -> Columns:
    """The counters with capacity and overbooking."""
    return (
        *counter_columns(touched),
        numbers([cell.capacity for _, cell in touched]),
        numbers([cell.overbooking for _, cell in touched]),
    )


def reshaped_columns(touched: Touched) -> Columns:
    """Whole cells."""
    cells = [cell for _, cell in touched]
    return (
        *created_columns(touched),
        numbers_or_null([cell.min_stay for cell in cells]),
        numbers_or_null([cell.max_stay for cell in cells]),
        flags([cell.own_capacity for cell in cells]),
        flags([cell.own_overbooking for cell in cells]),
        flags([cell.closed for cell in cells]),
        flags([cell.closed_to_arrival for cell in cells]),
        flags([cell.closed_to_departure for cell in cells]),
    )


def placed_columns(bookings: Sequence[Booking], now: datetime, book: Book) -> Columns:
    """New bookings; `now` is the time of the batch, from which deadlines are whole seconds away."""
    return (
        texts([booking.id for booking in bookings]),
        texts([booking.status for booking in bookings]),
        texts([booking.channel for booking in bookings]),
        texts([booking.idempotency_key for booking in bookings]),
        texts([booking.request_hash.hex() for booking in bookings]),
        numbers_or_null([booking.ttl_seconds for booking in bookings]),
        texts([_encode(booking.items).decode() for booking in bookings]),
        numbers_or_null([_seconds_left(booking, now) for booking in bookings]),
        texts_or_null([booking.reference for booking in bookings]),
        texts_or_null([booking.customer for booking in bookings]),
        *_place_columns(bookings, book),
        numbers([booking.revision for booking in bookings]),
    )


def moved_columns(bookings: Sequence[Booking], found_revisions: Sequence[int], book: Book) -> Columns:
    """New states of bookings, with the revision each was found at."""
    return (
        texts([booking.id for booking in bookings]),
        numbers(found_revisions),
        numbers([booking.revision for booking in bookings]),
        texts([booking.status for booking in bookings]),
        texts_or_null([None if b.expires_at is None else b.expires_at.isoformat() for b in bookings]),
        texts_or_null([None if b.amended is None else _encode(b.amended).decode() for b in bookings]),
        *_place_columns(bookings, book),
    )


def block_columns(blocks: Sequence[Block], book: Book) -> Columns:
    """Blocks as they are now."""
    return (
        texts([block.id for block in blocks]),
        numbers([book.shelves[block.items[0].resource].resource.venue.id for block in blocks]),
        texts_or_null([block.reason for block in blocks]),
        texts([block.placed_at.isoformat() for block in blocks]),
        texts_or_null([None if b.lifted_at is None else b.lifted_at.isoformat() for b in blocks]),
        numbers([block.revision for block in blocks]),
        texts([_encode(block.items).decode() for block in blocks]),
    )


def entry_columns(entries: Sequence[Entry]) -> Columns:
    """Entries of the log."""
    return (
        texts([entry.type for entry in entries]),
        texts([entry.subject for entry in entries]),
        texts(["{" + ",".join(entry.venues) + "}" for entry in entries]),
        texts_or_null([entry.traceparent for entry in entries]),
        texts([entry.data for entry in entries]),
    )


def _seconds_left(booking: Booking, now: datetime) -> int | None:
    return None if booking.expires_at is None else round((booking.expires_at - now).total_seconds())


def _place_columns(bookings: Sequence[Booking], book: Book) -> Columns:
    """Where and when bookings are: first venue, further venues, first and last local date."""
    places = [_place(booking.lines, book) for booking in bookings]
    return (
        numbers([place[0] for place in places]),
        texts_or_null([place[1] for place in places]),
        texts([place[2] for place in places]),
        texts([place[3] for place in places]),
    )


def _place(items: tuple[Item, ...], book: Book) -> tuple[int, str | None, str, str]:
    """The first venue, the others as an array literal, and the dates, whose text sorts as they do."""
    if len(items) == 1:
        item = items[0]
        return book.shelves[item.resource].resource.venue.id, None, item.starts[:10], item.ends[:10]
    venues = dict.fromkeys(book.shelves[item.resource].resource.venue.id for item in items)
    first, *others = venues
    return (
        first,
        "{" + ",".join(map(str, others)) + "}" if others else None,
        min(item.starts[:10] for item in items),
        max(item.ends[:10] for item in items),
    )
