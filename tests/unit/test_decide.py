"""Whether a basket can be had: units, restrictions, turnaround, sessions, and all lines together."""

from typing import Any

import pytest
from tests.unit.rules import NOON, Page, booking_of, line, named, refused, resource

from onebook.model.booking import Status
from onebook.model.decision import Decision, Unchanged
from onebook.model.hours import OpeningHours
from onebook.model.refusals import (
    Closed,
    ClosedToArrival,
    ClosedToDeparture,
    KeyReused,
    MaxStay,
    MinStay,
    NotBookable,
    OutsideHours,
    SoldOut,
)
from onebook.model.resource import Kind, Unit

ROOM = resource("double", capacity=2)
TABLE = resource("table", kind=Kind.TABLE, unit=Unit.MINUTE, cell_minutes=30)
SEAT = resource("A-42", kind=Kind.SEAT, unit=Unit.SESSION)
TOUR = resource("tour", kind=Kind.ACTIVITY, unit=Unit.SESSION, capacity=8)


def test_a_hold_takes_its_cells_until_its_deadline() -> None:
    """The nights of a stay are taken, the night of departure is not, and the deadline is counted from now."""
    page = Page(ROOM)
    held = page.hold(line(ROOM, 10, 13))
    assert page.available(ROOM, 9, 14) == [2, 1, 1, 1, 2]
    assert (held.status, held.revision) == (Status.HELD, 1)
    assert held.expires_at is not None and (held.expires_at - NOON).total_seconds() == 600


def test_confirming_at_once_needs_no_deadline() -> None:
    """With `confirm` the units are booked, not held, and nothing runs out."""
    page = Page(ROOM)
    booked = page.hold(line(ROOM, 10, 11), confirm=True)
    cell = page.book.shelves[ROOM.key].cell(10)
    assert (booked.status, booked.expires_at, booked.ttl_seconds) == (Status.CONFIRMED, None, None)
    assert (cell.held, cell.booked) == (0, 1)


def test_stays_that_touch_do_not_overlap() -> None:
    """One departs on the day the other arrives."""
    page = Page(single := resource(capacity=1))
    page.hold(line(single, 10, 12))
    page.hold(line(single, 12, 14))
    page.hold(line(single, 8, 10))
    assert page.available(single, 7, 15) == [1, 0, 0, 0, 0, 0, 0, 1]


def test_a_refusal_names_the_cells_and_what_is_left() -> None:
    """Only the nights that are short are named, with the fewest units left over the whole period."""
    page = Page(ROOM)
    page.hold(line(ROOM, 11, 12))
    page.hold(line(ROOM, 12, 13, quantity=2))
    verdict = page.place(line(ROOM, 10, 14, quantity=2))
    assert named(verdict, SoldOut) == [(("1970-01-12", "1970-01-13"), 0)]
    assert named(page.place(line(ROOM, 10, 12, quantity=2)), SoldOut) == [(("1970-01-12",), 1)]


def test_what_is_left_is_counted_where_capacity_was_raised() -> None:
    """A refusal gives the figure of the cells asked for, also above the resource's default."""
    page = Page(single := resource(capacity=1))
    page.change(single, 10, 12, capacity=5)
    assert named(page.place(line(single, 10, 12, quantity=6)), SoldOut) == [(("1970-01-11", "1970-01-12"), 5)]


def test_the_overbooking_allowance_is_sold_and_no_more() -> None:
    """Capacity and allowance together are what can be had."""
    page = Page(airline := resource(capacity=2, overbooking=1))
    page.hold(line(airline, 10, 11, quantity=3))
    assert named(page.place(line(airline, 10, 11)), SoldOut) == [(("1970-01-11",), 0)]


def test_a_refusal_changes_nothing() -> None:
    """A basket that is refused leaves versions and counters as they were."""
    page = Page(ROOM, TOUR)
    page.place(line(ROOM, 10, 12), line(TOUR, 1, 2, quantity=9))
    assert page.version(ROOM) == page.version(TOUR) == 1
    assert page.available(ROOM, 10, 12) == [2, 2]


def restricted(**values: Any) -> Page:
    """A page on which the nights [10, 12) of the room have restrictions."""
    page = Page(ROOM)
    assert isinstance(page.change(ROOM, 10, 12, **values), Decision)
    return page


@pytest.mark.parametrize(
    ("restriction", "nights", "refusal", "cell"),
    [
        ({"closed": True}, (9, 11), Closed, "1970-01-11"),
        ({"closed": True}, (8, 10), None, ""),
        ({"closed_to_arrival": True}, (11, 14), ClosedToArrival, "1970-01-12"),
        ({"closed_to_arrival": True}, (9, 14), None, ""),
        ({"closed_to_departure": True}, (9, 11), ClosedToDeparture, "1970-01-12"),
        ({"closed_to_departure": True}, (9, 12), None, ""),
        ({"min_stay": 3}, (10, 12), MinStay, "1970-01-11"),
        ({"min_stay": 3}, (10, 13), None, ""),
        ({"min_stay": 3}, (9, 10), None, ""),
        ({"max_stay": 2}, (11, 14), MaxStay, "1970-01-12"),
        ({"max_stay": 2}, (11, 13), None, ""),
        ({"max_stay": 2}, (9, 14), None, ""),
    ],
)
def test_restrictions_bind_where_they_stand(
    restriction: dict[str, Any], nights: tuple[int, int], refusal: type[NotBookable] | None, cell: str
) -> None:
    """A stop-sell binds every night of a stay; lengths and arrival only its first day, departure only its last."""
    verdict = restricted(**restriction).place(line(ROOM, *nights))
    if refusal is None:
        assert isinstance(verdict, Decision)
    else:
        assert named(verdict, refusal) == [((cell,), 0)]


def test_a_cell_overrules_the_resource_on_lengths() -> None:
    """The length of a stay is the resource's unless the day of arrival says otherwise, and is named in the refusal."""
    page = Page(villa := resource("villa", min_stay=7, max_stay=14))
    page.change(villa, 10, 11, min_stay=2)
    assert refused(page.place(line(villa, 20, 23)), MinStay).items[0].limit == 7
    assert refused(page.place(line(villa, 20, 40)), MaxStay).items[0].limit == 14
    assert isinstance(page.place(line(villa, 10, 12)), Decision)


def test_restrictions_of_stays_do_not_bind_sessions() -> None:
    """A session has no arrival; only a stop-sell closes it."""
    page = Page(SEAT)
    page.change(SEAT, 1, 2, min_stay=3, closed_to_arrival=True)
    page.change(SEAT, 2, 3, closed=True)
    assert isinstance(page.place(line(SEAT, 1, 2)), Decision)
    assert named(page.place(line(SEAT, 2, 3)), Closed) == [(("evening",), 0)]


def test_hours_bind_the_period_and_not_its_turnaround() -> None:
    """The first appointment of the day may need preparation before the doors open."""
    staff = resource(
        "ana",
        kind=Kind.STAFF,
        unit=Unit.MINUTE,
        cell_minutes=60,
        buffer_before=1,
        buffer_after=1,
        hours=OpeningHours(weekly=(((600, 1080),),) * 7, exceptions={}),
    )
    # In 1970 Lisbon was an hour ahead of UTC, all year round.
    day = 200 * 24 - 1
    page = Page(staff)
    assert isinstance(page.place(line(staff, day + 10, day + 12)), Decision)
    refusal = page.place(line(staff, day + 17, day + 19))
    assert named(refusal, OutsideHours) == [(("1970-07-20T17:00:00+01:00",), 0)]


def test_a_buffer_keeps_neighbours_apart_on_both_sides() -> None:
    """Between two periods lie the turnaround after the first and the preparation before the second."""
    page = Page(
        van := resource("van", kind=Kind.VEHICLE, unit=Unit.MINUTE, cell_minutes=60, buffer_before=1, buffer_after=2)
    )
    page.hold(line(van, 10, 12))
    assert page.available(van, 8, 15) == [1, 0, 0, 0, 0, 0, 1]
    for first, end in ((14, 15), (7, 8), (12, 13)):
        assert type(page.place(line(van, first, end))) is SoldOut
    assert isinstance(page.place(line(van, 15, 16)), Decision)
    assert isinstance(page.place(line(van, 6, 7)), Decision)


def test_a_neighbour_on_each_side_fits_exactly() -> None:
    """A period fits between two others when the turnarounds just meet, and not when they are a cell short."""
    for gap, fits in ((4, True), (3, False)):
        page = Page(
            table := resource("t", kind=Kind.TABLE, unit=Unit.MINUTE, cell_minutes=15, buffer_before=1, buffer_after=1)
        )
        page.hold(line(table, 10, 12))
        page.hold(line(table, 12 + 2 + gap, 20 + gap))
        verdict = page.place(line(table, 14, 16))
        assert isinstance(verdict, Decision) is fits


def test_a_seat_is_sold_once_a_session() -> None:
    """An identified seat is one unit, free again in the next session."""
    page = Page(SEAT)
    page.hold(line(SEAT, 1, 2))
    assert named(page.place(line(SEAT, 1, 2)), SoldOut) == [(("matinee",), 0)]
    assert isinstance(page.place(line(SEAT, 2, 3)), Decision)


def test_a_tour_is_sold_by_its_places() -> None:
    """Pooled capacity is counted in units."""
    page = Page(TOUR)
    page.hold(line(TOUR, 1, 2, quantity=5))
    assert named(page.place(line(TOUR, 1, 2, quantity=4)), SoldOut) == [(("matinee",), 3)]
    assert isinstance(page.place(line(TOUR, 1, 2, quantity=3)), Decision)


def test_a_basket_across_kinds_is_all_or_nothing() -> None:
    """A room, a table, a seat and a tour come together or not at all, and each raises its version by one."""
    page = Page(ROOM, TABLE, SEAT, TOUR)
    basket = (line(ROOM, 10, 12), line(TABLE, 500, 504), line(SEAT, 1, 2), line(TOUR, 1, 2, quantity=2))
    booking = page.hold(*basket)
    assert [item.version for item in booking.items] == [2, 2, 2, 2]
    refusal = page.place(*basket)
    assert type(refusal) is SoldOut
    assert [item.resource for item in refusal.items] == [TABLE.key, SEAT.key]
    assert [page.version(each) for each in (ROOM, TABLE, SEAT, TOUR)] == [2, 2, 2, 2]


def test_lines_of_one_basket_count_together() -> None:
    """Two lines on the same cells want the sum of both, and each is told what the other leaves it."""
    page = Page(ROOM)
    verdict = page.place(line(ROOM, 10, 13, quantity=2), line(ROOM, 12, 15))
    assert named(verdict, SoldOut) == [(("1970-01-13",), 1), (("1970-01-13",), 0)]
    assert isinstance(page.place(line(ROOM, 10, 12, quantity=2), line(ROOM, 12, 15)), Decision)
    assert page.version(ROOM) == 2


def test_turnarounds_within_one_basket_count_together() -> None:
    """Two lines that meet only in their turnaround are two wishes for those cells."""
    page = Page(van := resource("van", kind=Kind.VEHICLE, unit=Unit.MINUTE, cell_minutes=60, buffer_after=1))
    assert type(page.place(line(van, 10, 12), line(van, 12, 14))) is SoldOut
    assert isinstance(page.place(line(van, 10, 12), line(van, 13, 14)), Decision)


def test_the_code_is_the_first_failing_line_and_all_are_named() -> None:
    """A basket that fails for several reasons says the first, and names every line that fails."""
    page = Page(ROOM, SEAT)
    page.change(ROOM, 10, 11, closed=True)
    page.hold(line(SEAT, 1, 2))
    verdict = page.place(line(ROOM, 10, 12), line(SEAT, 1, 2))
    assert named(verdict, Closed) == [(("1970-01-11",), 0), (("matinee",), 0)]


def test_a_key_has_one_effect() -> None:
    """The same request finds its booking, another one is refused, and another channel's key is another key."""
    page = Page(ROOM)
    first = page.hold(line(ROOM, 10, 11), key="k")
    assert page.place(line(ROOM, 10, 11), key="k") == Unchanged(booking=first, replayed=True)
    assert refused(page.place(line(ROOM, 10, 11), key="k", request_hash=b"1" * 16), KeyReused).status == 422
    assert booking_of(page.place(line(ROOM, 10, 11), key="k", channel="desk")).id != first.id
    assert page.available(ROOM, 10, 11) == [0]


def test_a_refusal_does_not_use_up_its_key() -> None:
    """What was refused is decided anew when it is sent again."""
    page = Page(SEAT)
    page.hold(line(SEAT, 1, 2), ttl_seconds=1)
    assert type(page.place(line(SEAT, 1, 2), key="k")) is SoldOut
    assert isinstance(page.place(line(SEAT, 2, 3), key="k", request_hash=b"1" * 16), Decision)
