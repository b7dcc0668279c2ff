"""Checkouts by the hundred while everything goes wrong now and then: in the end all is paid or free, and every book balances."""

import asyncio
import json
import random
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.acceptance.checkout_crowd import CARD, FAULTS, CheckoutCrowd
from tests.acceptance.shop import PAUSE_SECONDS, Shop
from tests.conftest import Server, onebook
from tests.luhn import card_numbers_in

PROMISED_SECONDS = 60.0
KILL_EVERY_SECONDS = 5.0
ENVIRONMENT = {
    "ONEBOOK_PAYMENTS_RESUME_SECONDS": "2",
    "ONEBOOK_PAYMENTS_BREAKER_SECONDS": "0.5",
    "ONEBOOK_PAYMENTS_CHALLENGE_SECONDS": "3",
}
TEXTS = (
    *(
        f"SELECT row_to_json(kept)::text FROM payment.{table} AS kept"
        for table in ("checkout", "journal", "settlement", "refund")
    ),
    "SELECT row_to_json(booking)::text FROM booking",
    "SELECT data::text FROM log",
)
UUID = re.compile(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
COUPONS = """
    SELECT venue, code, used, max_uses,
           (SELECT count(*) FROM payment.coupon_use AS taken JOIN payment.checkout ON checkout.id = taken.checkout
            WHERE (taken.venue, taken.code) = (coupon.venue, coupon.code) AND state = 'completed') AS paid_with,
           (SELECT count(*) FROM payment.coupon_use AS taken
            WHERE (taken.venue, taken.code) = (coupon.venue, coupon.code) AND given_back_at IS NULL) AS kept
    FROM payment.coupon
"""


@pytest.mark.parametrize("checkouts", [500, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])])
async def test_a_crowd_pays_while_everything_goes_wrong(new_server: Callable[..., Server], checkouts: int) -> None:
    """All ends and adds up, every currency balances, no coupon is used too often, and each answer is one that is documented."""
    server = await asyncio.to_thread(new_server, workers=2, environment=ENVIRONMENT)
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    shop = Shop(server, clients=200)
    crowd = CheckoutCrowd(shop, seed=seed, checkouts=checkouts)
    try:
        await crowd.furnish()
        await shop.faults(seed=seed, calls=["authorize", "find", "capture", "void", "refund"], **FAULTS)
        killing = asyncio.create_task(_kill_workers(shop, crowd, again=checkouts > 500))
        await crowd.run()
        killing.cancel()
        with suppress(asyncio.CancelledError):
            await killing
        await shop.faults()
        async with asyncio.timeout(PROMISED_SECONDS):
            while not await shop.has_ended():  # noqa: ASYNC110 - a database, nobody tells us
                await asyncio.sleep(PAUSE_SECONDS)
        for told, times in sorted(crowd.told.items()):
            print(f"{times:6} {told}")
        assert not crowd.strange, crowd.strange[:5]
        await shop.assert_all_adds_up(crowd.sold)
        await _assert_coupons_are_kept_to(shop)
        reported = await asyncio.to_thread(onebook, "money", "report", "--data", str(server.data), "--json")
        balances = json.loads(reported.stdout)["trial_balance"]["balances"]
        assert {each["currency"] for each in balances} == {"EUR", "JPY"}
        await _assert_no_card_is_kept(shop)
    finally:
        await shop.close()


async def _kill_workers(shop: Shop, crowd: CheckoutCrowd, *, again: bool) -> None:
    """In the middle of it, and, if it goes on for long, every few seconds."""
    await crowd.half()
    while True:
        async with shop.workers_killed():
            pass
        if not again:
            return
        await asyncio.sleep(KILL_EVERY_SECONDS)  # the moment of the next blow, not a wait for anything


async def _assert_coupons_are_kept_to(shop: Shop) -> None:
    async with shop.database() as database:
        coupons = await database.fetch(COUPONS)
    assert any(row["used"] == row["max_uses"] for row in coupons), "some were wanted more often than they may be used"
    for row in coupons:
        assert row["used"] == row["kept"] == row["paid_with"], row
        assert row["max_uses"] is None or row["used"] <= row["max_uses"], row


async def _assert_no_card_is_kept(shop: Shop) -> None:
    """The one that was sent is in no file; nothing that could be one is in what the tables tell or in a file of ours."""
    async with shop.database() as database:
        told = [str(row[0]) for texts in TEXTS for row in await database.fetch(texts)]
    found = card_numbers_in(UUID.sub(b"", "\n".join(told).encode()))
    for file in filter(Path.is_file, shop.server.data.rglob("*")):
        kept = await asyncio.to_thread(file.read_bytes)
        assert CARD.encode() not in kept, file
        if not {"postgres", "nats"} & set(file.parts):  # full of numbers of their own
            found += card_numbers_in(UUID.sub(b"", kept))
    assert not found
