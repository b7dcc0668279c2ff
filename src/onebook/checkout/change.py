"""What one step writes of a checkout: the row, what is posted, and what is told, all or nothing."""

from collections.abc import Sequence

import msgspec

from onebook.checkout.books.journal import Entry
from onebook.checkout.books.postings import of_completed
from onebook.checkout.record import Checkout, State
from onebook.log.facts import Touched

_encode = msgspec.json.Encoder().encode

_TOLD = {
    State.CHALLENGED: "checkout.challenged",
    State.COMPLETED: "checkout.completed",
    State.FAILED: "checkout.failed",
}


class Event(msgspec.Struct, frozen=True):
    """An entry of the log about a checkout. `data` is JSON."""

    checkout: str
    type: str
    subject: str
    venues: tuple[str, ...]
    traceparent: str | None
    data: msgspec.Raw


class CheckoutFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is told of a checkout: neither who pays nor with what."""

    checkout: str
    booking: str
    channel: str
    state: State
    amount_minor: int
    currency: str
    venues: tuple[str, ...]
    resources: tuple[Touched, ...]
    """None: the booking's own events tell what it has taken."""
    code: str | None = None
    confirmed_booking: str | None = None


class Change(msgspec.Struct, frozen=True):
    """A checkout as it shall be, written only if nobody has moved it since its last revision."""

    checkout: Checkout
    entries: tuple[Entry, ...] = ()
    event: Event | None = None


def beginning(checkout: Checkout) -> Change:
    """The first row."""
    return Change(checkout, event=_event("checkout.started", checkout))


def step(before: State, checkout: Checkout, books: Sequence[Entry] = ()) -> Change:
    """A step's effect; `books` are the booking's entries so far, where the end of this checkout adds to them."""
    if checkout.state is before:
        return Change(checkout)
    entries = of_completed(checkout, books) if checkout.state is State.COMPLETED else ()
    told = _TOLD.get(checkout.state)
    return Change(checkout, entries, None if told is None else _event(told, checkout))


def _event(kind: str, checkout: Checkout) -> Event:
    confirmed = checkout.confirmed_booking
    facts = CheckoutFacts(
        checkout=checkout.id,
        booking=checkout.booking,
        channel=checkout.channel,
        state=checkout.state,
        amount_minor=checkout.amount_minor,
        currency=checkout.currency,
        venues=checkout.venues,
        resources=(),
        code=checkout.code,
        confirmed_booking=confirmed,
    )
    data = msgspec.Raw(_encode(facts))
    return Event(checkout.id, kind, f"checkouts/{checkout.id}", checkout.venues, checkout.traceparent, data)
