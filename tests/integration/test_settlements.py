"""Settlements on a real PostgreSQL, with a simulated gateway: what was paid is kept by policy or goes back, once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest
from tests.integration.till import (
    NIGHTS,
    PRICE_MINOR,
    ROOM,
    SETTLE_SECONDS,
    TOTAL_MINOR,
    Till,
    furnish,
    open_till,
    simulating,
)

from onebook.checkout.books.money import MoneyBook
from onebook.checkout.books.reconcile import reconcile
from onebook.checkout.failures import CheckoutRefused, CheckoutUnderWay
from onebook.checkout.gateways.protocol import Gateway, Order, Refund
from onebook.checkout.settling.settlement import (
    FINAL,
    AlreadySettled,
    Kind,
    NothingFailed,
    NotPaid,
    NotSettled,
    NotYetArrived,
    Settlement,
    State,
)
from onebook.checkout.settling.settlements import Settlements
from onebook.checkout.settling.store import SettlementStore
from onebook.ledger.ledger import Ledger
from onebook.ledger.page import Settled
from onebook.model.booking import BookingId, Status
from onebook.model.commands import BookingMove, CancelBooking, Wanted
from onebook.model.offers.plan import RatePlan, ShareDeposit
from onebook.model.offers.policy import Policy
from onebook.model.offers.quote import PolicyStep
from onebook.model.refusals import KeyReused, UnknownBooking

A_DAY_HOURS = 24


@dataclass
class Desk:
    """A till with its settlements."""

    till: Till
    settlements: Settlements
    book: MoneyBook

    async def paid(self, key: str, token: str = "tok_ok") -> BookingId:
        """A booking that was paid."""
        booking = await self.till.hold(key)
        await self.till.pay(booking, token, key)
        return booking

    async def arrives_in(self, year: int) -> None:
        """Have everybody arrive in a year, whenever this test runs."""
        await self.till.payments.execute(
            "UPDATE payment.checkout SET quote ="
            " regexp_replace(quote::text, '(\"arrives_at\":\")[0-9]{4}', '\\1' || $1::text)::json",
            str(year),
        )

    async def ended(self, settlement: Settlement) -> Settlement:
        """The settlement at its end, whoever brings it there."""
        return await self.ended_of(settlement.id)

    async def ended_of(self, identity: str) -> Settlement:
        """The same by its id."""
        store = SettlementStore(self.till.payments)
        async with asyncio.timeout(SETTLE_SECONDS):
            while True:
                settlement = await store.read(identity)
                if settlement is not None and settlement.state in FINAL:
                    return settlement
                await asyncio.sleep(0.02)

    async def is_sound(self) -> None:
        """The books balance, and the gateway says the same."""
        assert (await self.book.trial_balance()).imbalances == ()
        gateway = self.till.gateway
        theirs = [payment async for payment in gateway.payments(0)]
        assert reconcile(await self.book.ours(gateway.name), theirs) == []


@asynccontextmanager
async def open_desk(till: Till, *, answer_seconds: float = 4, lease_seconds: float = 15) -> AsyncIterator[Desk]:
    """Settlements beside a till."""
    settlements = Settlements(
        till.payments,
        till.bench.ledger,
        till.gateway,
        answer_seconds=answer_seconds,
        resume_seconds=lease_seconds,
        max_under_way=100,
    )
    running = asyncio.create_task(settlements.run())
    try:
        yield Desk(till, settlements, MoneyBook(till.payments))
    finally:
        settlements.stop()
        await running


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


async def price(desk: Desk, *, steps: tuple[PolicyStep, ...] = (), deposit_basis_points: int = 10_000) -> None:
    """Give the room a policy and a deposit."""
    await desk.till.offers.put("alfama", "strict", Policy(name="Strict", steps=steps))
    plan = RatePlan(
        name="Flexible", currency="EUR", price_minor=PRICE_MINOR, policy="strict",
        deposit=ShareDeposit(deposit_basis_points),
    )  # fmt: skip
    await desk.till.offers.put("alfama", "flex", plan)


async def test_a_cancelled_booking_is_given_back(desk: Desk) -> None:
    """Without a fee everything goes back, once; cancelling again answers the same, and the log tells it."""
    booking = await desk.paid("a")
    settled = await desk.settlements.cancel(booking, reason="plans changed")
    assert (settled.state, settled.fee_minor, settled.refund_minor) == (State.SETTLED, 0, TOTAL_MINOR)
    assert await desk.settlements.cancel(booking) == settled
    assert await desk.till.status(booking) is Status.CANCELLED
    assert await desk.till.balances() == {}
    [payment] = (await desk.till.at_gateway()).values()
    assert payment["refunded_minor"] == TOTAL_MINOR
    told = await desk.till.payments.fetch("SELECT subject, data FROM log WHERE type = 'checkout.settled'")
    assert [row[0] for row in told] == [f"checkouts/{settled.checkout}"]
    await desk.is_sound()


async def test_a_late_cancellation_keeps_the_fee(desk: Desk) -> None:
    """The policy's share stays as revenue, and the rest goes back."""
    await price(desk, steps=(PolicyStep(A_DAY_HOURS, 2_500),))
    booking = await desk.paid("a")
    await desk.arrives_in(2025)
    settled = await desk.settlements.cancel(booking)
    assert (settled.fee_minor, settled.refund_minor) == (TOTAL_MINOR // 4, TOTAL_MINOR * 3 // 4)
    assert await desk.till.balances() == {"gateway-clearing": TOTAL_MINOR // 4, "revenue": -TOTAL_MINOR // 4}
    await desk.is_sound()


async def test_what_was_paid_in_two_payments_goes_back_to_both(desk: Desk) -> None:
    """A deposit and its balance are given back each to its own payment."""
    await price(desk, deposit_basis_points=2_000)
    booking = await desk.paid("a")
    await desk.till.pay(booking, key="balance")
    settled = await desk.settlements.cancel(booking)
    assert settled.refund_minor == TOTAL_MINOR
    refunded = [payment["refunded_minor"] for payment in (await desk.till.at_gateway()).values()]
    assert sorted(refunded) == [TOTAL_MINOR // 5, TOTAL_MINOR * 4 // 5]
    assert await desk.till.balances() == {}
    await desk.is_sound()


async def test_who_does_not_come_is_charged_by_policy(desk: Desk) -> None:
    """A no-show is settled after arrival only; the booking stays confirmed, and cannot be cancelled for a second settlement."""
    booking = await desk.paid("a")
    await desk.arrives_in(2099)
    with pytest.raises(CheckoutRefused) as refused:
        await desk.settlements.no_show(booking)
    assert isinstance(refused.value.refusal, NotYetArrived)
    await desk.arrives_in(2025)
    settled = await desk.settlements.no_show(booking)
    assert (settled.kind, settled.fee_minor, settled.refund_minor) == (Kind.NO_SHOW, TOTAL_MINOR, 0)
    assert await desk.till.status(booking) is Status.CONFIRMED
    with pytest.raises(CheckoutRefused) as again:
        await desk.settlements.cancel(booking)
    assert isinstance(again.value.refusal, AlreadySettled)
    await desk.is_sound()


async def test_goodwill_is_given_once_per_key_and_never_too_much(desk: Desk) -> None:
    """A key has one refund; another payload under it is refused, and so is more than was paid."""
    booking = await desk.paid("a")
    given = await desk.settlements.refund(booking, 4_550, idempotency_key="k", reason="noise")
    assert (given.state, given.refund_minor) == (State.SETTLED, 4_550)
    assert await desk.settlements.refund(booking, 4_550, idempotency_key="k", reason="noise") == given
    for amount_minor, key, refusal in ((4_551, "k", KeyReused), (TOTAL_MINOR, "l", NotSettled)):
        with pytest.raises(CheckoutRefused) as refused:
            await desk.settlements.refund(booking, amount_minor, idempotency_key=key, reason="noise")
        assert isinstance(refused.value.refusal, refusal)
    # What was refused had no effect: its key is free.
    assert (await desk.settlements.refund(booking, 450, idempotency_key="l")).state is State.SETTLED
    assert (await desk.settlements.cancel(booking)).refund_minor == TOTAL_MINOR - 5_000
    assert await desk.till.balances() == {}
    await desk.is_sound()


async def test_a_cheaper_booking_is_given_the_difference_back(desk: Desk) -> None:
    """One night less is given back; the booking then costs what it costs, and cancelling gives back the rest."""
    booking = await desk.paid("a")
    wanted = [Wanted(ROOM, starts="2027-03-01", ends="2027-03-03")]
    [checkout] = await desk.till.store.of_booking(booking)
    quote = await desk.till.quotes.instead_of(checkout.quote, wanted, datetime.now(UTC))
    settled = await desk.settlements.amend_down(booking, wanted, quote)
    assert (settled.state, settled.refund_minor) == (State.SETTLED, PRICE_MINOR)
    assert (await desk.book.folio(booking, None)).charged_minor == PRICE_MINOR * (NIGHTS - 1)  # type: ignore[union-attr]
    assert (await desk.settlements.cancel(booking)).refund_minor == PRICE_MINOR * (NIGHTS - 1)
    assert await desk.till.balances() == {}
    await desk.is_sound()


async def test_giving_up_a_part_late_keeps_the_share_of_that_part(desk: Desk) -> None:
    """Of one night less the policy's share is kept, and stays kept when the rest is cancelled in time."""
    await price(desk, steps=(PolicyStep(A_DAY_HOURS, 2_500),))
    booking = await desk.paid("a")
    await desk.arrives_in(2025)
    wanted = [Wanted(ROOM, starts="2027-03-01", ends="2027-03-03")]
    amending = await desk.till.checkouts.quote_instead(booking, wanted, None, only_channel=None)
    assert amending is not None
    settled = await desk.settlements.amend_down(booking, wanted, amending.quote)
    fee_minor = PRICE_MINOR // 4
    assert (settled.state, settled.fee_minor, settled.refund_minor) == (
        State.SETTLED, fee_minor, PRICE_MINOR - fee_minor
    )  # fmt: skip
    folio = await desk.book.folio(booking, None)
    assert folio is not None and folio.balance_minor == 0
    await desk.arrives_in(2099)
    cancelled = await desk.settlements.cancel(booking)
    assert (cancelled.fee_minor, cancelled.refund_minor) == (0, TOTAL_MINOR - PRICE_MINOR)
    assert await desk.till.balances() == {"gateway-clearing": fee_minor, "revenue": -fee_minor}
    await desk.is_sound()


async def test_what_the_ledger_refuses_moves_no_money(desk: Desk) -> None:
    """Nights that nobody has to give leave the booking and its money as they were."""
    booking = await desk.paid("a")
    wanted = [Wanted(ROOM, starts="2027-03-01", ends="2027-03-02", quantity=11)]
    [checkout] = await desk.till.store.of_booking(booking)
    with pytest.raises(CheckoutRefused) as refused:
        await desk.settlements.amend_down(booking, wanted, checkout.quote)
    assert refused.value.refusal.code == "sold-out"
    assert (await desk.till.balances())["gateway-clearing"] == TOTAL_MINOR
    await desk.is_sound()


async def test_only_what_was_paid_can_be_settled_and_by_whom_it_concerns(desk: Desk) -> None:
    """A hold, another channel's booking and one that is being paid for are refused, each in its own words."""
    held, paid = await desk.till.hold("held"), await desk.paid("paid")
    assert [await desk.settlements.is_paid(booking) for booking in (held, paid)] == [False, True]
    challenged = await desk.paid("challenged", "tok_challenge")
    assert await desk.settlements.is_paid(challenged)
    for booking, channel, refusal in (
        (held, None, NotPaid),
        (paid, "other", UnknownBooking),
        (challenged, None, CheckoutUnderWay),
    ):
        with pytest.raises(CheckoutRefused) as refused:
            await desk.settlements.cancel(booking, only_channel=channel)
        assert isinstance(refused.value.refusal, refusal)


async def test_the_ledger_alone_cannot_cancel_what_was_paid(desk: Desk, database_url: str) -> None:
    """A cancellation that knows nothing of the money is refused by the database; with the guard gone it would go through."""
    guarded, unguarded = await desk.paid("a"), await desk.paid("b")
    with pytest.raises(asyncpg.CheckViolationError) as refused:
        await desk.till.bench.ledger.move(CancelBooking(guarded, None, None))
    assert refused.value.constraint_name == "booking_is_cancelled_with_its_settlement"
    await desk.till.payments.execute("ALTER TABLE booking DISABLE TRIGGER booking_is_cancelled_with_its_settlement")
    await desk.till.bench.ledger.move(CancelBooking(unguarded, None, None))
    assert [await desk.till.status(booking) for booking in (guarded, unguarded)] == [Status.CONFIRMED, Status.CANCELLED]


@pytest.mark.parametrize("is_guarded", [True, False])
async def test_refunds_never_exceed_the_capture(desk: Desk, is_guarded: bool) -> None:
    """Of eight refunds at once that take two thirds each, the database lets one pass; without the guard all do."""
    settlement = await desk.settlements.refund(await desk.paid("a"), 1, idempotency_key="k")
    pool = desk.till.payments
    if not is_guarded:
        await pool.execute("ALTER TABLE payment.refund DISABLE TRIGGER refund_never_exceeds_the_capture")
    statement = "INSERT INTO payment.refund VALUES (gen_random_uuid(), $1, $2, $3)"
    outcomes = await asyncio.gather(
        *(pool.execute(statement, settlement.id, settlement.checkout, TOTAL_MINOR * 2 // 3) for _ in range(8)),
        return_exceptions=True,
    )
    refused = [error for error in outcomes if isinstance(error, asyncpg.CheckViolationError)]
    assert len(refused) == (7 if is_guarded else 0)
    assert all(error.constraint_name == "refund_never_exceeds_the_capture" for error in refused)


async def test_many_cancellations_at_once_are_one(desk: Desk) -> None:
    """Eight requests at the same time have one settlement and one refund."""
    booking = await desk.paid("a")
    settled = await asyncio.gather(*(desk.settlements.cancel(booking) for _ in range(8)))
    assert len({settlement.id for settlement in settled}) == 1
    assert [payment["refunded_minor"] for payment in (await desk.till.at_gateway()).values()] == [TOTAL_MINOR]
    await desk.is_sound()


async def test_a_lost_answer_gives_back_once(desk: Desk) -> None:
    """While the gateway drops the connection after half of the refunds, each is given back exactly once."""
    bookings = [await desk.paid(f"booking {number}") for number in range(8)]
    await desk.till.faults(seed=3, timeout_after=0.5, error_before=0.3, calls=["refund"])
    settled = await asyncio.gather(*(desk.settlements.cancel(booking) for booking in bookings))
    await desk.till.faults()
    for settlement in settled:
        assert (await desk.ended(settlement)).state is State.SETTLED
    refunded = [payment["refunded_minor"] for payment in (await desk.till.at_gateway()).values()]
    assert refunded == [TOTAL_MINOR] * len(bookings)
    await desk.is_sound()


async def test_a_refund_that_fails_stays_in_the_books(desk: Desk) -> None:
    """What the gateway does not give back is told, and stands as promised, until it is asked again and does."""
    booking = await desk.paid("a")
    await desk.till.faults(refund_fails=1)
    settled = await desk.settlements.cancel(booking)
    assert (settled.state, settled.code) == (State.FAILED, "refund-failed")
    assert await desk.till.balances() == {"gateway-clearing": TOTAL_MINOR, "refund": -TOTAL_MINOR}
    await desk.is_sound()
    await desk.till.faults()
    [again] = await desk.settlements.retry(booking)
    assert (again.id, again.state) == (settled.id, State.SETTLED)
    assert await desk.till.balances() == {}
    await desk.is_sound()
    with pytest.raises(CheckoutRefused) as refused:
        await desk.settlements.retry(booking)
    assert isinstance(refused.value.refusal, NothingFailed)


@pytest.mark.parametrize("state", [State.MOVING, State.REFUNDING])
async def test_another_worker_goes_on_where_one_was_killed(database_url: str, gateway_url: str, state: State) -> None:
    """A settlement whose worker is gone is due when its lease ends, and comes to the same end as any."""
    async with open_till(database_url, gateway_url) as till:
        await furnish(till)
        async with open_desk(till) as desk:
            booking = await desk.paid("a")
            gone = _Gone(till.bench.ledger, till.gateway, state)
            dying = Settlements(
                till.payments, gone, gone, answer_seconds=5, resume_seconds=0.5, max_under_way=1  # type: ignore[arg-type]
            )  # fmt: skip
            request = asyncio.create_task(dying.cancel(booking))
            await gone.reached.wait()
            request.cancel()
            [row] = await till.payments.fetch("SELECT id::text, state FROM payment.settlement")
            assert row["state"] == state
            settled = await desk.ended_of(row["id"])
            assert (settled.state, settled.refund_minor) == (State.SETTLED, TOTAL_MINOR)
            assert await till.status(booking) is Status.CANCELLED
            await desk.is_sound()


class _Gone:
    """A ledger or a gateway that a call never comes back from."""

    def __init__(self, ledger: Ledger, gateway: Gateway, state: State) -> None:
        self._ledger = ledger
        self._gateway = gateway
        self._state = state
        self.reached = asyncio.Event()

    async def move(self, move: BookingMove) -> Settled:
        """The move is made, and nobody hears of it."""
        settled = await self._ledger.move(move)
        if self._state is State.MOVING:
            await self._never()
        return settled

    async def refund(self, order: Order, reference: str, refund_key: str, amount_minor: int) -> Refund:
        """The money is given back, and nobody hears of it."""
        refund = await self._gateway.refund(order, reference, refund_key, amount_minor)
        await self._never()
        return refund

    async def _never(self) -> None:
        self.reached.set()
        await asyncio.Event().wait()
