"""Everything a venue charges by, as one value: what pricing is handed, and what its keeper loads whole."""

import msgspec

from onebook.model.offers.coupon import CouponTerms
from onebook.model.offers.plan import RatePlan
from onebook.model.offers.policy import Policy
from onebook.model.offers.tax import Tax


class Tariff(msgspec.Struct, frozen=True):
    """Rate plans, taxes and policies of one venue, by their codes."""

    plans: dict[str, RatePlan]
    taxes: dict[str, Tax]
    policies: dict[str, Policy]


class Coupon(msgspec.Struct, frozen=True):
    """A coupon that was found: where it is taken, its code and its terms."""

    venue: str
    code: str
    terms: CouponTerms
