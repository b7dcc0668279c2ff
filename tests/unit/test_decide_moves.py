"""The life of a booking: which moves there are from each state, and what they do to the units."""

from collections.abc import Callable

import pytest
from msgspec.structs import replace
from tests.unit.rules import LISBON, Page, booking_of, line, named, refused, resource

from onebook.model.booking import Booking, BookingId, Status
from onebook.model.commands import (
    AmendBooking,
    BookingMove,
    CancelBooking,
    ConfirmBooking,
    ExpireHold,
    ExtendHold,
    ReleaseHold,
)
from onebook.model.decision import Decision, Unchanged
from onebook.model.items import keys_of
from onebook.model.refusals import BookingChanged, HoldExpired, PaymentRequired, SoldOut, UnknownBooking, WrongState
from onebook.model.resource import Kind, Unit

ROOM = resource("double", capacity=1)
OTHER = resource("suite", capacity=1)
STAY = line(ROOM, 10, 12)

MOVES: dict[str, Callable[[Booking], BookingMove]] = {
    "confirm": lambda booking: ConfirmBooking(booking=booking.id, channel="web"),
    "extend": lambda booking: ExtendHold(booking=booking.id, channel="web", ttl_seconds=900),
    "release": lambda booking: ReleaseHold(booking=booking.id, channel="web"),
    "expire": lambda booking: ExpireHold(booking=booking.id),
    "cancel": lambda booking: CancelBooking(booking=booking.id, channel="web", reason="rain"),
}

# What comes of each move from each state: the state after it, "same", or the refusal. A hold is `overdue` when its
# deadline has passed and nobody has swept it yet.
TABLE: dict[str, dict[str, object]] = {
    "held": {
        "confirm": Status.CONFIRMED,
        "extend": Status.HELD,
        "release": Status.RELEASED,
        "expire": "same",
        "cancel": WrongState,
    },
    "overdue": {
        "confirm": HoldExpired,
        "extend": HoldExpired,
        "release": Status.RELEASED,
        "expire": Status.EXPIRED,
        "cancel": WrongState,
    },
    "confirmed": {
        "confirm": "same",
        "extend": WrongState,
        "release": WrongState,
        "expire": "same",
        "cancel": Status.CANCELLED,
    },
    "released": {
        "confirm": WrongState,
        "extend": WrongState,
        "release": "same",
        "expire": "same",
        "cancel": WrongState,
    },
    "expired": {
        "confirm": HoldExpired,
        "extend": HoldExpired,
        "release": "same",
        "expire": "same",
        "cancel": WrongState,
    },
    "cancelled": {
        "confirm": WrongState,
        "extend": WrongState,
        "release": WrongState,
        "expire": "same",
        "cancel": "same",
    },
}
PATHS = {
    "held": (),
    "overdue": ("wait",),
    "confirmed": ("confirm",),
    "released": ("release",),
    "expired": ("wait", "expire"),
    "cancelled": ("confirm", "cancel"),
}


def brought_to(state: str) -> tuple[Page, Booking]:
    """A page with one booking in a state."""
    page = Page(ROOM, OTHER)
    booking = page.hold(STAY)
    for step in PATHS[state]:
        if step == "wait":
            page.pass_time(600)
        else:
            booking = booking_of(page.ask(MOVES[step](booking)))
    return page, booking


def counters(page: Page) -> tuple[int, int]:
    """Held and booked units of the stay's first night."""
    cell = page.book.shelves[ROOM.key].cell(10)
    return cell.held, cell.booked


@pytest.mark.parametrize(("state", "move"), [(state, move) for state in TABLE for move in MOVES])
def test_a_move_from_a_state(state: str, move: str) -> None:
    """Every move from every state does what the table says: once, with one new version, or not at all."""
    page, booking = brought_to(state)
    version, before = page.version(ROOM), counters(page)
    verdict = page.ask(MOVES[move](booking))
    expected = TABLE[state][move]
    if isinstance(expected, Status):
        after = booking_of(verdict)
        assert (after.status, after.revision) == (expected, booking.revision + 1)
        assert page.version(ROOM) == version + 1
        assert counters(page) == {Status.HELD: (1, 0), Status.CONFIRMED: (0, 1)}.get(expected, (0, 0))
        return
    assert (page.version(ROOM), counters(page)) == (version, before)
    if expected == "same":
        assert verdict == Unchanged(booking=booking)
    elif expected is WrongState:
        assert refused(verdict, WrongState).state == booking.status
    else:
        assert refused(verdict, HoldExpired).status == 410


@pytest.mark.parametrize("seconds", [599, 600, 601])
def test_a_deadline_is_exact(seconds: int) -> None:
    """A hold can be confirmed before its deadline, and at the deadline it can only be expired."""
    page = Page(ROOM)
    booking = page.hold(STAY)
    page.pass_time(seconds)
    alive = seconds < 600
    assert isinstance(page.ask(MOVES["expire"](booking)), Unchanged if alive else Decision)
    assert isinstance(page.ask(MOVES["confirm"](booking)), Decision if alive else HoldExpired)


def test_extending_counts_from_now() -> None:
    """A new deadline may be earlier or later than the old one, and the answer to a repeated key keeps the first."""
    page = Page(ROOM)
    booking = page.hold(STAY)
    page.pass_time(500)
    extended = booking_of(page.ask(ExtendHold(booking=booking.id, channel="web", ttl_seconds=60)))
    assert extended.expires_at is not None and (extended.expires_at - page.now).total_seconds() == 60
    assert extended.as_placed() == booking


@pytest.mark.parametrize("move", [*MOVES, "amend"])
def test_a_channel_finds_only_its_own(move: str) -> None:
    """Another channel's booking is not found; a caller without a channel finds every one; no such booking is not found."""
    page = Page(ROOM)
    booking = page.hold(STAY, channel="desk")
    stranger = page.amend(booking, STAY) if move == "amend" else page.ask(MOVES[move](booking))
    missing = ReleaseHold(booking=BookingId("nobody"), channel=None)
    assert isinstance(stranger, Unchanged if move == "expire" else UnknownBooking)
    assert refused(page.ask(missing), UnknownBooking).status == 404
    assert isinstance(page.ask(ReleaseHold(booking=booking.id, channel=None)), Decision)


def test_a_hold_that_ends_frees_its_units_for_others() -> None:
    """Released, expired and cancelled units are on sale again."""
    ends: list[tuple[str, ...]] = [("release",), ("wait", "expire"), ("confirm", "cancel")]
    for path in ends:
        page = Page(ROOM)
        booking = page.hold(STAY)
        for step in path:
            if step == "wait":
                page.pass_time(600)
            else:
                page.ask(MOVES[step](booking))
        assert page.available(ROOM, 10, 12) == [1, 1]
        page.hold(STAY)


def test_an_overdue_hold_keeps_its_units_until_it_is_swept() -> None:
    """Units are free when the expiry is written down, not when the deadline passes: the log tells of both at once."""
    page, _ = brought_to("overdue")
    assert type(page.place(STAY)) is SoldOut


def test_an_amendment_is_never_refused_by_its_own_units() -> None:
    """Moving by a night, over nights it already has, needs only the new night."""
    page = Page(ROOM)
    booking = page.hold(STAY)
    amended = booking_of(page.amend(booking, line(ROOM, 11, 13)))
    assert page.available(ROOM, 10, 14) == [1, 0, 0, 1]
    assert (amended.items, amended.status, amended.revision) == (booking.items, Status.HELD, 2)
    assert [item.cells for item in amended.lines] == [(11, 13)]


def test_an_amendment_within_its_own_turnaround() -> None:
    """A period moved into its own buffers is not in its own way, and is in its neighbour's."""
    page = Page(
        van := resource("van", kind=Kind.VEHICLE, unit=Unit.MINUTE, cell_minutes=60, buffer_before=1, buffer_after=1)
    )
    booking = page.hold(line(van, 10, 12))
    page.hold(line(van, 15, 16))
    assert isinstance(page.amend(booking, line(van, 11, 13)), Decision)
    assert type(page.amend(booking, line(van, 12, 14))) is SoldOut
    assert page.available(van, 9, 18) == [1, 0, 0, 0, 0, 0, 0, 0, 1]


def test_an_amendment_is_all_or_nothing() -> None:
    """What cannot be had leaves the booking with what it has."""
    page = Page(ROOM, OTHER)
    booking = page.hold(STAY)
    page.hold(line(OTHER, 11, 12))
    refusal = page.amend(booking, line(ROOM, 12, 13), line(OTHER, 10, 12))
    assert named(refusal, SoldOut) == [(("1970-01-12",), 0)]
    assert page.book.bookings[booking.id] == booking
    assert page.available(ROOM, 10, 13) == [0, 0, 1]


def test_an_amendment_touches_the_old_and_the_new_resource() -> None:
    """Moving to another room gives back the first, raises both versions, and keeps a booking booked."""
    page = Page(ROOM, OTHER)
    booking = page.hold(STAY, confirm=True)
    amended = booking_of(page.amend(booking, line(OTHER, 10, 12)))
    assert amended.status is Status.CONFIRMED
    assert page.available(ROOM, 10, 12) == [1, 1] and page.available(OTHER, 10, 12) == [0, 0]
    assert (page.version(ROOM), page.version(OTHER)) == (3, 2)
    page.ask(MOVES["cancel"](booking))
    assert page.available(OTHER, 10, 12) == [1, 1] and page.version(ROOM) == 3


def test_own_units_count_once_for_all_lines() -> None:
    """The units given up are free for the lines together, not for each of them."""
    page = Page(ROOM)
    booking = page.hold(STAY)
    assert type(page.amend(booking, STAY, STAY)) is SoldOut


def test_amending_again_finds_it_done() -> None:
    """The same amendment sent twice changes the booking once, also back to what was placed."""
    page = Page(ROOM)
    booking = page.hold(STAY)
    assert page.amend(booking, STAY) == Unchanged(booking=booking)
    amended = booking_of(page.amend(booking, line(ROOM, 11, 13)))
    assert page.amend(booking, line(ROOM, 11, 13)) == Unchanged(booking=amended)
    assert booking_of(page.amend(booking, STAY)).revision == 3


@pytest.mark.parametrize(
    ("state", "refusal"),
    [("overdue", HoldExpired), ("expired", HoldExpired), ("released", WrongState), ("cancelled", WrongState)],
)
def test_only_the_living_are_amended(state: str, refusal: type[object]) -> None:
    """A booking that has ended, or whose deadline has passed, takes nothing new."""
    page, booking = brought_to(state)
    refused(page.amend(booking, line(OTHER, 10, 11)), refusal)
    assert page.version(OTHER) == 1


def test_a_prepaid_venue_is_confirmed_by_paying() -> None:
    """Who sells neither books at once nor confirms there; the checkout does, for what was paid for, and the venue's own desk."""
    room = resource("double", capacity=5, venue=replace(LISBON, prepaid=True))
    page = Page(room)
    stay = line(room, 10, 12)
    assert isinstance(page.place(stay, confirm=True), PaymentRequired)
    held = page.hold(stay)
    assert isinstance(page.ask(ConfirmBooking(booking=held.id, channel="web")), PaymentRequired)
    other = frozenset({("alfama/double", "cell 10", "cell 13", None, 1, 1)})
    assert isinstance(page.ask(ConfirmBooking(held.id, None, paid_for=other)), BookingChanged)
    paid = ConfirmBooking(held.id, None, paid_for=keys_of(held.lines))
    assert booking_of(page.ask(paid)).status is Status.CONFIRMED
    by_desk = page.hold(stay)
    assert booking_of(page.ask(ConfirmBooking(by_desk.id, None))).status is Status.CONFIRMED


def test_no_amendment_gets_around_paying() -> None:
    """What was confirmed elsewhere without payment does not become a booking of a prepaid venue, but for its own desk."""
    room = resource("double", capacity=5, venue=replace(LISBON, prepaid=True))
    page = Page(room, OTHER)
    booking = booking_of(page.place(line(OTHER, 10, 12), confirm=True))
    moved = AmendBooking(booking.id, "web", (line(room, 10, 12),))
    assert isinstance(page.ask(moved), PaymentRequired)
    assert booking_of(page.ask(replace(moved, paid_for=keys_of(booking.lines)))).lines[0].resource == room.key
    by_desk = booking_of(page.place(line(OTHER, 10, 12), confirm=True))
    assert booking_of(page.ask(replace(moved, booking=by_desk.id, channel=None))).lines[0].resource == room.key
