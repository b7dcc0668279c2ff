"""Settlements and checkouts of one booking at the same time: its money is divided once, and nobody pays for what is over."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.integration.test_settlements import Desk, open_desk, price
from tests.integration.till import ROOM, TOTAL_MINOR, furnish, open_till, simulating, until

from onebook.checkout.checkouts import Found
from onebook.checkout.failures import CheckoutRefused
from onebook.checkout.openings import Opening
from onebook.checkout.prices.quotes import Wish
from onebook.checkout.prices.standing import QuoteMismatch
from onebook.checkout.record import Checkout
from onebook.checkout.record import State as CheckoutState
from onebook.checkout.settling.settlement import State
from onebook.checkout.settling.settlements import Settlements
from onebook.ledger.definitions import ResourceDefinition
from onebook.ledger.failures import Unprocessable
from onebook.model.booking import BookingId
from onebook.model.commands import Wanted
from onebook.model.offers.coupon import AmountOff, CouponTerms
from onebook.model.offers.plan import RatePlan
from onebook.model.resource import Kind, Unit

DEPOSIT_MINOR = TOTAL_MINOR // 5


@pytest.fixture
async def gateway_url(tmp_path: Path) -> AsyncIterator[str]:
    """A simulated gateway of this test's own."""
    async with simulating(tmp_path) as url:
        yield url


@pytest.fixture
async def desk(database_url: str, gateway_url: str) -> AsyncIterator[Desk]:
    """One worker's till and settlements, with a room to sell."""
    async with open_till(database_url, gateway_url) as till:
        await furnish(till)
        async with open_desk(till) as opened:
            yield opened


async def captured_minor(desk: Desk) -> int:
    """What the gateway has taken in all."""
    return sum(payment["captured_minor"] for payment in (await desk.till.at_gateway()).values())


async def deposited(desk: Desk) -> BookingId:
    """A booking of the past, of which a fifth was paid."""
    await price(desk, deposit_basis_points=2_000)
    booking = await desk.paid("a")
    await desk.arrives_in(2025)
    return booking


async def test_who_did_not_come_is_not_charged_the_rest(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settled between a payer's look and the first row: the checkout looks once more, and takes nothing."""
    booking = await deposited(desk)
    begin = desk.till.checkouts._begin

    async def settled_meanwhile(checkout: Checkout, opening: Opening) -> Found:
        await desk.settlements.no_show(booking)
        return await begin(checkout, opening)

    monkeypatch.setattr(desk.till.checkouts, "_begin", settled_meanwhile)
    late = await desk.till.ended((await desk.till.pay(booking, key="rest")).checkout)
    assert (late.state, late.code) == (CheckoutState.FAILED, "already-settled")
    assert await captured_minor(desk) == DEPOSIT_MINOR
    await desk.is_sound()


async def test_a_payer_who_is_asked_something_gives_way(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A settlement that has looked before the checkout's first row waits until the checkout has stepped back."""
    booking = await deposited(desk)
    waiting = (await desk.till.pay(booking, "tok_challenge", "rest")).checkout
    assert waiting.state is CheckoutState.CHALLENGED
    monkeypatch.setattr("onebook.checkout.settling.settlements._refusal", lambda *_: None)  # it has looked before
    settled = await desk.ended(await desk.settlements.no_show(booking))
    assert (settled.state, settled.fee_minor) == (State.SETTLED, DEPOSIT_MINOR)
    assert (await desk.till.ended(waiting)).code == "already-settled"
    assert await captured_minor(desk) == DEPOSIT_MINOR
    await desk.is_sound()


async def test_what_is_being_taken_is_divided_as_well(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A balance that the gateway has taken already, and we have not heard of, is waited for."""
    booking = await deposited(desk)
    await desk.till.faults(slow_ms=800, calls=["capture"])
    paying = asyncio.create_task(desk.till.pay(booking, key="rest"))

    async def is_taken() -> bool:
        return await captured_minor(desk) == TOTAL_MINOR

    await until(is_taken)
    monkeypatch.setattr("onebook.checkout.settling.settlements._refusal", lambda *_: None)  # it has looked before
    settled = await desk.ended(await desk.settlements.no_show(booking))
    assert (await paying).checkout.state is CheckoutState.COMPLETED
    assert (settled.state, settled.fee_minor) == (State.SETTLED, TOTAL_MINOR)
    await desk.is_sound()


async def test_a_coupon_is_not_slipped_into_an_amendment(desk: Desk) -> None:
    """Coupons are taken with the first payment: a quote that has others is not for this booking."""
    terms = CouponTerms(name="Half", currency="EUR", worth=AmountOff(15_000), max_uses=1)
    await desk.till.offers.coupons.put("alfama", "HALF", terms)
    booking = await desk.paid("a")
    wanted = (Wanted(ROOM, starts="2027-03-01", ends="2027-03-05"),)
    at = await desk.till.payments.fetchval("SELECT now()")
    cheap = await desk.till.quotes.of_items([Wish(wanted[0])], at, coupons=["HALF"])
    with pytest.raises(CheckoutRefused) as refused:
        await desk.till.checkouts.quote_instead(booking, wanted, desk.till.quotes.token(cheap), only_channel=None)
    assert isinstance(refused.value.refusal, QuoteMismatch)


async def test_a_booking_is_not_amended_into_another_currency(desk: Desk) -> None:
    """300 euros do not become 30,000 yen."""
    till, dear = desk.till, "shibuya/double"
    await till.bench.definitions.put_venue("shibuya", "Shibuya", "Asia/Tokyo", "JPY", "tokyo")
    room = ResourceDefinition(code="double", name="Double", kind=Kind.ROOM, unit=Unit.NIGHT, cell_minutes=1, capacity=1)
    await till.bench.definitions.put_resources("shibuya", [room])
    await till.offers.put("shibuya", "flex", RatePlan(name="Flexible", currency="JPY", price_minor=9_000))
    booking = await desk.paid("a")
    wanted = (Wanted(dear, starts="2027-03-01", ends="2027-03-04"),)
    with pytest.raises(Unprocessable, match="paid for in EUR"):
        await till.checkouts.quote_instead(booking, wanted, None, only_channel=None)


async def test_what_was_paid_for_is_not_priced_anew(desk: Desk) -> None:
    """Amended to the items that it has, a booking costs what it did when prices have dropped; other items are priced."""
    booking = await desk.paid("a")
    await desk.till.offers.put("alfama", "flex", RatePlan(name="Cheap", currency="EUR", price_minor=100))
    await asyncio.sleep(0.06)  # a price may be so old
    same, fewer = ((Wanted(ROOM, starts="2027-03-01", ends=end),) for end in ("2027-03-04", "2027-03-03"))
    assert await desk.till.checkouts.quote_instead(booking, same, None, only_channel=None) is None
    amending = await desk.till.checkouts.quote_instead(booking, fewer, None, only_channel=None)
    assert amending is not None and amending.quote.total_minor == 200


async def test_a_gateway_that_is_silent_holds_up_no_round(database_url: str, gateway_url: str) -> None:
    """What was taken over is gone on with beside the loop, which is healthy meanwhile and takes over the next."""
    async with open_till(database_url, gateway_url, timeout_seconds=3.0) as till:
        await furnish(till)
        booking = await till.hold("a")
        await till.pay(booking)
        await till.faults(hang_seconds=10, calls=["refund"])
        settlements = Settlements(
            till.payments, till.bench.ledger, till.gateway, answer_seconds=0.1, resume_seconds=15, max_under_way=9
        )
        assert (await settlements.cancel(booking)).state is State.MOVING

        async def takes_over() -> bool:
            return await settlements.run_once() > 0

        async with asyncio.timeout(2):
            await until(takes_over)
        settlements.stop()
        await settlements.run()
