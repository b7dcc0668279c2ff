"""What a basket costs: a pure function from its items, the venues' tariffs and coupons to the parts of a quote.

The order: prices, supplements, discount for length; coupons in the order given; taxes and fees; deposits. Every step rounds by
`money.share` or divides by `money.split`. The order of the items changes no amount. docs/pricing.md has the rules.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, time, timedelta, timezone

from onebook.model.money import MAX_TOTAL_MINOR, proportion, share
from onebook.model.offers.plan import FixedDeposit, ShareDeposit
from onebook.model.offers.priced import (
    Asked,
    CannotBePriced,
    MixedCurrencies,
    NotPriced,
    Priced,
    TotalTooLarge,
)
from onebook.model.offers.quote import QuotedItem
from onebook.model.offers.rates import rated
from onebook.model.offers.redeeming import coupon_name, redeem
from onebook.model.offers.sheet import Sheet
from onebook.model.offers.tariff import Coupon, Tariff
from onebook.model.offers.taxing import levy
from onebook.model.resource import Unit


def price(
    items: Sequence[Asked], tariffs: Mapping[str, Tariff], coupons: Sequence[Coupon], now: datetime
) -> Priced | NotPriced:
    """The price of a basket of one item or more, explained; or why it has none. `tariffs` are by venue.

    No amount is negative but those of discounts and coupons, which leave no item below zero. How often a coupon may be used
    is not looked at: that is decided when it is taken.
    """
    try:
        sheets = [rated(index, asked, tariffs) for index, asked in enumerate(items)]
        currency = _currency(sheets)
        in_fixed_order = sheets if len(sheets) == 1 else sorted(sheets, key=_place)
        redeem(coupons, in_fixed_order, now)
        levy(in_fixed_order)
    except CannotBePriced as error:
        return error.reason
    total_minor = sum([sheet.total_minor for sheet in sheets])
    if max(total_minor, sum([sheet.gross_minor for sheet in sheets])) > MAX_TOTAL_MINOR:
        return TotalTooLarge(limit_minor=MAX_TOTAL_MINOR)
    return Priced(
        currency=currency,
        items=tuple([_quoted(sheet) for sheet in sheets]),
        lines=tuple([line for sheet in sheets for line in sheet.lines]),
        policies=tuple([sheet.tariff.policy_of(sheet.plan) for sheet in sheets]),
        total_minor=total_minor,
        due_now_minor=sum([_due_now(sheet) for sheet in sheets]),
        coupons=tuple([coupon_name(coupon) for coupon in coupons]),
    )


def _currency(sheets: Sequence[Sheet]) -> str:
    currencies = {sheet.plan.currency for sheet in sheets}
    if len(currencies) != 1:
        raise CannotBePriced(MixedCurrencies(currencies=tuple(sorted(currencies))))
    return currencies.pop()


def _place(sheet: Sheet) -> tuple[str, int, int, int, int, int, str]:
    # Odd units of a divided amount go to the first items, and fees per booking to the very first. Which those are must
    # not depend on how the basket was put together; items that are equal here cost the same.
    line = sheet.asked.line
    return line.resource.key, line.first, line.end, line.quantity, sheet.adults, sheet.children, sheet.plan_code


def _due_now(sheet: Sheet) -> int:
    deposit, total_minor = sheet.plan.deposit, sheet.total_minor
    if deposit is None:
        return total_minor
    if isinstance(deposit, ShareDeposit):
        return share(total_minor, deposit.basis_points)
    if isinstance(deposit, FixedDeposit):
        return min(deposit.amount_minor * sheet.asked.line.quantity, total_minor)
    # The first cell's part of all that the item comes to; of one that costs nothing but fees, these are due.
    return proportion(total_minor, sheet.first_cell_minor, sheet.gross_minor) if sheet.gross_minor else total_minor


def _quoted(sheet: Sheet) -> QuotedItem:
    asked, line = sheet.asked, sheet.asked.line
    return QuotedItem(
        resource=line.resource.key,
        starts=line.starts,
        ends=line.ends,
        quantity=line.quantity,
        arrives_at=_arrival(sheet),
        session=line.session,
        guests=asked.guests,
        rate_plan=sheet.plan_code,
    )


def _arrival(sheet: Sheet) -> datetime:
    line = sheet.asked.line
    zone = line.resource.venue.zone
    if line.resource.unit is Unit.NIGHT:
        check_in = time.fromisoformat(sheet.tariff.check_in_of(sheet.plan))
        arrival = datetime.combine(sheet.dates[0], check_in, zone)
    elif line.resource.unit is Unit.SESSION:
        arrival = datetime.fromisoformat(line.starts).astimezone(zone)
    else:
        arrival = datetime.fromtimestamp(line.first * line.resource.cell_minutes * 60, zone)
    # With its offset and without its zone: two times of one zone are otherwise subtracted by the wall clock.
    return arrival.replace(tzinfo=timezone(arrival.utcoffset() or timedelta()))
