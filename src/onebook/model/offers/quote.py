"""A quote: what a basket costs, line by line. It is signed as it stands and held to (checkout/prices/quotes.py)."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from onebook.model.offers.bounds import BasisPoints

MAX_GUESTS = 1000
MAX_HOURS_BEFORE = 24 * 366


class LineKind(StrEnum):
    """What a line of a quote stands for."""

    PRICE = "price"
    SUPPLEMENT = "supplement"
    DISCOUNT = "discount"
    COUPON = "coupon"
    TAX = "tax"
    FEE = "fee"


class QuoteLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line. `amount_minor` is signed: discounts and coupons are negative.

    `included` marks a tax or fee that the prices above contain already: it explains, and does not add to the total.
    """

    item: int
    """The item that it belongs to, by its place in the basket."""
    venue: str
    kind: LineKind
    code: str
    """Of the rate plan, tax, fee or coupon that it comes from."""
    label: str
    amount_minor: int
    quantity: int = 1
    """How many times `unit_minor`; for percentages 1."""
    unit_minor: int | None = None
    included: bool = False


class Guests(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who comes, per unit of an item."""

    adults: Annotated[int, Meta(ge=0, le=MAX_GUESTS)] = 2
    children: Annotated[int, Meta(ge=0, le=MAX_GUESTS)] = 0


class QuotedItem(msgspec.Struct, frozen=True, omit_defaults=True, rename={"starts": "from", "ends": "to"}):
    """An item of the basket that was priced."""

    resource: str
    starts: str
    ends: str
    quantity: int
    arrives_at: datetime
    """When it begins, as an instant: cancellation steps count back from it."""
    session: str | None = None
    guests: Guests | None = None
    rate_plan: str | None = None


class PolicyStep(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Cancelled less than `hours_before` arrival (and not less than any smaller step), the fee is this share of the total."""

    hours_before: Annotated[int, Meta(ge=0, le=MAX_HOURS_BEFORE)]
    fee_basis_points: BasisPoints


class ItemPolicy(msgspec.Struct, frozen=True):
    """What is kept when an item's booking is cancelled, or nobody comes."""

    code: str
    steps: tuple[PolicyStep, ...]
    """By hours descending. Earlier than the first one it costs nothing."""
    no_show_basis_points: int = 10_000


class Quote(msgspec.Struct, frozen=True, omit_defaults=True):
    """The whole. `total_minor` is the sum of all lines that are not `included`; `due_now_minor` of it is charged at checkout."""

    id: str
    made_at: datetime
    valid_until: datetime
    currency: str
    items: tuple[QuotedItem, ...]
    lines: tuple[QuoteLine, ...]
    policies: tuple[ItemPolicy, ...]
    """One for each item."""
    total_minor: int
    due_now_minor: int
    coupons: tuple[str, ...] = ()
    """As "venue/CODE"."""
    booking: str | None = None
    """Of a quote that was made for a booking: it holds for as long as the hold lives."""
    customer: str | None = None
