"""The one place where a command becomes a decision. Pure: values in, a value out, nothing awaited.

Nothing is changed here: the caller applies the decision to the book, so that a refused command leaves no trace.
"""

from datetime import datetime, timedelta

from msgspec.structs import replace

from onebook.model.book import Book
from onebook.model.bookable import refusal_of_basket
from onebook.model.booking import LIVE, Booking, Item, ItemKey, Status
from onebook.model.commands import (
    AmendBooking,
    BookingMove,
    CancelBooking,
    ChangeInventory,
    Command,
    ConfirmBooking,
    ExpireHold,
    ExtendHold,
    LiftBlock,
    Line,
    PlaceBlock,
    PlaceHold,
    ReleaseHold,
)
from onebook.model.decide_inventory import change_inventory, lift_block, place_block
from onebook.model.decision import Decision, Unchanged
from onebook.model.items import items_of, keys_of, resources_of, takings
from onebook.model.refusals import (
    BookingChanged,
    HoldExpired,
    KeyReused,
    PaymentRequired,
    Refusal,
    UnknownBooking,
    WrongState,
)

Verdict = Decision | Unchanged | Refusal


def decide(command: Command, book: Book, now: datetime) -> Verdict:
    """What comes of a command on this page of the ledger; `now` is the database's clock, read under the locks."""
    if isinstance(command, PlaceHold):
        return place_hold(command, book, now)
    if isinstance(command, ChangeInventory):
        return change_inventory(command, book)
    if isinstance(command, PlaceBlock):
        return place_block(command, book, now)
    if isinstance(command, LiftBlock):
        return lift_block(command, book, now)
    return move_booking(command, book, now)


def place_hold(command: PlaceHold, book: Book, now: datetime) -> Verdict:
    """A hold, or with `confirm` a booking, of every line; the repeat of a key finds what it did the first time."""
    earlier = book.placed_with(command.channel, command.idempotency_key)
    if earlier is not None:
        if earlier.request_hash != command.request_hash:
            return KeyReused()
        return Unchanged(booking=earlier, replayed=True)
    if command.confirm and not command.is_paid and any(line.resource.venue.prepaid for line in command.lines):
        return PaymentRequired()
    refusal = refusal_of_basket(command.lines, book)
    if refusal is not None:
        return refusal
    booking = Booking(
        id=command.id,
        status=Status.CONFIRMED if command.confirm else Status.HELD,
        channel=command.channel,
        idempotency_key=command.idempotency_key,
        request_hash=command.request_hash,
        placed_at=now,
        ttl_seconds=None if command.confirm else command.ttl_seconds,
        items=items_of(command.lines, book),
        amended=None,
        expires_at=None if command.confirm else now + timedelta(seconds=command.ttl_seconds),
        reference=command.reference,
        customer=command.customer,
        revision=1,
    )
    return Decision(
        event="booking.confirmed" if command.confirm else "booking.held",
        resources=resources_of(booking.items),
        moves=tuple(takings(booking.items, booking.status)),
        booking=booking,
    )


def move_booking(command: BookingMove, book: Book, now: datetime) -> Verdict:
    """A step in the life of a booking that exists."""
    booking = book.bookings.get(command.booking)
    if booking is None:
        return UnknownBooking()
    if isinstance(command, ExpireHold):
        return expire(booking, now)
    if command.channel is not None and command.channel != booking.channel:
        return UnknownBooking()
    if isinstance(command, ConfirmBooking):
        if _lacks_payment(booking, command, book):
            return PaymentRequired()
        return confirm(booking, now, command.paid_for)
    if isinstance(command, ExtendHold):
        return extend(booking, command.ttl_seconds, now)
    if isinstance(command, ReleaseHold):
        return release(booking)
    if isinstance(command, CancelBooking):
        return cancel(booking, command.reason)
    return amend(booking, command, book, now)


def confirm(booking: Booking, now: datetime, paid_for: frozenset[ItemKey] | None = None) -> Verdict:
    """Only a living hold becomes a booking; confirming again finds it done. What was paid for must be what it has."""
    if paid_for is not None and keys_of(booking.lines) != paid_for:
        return BookingChanged()
    if booking.status is Status.CONFIRMED:
        return Unchanged(booking=booking)
    if (refusal := _unless_alive(booking, now)) is not None:
        return refusal
    return _ending("booking.confirmed", booking, Status.CONFIRMED)


def extend(booking: Booking, ttl_seconds: int, now: datetime) -> Verdict:
    """A new deadline, for a hold that is still alive."""
    if (refusal := _unless_alive(booking, now)) is not None:
        return refusal
    extended = replace(booking, expires_at=now + timedelta(seconds=ttl_seconds), revision=booking.revision + 1)
    return Decision(event="booking.extended", resources=resources_of(booking.lines), booking=extended)


def release(booking: Booking) -> Verdict:
    """A hold given back; one that has ended by itself is as good as released."""
    if booking.status in {Status.RELEASED, Status.EXPIRED}:
        return Unchanged(booking=booking)
    if booking.status is not Status.HELD:
        return WrongState(state=booking.status)
    return _ending("booking.released", booking, Status.RELEASED)


def expire(booking: Booking, now: datetime) -> Verdict:
    """The end of a hold whose deadline has passed; a hold that lives, or has ended, is left alone."""
    if booking.status is not Status.HELD or booking.alive(now):
        return Unchanged(booking=booking)
    return _ending("booking.expired", booking, Status.EXPIRED)


def cancel(booking: Booking, reason: str | None) -> Verdict:
    """The end of a confirmed booking."""
    if booking.status is Status.CANCELLED:
        return Unchanged(booking=booking)
    if booking.status is not Status.CONFIRMED:
        return WrongState(state=booking.status)
    return _ending("booking.cancelled", booking, Status.CANCELLED, reason)


def amend(booking: Booking, command: AmendBooking, book: Book, now: datetime) -> Verdict:
    """Other lines for a living booking, in one step; the units it has stand in nobody's way but others'."""
    if booking.status not in LIVE:
        return HoldExpired() if booking.status is Status.EXPIRED else WrongState(state=booking.status)
    if booking.status is Status.HELD and not booking.alive(now):
        return HoldExpired()
    if _same_lines(booking.lines, command.lines):
        return Unchanged(booking=booking)
    if command.paid_for is not None and keys_of(booking.lines) != command.paid_for:
        return BookingChanged()
    if _evades_payment(booking, command):
        return PaymentRequired()
    refusal = refusal_of_basket(command.lines, book, given_up=booking.lines)
    if refusal is not None:
        return refusal
    items = items_of(command.lines, book)
    moves = (*takings(booking.lines, booking.status, sign=-1), *takings(items, booking.status))
    return Decision(
        event="booking.amended",
        resources=resources_of((*items, *booking.lines)),
        moves=moves,
        booking=replace(booking, amended=items, revision=booking.revision + 1),
    )


def _lacks_payment(booking: Booking, command: ConfirmBooking, book: Book) -> bool:
    """Whether somebody who sells confirms what has to be paid for first; who sees all channels is the venue's own desk."""
    if booking.status is not Status.HELD or command.paid_for is not None or command.channel is None:
        return False
    return any(book.shelves[item.resource].resource.venue.prepaid for item in booking.lines)


def _ending(event: str, booking: Booking, status: Status, reason: str | None = None) -> Decision:
    moves = (*takings(booking.lines, booking.status, sign=-1), *takings(booking.lines, status))
    after = replace(booking, status=status, expires_at=None, revision=booking.revision + 1)
    return Decision(event=event, resources=resources_of(booking.lines), moves=moves, booking=after, reason=reason)


def _unless_alive(booking: Booking, now: datetime) -> Refusal | None:
    if booking.alive(now):
        return None
    if booking.status in {Status.HELD, Status.EXPIRED}:
        return HoldExpired()
    return WrongState(state=booking.status)


def _same_lines(items: tuple[Item, ...], lines: tuple[Line, ...]) -> bool:
    """Whether an amendment has already been made, so that sending it twice is harmless."""
    return [(i.resource, i.cells, i.quantity, i.session) for i in items] == [
        (line.resource.key, line.occupied, line.quantity, line.session) for line in lines
    ]


def _evades_payment(booking: Booking, command: AmendBooking) -> bool:
    """Whether somebody who sells turns what was confirmed without payment into what has to be paid for first."""
    if booking.status is not Status.CONFIRMED or command.paid_for is not None or command.channel is None:
        return False
    return any(line.resource.venue.prepaid for line in command.lines)
