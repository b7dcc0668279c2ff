"""Checkouts on a real PostgreSQL, with a simulated gateway: whatever happens, paid and confirmed, or not charged and released."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path

import aiohttp
import asyncpg
import pytest
from tests.integration.till import ROOM, TOTAL_MINOR, Till, furnish, open_till, simulating, until

from onebook.checkout.checkouts import Paying
from onebook.checkout.failures import (
    AlreadyPaid,
    CheckoutRefused,
    CheckoutUnderWay,
    GatewayClosed,
    SpentCoupon,
    TokenNeeded,
)
from onebook.checkout.prices.quotes import Wish
from onebook.checkout.record import Purpose, State
from onebook.ledger.ledger import Placing
from onebook.model.booking import Status
from onebook.model.commands import CancelBooking, ConfirmBooking, ExpireHold, Wanted
from onebook.model.decision import Decision
from onebook.model.offers.coupon import AmountOff, CouponTerms
from onebook.model.offers.plan import RatePlan, ShareDeposit
from onebook.model.refusals import HoldExpired, KeyReused, PaymentRequired


async def _any(found: Awaitable[object]) -> bool:
    """Whether there is any."""
    return bool(await found)


PAID = {"gateway-clearing": TOTAL_MINOR, "revenue": -TOTAL_MINOR}


@pytest.fixture
async def gateway_url(tmp_path: Path) -> AsyncIterator[str]:
    """A simulated gateway of this test's own."""
    async with simulating(tmp_path) as url:
        yield url


@pytest.fixture
async def till(database_url: str, gateway_url: str) -> AsyncIterator[Till]:
    """One worker's till, with a room to sell."""
    async with open_till(database_url, gateway_url) as opened:
        await furnish(opened)
        yield opened


async def test_a_hold_is_paid_and_confirmed(till: Till) -> None:
    """The money is at the gateway, the booking confirmed, the books say both, and the log tells it."""
    booking = await till.hold("a")
    found = await till.pay(booking)
    assert (found.checkout.state, found.is_replayed) == (State.COMPLETED, False)
    assert await till.status(booking) is Status.CONFIRMED
    assert (await till.at_gateway())[found.checkout.id]["captured_minor"] == TOTAL_MINOR
    assert await till.balances() == PAID
    told = [row["type"] for row in await till.payments.fetch("SELECT type FROM log ORDER BY txn, position")]
    assert told[-4:] == ["booking.held", "checkout.started", "booking.confirmed", "checkout.completed"]


async def test_the_same_request_is_the_same_checkout(till: Till) -> None:
    """Sixteen at once under one key charge once; another payload under it is refused."""
    booking = await till.hold("a")
    found = await asyncio.gather(*(till.pay(booking) for _ in range(16)))
    assert {one.checkout.id for one in found} == {found[0].checkout.id}
    assert sum(not one.is_replayed for one in found) == 1
    assert len(await till.at_gateway()) == 1 and await till.balances() == PAID
    with pytest.raises(CheckoutRefused) as refused:
        await till.pay(booking, "tok_other")
    assert isinstance(refused.value.refusal, KeyReused)


async def test_one_payer_at_a_time(till: Till) -> None:
    """Of sixteen payers with keys of their own one pays; the others are told that somebody does, or that it is paid."""
    booking = await till.hold("a")
    answers = await asyncio.gather(*(till.pay(booking, key=f"k{i}") for i in range(16)), return_exceptions=True)
    refusals = [a.refusal for a in answers if isinstance(a, CheckoutRefused)]
    assert len(refusals) == 15 and all(isinstance(r, CheckoutUnderWay | AlreadyPaid) for r in refusals)
    assert len(await till.at_gateway()) == 1


@pytest.mark.parametrize("keeps", [False, True])
async def test_a_decline_charges_nothing(till: Till, keeps: bool) -> None:
    """The hold is released; or kept, and another token pays for it."""
    booking = await till.hold("a")
    declined = await till.pay(booking, "tok_insufficient_funds", on_decline="keep" if keeps else "release")
    assert (declined.checkout.state, declined.checkout.code) == (State.FAILED, "insufficient_funds")
    assert await till.status(booking) is (Status.HELD if keeps else Status.RELEASED)
    assert await till.balances() == {}
    if keeps:
        assert (await till.pay(booking, key="again")).checkout.state is State.COMPLETED


@pytest.mark.parametrize(
    "token",
    ["tok_timeout_before", "tok_timeout_after", "tok_error_before", "tok_late_authorization", "tok_late_capture"],
)
async def test_an_answer_that_is_lost_or_late_charges_once(till: Till, token: str) -> None:
    """It is asked for again, and comes to the same."""
    booking = await till.hold("a")
    ended = await till.ended((await till.pay(booking, token)).checkout)
    assert ended.state is State.COMPLETED and await till.balances() == PAID
    [payment] = (await till.at_gateway()).values()
    assert payment["captured_minor"] == TOTAL_MINOR


@pytest.mark.parametrize(
    ("token", "code"), [("tok_wrong_amount", "amount-mismatch"), ("tok_capture_refused", "capture-refused")]
)
async def test_money_that_is_not_what_was_asked_for_is_set_free(till: Till, token: str, code: str) -> None:
    """Another amount, or none in the end: nothing is taken, nothing stays booked."""
    booking = await till.hold("a")
    ended = await till.ended((await till.pay(booking, token)).checkout)
    assert (ended.state, ended.code) == (State.FAILED, code)
    assert await till.status(booking) in {Status.RELEASED, Status.CANCELLED}
    [payment] = (await till.at_gateway()).values()
    assert payment["captured_minor"] == payment["refunded_minor"] == 0 and await till.balances() == {}


@pytest.mark.parametrize("outcome", ["pass", "fail"])
async def test_the_payer_is_waited_for(till: Till, outcome: str) -> None:
    """The hold is made to live as long as the challenge; then it is confirmed, or released."""
    booking = await till.hold("a", ttl_seconds=5)
    waiting = (await till.pay(booking, "tok_challenge")).checkout
    assert waiting.state is State.CHALLENGED and waiting.challenge_url is not None
    held = await till.store.booking(booking)
    assert (
        held is not None and held.expires_at is not None and (held.expires_at - waiting.begun_at).total_seconds() > 600
    )
    async with aiohttp.ClientSession() as browser, browser.post(waiting.challenge_url, data={"outcome": outcome}):
        pass
    ended = await till.ended(waiting)
    passed = outcome == "pass"
    assert ended.state is (State.COMPLETED if passed else State.FAILED)
    assert await till.status(booking) is (Status.CONFIRMED if passed else Status.RELEASED)


async def test_a_payer_who_does_not_come_back_loses_the_hold(database_url: str, gateway_url: str) -> None:
    """After the challenge's time it ends without a charge."""
    async with open_till(database_url, gateway_url, challenge_seconds=0.5) as till:
        await furnish(till)
        booking = await till.hold("a")
        ended = await till.ended((await till.pay(booking, "tok_challenge")).checkout)
        assert (ended.state, ended.code) == (State.FAILED, "challenge-timeout")
        assert await till.status(booking) is Status.RELEASED


@pytest.mark.parametrize("is_left", [True, False])
async def test_money_that_comes_after_the_hold_has_expired(till: Till, is_left: bool) -> None:
    """The same units are taken again under another booking; where they are sold the money is set free."""
    await till.bench.room(ROOM, capacity=1)
    booking = await till.hold("a", ttl_seconds=1)
    await till.faults(slow_ms=1200, calls=["authorize"])
    paying = asyncio.create_task(till.pay(booking))
    await till.run_out(booking)
    if not is_left:
        await till.bench.ledger.move(ExpireHold(booking))
        await till.bench.ledger.place(
            [Wanted(ROOM, starts="2027-03-01", ends="2027-03-04")], Placing("rival", "r", b"r", 600, confirm=True)
        )
    checkout = await till.ended((await paying).checkout)
    [payment] = (await till.at_gateway()).values()
    if is_left:
        assert checkout.state is State.COMPLETED and checkout.confirmed_booking not in {None, booking}
        assert await till.status(checkout.confirmed_booking) is Status.CONFIRMED
        assert payment["captured_minor"] == TOTAL_MINOR and await till.balances() == PAID
    else:
        assert (checkout.state, checkout.code) == (State.FAILED, "hold-expired")
        assert payment["captured_minor"] == 0 and await till.balances() == {}


async def test_another_worker_goes_on(database_url: str, gateway_url: str) -> None:
    """A worker that dies in the middle of its call leaves a row that another one brings to its end, charging once."""
    async with open_till(database_url, gateway_url, resumes=False, lease_seconds=0.3) as dying:
        await furnish(dying)
        booking = await dying.hold("a")
        await dying.faults(slow_ms=400, calls=["authorize"])
        paying = asyncio.create_task(dying.pay(booking))
        await until(lambda: _any(dying.store.of_booking(booking)))
        [checkout] = await dying.store.of_booking(booking)
        dying.driver._tasks[checkout.id].cancel()
        await asyncio.wait({paying})
        async with open_till(database_url, gateway_url, lease_seconds=0.3) as other:
            ended = await other.ended(checkout)
            assert ended.state is State.COMPLETED and await other.balances() == PAID
            assert len(await other.at_gateway()) == 1


async def test_two_workers_on_one_row(database_url: str, gateway_url: str) -> None:
    """A lease that is far too short has workers overtake each other all the time; still each booking is charged once."""
    async with (
        open_till(database_url, gateway_url, lease_seconds=0.05) as one,
        open_till(database_url, gateway_url, lease_seconds=0.05) as two,
    ):
        await furnish(one, capacity=20)
        await one.faults(seed=7, slow_ms=80, timeout_after=0.1, error_before=0.1)
        bookings = [await one.hold(f"b{i}") for i in range(12)]
        found = await asyncio.gather(*((one if i % 2 else two).pay(b) for i, b in enumerate(bookings)))
        ended = [await one.ended(one_found.checkout) for one_found in found]
        assert {checkout.state for checkout in ended} == {State.COMPLETED}
        assert await one.balances() == {name: amount * 12 for name, amount in PAID.items()}
        assert [p["captured_minor"] for p in (await one.at_gateway()).values()] == [TOTAL_MINOR] * 12


async def test_nobody_else_confirms_while_it_is_being_paid(till: Till) -> None:
    """The database refuses it; control: with its trigger removed the booking is confirmed without a cent."""
    booking = await till.hold("a")
    waiting = (await till.pay(booking, "tok_challenge")).checkout
    with pytest.raises(CheckoutRefused):
        await till.checkouts.refuse_while_paying(booking)
    with pytest.raises(asyncpg.CheckViolationError, match="confirmed by its checkout"):
        await till.bench.ledger.move(ConfirmBooking(booking, None))
    assert await till.status(booking) is Status.HELD
    await till.payments.execute("DROP TRIGGER booking_is_confirmed_by_its_checkout ON booking")
    await till.bench.ledger.move(ConfirmBooking(booking, None))
    assert await till.status(booking) is Status.CONFIRMED and waiting.state is State.CHALLENGED


async def test_what_was_amended_meanwhile_is_not_sold_at_the_old_price(till: Till) -> None:
    """The confirmation names what was paid for: other items, and the money is set free."""
    booking = await till.hold("a")
    waiting = (await till.pay(booking, "tok_challenge")).checkout
    await till.bench.ledger.amend(booking, [Wanted(ROOM, starts="2027-03-01", ends="2027-03-20")], channel=None)
    async with aiohttp.ClientSession() as browser, browser.post(str(waiting.challenge_url), data={"outcome": "pass"}):
        pass
    ended = await till.ended(waiting)
    assert (ended.state, ended.code) == (State.FAILED, "booking-changed")
    assert [p["captured_minor"] for p in (await till.at_gateway()).values()] == [0]


async def test_a_deposit_and_then_the_rest(till: Till) -> None:
    """At first only the deposit is charged; a second checkout charges what it left, and a third has nothing to pay."""
    plan = RatePlan(name="Flexible", currency="EUR", price_minor=10_000, deposit=ShareDeposit(basis_points=3000))
    await till.offers.put("alfama", "flex", plan)
    await asyncio.sleep(0.06)  # a price may be so old
    booking = await till.hold("a")
    deposit = (await till.pay(booking)).checkout
    assert (deposit.state, deposit.amount_minor) == (State.COMPLETED, 9_000)
    rest = (await till.pay(booking, key="rest")).checkout
    assert (rest.state, rest.amount_minor, rest.purpose) == (State.COMPLETED, 21_000, Purpose.BALANCE)
    assert await till.balances() == PAID
    with pytest.raises(CheckoutRefused) as refused:
        await till.pay(booking, key="more")
    assert isinstance(refused.value.refusal, AlreadyPaid)


async def test_a_deposit_of_nothing_leaves_no_token_to_charge(till: Till) -> None:
    """What is due later, the balance or dearer items, asks for a token before anything begins; with one it is paid."""
    plan = RatePlan(name="Later", currency="EUR", price_minor=10_000, deposit=ShareDeposit(basis_points=0))
    await till.offers.put("alfama", "flex", plan)
    await asyncio.sleep(0.06)  # a price may be so old
    booking = await till.hold("a")
    assert (await till.pay(booking, None)).checkout.amount_minor == 0
    longer = [Wanted(ROOM, starts="2027-03-01", ends="2027-03-05")]
    amending = await till.checkouts.quote_instead(booking, longer, None, only_channel=None)
    assert amending is not None
    for paying, amount_minor in (
        (till.pay(booking, None, "rest"), TOTAL_MINOR),
        (till.checkouts.pay_difference(amending, longer, Paying("longer")), 10_000),
    ):
        with pytest.raises(CheckoutRefused) as refused:
            await paying
        assert refused.value.refusal == TokenNeeded(amount_minor, "EUR")
    assert await till.at_gateway() == {}
    assert (await till.pay(booking, key="paid")).checkout.amount_minor == TOTAL_MINOR


async def test_what_costs_nothing_is_confirmed_without_a_payment(till: Till) -> None:
    """No token, no call; and what costs something needs one."""
    booking = await till.hold("a")
    with pytest.raises(CheckoutRefused) as refused:
        await till.pay(booking, None)
    assert isinstance(refused.value.refusal, TokenNeeded)
    await till.offers.put("alfama", "flex", RatePlan(name="Free", currency="EUR", price_minor=0))
    await asyncio.sleep(0.06)  # a price may be so old
    paid = (await till.pay(booking, None)).checkout
    assert paid.state is State.COMPLETED and await till.status(booking) is Status.CONFIRMED
    assert await till.at_gateway() == {}


async def test_a_price_that_was_quoted_is_kept(till: Till) -> None:
    """A quote from before the price rose is what is charged."""
    wanted = Wanted(ROOM, starts="2027-03-01", ends="2027-03-04")
    quote = await till.quotes.of_items([Wish(wanted)], await till.payments.fetchval("SELECT now()"))
    await till.offers.put("alfama", "flex", RatePlan(name="Dear", currency="EUR", price_minor=99_000))
    await asyncio.sleep(0.06)  # a price may be so old
    booking = await till.hold("a")
    paid = (await till.pay(booking, quote=till.quotes.token(quote))).checkout
    assert (paid.state, paid.amount_minor) == (State.COMPLETED, TOTAL_MINOR)


async def test_coupons_are_never_used_above_their_limit(till: Till) -> None:
    """Sixty-four takers of five coupons: five pay less. What fails gives its coupon back."""
    await till.bench.room(ROOM, capacity=100)
    await till.offers.coupons.put(
        "alfama", "FIVE", CouponTerms(name="Five off", currency="EUR", worth=AmountOff(500), max_uses=5)
    )
    wanted = Wanted(ROOM, starts="2027-03-01", ends="2027-03-04")
    at = await till.payments.fetchval("SELECT now()")
    token = till.quotes.token(await till.quotes.of_items([Wish(wanted)], at, coupons=["FIVE"]))
    bookings = [await till.hold(f"b{i}") for i in range(64)]
    declined = await till.ended((await till.pay(bookings[0], "tok_declined", quote=token)).checkout)
    assert declined.state is State.FAILED
    answers = await asyncio.gather(*(till.pay(b, quote=token) for b in bookings[1:]), return_exceptions=True)
    refused = [a for a in answers if isinstance(a, CheckoutRefused)]
    assert all(isinstance(one.refusal, SpentCoupon) for one in refused) and len(refused) == 58
    paid = [await till.ended(one.checkout) for one in answers if not isinstance(one, BaseException)]
    assert [(one.state, one.amount_minor) for one in paid] == [(State.COMPLETED, TOTAL_MINOR - 500)] * 5
    assert await till.payments.fetchval("SELECT used FROM payment.coupon") == 5
    assert sum((await till.balances()).values()) == 0


async def test_the_last_use_of_a_coupon_goes_to_both_halves_of_a_double_click(till: Till) -> None:
    """Sixteen at once under one key, with a coupon for one: one checkout has it, and nobody is told that it is spent."""
    await till.offers.coupons.put(
        "alfama", "ONE", CouponTerms(name="One", currency="EUR", worth=AmountOff(500), max_uses=1)
    )
    wanted = Wanted(ROOM, starts="2027-03-01", ends="2027-03-04")
    at = await till.payments.fetchval("SELECT now()")
    token = till.quotes.token(await till.quotes.of_items([Wish(wanted)], at, coupons=["ONE"]))
    booking = await till.hold("a")
    found = await asyncio.gather(*(till.pay(booking, quote=token) for _ in range(16)))
    assert {one.checkout.id for one in found} == {found[0].checkout.id}
    assert found[0].checkout.amount_minor == TOTAL_MINOR - 500


async def test_a_gateway_that_is_silent_keeps_nobody(database_url: str, gateway_url: str) -> None:
    """Who waits is answered that it is pending; soon the breaker is open, and new ones are told when to come again."""
    async with open_till(
        database_url, gateway_url, answer_seconds=0.3, timeout_seconds=0.2, breaker_failures=2, breaker_seconds=2.0
    ) as till:
        await furnish(till)
        await till.faults(hang_seconds=5)
        booking = await till.hold("a")
        pending = await till.pay(booking)
        assert pending.checkout.state is State.AUTHORIZING
        await until(lambda: _any(asyncio.sleep(0, till.gateway.open_for_seconds)))
        with pytest.raises(GatewayClosed, match=r"retry in \d+ seconds"):
            await till.pay(await till.hold("b"))
        await till.faults()
        assert (await till.ended(pending.checkout)).state is State.COMPLETED


async def test_a_hold_that_is_over_is_not_paid_for(till: Till) -> None:
    """Released, expired or cancelled: refused before anything is begun."""
    booking = await till.hold("a")
    await till.bench.ledger.move(ConfirmBooking(booking, None))
    await till.bench.ledger.move(CancelBooking(booking, None, None))
    with pytest.raises(CheckoutRefused):
        await till.pay(booking)
    late = await till.hold("b", ttl_seconds=1)
    await till.run_out(late)
    with pytest.raises(CheckoutRefused) as refused:
        await till.pay(late)
    assert isinstance(refused.value.refusal, HoldExpired)
    assert await till.at_gateway() == {}


async def test_a_prepaid_venue_is_confirmed_by_paying(database_url: str, gateway_url: str) -> None:
    """A worker that knew the venue before it became prepaid refuses as well; the checkout confirms."""
    async with open_till(database_url, gateway_url) as one, open_till(database_url, gateway_url) as two:
        await furnish(one)
        booking, other = await two.hold("a"), await two.hold("b")
        await one.bench.definitions.put_venue("alfama", "Alfama", "Europe/Lisbon", "EUR", "lisboa", prepaid=True)
        settled = await two.bench.ledger.move(ConfirmBooking(booking, "website"))
        assert isinstance(settled.verdict, PaymentRequired)
        assert (await two.pay(booking)).checkout.state is State.COMPLETED
        assert isinstance((await two.bench.ledger.move(ConfirmBooking(other, None))).verdict, Decision)
