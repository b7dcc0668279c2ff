"""One batch, one transaction: lock and read the page, decide every command on it, write back what was touched.

Called by the committer with a connection of its own. A refused command leaves no trace. The order of locks is the
resources' ids ascending, all taken in one call before anything is written; see `ledger_open` in the migrations.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import chain

import asyncpg
import msgspec

from onebook.ledger import rows
from onebook.ledger.catalog import SQL, Catalog
from onebook.ledger.database import Connection
from onebook.ledger.failures import BrokenInvariant, StaleDefinition
from onebook.ledger.packing import numbers, texts
from onebook.ledger.steps import Steps
from onebook.log.facts import Entry, entry_of
from onebook.model.book import Book, Shelf
from onebook.model.booking import Item
from onebook.model.commands import (
    BASKETS,
    BLOCKINGS,
    MOVES,
    ChangeInventory,
    Command,
    LiftBlock,
    Line,
    PlaceHold,
)
from onebook.model.decide import Verdict, decide
from onebook.model.decision import Decision
from onebook.model.resource import Resource

Spans = dict[str, list[tuple[int, int]]]


class Settled(msgspec.Struct, frozen=True):
    """What came of a command, and the database's time at which it was decided."""

    verdict: Verdict
    at: datetime
    version: int = 0


async def settle(connection: Connection, commands: Sequence[Command], catalog: Catalog, steps: Steps) -> list[Settled]:
    """Decide the commands in order and commit what they change, all in one transaction.

    Raises StaleDefinition when a definition or a booking changed before the locks were held (nothing is written:
    resolve and settle again), BrokenInvariant when the database disagrees, and asyncpg's errors.
    """
    known = await _known_before(connection, commands)
    catalog.learn_sessions(_items(known))
    resources = await _resources(commands, known, catalog)
    async with connection.transaction():
        book, now = await _open(connection, commands, resources, known, catalog)
        steps.opened()
        settled: list[Settled] = []
        decisions: list[Decision] = []
        entries: list[Entry] = []
        for command in commands:
            verdict = decide(command, book, now)
            version = 0
            if isinstance(verdict, Decision):
                _carry_out(verdict, book)
                decisions.append(verdict)
                entries.append(entry_of(verdict, book, command.traceparent and steps.place_of(command)))
                version = book.shelves[verdict.resources[0]].version
            settled.append(Settled(verdict, now, version))
        steps.decided()
        if decisions:
            await _write(connection, book, decisions, entries, now)
    steps.committed()
    return settled


def _carry_out(decision: Decision, book: Book) -> None:
    book.apply(decision)
    if decision.booking is not None:
        book.add_booking(decision.booking)
    if decision.block is not None:
        book.blocks[decision.block.id] = decision.block


async def _known_before(connection: Connection, commands: Sequence[Command]) -> Book:
    """Bookings and blocks that the commands move, read without locks, to learn which resources to lock."""
    book = Book()
    bookings = [command.booking for command in commands if isinstance(command, MOVES)]
    blocks = [c.block if isinstance(c, LiftBlock) else c.id for c in commands if isinstance(c, BLOCKINGS)]
    await _read_bookings(connection, bookings, book)
    await _read_blocks(connection, blocks, book)
    return book


async def _read_bookings(connection: Connection, ids: Sequence[str], book: Book) -> None:
    if ids:
        for row in await connection.fetch(SQL["bookings"], ids):
            book.add_booking(rows.booking_of(row))


async def _read_blocks(connection: Connection, ids: Sequence[str], book: Book) -> None:
    if ids:
        for row in await connection.fetch(SQL["blocks"], ids):
            block = rows.block_of(row)
            book.blocks[block.id] = block


async def _resources(commands: Sequence[Command], known: Book, catalog: Catalog) -> dict[str, Resource]:
    """Every resource that the commands touch, with the definition they were resolved with."""
    found: dict[str, Resource] = {}
    for resource in chain.from_iterable(map(_resolved_with, commands)):
        # One lock and one revision are compared for all of them: a command from before a change of the definition
        # must not pass on the revision of one from after it.
        if found.setdefault(resource.key, resource).revision != resource.revision:
            raise StaleDefinition(resource.key)
    of_items = {item.resource for item in _items(known)} - found.keys()
    if of_items:
        await catalog.read_resources(of_items)
        found.update((key, catalog.resource(key)) for key in of_items)
    return found


async def _open(
    connection: Connection,
    commands: Sequence[Command],
    resources: dict[str, Resource],
    known: Book,
    catalog: Catalog,
) -> tuple[Book, datetime]:
    spans = _spans(commands, known)
    flat = [(resources[key].id, first, end) for key, ranges in spans.items() for first, end in _merged(ranges)]
    keys = [(c.channel, c.idempotency_key) for c in commands if isinstance(c, PlaceHold)]
    page = await connection.fetchrow(
        SQL["open_page"],
        numbers(sorted(resource.id for resource in resources.values())),
        numbers([span[0] for span in flat]),
        numbers([span[1] for span in flat]),
        numbers([span[2] for span in flat]),
        texts([key[0] for key in keys]),
        texts([key[1] for key in keys]),
    )
    if page is None:
        raise BrokenInvariant("ledger_open returned no row")
    book = _book(page, resources, catalog)
    await _read_bookings(connection, [*(page["replayed"] or ()), *known.bookings], book)
    await _read_blocks(connection, list(known.blocks), book)
    _refuse_stale(known, book)
    return book, page["opened_at"]


def _book(page: asyncpg.Record, resources: dict[str, Resource], catalog: Catalog) -> Book:
    book = Book()
    by_id = {resource.id: resource for resource in resources.values()}
    shelves: dict[int, Shelf] = {}
    heads = zip(page["head_resources"] or (), page["head_versions"] or (), page["head_revisions"] or (), strict=True)
    for resource_id, version, revision in heads:
        resource = by_id[resource_id]
        if resource.revision != revision:
            raise StaleDefinition(resource.key)
        shelves[resource_id] = book.shelves[resource.key] = Shelf(resource, version, catalog.session_codes)
    for resource_id, cell in rows.cells_of(page):
        shelves[resource_id].cells[cell.number] = cell
    return book


def _refuse_stale(known: Book, book: Book) -> None:
    """What was read before the locks told us what to lock: it must still be so."""
    for identity, booking in known.bookings.items():
        if book.bookings[identity].revision != booking.revision:
            raise StaleDefinition(f"booking {identity}")
    for name, block in known.blocks.items():
        if book.blocks[name].revision != block.revision:
            raise StaleDefinition(f"block {name}")


def _spans(commands: Sequence[Command], known: Book) -> Spans:
    """The cells to read of each resource; one more than a line takes, for closed-to-departure."""
    spans: Spans = {}
    for command in commands:
        if isinstance(command, ChangeInventory):
            ranges = spans.setdefault(command.resource.key, [])
            ranges.extend((change.first, change.end) for change in command.changes)
        for line in _lines(command):
            first, end = line.occupied
            spans.setdefault(line.resource.key, []).append((first, max(end, line.end + 1)))
    for item in _items(known):
        spans.setdefault(item.resource, []).append(item.cells)
    return spans


def _merged(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same cells without overlaps, so that none is read twice."""
    if len(ranges) == 1:
        return ranges
    ranges.sort()
    merged = [ranges[0]]
    for first, end in ranges[1:]:
        if first <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((first, end))
    return merged


def _resolved_with(command: Command) -> Iterable[Resource]:
    if isinstance(command, ChangeInventory):
        return (command.resource,)
    return (line.resource for line in _lines(command))


def _lines(command: Command) -> tuple[Line, ...]:
    return command.lines if isinstance(command, BASKETS) else ()


def _items(known: Book) -> Iterable[Item]:
    return chain(
        (item for booking in known.bookings.values() for item in booking.lines),
        (item for block in known.blocks.values() for item in block.items),
    )


async def _write(
    connection: Connection,
    book: Book,
    decisions: Sequence[Decision],
    entries: Sequence[Entry],
    now: datetime,
) -> None:
    """Everything touched, back to the tables. The counts prove that nobody else wrote meanwhile."""
    heads = [s for s in book.shelves.values() if s.version != s.found_version]
    touched = [(shelf.resource.id, cell) for shelf in book.shelves.values() for cell in shelf.touched]
    reshaped = [pair for pair in touched if pair[1].reshaped]
    changed = [pair for pair in touched if pair[1].stored and not pair[1].reshaped]
    created = [pair for pair in touched if not pair[1].stored and not pair[1].reshaped]
    latest = {d.booking.id: d.booking for d in decisions if d.booking is not None}
    found_revisions = _found_revisions(decisions)
    placed = [booking for identity, booking in latest.items() if found_revisions[identity] == 0]
    row = await connection.fetchrow(
        SQL["write_page"],
        *rows.head_columns(heads),
        *rows.moved_counter_columns(changed),
        *rows.created_columns(created),
        now,
        *rows.placed_columns(placed, now, book),
        *rows.entry_columns(entries),
    )
    if row is None or (row["heads"], row["changed"]) != (len(heads), len(changed)):
        raise BrokenInvariant("another writer has changed these resources although we hold their locks")
    if reshaped:
        await connection.execute(SQL["reshape_cells"], *rows.reshaped_columns(reshaped))
    moved = [booking for identity, booking in latest.items() if found_revisions[identity] > 0]
    if moved:
        revisions = [found_revisions[booking.id] for booking in moved]
        count = await connection.fetchval(SQL["move_bookings"], *rows.moved_columns(moved, revisions, book))
        if count != len(moved):
            raise BrokenInvariant("a booking was moved by another writer although we hold its resources' locks")
    blocks = {d.block.id: d.block for d in decisions if d.block is not None}
    if blocks:
        await connection.execute(SQL["write_blocks"], *rows.block_columns(list(blocks.values()), book))


def _found_revisions(decisions: Sequence[Decision]) -> dict[str, int]:
    """The stored revision of each booking decided on; 0 for one that is placed in this batch."""
    found: dict[str, int] = {}
    for decision in decisions:
        if decision.booking is not None:
            found.setdefault(decision.booking.id, decision.booking.revision - 1)
    return found
