"""Tariffs and items for tests of pricing: everything by default as plain as it can be."""

from datetime import UTC, date, datetime
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from msgspec.structs import replace
from tests.unit.rules import LISBON, NOON, resource

from onebook.model.commands import Line, Wanted
from onebook.model.offers.coupon import AmountOff, CouponTerms, PercentOff
from onebook.model.offers.plan import RatePlan
from onebook.model.offers.priced import Asked, NotPriced, Priced
from onebook.model.offers.pricing import price
from onebook.model.offers.quote import Guests, LineKind, Quote
from onebook.model.offers.tariff import Coupon, Tariff
from onebook.model.offers.tax import AmountRate, Levy, Per, PercentRate, Tax
from onebook.model.periods import minute_label, minute_number, night_number
from onebook.model.resource import Kind, Resource, Unit

R = TypeVar("R", bound=NotPriced)

ROOM = resource("double")
THURSDAY = date(2026, 12, 3)


def plan(price_minor: int | None = 10_000, **options: Any) -> RatePlan:
    """A rate plan for everything, in euro."""
    return RatePlan(**{"name": "Plan", "currency": "EUR", "price_minor": price_minor} | options)


def percent(basis_points: int, **options: Any) -> Tax:
    """A tax in per cent."""
    return _tax(Levy.TAX, PercentRate(basis_points=basis_points), options)


def fixed(amount_minor: int, per: Per, currency: str = "EUR", **options: Any) -> Tax:
    """A fee of so much."""
    return _tax(Levy.FEE, AmountRate(amount_minor=amount_minor, currency=currency, per=per), options)


def _tax(levy: Levy, rate: PercentRate | AmountRate, options: dict[str, Any]) -> Tax:
    return Tax(name=str(levy), levy=levy, rate=rate, **options)


def tariff(*plans: RatePlan, **options: Any) -> Tariff:
    """A tariff of plans "plan0", "plan1", …, and of the taxes and policies given."""
    parts: dict[str, Any] = {"plans": {f"plan{i}": each for i, each in enumerate(plans)}, "taxes": {}, "policies": {}}
    return Tariff(**parts | options)


def coupon(worth: AmountOff | PercentOff, code: str = "TEN", venue: str = LISBON.code, **options: Any) -> Coupon:
    """A coupon of the venue."""
    return Coupon(venue, code, CouponTerms(**{"name": "Coupon", "currency": "EUR", "worth": worth} | options))


def nights(
    starts: str = "2026-12-03",
    ends: str = "2026-12-06",
    of: Resource = ROOM,
    quantity: int = 1,
    guests: Guests | None = None,
    rate_plan: str | None = None,
) -> Asked:
    """Nights of a room, from Thursday to Sunday unless others are named."""
    wanted = Wanted(resource=of.key, starts=starts, ends=ends, quantity=quantity)
    line = Line(of, night_number(starts), night_number(ends), quantity, starts, ends, None, wanted)
    return Asked(line, guests, rate_plan)


def minutes(starts: str, ends: str, zone: ZoneInfo = LISBON.zone, step: int = 30) -> Asked:
    """A table in a zone, between two instants."""
    of = resource("table", unit=Unit.MINUTE, cell_minutes=step, kind=Kind.TABLE, venue=replace(LISBON, zone=zone))
    first, end = minute_number(starts, step), minute_number(ends, step)
    labels = minute_label(first, step, zone), minute_label(end, step, zone)
    return Asked(Line(of, first, end, 1, *labels, None, Wanted(resource=of.key)))


def session(starts: datetime) -> Asked:
    """A seat at a performance of two hours."""
    of = resource("A-42", unit=Unit.SESSION, kind=Kind.SEAT)
    ends = starts.replace(hour=23)
    return Asked(Line(of, 1, 2, 1, starts.isoformat(), ends.isoformat(), "gala", Wanted(resource=of.key)))


def priced(items: Asked | list[Asked], by: Tariff, *coupons: Coupon, now: datetime = NOON) -> Priced:
    """The price of items of the one venue; they have to have one."""
    answer = price(items if isinstance(items, list) else [items], {LISBON.code: by}, coupons, now)
    assert isinstance(answer, Priced), answer
    return answer


def refused(kind: type[R], items: Asked | list[Asked], by: Tariff, *coupons: Coupon, now: datetime = NOON) -> R:
    """Why items have no price; they must not have one, and for this reason."""
    answer = price(items if isinstance(items, list) else [items], {LISBON.code: by}, coupons, now)
    assert isinstance(answer, kind), answer
    return answer


def amounts(answer: Priced, *kinds: LineKind) -> list[tuple[int, int | None, int]]:
    """Quantity, unit and amount of the lines of some kinds."""
    return [(each.quantity, each.unit_minor, each.amount_minor) for each in answer.lines if each.kind in kinds]


def quote_of(answer: Priced) -> Quote:
    """A quote of a price."""
    return Quote(
        id="quote",
        made_at=NOON,
        valid_until=datetime(2027, 1, 1, tzinfo=UTC),
        currency=answer.currency,
        items=answer.items,
        lines=answer.lines,
        policies=answer.policies,
        total_minor=answer.total_minor,
        due_now_minor=answer.due_now_minor,
    )
