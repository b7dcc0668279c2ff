"""What holds for every basket, tariff and coupon there can be."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.unit.offering import coupon, fixed, minutes, nights, percent, plan, priced, quote_of, tariff
from tests.unit.rules import LISBON, NOON, resource

from onebook.model.money import share
from onebook.model.offers.coupon import AmountOff, PercentOff
from onebook.model.offers.plan import (
    FirstNightDeposit,
    FixedDeposit,
    LengthDiscount,
    Occupancy,
    Override,
    RatePlan,
    ShareDeposit,
    WeekdayPrices,
)
from onebook.model.offers.policy import Policy, cancellation_fees, item_totals
from onebook.model.offers.priced import Asked, Priced
from onebook.model.offers.pricing import price
from onebook.model.offers.quote import Guests, LineKind, PolicyStep
from onebook.model.offers.rates import cell_prices
from onebook.model.offers.tariff import Coupon, Tariff
from onebook.model.offers.tax import Per, Tax

ROOMS = [resource(f"room{number}") for number in range(3)]
DAYS = st.dates(date(2026, 11, 1), date(2027, 2, 1))
POINTS = st.integers(0, 10_000)
SMALL = st.integers(0, 9) | st.integers(0, 20_000)  # few units have the odd ones that divisions leave
ZONES = ["Europe/Lisbon", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kolkata"]

overrides = st.builds(
    lambda day, length, price_minor: Override(starts=day, ends=day + timedelta(length), price_minor=price_minor),
    DAYS,
    st.integers(1, 40),
    SMALL,
)
plans = st.builds(
    plan,
    SMALL,
    weekdays=st.none() | st.builds(WeekdayPrices, fri=st.none() | SMALL, sun=st.none() | SMALL),
    overrides=st.lists(overrides, max_size=4).map(tuple),
    occupancy=st.none() | st.builds(Occupancy, included=st.integers(0, 3), adult_minor=SMALL, child_minor=SMALL),
    length_discounts=st.lists(st.builds(LengthDiscount, st.integers(1, 9), POINTS), max_size=3).map(tuple),
    deposit=st.none() | st.builds(ShareDeposit, POINTS) | st.builds(FixedDeposit, SMALL) | st.just(FirstNightDeposit()),
    policy=st.sampled_from([None, "steps"]),
)
taxes = st.builds(percent, POINTS, included=st.booleans()) | st.builds(
    fixed, SMALL, st.sampled_from(Per), included=st.booleans()
)
policies = st.builds(
    Policy,
    st.just("Steps"),
    steps=st.lists(st.builds(PolicyStep, st.integers(0, 500), POINTS), max_size=4).map(tuple),
)


@st.composite
def _tariffs(draw: st.DrawFn) -> Tariff:
    charged: list[Tax] = draw(st.lists(taxes, max_size=4))
    sold: list[RatePlan] = draw(st.lists(plans, min_size=2, max_size=2))
    return tariff(*sold, taxes={f"tax{n}": tax for n, tax in enumerate(charged)}, policies={"steps": draw(policies)})


@st.composite
def _stays(draw: st.DrawFn) -> Asked:
    starts = draw(DAYS)
    return nights(
        starts.isoformat(),
        (starts + timedelta(draw(st.integers(1, 10)))).isoformat(),
        of=draw(st.sampled_from(ROOMS)),
        quantity=draw(st.integers(1, 4)),
        guests=draw(st.none() | st.builds(Guests, st.integers(0, 4), st.integers(0, 4))),
        rate_plan=draw(st.sampled_from([None, "plan0", "plan1"])),
    )


coupons = st.lists(
    st.builds(AmountOff, st.integers(0, 20) | st.integers(0, 200_000)) | st.builds(PercentOff, POINTS), max_size=3
).map(lambda worths: [coupon(worth, f"C{n}", combinable=True) for n, worth in enumerate(worths)])
baskets = st.lists(_stays(), min_size=1, max_size=4)


@given(baskets, _tariffs(), coupons)
@settings(max_examples=100, deadline=None)
def test_every_price_adds_up(items: list[Asked], by: Tariff, taken: list[Coupon]) -> None:
    """Lines sum to the total, multiply as they say, leave no item below zero, and at most the total is due."""
    answer = priced(items, by, *taken)
    assert sum(line.amount_minor for line in answer.lines if not line.included) == answer.total_minor
    assert all(line.amount_minor == line.quantity * line.unit_minor for line in answer.lines if line.unit_minor)
    totals = item_totals(answer.lines, len(items))
    assert min(totals) >= 0
    assert sum(totals) == answer.total_minor
    assert 0 <= answer.due_now_minor <= answer.total_minor
    for line in answer.lines:
        taken_off = line.kind in (LineKind.DISCOUNT, LineKind.COUPON)
        assert line.amount_minor <= 0 if taken_off else line.amount_minor >= 0


@given(baskets, _tariffs(), coupons)
@settings(max_examples=50, deadline=None)
def test_included_taxes_are_within_the_price(items: list[Asked], by: Tariff, taken: list[Coupon]) -> None:
    """What prices contain is no more than the prices after all that was taken off."""
    answer = priced(items, by, *taken)
    on_top = (LineKind.TAX, LineKind.FEE)
    for item in range(len(items)):
        lines = [line for line in answer.lines if line.item == item]
        prices = sum(line.amount_minor for line in lines if line.kind not in on_top)
        assert sum(line.amount_minor for line in lines if line.included) <= prices


@given(st.lists(_stays(), min_size=2, max_size=3), _tariffs(), coupons)
@settings(max_examples=100, deadline=None)
def test_the_order_of_items_changes_nothing(items: list[Asked], by: Tariff, taken: list[Coupon]) -> None:
    """A basket put together in another order costs the same, as a whole, now, and when it is cancelled."""
    one, other = quote_of(priced(items, by, *taken)), quote_of(priced(items[::-1], by, *taken))
    assert (one.total_minor, one.due_now_minor) == (other.total_minor, other.due_now_minor)
    assert sorted(cancellation_fees(one, NOON)) == sorted(cancellation_fees(other, NOON))


@given(baskets, _tariffs(), coupons, st.datetimes(datetime(2026, 10, 1), datetime(2027, 3, 1)))
@settings(max_examples=50, deadline=None)
def test_no_more_is_kept_than_was_paid(items: list[Asked], by: Tariff, taken: list[Coupon], when: datetime) -> None:
    """Whenever a booking is cancelled, each item's fee lies between nothing and its total."""
    quote = quote_of(priced(items, by, *taken))
    fees = cancellation_fees(quote, when.replace(tzinfo=UTC))
    for fee, total in zip(fees, item_totals(quote.lines, len(items)), strict=True):
        assert 0 <= fee <= total


@given(plans, DAYS, st.integers(1, 30))
@settings(max_examples=100, deadline=None)
def test_a_cell_costs_the_same_in_every_stay(of: RatePlan, first: date, length: int) -> None:
    """The prices of a long stay are those of its nights, each for itself."""
    dates = [first + timedelta(day) for day in range(length)]
    assert cell_prices(of, dates) == [cell_prices(of, [day])[0] for day in dates]


@given(st.sampled_from(ZONES), st.dates(date(2026, 1, 1), date(2027, 1, 1)), SMALL)
@settings(max_examples=150, deadline=None)
def test_a_local_day_costs_its_cells(zone: str, day: date, price_minor: int) -> None:
    """From midnight to midnight of the venue every cell is the day's, however many hours a clock change leaves it."""
    place = ZoneInfo(zone)
    begins, ends = (
        datetime.combine(each, datetime.min.time(), place).astimezone(UTC) for each in (day, day + timedelta(1))
    )
    by = tariff(plan(None, overrides=(Override(starts=day, ends=day + timedelta(1), price_minor=price_minor),)))
    answer = priced(minutes(begins.isoformat(), ends.isoformat(), place), by)
    assert answer.total_minor == (ends - begins) // timedelta(minutes=30) * price_minor


@given(st.lists(POINTS, min_size=1, max_size=4), st.integers(0, 10**9))
@settings(deadline=None)
def test_an_included_tax_put_on_top_gives_the_price(rates: list[int], price_minor: int) -> None:
    """The net amount with its percentages on top comes back to the price, up to the rounding of the one share."""
    by = tariff(plan(price_minor), taxes={f"t{n}": percent(rate, included=True) for n, rate in enumerate(rates)})
    answer = priced(nights(ends="2026-12-04"), by)
    net_minor = price_minor - sum(line.amount_minor for line in answer.lines if line.included)
    assert abs(net_minor + share(net_minor, sum(rates)) - price_minor) <= 1 + sum(rates) // 10_000


@given(_stays(), _tariffs())
@settings(max_examples=50, deadline=None)
def test_what_is_asked_for_decides_alone(item: Asked, by: Tariff) -> None:
    """The same question has the same answer, and a venue that sells nothing here has no say."""
    other = {LISBON.code: by, "elsewhere": tariff(plan(1))}
    assert price([item], other, [], NOON) == priced(item, by)
    assert isinstance(price([replace(item, rate_plan="plan0")], other, [], NOON), Priced)
