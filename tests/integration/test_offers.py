"""Offers as they are put, remembered and quoted from, on a real database."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from msgspec.structs import replace
from tests.conftest import Bench

from onebook.checkout.failures import CheckoutRefused
from onebook.checkout.prices.coupons import CouponUsed
from onebook.checkout.prices.offers import Offers
from onebook.checkout.prices.quotes import Quotes, Wish
from onebook.checkout.prices.seal import Seal
from onebook.checkout.prices.standing import stands
from onebook.ledger.definitions import ResourceDefinition
from onebook.ledger.failures import UnknownName, Unprocessable
from onebook.ledger.ledger import Placing
from onebook.model.commands import Wanted
from onebook.model.decision import Decision
from onebook.model.offers.coupon import AmountOff, CouponTerms
from onebook.model.offers.plan import Override, RatePlan
from onebook.model.offers.policy import Policy
from onebook.model.offers.quote import PolicyStep
from onebook.model.offers.tax import AmountRate, Levy, Per, PercentRate, Tax
from onebook.model.refusals import InUse
from onebook.model.resource import Kind, Unit

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
NIGHTS = Wanted("alfama/double", "2026-12-01", "2026-12-04")
FLEX = RatePlan(name="Flexible", currency="EUR", price_minor=10_000)
OFF = CouponTerms(name="Five off", currency="EUR", worth=AmountOff(500), max_uses=2)


def offers_of(bench: Bench, fresh_seconds: float = 0.0) -> Offers:
    """Offers as another worker has them; a copy is looked at again each time unless told otherwise."""
    return Offers(bench.reader, bench.reader, bench.reader, bench.catalog, fresh_seconds=fresh_seconds)


def quotes_of(bench: Bench, offers: Offers, seconds: float = 1800) -> Quotes:
    """Quotes with a key of their own."""
    return Quotes(offers, bench.catalog, Seal(b"k" * 32), quote_seconds=seconds)


async def told(bench: Bench) -> list[str]:
    """The subjects of all changes of offers in the log, in its order."""
    rows = await bench.reader.fetch("SELECT subject FROM log WHERE type = 'offer.changed' ORDER BY txn, position")
    return [row["subject"] for row in rows]


async def refused(quotes: Quotes, *coupons: str) -> str:
    """The code with which a quote for three nights is refused."""
    with pytest.raises(CheckoutRefused) as caught:
        await quotes.of_items([Wish(NIGHTS)], NOW, coupons=coupons)
    return caught.value.refusal.code


async def test_what_is_put_is_kept_and_told_once(bench: Bench) -> None:
    """An offer is new, then replaced, then the same; only what changes something is an entry of the log."""
    await bench.room("alfama/double")
    offers = offers_of(bench)
    assert await offers.put("alfama", "flex", FLEX)
    assert not await offers.put("alfama", "flex", FLEX)
    assert not await offers.put("alfama", "flex", replace(FLEX, price_minor=9_000))
    assert await offers.one(RatePlan, "alfama", "flex") == replace(FLEX, price_minor=9_000)
    assert await offers.delete(RatePlan, "alfama", "flex")
    assert not await offers.delete(RatePlan, "alfama", "flex")
    assert await offers.all(RatePlan, "alfama") == {}
    assert await told(bench) == ["offers/alfama/rate/flex"] * 3


@pytest.mark.parametrize(
    ("offer", "code", "pointer"),
    [
        (replace(FLEX, resources=("double", "suite")), "unknown-resource", "/resources/1"),
        (replace(FLEX, currency="USD"), "wrong-currency", "/currency"),
        (replace(FLEX, policy="strict"), "unknown-policy", "/policy"),
        (replace(FLEX, overrides=(Override(NOW.date(), NOW.date(), 1),)), "reversed-period", "/overrides/0/to"),
        (Tax(name="City", levy=Levy.TAX, rate=AmountRate(200, "USD", Per.NIGHT)), "wrong-currency", "/rate/currency"),
    ],
)
async def test_what_means_nothing_is_not_kept(bench: Bench, offer: Any, code: str, pointer: str) -> None:
    """Offers that name what is not there, or contradict themselves, are refused at their field and leave nothing."""
    await bench.room("alfama/double")
    offers = offers_of(bench)
    with pytest.raises(Unprocessable) as caught:
        await offers.put("alfama", "x", offer)
    assert (caught.value.code, caught.value.pointer) == (code, pointer)
    assert await told(bench) == []
    with pytest.raises(UnknownName):
        await offers.put("nowhere", "x", offer)


async def test_a_policy_that_is_named_stays(bench: Bench) -> None:
    """A policy cannot be deleted under a rate plan, and can when the plan is gone."""
    await bench.room("alfama/double")
    offers = offers_of(bench)
    await offers.put("alfama", "strict", Policy(name="Strict", steps=(PolicyStep(48, 10_000),)))
    await offers.put("alfama", "flex", replace(FLEX, policy="strict"))
    assert isinstance(await offers.delete(Policy, "alfama", "strict"), InUse)
    await offers.delete(RatePlan, "alfama", "flex")
    assert await offers.delete(Policy, "alfama", "strict") is True


async def test_another_workers_change_is_seen_when_the_copy_is_no_longer_fresh(bench: Bench) -> None:
    """A worker prices by its copy for as long as that is fresh, and then by what another worker has put."""
    await bench.room("alfama/double")
    here, there, patient = offers_of(bench), offers_of(bench), offers_of(bench, fresh_seconds=3600)
    await here.put("alfama", "flex", FLEX)
    for offers in (there, patient):
        assert (await offers.tariffs.of(["alfama"]))["alfama"].plans == {"flex": FLEX}
    dearer = replace(FLEX, price_minor=12_000)
    await here.put("alfama", "flex", dearer)
    assert (await there.tariffs.of(["alfama"]))["alfama"].plans == {"flex": dearer}
    assert (await patient.tariffs.of(["alfama"]))["alfama"].plans == {"flex": FLEX}
    # What a worker has put itself it knows at once, however long its copy would be fresh.
    await patient.put("alfama", "saver", FLEX)
    assert (await patient.tariffs.of(["alfama"]))["alfama"].plans == {"flex": dearer, "saver": FLEX}


async def test_no_change_is_missed_when_many_change_at_once(bench: Bench) -> None:
    """Changes that two workers make at the same time, while a third reads, are all seen by it in the end."""
    venues = [f"v{number}" for number in range(6)]
    for venue in venues:
        await bench.room(f"{venue}/double")
    workers, third = [offers_of(bench), offers_of(bench)], offers_of(bench)

    async def change(worker: Offers, number: int) -> None:
        for venue in venues:
            await worker.put(venue, f"plan-{number}", replace(FLEX, price_minor=number))
            await third.tariffs.of(venues)

    await asyncio.gather(*(change(worker, number) for number in range(3) for worker in workers))
    seen = await third.tariffs.of(venues)
    wanted = {f"plan-{number}": replace(FLEX, price_minor=number) for number in range(3)}
    assert {venue: tariff.plans for venue, tariff in seen.items()} == dict.fromkeys(venues, wanted)


async def test_a_quote_says_the_same_after_prices_have_changed(bench: Bench) -> None:
    """A quote explains its total line by line, and its token goes on saying so when the rate plan is another one or gone."""
    await bench.room("alfama/double")
    offers = offers_of(bench)
    quotes = quotes_of(bench, offers)
    await offers.put("alfama", "flex", FLEX)
    await offers.put("alfama", "vat", Tax(name="IVA", levy=Levy.TAX, rate=PercentRate(600), included=True))
    await offers.put("alfama", "city", Tax(name="City", levy=Levy.TAX, rate=AmountRate(200, "EUR", Per.PERSON_NIGHT)))
    quote = await quotes.of_items([Wish(NIGHTS)], NOW)
    token = quotes.token(quote)
    assert {(line.kind, line.code): line.amount_minor for line in quote.lines} == {
        ("price", "flex"): 30_000,
        ("tax", "vat"): 1_698,
        ("tax", "city"): 600,
    }
    assert (quote.total_minor, quote.due_now_minor, quote.valid_until) == (30_600, 30_600, NOW + timedelta(minutes=30))
    await offers.put("alfama", "flex", replace(FLEX, price_minor=1))
    assert (await quotes.of_items([Wish(NIGHTS)], NOW)).total_minor == 603
    await offers.delete(RatePlan, "alfama", "flex")
    assert await refused(quotes) == "no-rate"
    assert quotes.read(token) == quote


async def test_a_booking_is_quoted_as_it_is(bench: Bench) -> None:
    """A quote for a hold has the hold's items, of any kind, and stands for it until its deadline and for no other booking."""
    await bench.room("alfama/double", capacity=2)
    await bench.resource("alfama/ana", kind=Kind.STAFF, unit=Unit.MINUTE, cell_minutes=15)
    await bench.resource("alfama/show", kind=Kind.ACTIVITY, unit=Unit.SESSION, capacity=9)
    starts = datetime(2026, 12, 24, 20, tzinfo=UTC)
    await bench.definitions.put_session("alfama", "late", starts, starts + timedelta(hours=2))
    offers = offers_of(bench)
    quotes = quotes_of(bench, offers, seconds=60)
    await offers.put("alfama", "flex", FLEX)
    hour = Wanted("alfama/ana", "2026-12-01T10:00:00+00:00", "2026-12-01T11:00:00+00:00")
    items = [NIGHTS, hour, Wanted("alfama/show", session="late", quantity=3)]
    first, second = [
        await bench.ledger.place(items[:count], Placing("desk", str(uuid4()), b"h" * 16, 3600)) for count in (3, 1)
    ]
    assert isinstance(first.verdict, Decision) and isinstance(second.verdict, Decision)
    booking, other = first.verdict.booking, second.verdict.booking
    assert booking is not None and other is not None
    quote = await quotes.of_booking(booking, first.at)
    assert (quote.booking, quote.total_minor) == (booking.id, (3 + 4 + 3) * 10_000)
    last_moment = first.at + timedelta(seconds=3590)
    assert stands(quote, booking, last_moment) is None
    assert getattr(stands(quote, other, first.at), "code", None) == "quote-mismatch"
    await bench.definitions.put_session("alfama", "late", starts + timedelta(hours=1), starts + timedelta(hours=3))
    assert stands(await quotes.of_booking(booking, first.at), booking, last_moment) is None


async def test_coupons_count_and_stay_in_the_books(bench: Bench) -> None:
    """A coupon that is spent is refused; its limit cannot fall below its uses, and one that was taken cannot be deleted."""
    await bench.room("alfama/double")
    offers = offers_of(bench)
    quotes = quotes_of(bench, offers)
    await offers.put("alfama", "flex", FLEX)
    assert (await _put(offers, "alfama", OFF)).is_new
    assert not (await _put(offers, "alfama", OFF)).is_new
    for name in ("FIVE", "alfama/FIVE"):
        assert (await quotes.of_items([Wish(NIGHTS)], NOW, coupons=[name])).total_minor == 29_500
    await bench.reader.execute("UPDATE payment.coupon SET used = 2")
    assert await refused(quotes, "FIVE") == "coupon-spent"
    assert await offers.coupons.put("alfama", "FIVE", replace(OFF, max_uses=1)) == CouponUsed(used=2, max_uses=1)
    assert (await _put(offers, "alfama", replace(OFF, max_uses=3))).coupon.used == 2
    async with bench.reader.acquire() as connection, connection.transaction():
        await connection.execute("SET LOCAL session_replication_role = replica")  # a use without its checkout
        await connection.execute(
            "INSERT INTO payment.coupon_use (checkout, venue, code) VALUES ($1, 'alfama', 'FIVE')", uuid4()
        )
    assert await offers.coupons.delete("alfama", "FIVE") == CouponUsed(used=2, max_uses=None)
    assert await told(bench) == ["offers/alfama/rate/flex"]


async def test_a_coupon_of_several_venues_has_to_be_named_whole(bench: Bench) -> None:
    """In a basket of two venues a bare code is that of the one that has it; where both have it, which is meant must be said."""
    offers = offers_of(bench)
    quotes = quotes_of(bench, offers)
    for venue in ("alfama", "bairro"):
        await bench.room(f"{venue}/double")
        await offers.put(venue, "flex", FLEX)
    basket = [Wish(NIGHTS), Wish(Wanted("bairro/double", "2026-12-01", "2026-12-02"))]
    await _put(offers, "bairro", OFF)
    assert (await quotes.of_items(basket, NOW, coupons=["FIVE"])).coupons == ("bairro/FIVE",)
    await _put(offers, "alfama", OFF)
    with pytest.raises(Unprocessable) as caught:
        await quotes.of_items(basket, NOW, coupons=["FIVE"])
    assert (caught.value.code, caught.value.pointer) == ("ambiguous-coupon", "/coupons/0")
    assert (await quotes.of_items(basket, NOW, coupons=["alfama/FIVE"])).total_minor == 39_500
    assert await refused(quotes, "SIX") == "coupon-invalid"


async def test_one_basket_has_one_currency(bench: Bench) -> None:
    """Venues that sell in different currencies cannot be in one quote."""
    offers = offers_of(bench)
    await bench.room("alfama/double")
    await bench.definitions.put_venue("ginza", "Ginza", "Asia/Tokyo", "JPY", "tokyo")
    double = ResourceDefinition("double", Kind.ROOM, "Double", Unit.NIGHT, cell_minutes=1440, capacity=1)
    await bench.definitions.put_resources("ginza", [double])
    rooms = [Wish(NIGHTS), Wish(Wanted("ginza/double", "2026-12-01", "2026-12-02"))]
    with pytest.raises(Unprocessable, match="one currency") as caught:
        await quotes_of(bench, offers).of_items(rooms, NOW)
    assert caught.value.code == "mixed-currencies"


async def _put(offers: Offers, venue: str, terms: CouponTerms) -> Any:
    put = await offers.coupons.put(venue, "FIVE", terms)
    assert not isinstance(put, CouponUsed)
    return put
