"""Checkouts in each other's way, or in that of others: every order of events that could cost somebody money."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import asyncpg
import msgspec
import pytest
from msgspec.structs import replace
from tests.integration.till import ROOM, TOTAL_MINOR, Till, furnish, open_till, simulating, until

from onebook.checkout.change import Change
from onebook.checkout.checkouts import Paying
from onebook.checkout.failures import CheckoutRefused, SpentCoupon, TooManyCheckouts
from onebook.checkout.prices.quotes import Wish
from onebook.checkout.record import Checkout, State
from onebook.checkout.saga import Unanswered, Undone
from onebook.ledger.ledger import Placing
from onebook.ledger.page import Settled
from onebook.model.booking import BookingId, Status
from onebook.model.commands import BookingMove, CancelBooking, ConfirmBooking, Wanted
from onebook.model.offers.coupon import AmountOff, CouponTerms

LONGER = (Wanted(ROOM, starts="2027-03-01", ends="2027-03-20"),)


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


async def nights(till: Till, booking: BookingId) -> list[tuple[str, str]]:
    """What a booking has."""
    found = await till.store.booking(booking)
    assert found is not None
    return [(item.starts, item.ends) for item in found.lines]


async def amend_up(till: Till, booking: BookingId, token: str = "tok_ok") -> Checkout:
    """Pay for more nights."""
    amending = await till.checkouts.quote_instead(booking, LONGER, None, only_channel=None)
    assert amending is not None
    return (await till.checkouts.pay_difference(amending, LONGER, Paying("longer", token))).checkout


async def test_an_amendment_that_slips_behind_the_payment_is_refused(till: Till) -> None:
    """Who looked before it was paid cannot take more nights after; control: without the trigger they cost nothing."""
    booking = await till.hold("a")
    await till.pay(booking)
    with pytest.raises(asyncpg.CheckViolationError, match="amended with its money"):
        await till.bench.ledger.amend(booking, LONGER, channel=None)
    assert await nights(till, booking) == [("2027-03-01", "2027-03-04")]
    await till.payments.execute("DROP TRIGGER booking_is_amended_with_its_money ON booking")
    await till.bench.ledger.amend(booking, LONGER, channel=None)
    assert await nights(till, booking) == [("2027-03-01", "2027-03-20")]


async def test_a_worker_that_slept_through_the_end_of_an_amendment_changes_nothing(till: Till) -> None:
    """It wakes up and amends what others have taken back, for which nobody has paid: refused."""
    booking = await till.hold("a")
    await till.pay(booking)
    failed = await till.ended(await amend_up(till, booking, "tok_capture_refused"))
    assert (failed.state, failed.code) == (State.FAILED, "capture-refused")
    asleep = replace(failed, state=State.COMMITTING, finished_at=None)
    with pytest.raises(asyncpg.CheckViolationError, match="amended with its money"):
        await till.driver._outcome(asleep)
    assert await nights(till, booking) == [("2027-03-01", "2027-03-04")]


async def test_a_booking_that_was_paid_is_amended_with_its_money(till: Till) -> None:
    """The difference is charged, and what is then refused by the gateway is taken back."""
    booking = await till.hold("a")
    await till.pay(booking)
    paid = await till.ended(await amend_up(till, booking))
    assert (paid.state, paid.amount_minor) == (State.COMPLETED, 160_000)
    assert await nights(till, booking) == [("2027-03-01", "2027-03-20")]


async def paid_too_late(till: Till, booking: BookingId) -> Checkout:
    """The end of a checkout whose money comes when the hold is over."""
    await till.faults(slow_ms=1200, calls=["authorize"])
    paying = asyncio.create_task(till.pay(booking))
    await till.run_out(booking)
    return await till.ended((await paying).checkout)


async def test_what_was_taken_anew_and_cancelled_at_once_is_not_charged(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the checkout's row names the new booking anybody may cancel it: then no money is taken."""
    booking = await till.hold("a", ttl_seconds=1)
    place = till.bench.ledger.place

    async def place_and_lose(wanted: Sequence[Wanted], placing: Placing) -> Settled:
        settled = await place(wanted, placing)
        await till.bench.ledger.move(CancelBooking(settled.verdict.booking.id, None, None))  # type: ignore[union-attr]
        return settled

    monkeypatch.setattr(till.bench.ledger, "place", place_and_lose)
    checkout = await paid_too_late(till, booking)
    assert (checkout.state, checkout.code) == (State.FAILED, "wrong-state")
    assert checkout.confirmed_booking is not None
    assert await till.status(checkout.confirmed_booking) is Status.CANCELLED
    assert [p["captured_minor"] for p in (await till.at_gateway()).values()] == [0] and await till.balances() == {}


async def test_what_was_taken_anew_is_not_cancelled_while_it_is_charged(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From when the row names the new booking on, only the checkout moves it."""
    booking = await till.hold("a", ttl_seconds=1)
    move, refused = till.bench.ledger.move, []

    async def move_and_meddle(asked: BookingMove) -> Settled:
        settled = await move(asked)
        if isinstance(asked, ConfirmBooking) and asked.booking != booking:
            with pytest.raises(asyncpg.CheckViolationError, match="cancelled with its settlement"):
                await move(CancelBooking(asked.booking, None, None))
            refused.append(asked.booking)
        return settled

    monkeypatch.setattr(till.bench.ledger, "move", move_and_meddle)
    checkout = await paid_too_late(till, booking)
    assert checkout.state is State.COMPLETED and refused == [checkout.confirmed_booking]
    assert await till.status(refused[0]) is Status.CONFIRMED


async def test_a_customer_takes_a_coupon_twice_at_once(till: Till) -> None:
    """Both wait for the coupon; who gets it second sees that it was had, and is refused."""
    terms = CouponTerms(name="Once", currency="EUR", worth=AmountOff(500), max_uses_per_customer=1)
    await till.offers.coupons.put("alfama", "ONCE", terms)
    at = await till.payments.fetchval("SELECT now()")
    wish = Wish(Wanted(ROOM, starts="2027-03-01", ends="2027-03-04"))
    quote = till.quotes.token(await till.quotes.of_items([wish], at, coupons=["ONCE"], customer="ann"))
    bookings = [await till.hold(key, customer="ann") for key in "ab"]

    async def both_wait() -> bool:
        waiting = (
            "SELECT count(*) = 2 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        return bool(await till.payments.fetchval(waiting))

    async with till.payments.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM payment.coupon FOR UPDATE")
        paying = [asyncio.create_task(till.pay(booking, quote=quote)) for booking in bookings]
        await until(both_wait)
    answers = await asyncio.gather(*paying, return_exceptions=True)
    [refused] = [answer for answer in answers if isinstance(answer, CheckoutRefused)]
    assert isinstance(refused.refusal, SpentCoupon)


async def test_two_changes_of_one_checkout_are_not_taken_for_each_other(database_url: str, gateway_url: str) -> None:
    """Of two that are written at once, by one who sleeps and by one who has taken over, only the latter has written."""
    async with open_till(database_url, gateway_url, resumes=False) as till:
        await furnish(till)
        waiting = (await till.pay(await till.hold("a"), "tok_challenge")).checkout
        asleep = till.store.write(Change(replace(waiting, state=State.VOIDING)))
        awake = till.store.write(Change(replace(waiting, revision=waiting.revision + 1, state=State.COMMITTING)))
        assert [await asleep, await awake] == [False, True]


async def test_money_that_is_not_taken_back_at_first(till: Till) -> None:
    """A refund that has failed is asked for under another key: under its own it would fail for ever."""
    paid = (await till.pay(await till.hold("a"), "tok_refund_fails")).checkout
    going_back = replace(paid, state=State.VOIDING)
    assert isinstance(await till.driver._outcome(going_back), Unanswered)
    assert isinstance(await till.driver._outcome(replace(going_back, attempts=1)), Undone)
    assert [p["refunded_minor"] for p in (await till.at_gateway()).values()] == [TOTAL_MINOR]


async def test_a_worker_that_stops_in_a_transaction_holds_back_no_view(till: Till) -> None:
    """Its connection is ended by the server: until then the log's horizon stands still for everybody."""
    for pool in (till.payments, till.store._pool):
        assert await pool.fetchval("SHOW idle_in_transaction_session_timeout") == "5s"


async def test_nobody_tries_cards_for_ever(till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    """A booking has a bounded number of checkouts; the last of them is still found again."""
    monkeypatch.setattr("onebook.checkout.checkouts.MAX_CHECKOUTS", 2)
    booking = await till.hold("a")
    tried = [await till.pay(booking, "tok_declined", key, on_decline="keep") for key in "ab"]
    with pytest.raises(CheckoutRefused) as refused:
        await till.pay(booking, key="c")
    assert isinstance(refused.value.refusal, TooManyCheckouts)
    again = await till.pay(booking, "tok_declined", "b", on_decline="keep")
    assert again.is_replayed and again.checkout == tried[1].checkout


async def test_a_row_that_cannot_be_read_stops_nobody(till: Till) -> None:
    """It is told and left, and the next one is gone on with."""
    unreadable = (await till.pay(await till.hold("a"), "tok_challenge")).checkout
    broken = "UPDATE payment.checkout SET quote = '{}', due_at = clock_timestamp() WHERE id = $1"
    await till.payments.execute(broken, unreadable.id)
    with pytest.raises(msgspec.ValidationError):
        await till.pay(unreadable.booking)
    late = (await till.pay(await till.hold("b"), "tok_late_authorization")).checkout
    assert (await till.ended(late)).state is State.COMPLETED
