"""Coupons taken off a basket: in the order given, each from what the one before it left."""

from collections.abc import Sequence
from datetime import datetime

from onebook.model.money import share, split
from onebook.model.offers.coupon import AmountOff
from onebook.model.offers.priced import (
    CannotBePriced,
    CouponExpired,
    CouponInvalid,
    CouponMinTotal,
    CouponNotCombinable,
    CouponRefused,
    MixedCurrencies,
)
from onebook.model.offers.quote import LineKind
from onebook.model.offers.sheet import Sheet
from onebook.model.offers.tariff import Coupon


def redeem(coupons: Sequence[Coupon], sheets: Sequence[Sheet], now: datetime) -> None:
    """Take each coupon off the items that it applies to, in proportion to their prices. Raises CannotBePriced."""
    names = [coupon_name(coupon) for coupon in coupons]
    for name, coupon in zip(names, coupons, strict=True):
        if names.count(name) > 1 or (len(names) > 1 and not coupon.terms.combinable):
            raise CannotBePriced(CouponNotCombinable(coupon=name))
        covered = [
            sheet
            for sheet in sheets
            if sheet.venue == coupon.venue and coupon.terms.covers(sheet.dates[0], sheet.dates[-1])
        ]
        reason = _refusal(coupon, covered, now)
        if reason is not None:
            raise CannotBePriced(reason)
        _take_off(coupon, covered)


def coupon_name(coupon: Coupon) -> str:
    """As quotes name it: "venue/CODE"."""
    return f"{coupon.venue}/{coupon.code}"


def _refusal(coupon: Coupon, covered: Sequence[Sheet], now: datetime) -> CouponRefused | MixedCurrencies | None:
    terms, name = coupon.terms, coupon_name(coupon)
    if terms.ended(now):
        return CouponExpired(coupon=name)
    if not covered or not terms.begun(now):
        return CouponInvalid(coupon=name)
    if covered[0].plan.currency != terms.currency:
        return MixedCurrencies(currencies=tuple(sorted((covered[0].plan.currency, terms.currency))))
    if sum(sheet.net_minor for sheet in covered) < terms.min_total_minor:
        return CouponMinTotal(coupon=name, min_total_minor=terms.min_total_minor)
    return None


def _take_off(coupon: Coupon, covered: Sequence[Sheet]) -> None:
    left_minor = [sheet.total_minor for sheet in covered]
    worth, whole_minor = coupon.terms.worth, sum(left_minor)
    off_minor = (
        min(worth.amount_minor, whole_minor) if isinstance(worth, AmountOff) else share(whole_minor, worth.basis_points)
    )
    for sheet, part_minor in zip(covered, split(off_minor, left_minor), strict=True):
        sheet.add(LineKind.COUPON, coupon.code, coupon.terms.name, -part_minor)
