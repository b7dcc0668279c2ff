"""What answers about offers look like. What is put is the definition itself (model/offers): its bounds are the document's."""

from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta
from msgspec.structs import asdict

from onebook.api.wire import Code
from onebook.checkout.prices.coupons import KeptCoupon
from onebook.model.offers.coupon import CouponTerms
from onebook.model.offers.plan import RatePlan
from onebook.model.offers.policy import Policy
from onebook.model.offers.tax import Tax

MAX_COUPONS = 500

S = TypeVar("S", bound=msgspec.Struct)


class RatePlanAnswer(RatePlan, frozen=True, kw_only=True, omit_defaults=False):
    """A rate plan under its code."""

    code: str


class TaxAnswer(Tax, frozen=True, kw_only=True, omit_defaults=False):
    """A tax or a fee under its code."""

    code: str


class PolicyAnswer(Policy, frozen=True, kw_only=True, omit_defaults=False):
    """A policy under its code."""

    code: str


class CouponAnswer(CouponTerms, frozen=True, kw_only=True, omit_defaults=False):
    """A coupon under its code, and how often it is used."""

    code: str
    used: int


class RatePlanList(msgspec.Struct, frozen=True):
    """All of a venue, by code."""

    rates: list[RatePlanAnswer]


class TaxList(msgspec.Struct, frozen=True):
    """All of a venue, by code."""

    taxes: list[TaxAnswer]


class PolicyList(msgspec.Struct, frozen=True):
    """All of a venue, by code."""

    policies: list[PolicyAnswer]


class CouponList(msgspec.Struct, frozen=True):
    """A page, by code; `next_cursor` is null on the last."""

    coupons: list[CouponAnswer]
    next_cursor: str | None


class CouponsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which coupons: those after the cursor."""

    cursor: Code | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_COUPONS)] = 100


def coded(answer: type[S], definition: msgspec.Struct, **more: Any) -> S:
    """A definition as it is told: its own fields, and some more."""
    return answer(**asdict(definition), **more)


def coupon_answer(kept: KeptCoupon) -> CouponAnswer:
    """A coupon as it is told."""
    return coded(CouponAnswer, kept.terms, code=kept.code, used=kept.used)
