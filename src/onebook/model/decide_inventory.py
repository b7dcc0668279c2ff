"""Decisions of the operator: capacity and restrictions cell by cell, and blocks."""

from datetime import datetime

from msgspec.structs import replace

from onebook.model.book import Book, Cell, Shelf
from onebook.model.bookable import shortage, totals_of
from onebook.model.booking import Block
from onebook.model.commands import ChangeInventory, InventoryChange, LiftBlock, PlaceBlock
from onebook.model.decision import Decision, Move, Unchanged
from onebook.model.items import items_of, resources_of
from onebook.model.refusals import BelowSold, Refusal, SoldOut, UnknownBlock, VersionMismatch

Verdict = Decision | Unchanged | Refusal


def change_inventory(command: ChangeInventory, book: Book) -> Verdict:
    """New figures for cells, unless more is sold than they would leave, or the version is not the expected one."""
    shelf = book.shelves[command.resource.key]
    if command.expected_version is not None and command.expected_version != shelf.version:
        return VersionMismatch(version=shelf.version)
    trial = trial_of(shelf, command.changes)
    fullest = max(trial.values(), key=lambda cell: cell.taken - cell.capacity - cell.overbooking, default=None)
    if fullest is not None and fullest.free < 0:
        return BelowSold(
            resource=shelf.resource.key,
            cell=shelf.label(fullest.number),
            taken=fullest.taken,
            capacity=fullest.capacity,
            overbooking=fullest.overbooking,
        )
    return Decision(event="inventory.changed", resources=(shelf.resource.key,), changes=command.changes)


def trial_of(shelf: Shelf, changes: tuple[InventoryChange, ...]) -> dict[int, Cell]:
    """Copies of the cells that the changes reach, as they would be after all of them."""
    trial: dict[int, Cell] = {}
    for change in changes:
        for number in range(change.first, change.end):
            if number not in trial:
                trial[number] = shelf.cell(number).twin()
            trial[number].reshape(change, shelf.resource)
    return trial


def place_block(command: PlaceBlock, book: Book, now: datetime) -> Verdict:
    """Units out of sale; what is sold or held stays where it is."""
    if (earlier := book.blocks.get(command.id)) is not None:
        return Unchanged(block=earlier)
    totals = totals_of(command.lines)
    short = [
        item for line in command.lines if (item := shortage(line, book.shelves[line.resource.key], totals)) is not None
    ]
    if short:
        return SoldOut(items=tuple(short))
    items = items_of(command.lines, book)
    block = Block(id=command.id, reason=command.reason, placed_at=now, lifted_at=None, items=items, revision=1)
    return _block_decision("block.placed", block, sign=1)


def lift_block(command: LiftBlock, book: Book, now: datetime) -> Verdict:
    """The units of a block back on sale; lifting again finds it done."""
    block = book.blocks.get(command.block)
    if block is None or block.items[0].resource.partition("/")[0] != command.venue:
        return UnknownBlock()
    if block.lifted_at is not None:
        return Unchanged(block=block)
    return _block_decision("block.lifted", replace(block, lifted_at=now, revision=block.revision + 1), sign=-1)


def _block_decision(event: str, block: Block, sign: int) -> Decision:
    moves = tuple(
        Move(resource=item.resource, first=item.cells[0], end=item.cells[1], blocked=sign * item.quantity)
        for item in block.items
    )
    return Decision(event=event, resources=resources_of(block.items), moves=moves, block=block, reason=block.reason)
