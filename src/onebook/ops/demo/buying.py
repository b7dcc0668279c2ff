"""How website, app and desk sell: a hold is paid for, and ends paid and confirmed, or not charged and released.

Called by the crowd's workers with a hold in hand. A checkout that is not told at once (the payer is asked, the bank is slow, the
gateway fails) is asked for again under its key until it has ended, for ENDS_SECONDS at the most.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from time import perf_counter
from typing import Any

import aiohttp
import msgspec

from onebook.ops.demo.channel import Channel, Placed, described, problem_code
from onebook.ops.demo.gateway import GatewayPages
from onebook.ops.demo.intents import Intent, Means
from onebook.ops.demo.prices import COUPON, COUPON_VENUE
from onebook.ops.http_client import Answer

PAYER_SECONDS = 1.0
"""How long a payer takes for a challenge."""
LOOK_SECONDS = 0.1
ENDS_SECONDS = 60.0


class Press(Enum):
    """What becomes of the button that says "pay"."""

    ONCE = auto()
    TWICE = auto()
    """At once, by an impatient hand."""
    LOST = auto()
    """The answer is lost on its way, and the button pressed again."""


@dataclass(slots=True)
class _Checkout:
    """One request to pay, which may be sent any number of times."""

    placed: Placed
    body: dict[str, Any]
    key: str


class _Action(msgspec.Struct):
    url: str


class _Told(msgspec.Struct):
    id: str
    booking: str
    status: str
    amount_minor: int
    confirmed_booking: str | None
    next_action: _Action | None = None


class _Declined(msgspec.Struct):
    checkout: str


class Buyers:
    """Everybody who buys through one channel."""

    def __init__(self, channel: Channel, gateway: GatewayPages) -> None:
        self._channel = channel
        self._gateway = gateway
        self._till = channel.board.till

    async def buy(self, placed: Placed, intent: Intent, press: Press = Press.ONCE) -> bool:
        """Pay for a hold; whether it is sold."""
        if not intent.means.pays:
            # What is declined is given back: from here on its units may be anybody's.
            self._channel.board.witness.given_up(placed.id)
        quote = await self._quoted(placed, intent)
        body: dict[str, Any] = {"payment": {"token": intent.means.token}}
        checkout = _Checkout(placed, body if quote is None else body | {"quote": quote}, "pay")
        is_calm = not self._till.outage.disturbs
        began = perf_counter()
        answer = await self._pressed(checkout, press)
        if answer is not None and problem_code(answer) == "coupon-spent":
            self._till.coupon_late += 1
            checkout = _Checkout(placed, body, "pay-the-full-price")
            answer = await self._sent(checkout)
        is_prompt = intent.means.is_prompt and press is Press.ONCE
        answer = await self._ended(checkout, intent, answer)
        if is_prompt and is_calm and not self._till.outage.disturbs:
            self._till.latencies.add(perf_counter() - began)
        return self._judge(placed, answer)

    async def change(self, placed: Placed, step: str, body: Mapping[str, Any]) -> Answer | None:
        """Cancel or amend what was paid for, until the money has followed, or has been refused."""
        if step == "amend":
            # What it costs more is charged to a card that pays: the one that it was paid with may ask for its payer again.
            body = {**body, "payment": {"token": Means().token}}
        until = perf_counter() + ENDS_SECONDS
        answer = await self._channel.charge(f"/v1/bookings/{placed.id}/{step}", body)
        while answer is not None and answer.status == 202 and perf_counter() < until:
            await asyncio.sleep(LOOK_SECONDS)
            answer = await self._channel.charge(f"/v1/bookings/{placed.id}/{step}", body)
        return answer

    async def _quoted(self, placed: Placed, intent: Intent) -> str | None:
        """A quote with the coupon, for who wants it and may have it."""
        is_there = any(line.item["resource"].startswith(f"{COUPON_VENUE}/") for line in placed.lines)
        if not (intent.wants_coupon and is_there):
            return None
        answer = await self._channel.post("/v1/quotes", {"booking": placed.id, "coupons": [COUPON]})
        if answer is not None and answer.status == 200:
            return str(answer.json()["quote"])
        if answer is not None and problem_code(answer) == "coupon-spent":
            self._till.coupon_late += 1
        else:
            self._channel.tally.surprise(described("quote", answer))
        return None

    async def _sent(self, checkout: _Checkout) -> Answer | None:
        return await self._channel.charge(f"/v1/bookings/{checkout.placed.id}/checkout", checkout.body, checkout.key)

    async def _pressed(self, checkout: _Checkout, press: Press) -> Answer | None:
        if press is Press.TWICE:
            first, second = await asyncio.gather(self._sent(checkout), self._sent(checkout))
            self._channel.compare(first, second)
            return second
        if press is Press.LOST:
            first = await self._channel.impatient(self._sent(checkout))
            second = await self._sent(checkout)
            self._channel.compare(first, second)
            return second
        return await self._sent(checkout)

    async def _ended(self, checkout: _Checkout, intent: Intent, answer: Answer | None) -> Answer | None:
        """The answer of a checkout that has ended; the payer does what is asked of him on the way."""
        until = perf_counter() + ENDS_SECONDS
        was_asked = False
        while answer is not None and answer.status == 202 and perf_counter() < until:
            action = msgspec.json.decode(answer.body, type=_Told).next_action
            if action is not None and not was_asked:
                was_asked = True
                await self._challenged(action.url, intent.means)
            await asyncio.sleep(LOOK_SECONDS)
            answer = await self._sent(checkout)
        return answer

    async def _challenged(self, url: str, means: Means) -> None:
        self._till.challenged += 1
        await asyncio.sleep(PAYER_SECONDS)
        try:
            await self._gateway.answer(url, passes=means.passes)
        except (aiohttp.ClientError, TimeoutError) as error:
            self._channel.tally.surprise(f"challenge: {error!r}")

    def _judge(self, placed: Placed, answer: Answer | None) -> bool:
        """Tell tally, till and witness how it has ended."""
        channel = self._channel
        if answer is not None and answer.status in {200, 201}:
            told = msgspec.json.decode(answer.body, type=_Told)
            self._till.paid += 1
            self._till.receipts[told.id] = told.amount_minor
            channel.board.witness.given_up(placed.id)
            # Another one where the hold had expired and the same units were taken again.
            placed.id = told.confirmed_booking or placed.id
            placed.status = "confirmed"
            channel.promised(placed, None)
            channel.sold(placed)
            return True
        if answer is not None and answer.status == 402:
            channel.tally.declined += 1
            self._till.declined.add(msgspec.json.decode(answer.body, type=_Declined).checkout)
        elif answer is not None and answer.status == 410:
            channel.tally.expired += 1
        else:
            channel.failed("checkout", answer)
        return False
