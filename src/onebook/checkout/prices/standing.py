"""Whether a quote still holds for a booking: a pure rule."""

from datetime import datetime

from onebook.model.booking import Booking
from onebook.model.items import keys_of
from onebook.model.offers.quote import Quote
from onebook.model.refusals import Refusal


class QuoteMismatch(Refusal, frozen=True):
    """The quote is of another booking, of other items, or for somebody else."""

    detail: str

    code = "quote-mismatch"
    title = "The quote is not for this booking"


class QuoteExpired(Refusal, frozen=True):
    """Nothing holds the quote's price any more."""

    valid_until: datetime

    code = "quote-expired"
    title = "The quote's time has passed"


def stands(quote: Quote, booking: Booking, now: datetime) -> Refusal | None:
    """Why the quote does not hold for the booking, or None.

    It holds until `valid_until`; for a booking that it was made for, or that was placed before that, as long as the hold lives.
    The order of items does not matter.
    """
    if (refusal := is_anothers(quote, booking)) is not None:
        return refusal
    if keys_of(quote.items) != keys_of(booking.lines):
        return QuoteMismatch("it is for other items than the booking has")
    keeps_price = quote.booking == booking.id or booking.placed_at <= quote.valid_until
    if now > quote.valid_until and not (keeps_price and booking.alive(now)):
        return QuoteExpired(quote.valid_until)
    return None


def is_anothers(quote: Quote, booking: Booking) -> Refusal | None:
    """The refusal of a quote that was made for another booking, or for another customer."""
    if quote.booking is not None and quote.booking != booking.id:
        return QuoteMismatch("it was made for another booking")
    if quote.customer is not None and booking.customer is not None and quote.customer != booking.customer:
        return QuoteMismatch("it was made for another customer")
    return None
