"""What the operator may do: capacity and restrictions cell by cell, and blocks."""

import pytest
from msgspec.structs import replace
from tests.unit.rules import NOON, Page, line, named, refused, resource

from onebook.model.booking import Block
from onebook.model.commands import ChangeInventory, InventoryChange, LiftBlock, Line
from onebook.model.decision import Decision, Unchanged
from onebook.model.refusals import BelowSold, SoldOut, UnknownBlock, VersionMismatch
from onebook.model.resource import Kind, Unit

ROOM = resource("double", capacity=3)


def test_capacity_below_what_is_sold_is_refused_with_the_figures() -> None:
    """The fullest cell is named, with what is taken and what would be left."""
    page = Page(ROOM)
    page.hold(line(ROOM, 10, 13))
    page.hold(line(ROOM, 11, 12), confirm=True)
    refusal = page.change(ROOM, 9, 14, capacity=0)
    expected = BelowSold(resource=ROOM.key, cell="1970-01-12", taken=2, capacity=0, overbooking=0)
    assert refusal == expected
    assert page.available(ROOM, 9, 14) == [3, 2, 1, 2, 3] and page.version(ROOM) == 3


def test_capacity_down_to_what_is_sold_is_taken() -> None:
    """Exactly what is sold may be left, and nothing is on sale then."""
    page = Page(ROOM)
    page.hold(line(ROOM, 10, 11, quantity=2))
    assert isinstance(page.change(ROOM, 10, 11, capacity=1, overbooking=1), Decision)
    assert page.available(ROOM, 10, 11) == [0]


def test_all_changes_or_none() -> None:
    """One change of a request that cannot be made takes the others with it."""
    page = Page(ROOM)
    page.hold(line(ROOM, 12, 13, quantity=3))
    changes = (InventoryChange(first=10, end=11, capacity=9), InventoryChange(first=12, end=13, capacity=2))
    refused(page.ask(ChangeInventory(resource=ROOM, changes=changes, expected_version=None)), BelowSold)
    assert page.available(ROOM, 10, 11) == [3]


def test_changes_of_one_request_follow_each_other() -> None:
    """Only what is left after all of them counts; the last one about a cell wins."""
    page = Page(ROOM)
    page.hold(line(ROOM, 10, 11, quantity=3))
    changes = (InventoryChange(first=10, end=12, capacity=1), InventoryChange(first=10, end=11, capacity=5))
    assert isinstance(page.ask(ChangeInventory(resource=ROOM, changes=changes, expected_version=None)), Decision)
    assert page.available(ROOM, 10, 12) == [2, 1] and page.version(ROOM) == 3


def test_none_gives_a_value_back_to_the_default() -> None:
    """A cell whose own capacity is taken away has the resource's again."""
    page = Page(ROOM)
    page.change(ROOM, 10, 11, capacity=7, overbooking=2)
    page.change(ROOM, 10, 11, capacity=None)
    assert page.available(ROOM, 10, 11) == [5]
    page.change(ROOM, 10, 11, overbooking=None)
    assert page.available(ROOM, 10, 11) == [3]


def test_a_stop_sell_hides_what_is_free_and_ends_with_it() -> None:
    """Closed cells have nothing on sale; opened again, they have what is left."""
    page = Page(ROOM)
    page.hold(line(ROOM, 10, 11))
    page.change(ROOM, 10, 12, closed=True)
    assert page.available(ROOM, 10, 12) == [0, 0]
    page.change(ROOM, 10, 12, closed=False)
    assert page.available(ROOM, 10, 12) == [2, 3]


@pytest.mark.parametrize("expected", [1, 2, 3])
def test_a_change_is_made_at_the_version_it_was_made_for(expected: int) -> None:
    """If-Match with another version than the resource's is refused with the one it has, before anything else."""
    page = Page(ROOM)
    page.hold(line(ROOM, 10, 11, quantity=3))
    verdict = page.change(ROOM, 10, 11, capacity=4, expected_version=expected)
    if expected == 2:
        assert isinstance(verdict, Decision) and page.version(ROOM) == 3
    else:
        refusal = refused(verdict, VersionMismatch)
        assert (refusal.version, refusal.status, page.version(ROOM)) == (2, 412, 2)


def placed(page: Page, *lines: Line) -> Block:
    """A block that must succeed."""
    verdict = page.block(*lines)
    assert isinstance(verdict, Decision) and verdict.block is not None
    return verdict.block


def test_a_block_takes_units_until_it_is_lifted() -> None:
    """Blocked units are not on sale, lifting brings them back, and lifting again finds it done."""
    page = Page(ROOM)
    block = placed(page, line(ROOM, 10, 12, quantity=2))
    assert page.available(ROOM, 10, 13) == [1, 1, 3]
    assert named(page.place(line(ROOM, 10, 12, quantity=2)), SoldOut) == [(("1970-01-11", "1970-01-12"), 1)]
    lift = LiftBlock(block=block.id, venue="alfama")
    lifted = page.ask(lift)
    assert isinstance(lifted, Decision) and lifted.block is not None and lifted.block.lifted_at == NOON
    assert page.available(ROOM, 10, 12) == [3, 3]
    assert page.ask(lift) == Unchanged(block=lifted.block)


def test_a_block_does_not_push_out_what_is_sold() -> None:
    """Units that are held, booked or blocked already cannot be blocked."""
    page = Page(ROOM)
    page.hold(line(ROOM, 10, 11, quantity=2))
    assert named(page.block(line(ROOM, 9, 12, quantity=2)), SoldOut) == [(("1970-01-11",), 1)]
    placed(page, line(ROOM, 10, 11))
    assert type(page.block(line(ROOM, 10, 11))) is SoldOut


def test_restrictions_do_not_bind_an_operator() -> None:
    """A closed night and a minimum stay are for those who buy."""
    page = Page(villa := resource("villa", min_stay=7))
    page.change(villa, 10, 12, closed=True, closed_to_arrival=True)
    placed(page, line(villa, 10, 11))


def test_a_block_has_no_turnaround() -> None:
    """A block takes exactly its cells: the ledger hands its lines over without buffers."""
    van = resource("van", kind=Kind.VEHICLE, unit=Unit.MINUTE, cell_minutes=60, buffer_before=2, buffer_after=2)
    bare = replace(van, buffer_before=0, buffer_after=0)
    page = Page(van)
    placed(page, line(bare, 10, 12))
    assert page.available(van, 8, 14) == [1, 1, 0, 0, 1, 1]
    assert type(page.place(line(van, 12, 13))) is SoldOut
    assert isinstance(page.place(line(van, 14, 15)), Decision)


def test_capacity_counts_blocked_units() -> None:
    """Capacity cannot go below what is sold and blocked together."""
    page = Page(ROOM)
    page.hold(line(ROOM, 10, 11))
    placed(page, line(ROOM, 10, 11))
    assert refused(page.change(ROOM, 10, 11, capacity=1), BelowSold).taken == 2


@pytest.mark.parametrize("venue", ["belem", "alfama"])
def test_a_block_is_found_in_its_own_venue(venue: str) -> None:
    """A block of another venue, or one that never was, is not found."""
    page = Page(ROOM)
    block = placed(page, line(ROOM, 10, 11))
    found = page.ask(LiftBlock(block=block.id, venue=venue))
    assert isinstance(found, Decision if venue == "alfama" else UnknownBlock)
    refused(page.ask(LiftBlock(block="no-such-block", venue="alfama")), UnknownBlock)
