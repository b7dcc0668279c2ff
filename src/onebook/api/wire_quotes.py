"""What requests for quotes and their answers look like."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

from onebook.api.wire import CODE_PATTERN, Code, ItemRequest, Text
from onebook.model.commands import MAX_ITEMS
from onebook.model.offers.quote import Guests, ItemPolicy, LineKind, Quote, QuotedItem, QuoteLine

MAX_COUPONS = 10

CouponName = Annotated[
    str,
    Meta(
        pattern=rf"^({CODE_PATTERN}/)?{CODE_PATTERN}\Z",
        description="A coupon's code, or, where several venues of a basket have it, venue/CODE.",
        examples=["SUMMER", "alfama/SUMMER"],
    ),
]


class QuoteItemRequest(ItemRequest, frozen=True, gc=False):
    """An item to be priced. Without `guests` as many come as the price includes, without `rate_plan` the closest one is taken."""

    guests: Guests | None = None
    rate_plan: Code | None = None


class QuoteRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Either `items`, or a `booking` whose items they are."""

    items: Annotated[tuple[QuoteItemRequest, ...], Meta(min_length=1, max_length=MAX_ITEMS)] | None = None
    booking: UUID | None = None
    coupons: Annotated[tuple[CouponName, ...], Meta(max_length=MAX_COUPONS)] = ()
    customer: Text | None = None


class QuoteAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What it costs. `quote` is the whole, signed: it holds its price until `valid_until`, and for a hold placed by then, or for
    the `booking` that it was made for, as long as the hold lives. `tax_minor` is what of the total is tax, on top or included.
    """

    id: str
    quote: str
    currency: str
    items: tuple[QuotedItem, ...]
    lines: tuple[QuoteLine, ...]
    policies: tuple[ItemPolicy, ...]
    total_minor: int
    due_now_minor: int
    due_later_minor: int
    tax_minor: int
    made_at: datetime
    valid_until: datetime
    coupons: tuple[str, ...] = ()
    booking: str | None = None
    customer: str | None = None


def quote_answer(quote: Quote, token: str) -> QuoteAnswer:
    """A quote as it is told, with its token."""
    return QuoteAnswer(
        id=quote.id,
        quote=token,
        currency=quote.currency,
        items=quote.items,
        lines=quote.lines,
        policies=quote.policies,
        total_minor=quote.total_minor,
        due_now_minor=quote.due_now_minor,
        due_later_minor=quote.total_minor - quote.due_now_minor,
        tax_minor=sum(line.amount_minor for line in quote.lines if line.kind is LineKind.TAX),
        made_at=quote.made_at,
        valid_until=quote.valid_until,
        coupons=quote.coupons,
        booking=quote.booking,
        customer=quote.customer,
    )
