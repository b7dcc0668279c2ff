"""What baskets cost: each rule by an example."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from msgspec.structs import replace
from tests.unit.offering import (
    ROOM,
    amounts,
    coupon,
    fixed,
    minutes,
    nights,
    percent,
    plan,
    priced,
    quote_of,
    refused,
    session,
    tariff,
)
from tests.unit.rules import LISBON, NOON, resource

from onebook.model.money import MAX_TOTAL_MINOR
from onebook.model.offers.coupon import AmountOff, CouponTerms, PercentOff, flaw_of_coupon
from onebook.model.offers.plan import (
    FirstNightDeposit,
    FixedDeposit,
    LengthDiscount,
    Occupancy,
    Override,
    RatePlan,
    ShareDeposit,
    WeekdayPrices,
    flaw_of_plan,
)
from onebook.model.offers.policy import Policy, cancellation_fees, no_show_fees
from onebook.model.offers.priced import (
    CouponExpired,
    CouponInvalid,
    CouponMinTotal,
    CouponNotCombinable,
    MixedCurrencies,
    NoRate,
    Priced,
    TotalTooLarge,
)
from onebook.model.offers.pricing import price
from onebook.model.offers.quote import Guests, LineKind, PolicyStep
from onebook.model.offers.tax import Per
from onebook.model.resource import Kind

WEEKEND = WeekdayPrices(fri=12_000, sat=13_000)
CHRISTMAS = Override(starts=date(2026, 12, 24), ends=date(2026, 12, 27), price_minor=20_000)
TEN_OFF = AmountOff(amount_minor=1000)


def test_equal_cells_are_one_line() -> None:
    """Three nights in two rooms at one price are one line of six."""
    answer = priced(nights(quantity=2), tariff(plan()))
    assert amounts(answer, LineKind.PRICE) == [(6, 10_000, 60_000)]
    assert (answer.total_minor, answer.due_now_minor, answer.currency) == (60_000, 60_000, "EUR")


@pytest.mark.parametrize(
    ("starts", "ends", "expected"),
    [
        ("2026-12-03", "2026-12-04", [(1, 10_000)]),
        ("2026-12-03", "2026-12-06", [(1, 10_000), (1, 12_000), (1, 13_000)]),
        ("2026-12-02", "2026-12-10", [(6, 10_000), (1, 12_000), (1, 13_000)]),
        ("2026-12-23", "2026-12-25", [(1, 10_000), (1, 20_000)]),
        ("2026-12-26", "2026-12-28", [(1, 20_000), (1, 10_000)]),
        ("2026-12-30", "2027-01-02", [(1, 10_000), (1, 30_000), (1, 35_000)]),
    ],
)
def test_a_night_costs_what_its_date_costs(starts: str, ends: str, expected: list[tuple[int, int]]) -> None:
    """The last override that covers the date wins, then the weekday, then the plan."""
    new_year = Override(starts=date(2026, 12, 31), ends=date(2027, 1, 3), price_minor=30_000)
    fridays = Override(starts=date(2026, 12, 31), ends=date(2027, 1, 3), price_minor=35_000, weekdays=("fri",))
    by = tariff(plan(weekdays=WEEKEND, overrides=(CHRISTMAS, new_year, fridays)))
    lines = amounts(priced(nights(starts, ends), by), LineKind.PRICE)
    assert [(quantity, unit) for quantity, unit, _ in lines] == expected


def test_what_has_no_price_is_not_sold() -> None:
    """The first cell without a rate is named, with its item's place; so is an item that no plan sells."""
    weekends = tariff(plan(None, weekdays=WEEKEND))
    reason = refused(NoRate, [nights("2026-12-04", "2026-12-06"), nights("2026-12-05", "2026-12-08")], weekends)
    assert (reason.item, reason.resource, reason.cell) == (1, "alfama/double", "2026-12-06")
    assert refused(NoRate, nights(rate_plan="plan1"), weekends).cell == "2026-12-03"
    assert refused(NoRate, nights(rate_plan="plan0"), tariff(plan(resources=("suite",)))).item == 0
    assert refused(NoRate, nights(), tariff(plan(policy="forgotten"))).item == 0
    assert isinstance(price([nights()], {}, [], NOON), NoRate)


def test_the_closest_plan_is_taken() -> None:
    """A plan that names the resource comes before one for all; one that is asked for before both."""
    by = tariff(plan(10), plan(20, resources=("double",)), plan(30, resources=("double",)))
    assert [each.rate_plan for each in priced([nights(), nights(of=resource("suite"))], by).items] == ["plan1", "plan0"]
    assert priced(nights(rate_plan="plan2"), by).total_minor == 90


@pytest.mark.parametrize(
    ("guests", "expected"),
    [
        (None, []),
        (Guests(adults=1, children=1), []),
        (Guests(adults=3), [(6, 2000, 12_000)]),
        (Guests(adults=2, children=1), [(6, 500, 3000)]),
        (Guests(adults=3, children=2), [(6, 2000, 12_000), (12, 500, 6000)]),
        (Guests(adults=1, children=3), [(12, 500, 6000)]),
    ],
)
def test_further_guests_pay_supplements(guests: Guests | None, expected: list[tuple[int, int, int]]) -> None:
    """Per cell and unit; adults take the included places first."""
    by = tariff(plan(occupancy=Occupancy(included=2, adult_minor=2000, child_minor=500)))
    answer = priced(nights(quantity=2, guests=guests), by)
    assert amounts(answer, LineKind.SUPPLEMENT) == expected


@pytest.mark.parametrize(("ends", "off"), [("2026-12-05", []), ("2026-12-06", [-1500]), ("2026-12-10", [-7000])])
def test_a_long_stay_costs_less(ends: str, off: list[int]) -> None:
    """The longest step reached counts, whatever the order of the list."""
    steps = LengthDiscount(min_cells=7, basis_points=1000), LengthDiscount(min_cells=3, basis_points=500)
    answer = priced(nights(ends=ends), tariff(plan(length_discounts=steps)))
    assert [amount for _, _, amount in amounts(answer, LineKind.DISCOUNT)] == off


@pytest.mark.parametrize(
    ("worth", "expected"),
    [
        (AmountOff(amount_minor=1000), [-250, -750]),
        (AmountOff(amount_minor=10**12), [-10_000, -30_000]),
        (PercentOff(basis_points=3333), [-3333, -9999]),
        (PercentOff(basis_points=10_000), [-10_000, -30_000]),
    ],
)
def test_a_coupon_is_divided_among_the_items(worth: AmountOff | PercentOff, expected: list[int]) -> None:
    """Each item bears its part, and none falls below zero."""
    answer = priced([nights(ends="2026-12-04"), nights()], tariff(plan()), coupon(worth))
    assert [amount for _, _, amount in amounts(answer, LineKind.COUPON)] == expected
    assert answer.total_minor == 40_000 + sum(expected)
    assert answer.coupons == ("alfama/TEN",)


def test_odd_units_fall_where_the_items_say() -> None:
    """Two units off 1 and 3 are half a unit short on either; which it is, and with it the tax, is not a matter of order."""
    by = tariff(plan(1), taxes={"a": percent(5000)})
    one, three, off = nights(ends="2026-12-04"), nights(), coupon(AmountOff(amount_minor=2))
    assert priced([one, three], by, off).total_minor == priced([three, one], by, off).total_minor == 3


def test_a_fee_per_booking_falls_to_one_item() -> None:
    """And to the same one in whatever order, so that the deposit is the same."""
    by = tariff(plan(), plan(deposit=ShareDeposit(basis_points=0)), taxes={"fee": fixed(900, Per.BOOKING)})
    whole, later = nights(rate_plan="plan0"), nights(rate_plan="plan1")
    for items in ([whole, later], [later, whole]):
        assert priced(items, by).due_now_minor == 30_900


def test_coupons_follow_each_other() -> None:
    """A second coupon takes off what the first one left; both have to allow it."""
    half = coupon(PercentOff(basis_points=5000), "HALF", combinable=True)
    ten = coupon(TEN_OFF, combinable=True)
    alone = coupon(TEN_OFF, "ALONE")
    by = tariff(plan())
    assert priced(nights(), by, half, ten).total_minor == 14_000
    assert priced(nights(), by, ten, half).total_minor == 14_500
    assert refused(CouponNotCombinable, nights(), by, half, alone).coupon == "alfama/ALONE"
    assert refused(CouponNotCombinable, nights(), by, half, half).coupon == "alfama/HALF"


def test_coupons_have_their_time() -> None:
    """Before it begins and for other stays a coupon is not valid, from its end on it has expired."""
    by = tariff(plan())
    hour = timedelta(hours=1)
    assert refused(CouponExpired, nights(), by, coupon(TEN_OFF, valid_until=NOON)).code == "coupon-expired"
    assert refused(CouponInvalid, nights(), by, coupon(TEN_OFF, valid_from=NOON + hour)).code == "coupon-invalid"
    assert refused(CouponInvalid, nights(), by, coupon(TEN_OFF, stay_from=date(2026, 12, 4)))
    assert refused(CouponInvalid, nights(), by, coupon(TEN_OFF, stay_to=date(2026, 12, 5)))
    assert refused(CouponInvalid, nights(), by, coupon(TEN_OFF, venue="elsewhere"))
    just = coupon(
        TEN_OFF, valid_from=NOON, valid_until=NOON + hour, stay_from=date(2026, 12, 3), stay_to=date(2026, 12, 6)
    )
    assert priced(nights(), by, just).total_minor == 29_000


def test_coupons_can_demand_a_total() -> None:
    """After discounts and before any coupon."""
    by = tariff(plan(length_discounts=(LengthDiscount(min_cells=3, basis_points=1000),)))
    assert priced(nights(), by, coupon(TEN_OFF, min_total_minor=27_000)).total_minor == 26_000
    assert refused(CouponMinTotal, nights(), by, coupon(TEN_OFF, min_total_minor=27_001)).min_total_minor == 27_001


@pytest.mark.parametrize(
    ("per", "times"),
    [(Per.NIGHT, [6, 1]), (Per.PERSON, [6, 3]), (Per.PERSON_NIGHT, [18, 3]), (Per.BOOKING, [1])],
)
def test_fixed_amounts_are_charged_per(per: Per, times: list[int]) -> None:
    """Nights and persons count for each unit; what is owed per booking is charged once."""
    trio = Guests(adults=2, children=1)
    items = [nights(quantity=2, guests=trio), nights("2026-12-20", "2026-12-21", guests=trio)]
    answer = priced(items, tariff(plan(), taxes={"fee": fixed(150, per)}))
    assert amounts(answer, LineKind.FEE) == [(count, 150, count * 150) for count in times]
    assert answer.total_minor == 70_000 + 150 * sum(times)


def test_taxes_are_of_what_is_left_to_pay() -> None:
    """Percentages count after discounts and coupons, and not on one another."""
    by = tariff(plan(), taxes={"a": percent(1000), "b": percent(500), "c": fixed(700, Per.BOOKING)})
    answer = priced(nights(), by, coupon(AmountOff(amount_minor=10_000)))
    assert [amount for _, _, amount in amounts(answer, LineKind.TAX)] == [2000, 1000]
    assert answer.total_minor == 20_000 + 2000 + 1000 + 700


def test_included_taxes_explain() -> None:
    """Prices contain them: fixed amounts first, then percentages of what is left, divided by their rates."""
    taxes = {
        "city": fixed(300, Per.NIGHT, included=True),
        "state": percent(1500, included=True),
        "vat": percent(500, included=True),
    }
    answer = priced(nights(), tariff(plan(), taxes=taxes))
    assert [(each.code, each.amount_minor) for each in answer.lines if each.included] == [
        ("city", 900),
        ("state", 3638),
        ("vat", 1212),
    ]
    assert answer.total_minor == 30_000


def test_a_tax_is_for_its_kinds() -> None:
    """A tax that names kinds is charged on these."""
    for kinds, total_minor in (((Kind.ROOM, Kind.SEAT), 33_000), ((Kind.TABLE,), 30_000)):
        assert priced(nights(), tariff(plan(), taxes={"a": percent(1000, applies_to=kinds)})).total_minor == total_minor


@pytest.mark.parametrize(
    ("deposit", "due_now_minor"),
    [
        (None, 66_600),
        (ShareDeposit(basis_points=3333), 22_198),
        (FixedDeposit(amount_minor=5000), 10_000),
        (FixedDeposit(amount_minor=10**9), 66_600),
        (FirstNightDeposit(), 22_200),
    ],
)
def test_a_deposit_is_due_at_once(deposit: Any, due_now_minor: int) -> None:
    """A share of the total with taxes, an amount per unit, or the first night's part."""
    by = tariff(plan(deposit=deposit), taxes={"vat": percent(1100)})
    assert priced(nights(quantity=2), by).due_now_minor == due_now_minor


def test_the_first_night_counts_with_its_guests() -> None:
    """Its supplements are due, and its share of discounts; of a free stay the fees are due."""
    occupancy = Occupancy(included=1, adult_minor=2000)
    discount = (LengthDiscount(min_cells=2, basis_points=5000),)
    terms: dict[str, Any] = {
        "deposit": FirstNightDeposit(),
        "occupancy": occupancy,
        "weekdays": WEEKEND,
        "length_discounts": discount,
    }
    answer = priced(nights(guests=Guests(adults=2)), tariff(plan(**terms)))
    assert (answer.total_minor, answer.due_now_minor) == (20_500, 6000)
    free = tariff(plan(0, deposit=FirstNightDeposit()), taxes={"fee": fixed(500, Per.BOOKING)})
    assert priced(nights(), free).due_now_minor == 500


def test_one_basket_has_one_currency() -> None:
    """Plans, fixed taxes and coupons in another currency are refused, with the currencies named."""
    yen = plan(currency="JPY", resources=("suite",))
    mixed = refused(MixedCurrencies, [nights(), nights(of=resource("suite"))], tariff(plan(), yen))
    assert mixed.currencies == ("EUR", "JPY")
    refused(MixedCurrencies, nights(), tariff(plan(), taxes={"fee": fixed(1, Per.NIGHT, "JPY")}))
    refused(MixedCurrencies, nights(), tariff(plan()), coupon(TEN_OFF, currency="JPY"))


def test_what_json_cannot_hold_is_refused() -> None:
    """Also when a coupon takes it all off again: the lines would show it."""
    dear = tariff(plan(10**12))
    assert refused(TotalTooLarge, nights(quantity=1_000_000), dear).limit_minor == MAX_TOTAL_MINOR
    refused(TotalTooLarge, nights(quantity=1_000_000), dear, coupon(PercentOff(basis_points=10_000)))


def test_a_minute_cell_has_the_date_of_the_venue() -> None:
    """Half hours around midnight cost what their local dates cost, not those of UTC; night fees count local dates."""
    by = tariff(plan(100, weekdays=WeekdayPrices(sat=200)), taxes={"fee": fixed(10, Per.NIGHT)})
    tokyo = minutes("2026-12-04T14:00:00+00:00", "2026-12-04T16:30:00+00:00", ZoneInfo("Asia/Tokyo"))
    answer = priced(tokyo, by)
    assert amounts(answer, LineKind.PRICE) == [(2, 100, 200), (3, 200, 600)]
    assert amounts(answer, LineKind.FEE) == [(2, 10, 20)]
    assert answer.items[0].arrives_at == datetime(2026, 12, 4, 14, tzinfo=UTC)


@pytest.mark.parametrize(("day", "cells"), [("2026-03-29", 46), ("2026-10-25", 50), ("2026-10-26", 48)])
def test_days_of_a_clock_change_have_the_cells_they_have(day: str, cells: int) -> None:
    """A local day of 23 hours costs 46 half hours, one of 25 hours 50."""
    zone = LISBON.zone
    begins = datetime.combine(date.fromisoformat(day), datetime.min.time(), zone)
    ends = datetime.combine(date.fromisoformat(day) + timedelta(days=1), datetime.min.time(), zone)
    by = tariff(plan(None, overrides=(Override(starts=begins.date(), ends=ends.date(), price_minor=7),)))
    assert amounts(priced(minutes(begins.isoformat(), ends.isoformat()), by), LineKind.PRICE) == [(cells, 7, cells * 7)]


def test_a_session_has_the_date_on_which_it_begins() -> None:
    """A gala that begins on Friday in Lisbon is Friday's, though UTC has Saturday."""
    summer = datetime(2026, 7, 10, 23, 30, tzinfo=UTC)
    by = tariff(plan(100, weekdays=WeekdayPrices(fri=200, sat=300)))
    assert priced(session(summer - timedelta(minutes=60)), by).total_minor == 200
    answer = priced(session(summer), by)
    assert (answer.total_minor, answer.items[0].session) == (300, "gala")
    assert answer.items[0].arrives_at == summer


POLICY = Policy(
    name="Steps",
    steps=(
        PolicyStep(hours_before=24, fee_basis_points=10_000),
        PolicyStep(hours_before=72, fee_basis_points=2500),
        PolicyStep(hours_before=72, fee_basis_points=1500),
    ),
    no_show_basis_points=9000,
    check_in="14:00",
)


@pytest.mark.parametrize(
    ("hours", "fee"), [(100, 0), (72, 0), (71.99, 7500), (24, 7500), (23.99, 30_000), (0, 30_000), (-50, 30_000)]
)
def test_cancelling_costs_what_the_step_reached_says(hours: float, fee: int) -> None:
    """Hours count back from check-in; on its hour a step is not reached, and of two at one hour the dearer counts."""
    quote = quote_of(priced(nights(), tariff(plan(policy="steps"), policies={"steps": POLICY})))
    check_in = datetime(2026, 12, 3, 14, tzinfo=UTC)
    assert quote.items[0].arrives_at == check_in
    assert cancellation_fees(quote, check_in - timedelta(hours=hours)) == (fee,)


def test_each_item_has_its_own_terms() -> None:
    """Without a policy cancelling costs nothing; staying away costs all, or what the policy says. Taxes count."""
    by = tariff(plan(), plan(policy="steps"), policies={"steps": POLICY}, taxes={"a": percent(1000)})
    quote = quote_of(priced([nights(rate_plan="plan1"), nights(rate_plan="plan0")], by))
    assert cancellation_fees(quote, datetime(2026, 12, 3, tzinfo=UTC)) == (33_000, 0)
    assert no_show_fees(quote) == (29_700, 33_000)


def test_hours_before_are_hours_across_a_clock_change() -> None:
    """48 hours before the check-in on the day of the change are 48 hours, not two days by the wall clock."""
    policy = Policy(name="Two days", steps=(PolicyStep(hours_before=48, fee_basis_points=10_000),))
    by = tariff(plan(policy="two"), policies={"two": policy})
    quote = quote_of(priced(nights("2026-10-25", "2026-10-26"), by))
    same_wall_time = datetime(2026, 10, 23, 15, tzinfo=LISBON.zone)
    assert cancellation_fees(quote, same_wall_time) == (0,)
    assert cancellation_fees(quote, same_wall_time + timedelta(hours=1)) == (0,)
    assert cancellation_fees(quote, same_wall_time + timedelta(hours=1, seconds=1)) == (10_000,)


@pytest.mark.parametrize("first", ["0001-01-01", "9999-12-30"])
@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "America/Adak", "Europe/Amsterdam"])
def test_the_ends_of_the_calendar_have_prices(first: str, zone: str) -> None:
    """No date that the grid knows is beyond pricing or writing down, in whatever zone."""
    room = resource(venue=replace(LISBON, zone=ZoneInfo(zone)))
    ends = (date.fromisoformat(first) + timedelta(days=1)).isoformat()
    answer = priced(nights(first, ends, of=room), tariff(plan(overrides=(CHRISTMAS,), weekdays=WEEKEND)))
    assert msgspec.json.decode(msgspec.json.encode(answer), type=Priced).total_minor == answer.total_minor


@pytest.mark.parametrize(
    "document",
    [
        '{"name":"P","currency":"EUR","price_minor":-1}',
        '{"name":"P","currency":"eur","price_minor":1}',
        '{"name":"P","currency":"XXX","price_minor":1}',
        '{"name":"P","currency":"EUR","price_minor":1.5}',
        '{"name":"P","currency":"EUR","prise_minor":1}',
        '{"name":"P","currency":"EUR","deposit":{"kind":"percent","basis_points":10001}}',
        '{"name":"P","currency":"EUR","weekdays":{"fry":1}}',
        '{"name":"","currency":"EUR"}',
    ],
)
def test_a_plan_is_bounded(document: str) -> None:
    """What no plan can say is refused where it is read."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(document, type=RatePlan)


def test_reversed_periods_are_named() -> None:
    """A period that holds nothing is a flaw, with the place where it stands."""
    empty = Override(starts=date(2026, 12, 24), ends=date(2026, 12, 24), price_minor=1)
    flaw = flaw_of_plan(plan(overrides=(CHRISTMAS, empty)))
    assert flaw is not None
    assert (flaw.code, flaw.pointer) == ("reversed-period", "/overrides/1/to")
    assert flaw_of_plan(plan(overrides=(CHRISTMAS,))) is None
    terms = CouponTerms(name="C", currency="EUR", worth=TEN_OFF, stay_from=date(2026, 1, 2), stay_to=date(2026, 1, 2))
    flaw = flaw_of_coupon(terms)
    assert flaw is not None
    assert flaw.pointer == "/stay_to"
    assert flaw_of_coupon(replace(terms, stay_to=None, valid_from=NOON)) is None


def test_quotes_tell_what_was_asked() -> None:
    """An item comes back with its period, its guests and the plan it was priced by."""
    guests = Guests(adults=1)
    (item,) = priced(nights(quantity=2, guests=guests), tariff(plan())).items
    assert (item.resource, item.starts, item.ends, item.quantity) == (ROOM.key, "2026-12-03", "2026-12-06", 2)
    assert (item.guests, item.rate_plan, item.session) == (guests, "plan0", None)
