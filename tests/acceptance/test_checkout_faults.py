"""Whatever dies, and at whatever step: each saga ends, and the gateway's own ledger says what our books say."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from tests.acceptance.checkout_faults import TROUBLES, Campaign
from tests.acceptance.shop import Shop
from tests.conftest import Server

WORKERS = 2
QUICK = {"ONEBOOK_PAYMENTS_RESUME_SECONDS": "2", "ONEBOOK_PAYMENTS_BREAKER_SECONDS": "0.5"}
# As it is delivered, but that hundreds of calls may be held and broken off at the same time.
AS_DELIVERED = {"ONEBOOK_PAYMENTS_CONCURRENCY": "500", "ONEBOOK_PAYMENTS_BREAKER_FAILURES": "1000"}

Scene = Callable[[Campaign, Shop], Awaitable[None]]
QUICK_SCENES: tuple[Scene, ...] = (
    lambda campaign, shop: campaign.at_the_gateway("worker", shop.workers_killed),
    lambda campaign, shop: campaign.in_the_ledger("worker", shop.workers_killed, "after"),
    lambda campaign, shop: campaign.in_the_ledger("database", shop.database_killed, "untold"),
    lambda campaign, shop: campaign.at_the_gateway("simulator", shop.simulator_killed),
    lambda campaign, _: campaign.by_the_answer(),
)
ALL_SCENES: tuple[Scene, ...] = (
    *QUICK_SCENES,
    lambda campaign, shop: campaign.at_the_gateway("database", shop.database_killed),
    lambda campaign, shop: campaign.in_the_ledger("worker", shop.workers_killed, "before"),
    lambda campaign, shop: campaign.in_the_ledger("database", shop.database_killed, "before"),
    lambda campaign, shop: campaign.in_the_ledger("database", shop.database_killed, "after"),
    lambda campaign, shop: campaign.in_the_rows("worker", shop.workers_killed, "before"),
    lambda campaign, shop: campaign.in_the_rows("database", shop.database_killed, "before"),
    lambda campaign, shop: campaign.in_the_rows("database", shop.database_killed, "untold"),
)

STEPS = {"authorize", "look", "extend", "confirm", "capture", "release", "revoke", "void", "cancel", "refund"}
"""Where sagas must have stood when something struck; of those whose hold has expired it is a matter of chance."""


@asynccontextmanager
async def struck(server: Server, size: int) -> AsyncIterator[tuple[Campaign, Shop]]:
    """A campaign in a shop; in the end it tells what it has seen."""
    shop = Shop(server, clients=15 * size)
    campaign = Campaign(shop, size)
    try:
        await campaign.furnish()
        yield campaign, shop
    finally:
        await shop.close()
        for (fault, step, effect), times in sorted(campaign.struck.items()):
            print(f"{fault:20} {effect:6} the effect of {step:10} {times:4} times")
        print(f"{len(campaign.sold)} sagas; the last end {campaign.longest_seconds:.1f} s after the end of a fault")


async def test_a_fault_at_every_step(new_server: Callable[..., Server]) -> None:
    """Kill -9 of workers, database and gateway, lost answers and errors at every step: all ends, and adds up."""
    server = await asyncio.to_thread(new_server, workers=WORKERS, environment=QUICK)
    async with struck(server, 2) as (campaign, shop):
        for scene in QUICK_SCENES:
            await scene(campaign, shop)
        assert {step for _, step, _ in campaign.struck} >= STEPS
        assert {fault for fault, _, _ in campaign.struck} >= set(TROUBLES)
        await shop.assert_all_adds_up(campaign.sold)
        await assert_damage_is_found(campaign, shop)


@pytest.mark.slow
@pytest.mark.timeout(5400)
@pytest.mark.parametrize("runs", [200])
async def test_many_faults_at_every_step(new_server: Callable[..., Server], runs: int) -> None:
    """The same, as delivered, two hundred times at each step, before its effect and after it."""
    size = 40
    server = await asyncio.to_thread(new_server, workers=WORKERS, environment=AS_DELIVERED)
    async with struck(server, size) as (campaign, shop):
        for scene in ALL_SCENES * (runs // size):
            await scene(campaign, shop)
        await shop.assert_all_adds_up(campaign.sold)


async def assert_damage_is_found(campaign: Campaign, shop: Shop) -> None:
    """Control: a booking confirmed behind the checkout's back, money taken for nothing and taken twice, money given back."""
    hold, orphan, double = await campaign.hold(), str(uuid4()), str(uuid4())
    async with shop.database() as database:
        paid = await database.fetchrow(
            "SELECT checkout.id::text, booking.id::text AS booking FROM payment.checkout JOIN booking ON booking.id = booking"
            " WHERE state = 'completed' AND status = 'confirmed' LIMIT 1"
        )
        assert paid is not None
        await database.execute("SET session_replication_role = replica")  # past the triggers that forbid it
        await database.execute("UPDATE booking SET status = 'confirmed', expires_at = NULL WHERE id = $1", hold)
    assert (await shop.joined(campaign.sold)).differences.keys() == {"confirmed_unpaid"}
    await shop.charge(orphan, str(uuid4()), 100)
    await shop.charge(double, paid["booking"], 10_000)
    found = await shop.joined(campaign.sold)
    assert (len(found.confirmed_unpaid), len(found.orphan_charges), len(found.double_charges)) == (1, 2, 1)
    await shop.give_back(orphan, 100)
    await shop.give_back(double, 10_000)
    await shop.give_back(paid["id"], 1)
    assert (await shop.joined(campaign.sold)).differences.keys() == {"confirmed_unpaid", "amounts"}
