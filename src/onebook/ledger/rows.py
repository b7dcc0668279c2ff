"""Between the tables' rows and the structs of the model. Order of columns as in queries.sql."""

from collections.abc import Sequence
from datetime import date
from typing import Any

import asyncpg
import msgspec

from onebook.log.facts import Entry, venues_of
from onebook.model.book import Book, Cell, Shelf
from onebook.model.booking import Block, Booking, BookingId, Item, Status
from onebook.model.items import resources_of

Arrays = tuple[list[Any], ...]
Touched = Sequence[tuple[int, Cell]]

_encode = msgspec.json.Encoder().encode
_decode_items = msgspec.json.Decoder(tuple[Item, ...]).decode


def cell_of(row: asyncpg.Record) -> Cell:
    """A stored cell; the columns in the order of the table."""
    cell = Cell(row[1], row[5], row[6])
    cell.held, cell.booked, cell.blocked = row[2], row[3], row[4]
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


def head_arrays(shelves: Sequence[Shelf]) -> Arrays:
    """Resource id, version found, new version."""
    return (
        [shelf.resource.id for shelf in shelves],
        [shelf.found_version for shelf in shelves],
        [shelf.version for shelf in shelves],
    )


def counter_arrays(touched: Touched) -> Arrays:
    """Resource id, cell, held, booked, blocked."""
    return (
        [resource_id for resource_id, _ in touched],
        [cell.number for _, cell in touched],
        [cell.held for _, cell in touched],
        [cell.booked for _, cell in touched],
        [cell.blocked for _, cell in touched],
    )


def created_arrays(touched: Touched) -> Arrays:
    """The counters with capacity and overbooking."""
    return (
        *counter_arrays(touched),
        [cell.capacity for _, cell in touched],
        [cell.overbooking for _, cell in touched],
    )


def reshaped_arrays(touched: Touched) -> Arrays:
    """Whole cells."""
    cells = [cell for _, cell in touched]
    return (
        *created_arrays(touched),
        [cell.min_stay for cell in cells],
        [cell.max_stay for cell in cells],
        [cell.own_capacity for cell in cells],
        [cell.own_overbooking for cell in cells],
        [cell.closed for cell in cells],
        [cell.closed_to_arrival for cell in cells],
        [cell.closed_to_departure for cell in cells],
    )


def placed_arrays(bookings: Sequence[Booking], book: Book) -> Arrays:
    """New bookings."""
    places = [_place(booking.lines, book) for booking in bookings]
    return (
        [booking.id for booking in bookings],
        [booking.status for booking in bookings],
        [booking.channel for booking in bookings],
        [booking.idempotency_key for booking in bookings],
        [booking.request_hash for booking in bookings],
        [booking.ttl_seconds for booking in bookings],
        [_encode(booking.items).decode() for booking in bookings],
        [booking.expires_at for booking in bookings],
        [booking.reference for booking in bookings],
        [booking.customer for booking in bookings],
        *_place_arrays(places),
        [booking.revision for booking in bookings],
    )


def moved_arrays(bookings: Sequence[Booking], found_revisions: Sequence[int], book: Book) -> Arrays:
    """New states of bookings, with the revision each was found at."""
    places = [_place(booking.lines, book) for booking in bookings]
    return (
        [booking.id for booking in bookings],
        list(found_revisions),
        [booking.revision for booking in bookings],
        [booking.status for booking in bookings],
        [booking.expires_at for booking in bookings],
        [None if b.amended is None else _encode(b.amended).decode() for b in bookings],
        *_place_arrays(places),
    )


def block_arrays(blocks: Sequence[Block], book: Book) -> Arrays:
    """Blocks as they are now."""
    return (
        [block.id for block in blocks],
        [book.shelves[block.items[0].resource].resource.venue.id for block in blocks],
        [block.reason for block in blocks],
        [block.placed_at for block in blocks],
        [block.lifted_at for block in blocks],
        [block.revision for block in blocks],
        [_encode(block.items).decode() for block in blocks],
    )


def entry_arrays(entries: Sequence[Entry]) -> Arrays:
    """Entries of the log."""
    return (
        [entry.type for entry in entries],
        [entry.subject for entry in entries],
        ["{" + ",".join(entry.venues) + "}" for entry in entries],
        [entry.traceparent for entry in entries],
        [entry.data for entry in entries],
    )


def _place(items: tuple[Item, ...], book: Book) -> tuple[int, str | None, date, date]:
    """Where and when a booking is: its first venue, the others as an array literal, first and last local date."""
    if len(items) == 1:
        item = items[0]
        days = date.fromisoformat(item.starts[:10]), date.fromisoformat(item.ends[:10])
        return book.shelves[item.resource].resource.venue.id, None, *days
    first_day = min(date.fromisoformat(item.starts[:10]) for item in items)
    last_day = max(date.fromisoformat(item.ends[:10]) for item in items)
    codes = venues_of(resources_of(items))
    ids = {
        shelf.resource.venue.code: shelf.resource.venue.id
        for item in items
        if (shelf := book.shelves[item.resource]) is not None
    }
    others = ",".join(str(ids[code]) for code in codes[1:])
    return ids[codes[0]], "{" + others + "}" if others else None, first_day, last_day


def _place_arrays(places: Sequence[tuple[int, str | None, date, date]]) -> Arrays:
    return (
        [place[0] for place in places],
        [place[1] for place in places],
        [place[2] for place in places],
        [place[3] for place in places],
    )
