"""Why the ledger says no. A refusal is an expected answer with a stable code, never an exception in a batch."""

from typing import ClassVar

import msgspec


class Unavailable(msgspec.Struct, frozen=True, omit_defaults=True):
    """One item that stands in the way: which cells, how many units are left there, and the figure asked against."""

    resource: str
    unavailable: tuple[str, ...]
    available: int
    limit: int | None = None


class Refusal(msgspec.Struct, frozen=True):
    """Base of all refusals."""

    code: ClassVar[str] = "refused"
    status: ClassVar[int] = 409
    title: ClassVar[str] = "The ledger refused"


class NotBookable(Refusal, frozen=True):
    """Items of a basket cannot be had; the code says why the first of them cannot."""

    items: tuple[Unavailable, ...]


class SoldOut(NotBookable, frozen=True):
    """Fewer units are left than were asked for."""

    code = "sold-out"
    title = "Not enough units are left for the period"


class Closed(NotBookable, frozen=True):
    """The operator has stopped the sale of these cells."""

    code = "closed"
    title = "The sale is stopped for part of the period"


class MinStay(NotBookable, frozen=True):
    """The period is shorter than the arrival allows."""

    code = "min-stay"
    title = "The period is shorter than the minimum stay"


class MaxStay(NotBookable, frozen=True):
    """The period is longer than the arrival allows."""

    code = "max-stay"
    title = "The period is longer than the maximum stay"


class ClosedToArrival(NotBookable, frozen=True):
    """No period may begin on this cell."""

    code = "closed-to-arrival"
    title = "No stay may begin then"


class ClosedToDeparture(NotBookable, frozen=True):
    """No period may end on this cell."""

    code = "closed-to-departure"
    title = "No stay may end then"


class OutsideHours(NotBookable, frozen=True):
    """The venue is not open for the whole of the period."""

    code = "outside-hours"
    title = "The period is not within opening hours"


class KeyReused(Refusal, frozen=True):
    """The idempotency key belongs to another request."""

    code = "idempotency-key-reused"
    status = 422
    title = "This Idempotency-Key was used with another payload"


class UnknownBooking(Refusal, frozen=True):
    """There is no such booking, or not for this channel."""

    code = "not-found"
    status = 404
    title = "There is no such booking"


class UnknownBlock(Refusal, frozen=True):
    """There is no such block."""

    code = "not-found"
    status = 404
    title = "There is no such block"


class WrongState(Refusal, frozen=True):
    """The move does not start from the state that the booking is in."""

    state: str

    code = "wrong-state"
    title = "The booking is not in a state that allows this"


class BookingChanged(Refusal, frozen=True):
    """The booking has other items by now than those that were priced."""

    code = "booking-changed"
    title = "The booking has been amended meanwhile"


class PaymentRequired(Refusal, frozen=True):
    """The venue is prepaid: only a checkout confirms, or the venue's own desk."""

    code = "payment-required"
    title = "This venue's bookings are confirmed by paying for them"


class HoldExpired(Refusal, frozen=True):
    """The hold's deadline has passed."""

    code = "hold-expired"
    status = 410
    title = "The hold has expired"


class VersionMismatch(Refusal, frozen=True):
    """The resource has changed since the version named in If-Match."""

    version: int

    code = "version-mismatch"
    status = 412
    title = "The resource has another version by now"


class BelowSold(Refusal, frozen=True):
    """A lower capacity would leave more units sold than exist; the figures are those of the fullest cell."""

    resource: str
    cell: str
    taken: int
    capacity: int
    overbooking: int

    code = "capacity-below-sold"
    title = "More units are sold than the new capacity and overbooking allowance"


class InUse(Refusal, frozen=True):
    """What is already sold by a definition fixes that part of it."""

    what: str
    field: str

    code = "in-use"
    title = "This cannot be changed any more, since it is in use"
