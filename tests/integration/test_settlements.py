"""Settlements on a real PostgreSQL, with a simulated gateway: what was paid is kept by policy or goes back, once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.integration.till import (
    PRICE_MINOR,
    TOTAL_MINOR,
    Till,
    furnish,
    open_till,
    simulating,
)

from onebook.checkout.money import MoneyBook
from onebook.checkout.reconcile import reconcile
from onebook.checkout.settlement import State
from onebook.checkout.settlements import Settlements
from onebook.model.booking import BookingId, Status
from onebook.model.offers.plan import RatePlan, ShareDeposit
from onebook.model.offers.policy import Policy
from onebook.model.offers.quote import PolicyStep


@dataclass
class Desk:
    """A till with its settlements."""

    till: Till
    settlements: Settlements
    book: MoneyBook

    async def paid(self, key: str, token: str = "tok_ok", **given: str) -> BookingId:
        """A booking that was paid."""
        booking = await self.till.hold(key)
        await self.till.pay(booking, token, key, **given)
        return booking

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
    """Without a fee everything goes back, once; cancelling again answers the same."""
    booking = await desk.paid("a")
    settled = await desk.settlements.cancel(booking, reason="plans changed")
    assert (settled.state, settled.fee_minor, settled.refund_minor) == (State.SETTLED, 0, TOTAL_MINOR)
    assert await desk.settlements.cancel(booking) == settled
    assert await desk.till.status(booking) is Status.CANCELLED
    assert await desk.till.balances() == {}
    [payment] = (await desk.till.at_gateway()).values()
    assert payment["refunded_minor"] == TOTAL_MINOR
    await desk.is_sound()
