"""What every payment gateway must do, whatever it is made of: derive a test class from GatewayConformance and give it a `bed`."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import uuid4

import pytest

from onebook.checkout.gateways.protocol import (
    Gateway,
    GatewayAway,
    GatewayRefused,
    Order,
    Payment,
    PaymentState,
    RefundState,
)

AMOUNT = 12_345
ENDED = {PaymentState.VOIDED, PaymentState.DECLINED}
HOUR_SECONDS = 3600

Token = Callable[[], Awaitable[str]]
"""Makes a payment method's token, as the gateway's form in the payer's browser would; each is used for one order."""


@dataclass(frozen=True)
class Bed:
    """A gateway to try, and how to get payers of every sort. The fixture that makes it closes the gateways."""

    gateway: Gateway
    away: Gateway
    """The same kind of gateway at an address where nobody listens."""
    ok: Token
    declined: Token
    """The payer has not got the money: refused with `insufficient_funds` or another code."""
    challenged: Token
    answer: Callable[[Payment, bool], Awaitable[None]]
    """The payer passes (or fails) the challenge of a payment."""


class GatewayConformance:
    """The suite."""

    async def test_money_is_set_aside_and_not_taken(self, bed: Bed) -> None:
        """An authorized payment is what was ordered, with nothing captured, and is found with and without its reference."""
        order = await ordered(bed.ok)
        payment = await bed.gateway.authorize(order)
        assert payment.state is PaymentState.AUTHORIZED
        assert (payment.key, payment.amount_minor, payment.currency) == (order.key, AMOUNT, "EUR")
        assert (payment.captured_minor, payment.refunded_minor, payment.code) == (0, 0, None)
        assert await bed.gateway.find(order, payment.reference) == payment
        assert await bed.gateway.find(order, None) == payment

    async def test_an_order_is_one_payment(self, bed: Bed) -> None:
        """However often an order is authorized, one after the other or at once, there is one payment."""
        order = await ordered(bed.ok)
        at_once = await asyncio.gather(*(bed.gateway.authorize(order) for _ in range(5)))
        assert {payment.reference for payment in at_once} == {(await bed.gateway.authorize(order)).reference}
        assert [payment.key for payment in await listed(bed.gateway)].count(order.key) == 1

    async def test_an_unheard_order_is_not_found(self, bed: Bed) -> None:
        """Nothing is found of an order that was never sent."""
        assert await bed.gateway.find(await ordered(bed.ok), None) is None

    async def test_capture_takes_the_money_once(self, bed: Bed) -> None:
        """A captured payment stays as it is when it is captured again, or when its order is authorized again."""
        order, payment = await authorized(bed)
        taken = await bed.gateway.capture(order, payment.reference, AMOUNT)
        assert (taken.state, taken.captured_minor) == (PaymentState.CAPTURED, AMOUNT)
        assert await bed.gateway.capture(order, payment.reference, AMOUNT) == taken
        assert await bed.gateway.authorize(order) == taken
        assert await bed.gateway.find(order, None) == taken

    async def test_less_may_be_captured(self, bed: Bed) -> None:
        """A part of what was set aside can be taken."""
        order, payment = await authorized(bed)
        taken = await bed.gateway.capture(order, payment.reference, 5_000)
        assert (taken.state, taken.captured_minor) == (PaymentState.CAPTURED, 5_000)

    async def test_more_than_was_set_aside_is_refused(self, bed: Bed) -> None:
        """Nothing is taken when more is asked for than was authorized."""
        order, payment = await authorized(bed)
        with pytest.raises(GatewayRefused):
            await bed.gateway.capture(order, payment.reference, AMOUNT + 1)
        assert await bed.gateway.find(order, None) == payment

    async def test_void_sets_the_money_free_for_good(self, bed: Bed) -> None:
        """A voided payment stays so, and cannot be captured or authorized any more."""
        order, payment = await authorized(bed)
        assert (await bed.gateway.void(order, payment.reference)).state is PaymentState.VOIDED
        assert (await bed.gateway.void(order, None)).state is PaymentState.VOIDED
        with pytest.raises(GatewayRefused):
            await bed.gateway.capture(order, payment.reference, AMOUNT)
        assert (await bed.gateway.authorize(order)).state in ENDED

    async def test_void_comes_before_a_late_authorization(self, bed: Bed) -> None:
        """An order voided before it was heard of is never authorized afterwards."""
        order = await ordered(bed.ok)
        assert (await bed.gateway.void(order, None)).state in ENDED
        assert (await bed.gateway.authorize(order)).state in ENDED
        found = await bed.gateway.find(order, None)
        assert found is None or found.state in ENDED

    async def test_void_wins_against_an_authorization_under_way(self, bed: Bed) -> None:
        """When both are sent at once, nothing is set aside in the end, whichever came first."""

        async def race(order: Order) -> Payment | None:
            voided, _ = await asyncio.gather(
                bed.gateway.void(order, None), bed.gateway.authorize(order), return_exceptions=True
            )
            assert isinstance(voided, Payment), voided
            return await bed.gateway.find(order, None)

        for found in [await race(await ordered(bed.ok)) for _ in range(5)]:
            assert found is None or found.state in ENDED

    async def test_captured_money_is_not_voided(self, bed: Bed) -> None:
        """A void that comes too late says so and changes nothing."""
        order, taken = await captured(bed)
        assert await bed.gateway.void(order, taken.reference) == taken
        assert await bed.gateway.find(order, None) == taken

    async def test_a_declined_order_stays_declined(self, bed: Bed) -> None:
        """A declined payment has a reason, is declined again when it is repeated, and cannot be captured."""
        order = await ordered(bed.declined)
        payment = await bed.gateway.authorize(order)
        assert payment.state is PaymentState.DECLINED
        assert payment.code
        assert (await bed.gateway.authorize(order)).state is PaymentState.DECLINED
        with pytest.raises(GatewayRefused):
            await bed.gateway.capture(order, payment.reference, AMOUNT)
        assert (await bed.gateway.void(order, payment.reference)).state in ENDED

    async def test_refunds_add_up_and_happen_once(self, bed: Bed) -> None:
        """Parts are given back once per key, up to what was captured and no further."""
        order, taken = await captured(bed)
        first, second = new_key(), new_key()
        refund = await bed.gateway.refund(order, taken.reference, first, 2_345)
        assert (refund.key, refund.state, refund.amount_minor) == (first, RefundState.SUCCEEDED, 2_345)
        assert await bed.gateway.refund(order, taken.reference, first, 2_345) == refund
        assert await refunded(bed.gateway, order) == 2_345
        assert (await bed.gateway.refund(order, taken.reference, second, 10_000)).reference != refund.reference
        assert await refunded(bed.gateway, order) == AMOUNT
        with pytest.raises(GatewayRefused):
            await bed.gateway.refund(order, taken.reference, new_key(), 1)
        assert await refunded(bed.gateway, order) == AMOUNT

    async def test_only_captured_money_is_refunded(self, bed: Bed) -> None:
        """Money that was only set aside cannot be given back."""
        order, payment = await authorized(bed)
        with pytest.raises(GatewayRefused):
            await bed.gateway.refund(order, payment.reference, new_key(), 1)

    @pytest.mark.parametrize(("passes", "state"), [(True, PaymentState.AUTHORIZED), (False, PaymentState.DECLINED)])
    async def test_a_challenge_decides(self, bed: Bed, passes: bool, state: PaymentState) -> None:
        """A challenged payment waits for its payer at a URL, and is authorized or declined by the outcome."""
        order = await ordered(bed.challenged)
        payment = await bed.gateway.authorize(order)
        assert payment.state is PaymentState.CHALLENGED
        assert payment.challenge_url is not None
        assert payment.challenge_url.startswith("http")
        await bed.answer(payment, passes)
        found = await bed.gateway.find(order, payment.reference)
        assert found is not None
        assert found.state is state

    async def test_a_challenge_can_be_voided(self, bed: Bed) -> None:
        """A payer who takes too long finds the order ended."""
        order = await ordered(bed.challenged)
        payment = await bed.gateway.authorize(order)
        assert (await bed.gateway.void(order, payment.reference)).state is PaymentState.VOIDED

    async def test_the_list_tells_what_happened(self, bed: Bed) -> None:
        """Every payment since a moment is listed once, as `find` tells it."""
        orders = [(await captured(bed))[0] for _ in range(3)]
        await bed.gateway.refund(orders[0], (await of(bed.gateway, orders[0])).reference, new_key(), 45)
        found = {payment.key: payment for payment in await listed(bed.gateway)}
        for order in orders:
            assert found[order.key] == await of(bed.gateway, order)
        assert await listed(bed.gateway, time.time() + HOUR_SECONDS) == []

    async def test_nobody_listens(self, bed: Bed) -> None:
        """A gateway that cannot be reached has certainly done nothing, and that is what is said."""
        with pytest.raises(GatewayAway):
            await bed.away.authorize(await ordered(bed.ok))


def new_key() -> str:
    """A key that no other test has used."""
    return f"test-{uuid4()}"


async def ordered(token: Token) -> Order:
    """An order of AMOUNT."""
    return Order(new_key(), AMOUNT, "EUR", await token(), booking=str(uuid4()), description="A night in Alfama")


async def authorized(bed: Bed) -> tuple[Order, Payment]:
    """An order whose money is set aside."""
    order = await ordered(bed.ok)
    return order, await bed.gateway.authorize(order)


async def captured(bed: Bed) -> tuple[Order, Payment]:
    """An order whose money is taken."""
    order, payment = await authorized(bed)
    return order, await bed.gateway.capture(order, payment.reference, AMOUNT)


async def of(gateway: Gateway, order: Order) -> Payment:
    """The payment of an order that has one."""
    payment = await gateway.find(order, None)
    assert payment is not None
    return payment


async def refunded(gateway: Gateway, order: Order) -> int:
    """What has been given back of an order."""
    return (await of(gateway, order)).refunded_minor


async def listed(gateway: Gateway, since_epoch_seconds: float | None = None) -> list[Payment]:
    """The gateway's own list; of the last hour unless a test says otherwise."""
    since = time.time() - HOUR_SECONDS if since_epoch_seconds is None else since_epoch_seconds
    return [payment async for payment in gateway.payments(since)]
