"""What pricing is asked for, and what it answers: a basket with its price, or the reason why it has none."""

import msgspec

from onebook.model.commands import Line
from onebook.model.offers.quote import Guests, ItemPolicy, QuotedItem, QuoteLine
from onebook.model.refusals import Refusal


class Asked(msgspec.Struct, frozen=True):
    """An item that is to be priced, its cells found. By default the included guests come, on the closest plan."""

    line: Line
    guests: Guests | None = None
    rate_plan: str | None = None


class Priced(msgspec.Struct, frozen=True):
    """The parts of a quote that pricing knows; fields are those of Quote."""

    currency: str
    items: tuple[QuotedItem, ...]
    lines: tuple[QuoteLine, ...]
    policies: tuple[ItemPolicy, ...]
    total_minor: int
    due_now_minor: int
    coupons: tuple[str, ...]


class NotPriced(Refusal, frozen=True):
    """Base of the reasons why a basket has no price."""


class NoRate(NotPriced, frozen=True):
    """No rate plan sells this cell: of the plan asked for, or of any. `item` is its place in the basket."""

    code = "no-rate"
    title = "No rate plan, or not the one asked for, sells this cell"
    item: int
    resource: str
    cell: str


class MixedCurrencies(NotPriced, frozen=True):
    """The basket's prices, taxes and coupons are in several currencies; nothing is converted."""

    code = "mixed-currencies"
    title = "One basket has one currency"
    currencies: tuple[str, ...]


class TotalTooLarge(NotPriced, frozen=True):
    """More than `limit_minor`, the largest amount that every reader of JSON holds exactly."""

    code = "total-too-large"
    title = "The basket costs more than can be charged"
    limit_minor: int


class CouponRefused(NotPriced, frozen=True):
    """Base of the reasons why a coupon is not taken."""

    coupon: str


class CouponInvalid(CouponRefused, frozen=True):
    """Not known, not valid yet, or for none of the basket's items."""

    code = "coupon-invalid"
    title = "This coupon is not valid for this basket"


class CouponExpired(CouponRefused, frozen=True):
    """It was valid."""

    code = "coupon-expired"
    title = "This coupon has expired"


class CouponMinTotal(CouponRefused, frozen=True):
    """The items that it applies to cost less than it demands."""

    code = "coupon-min-total"
    title = "The basket costs less than the coupon demands"
    min_total_minor: int


class CouponNotCombinable(CouponRefused, frozen=True):
    """It is taken alone only."""

    code = "coupon-not-combinable"
    title = "This coupon cannot be combined with another"


class CannotBePriced(Exception):
    """Carries the reason out of the parts of pricing; `price` answers with it."""

    def __init__(self, reason: NotPriced) -> None:
        super().__init__(reason.code)
        self.reason = reason
