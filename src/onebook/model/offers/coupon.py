"""A coupon's terms: what it is worth, and when. How often it was used is counted where it is taken (payment.coupon)."""

from datetime import date, datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from onebook.model.offers.bounds import Amount, BasisPoints, Currency, Instant, Label
from onebook.model.offers.flaw import Flaw, reversed_period

MAX_USES = 1_000_000_000

Uses = Annotated[int, Meta(ge=1, le=MAX_USES)]


class PercentOff(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="percent"):
    """A share of what is left to pay for the venue's items that it applies to, before taxes on top."""

    basis_points: BasisPoints


class AmountOff(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="fixed"):
    """So much of it, and never more than is left."""

    amount_minor: Amount


class CouponTerms(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a venue's coupon is worth, on all amounts in its `currency`, and who may use it when.

    `valid_from` and `valid_until` bound the time of booking, `stay_from` and `stay_to` the local dates on which an item's cells
    begin; both are half-open. `min_total_minor` is compared with the prices it applies to, after discounts and before any
    coupon. Of several coupons in one basket each has to be `combinable`.
    """

    name: Label
    currency: Currency
    worth: PercentOff | AmountOff
    valid_from: Instant | None = None
    valid_until: Instant | None = None
    stay_from: date | None = None
    stay_to: date | None = None
    max_uses: Uses | None = None
    max_uses_per_customer: Uses | None = None
    min_total_minor: Amount = 0
    combinable: bool = False

    def begun(self, now: datetime) -> bool:
        """Whether it may be used already."""
        return self.valid_from is None or self.valid_from <= now

    def ended(self, now: datetime) -> bool:
        """Whether it may not be used any more."""
        return self.valid_until is not None and self.valid_until <= now

    def covers(self, first_day: date, last_day: date) -> bool:
        """Whether it applies to an item whose cells begin on these dates."""
        return (self.stay_from is None or self.stay_from <= first_day) and (
            self.stay_to is None or last_day < self.stay_to
        )


def flaw_of_coupon(terms: CouponTerms) -> Flaw | None:
    """What is wrong with a coupon's terms although each of its fields may be."""
    if terms.valid_from is not None and terms.valid_until is not None and terms.valid_until <= terms.valid_from:
        return reversed_period("/valid_until")
    if terms.stay_from is not None and terms.stay_to is not None and terms.stay_to <= terms.stay_from:
        return reversed_period("/stay_to")
    return None
