"""A crowd that pays, over HTTP, at a gateway at which everything goes wrong now and then; it remembers what it was told.

The seed decides what each client wants, not in which order the server hears it.
"""

import asyncio
import random
from datetime import date, timedelta
from typing import Any

from onebook.ops.http_client import Answer
from tests.acceptance.shop import Shop

CLIENTS = 64
OPENING = date(2027, 3, 1)
ANSWER_SECONDS = 30.0
LOOK_SECONDS = 0.2
CARD = "4242424242424242"

VENUES = {"lisbon": ("EUR", "Europe/Lisbon", 10_000), "kyoto": ("JPY", "Asia/Tokyo", 12_000)}
COUPONS: dict[str, dict[str, Any]] = {
    "FEW": {"worth": {"kind": "fixed", "amount_minor": 1_000}, "max_uses": 12},
    "SOME": {"worth": {"kind": "percent", "basis_points": 1_000}, "max_uses": 40},
    "MANY": {"worth": {"kind": "percent", "basis_points": 333}},
}
TROUBLES = ("timeout_before", "timeout_after", "error_before", "error_after")
TOKENS = (
    *["tok_ok"] * 30,
    *["tok_challenge"] * 8,
    *("tok_declined", "tok_insufficient_funds", "tok_wrong_amount", "tok_capture_refused", "tok_refund_fails"),
    *("tok_late_authorization", "tok_late_capture"),
    *(f"tok_{trouble}{call}" for trouble in TROUBLES for call in ("", "_capture", "_void", "_refund")),
    CARD,
)
FAULTS = {
    **dict.fromkeys(TROUBLES, 0.02),
    **dict.fromkeys(("decline", "challenge", "late_authorization", "wrong_amount"), 0.02),
    **dict.fromkeys(("late_capture", "capture_refused", "refund_fails"), 0.02),
    **dict.fromkeys(("lost_notifications", "duplicate_notifications", "reordered_notifications"), 0.2),
    "late_ms": 300,
}
PLOTS = ((), ("cancel",), ("rest",), ("more",), ("less",), ("more", "cancel"), ("less", "cancel"), ("rest", "cancel"))
ALLOWED = {
    "quotes": {200, 409},
    "bookings": {200, 201, 409},
    "checkout": {200, 201, 202, 402, 409, 410},
    "cancel": {200, 409},
    "amend": {200, 202, 402, 409, 410},
}


class CheckoutCrowd:
    """Sixty-four clients, until they have begun so many checkouts together."""

    def __init__(self, shop: Shop, *, seed: int, checkouts: int) -> None:
        self._shop = shop
        self._seed = seed
        self._left = checkouts
        self._passed = asyncio.Event()
        self._half = checkouts // 2
        self.sold: list[str] = []
        self.strange: list[str] = []
        self.told: dict[str, int] = {}
        """How often an answer came, by what was asked and its status and code."""

    async def furnish(self) -> None:
        """Two venues in two currencies, each with rooms that are paid at once and rooms that take a deposit."""
        for venue, (currency, timezone, price_minor) in VENUES.items():
            place = {"name": venue, "timezone": timezone, "currency": currency, "market": venue}
            rate = {"name": "Rate", "currency": currency, "price_minor": price_minor}
            half = {"name": "Half", "steps": [{"hours_before": 8_000, "fee_basis_points": 5_000}]}
            deposit = {"deposit": {"kind": "percent", "basis_points": 3_000}}
            tax = {"name": "Tax", "levy": "tax", "rate": {"kind": "percent", "basis_points": 777}}
            room = {"kind": "room", "name": "Room", "capacity": 1_000_000, "grid": {"unit": "night"}}
            coupons = {
                f"/coupons/{code}": {"name": code, "currency": currency, **terms} for code, terms in COUPONS.items()
            }
            for path, body in {
                "": place,
                "/resources/double": room,
                "/resources/suite": room,
                "/taxes/tax": tax,
                "/policies/half": half,
                "/rates/flex": {**rate, "resources": ["double"], "policy": "half"},
                "/rates/later": {**rate, "resources": ["suite"], **deposit},
                **coupons,
            }.items():
                answer = await self._shop.answered("PUT", f"/v1/venues/{venue}{path}", body)
                assert answer.status in {200, 201}, answer

    async def run(self) -> None:
        """Everybody, to the end."""
        async with asyncio.TaskGroup() as group:
            for number in range(CLIENTS):
                group.create_task(self._live(number))

    async def half(self) -> None:
        """Return when half of the checkouts have begun."""
        await self._passed.wait()

    async def _live(self, number: int) -> None:
        draw, turn = random.Random(f"{self._seed}/{number}"), 0
        while self._left > 0:
            self._left -= 1
            if self._left <= self._half:
                self._passed.set()
            turn += 1
            await self._buy(draw, f"turn-{turn}-of-{number}-seed-{self._seed}")

    async def _buy(self, draw: random.Random, key: str) -> None:
        """Ask for the price, hold, pay, and change one's mind."""
        item = _stay(draw, f"{draw.choice(list(VENUES))}/{draw.choice(['double', 'suite'])}")
        paying: dict[str, Any] = {
            "payment": {"token": draw.choice(TOKENS)},
            "on_decline": draw.choice(["release", "keep"]),
        }
        if draw.random() < 0.6:
            quoted = await self._ask("quotes", "/v1/quotes", {"items": [item], "coupons": [draw.choice(list(COUPONS))]})
            if quoted.status == 200:
                paying["quote"] = quoted.json()["quote"]
        ttl_seconds = draw.choice([1, 60, 60, 60])
        held = await self._ask("bookings", "/v1/bookings", {"items": [item], "ttl_seconds": ttl_seconds}, key)
        booking = held.json()["id"]
        self.sold.append(booking)
        answers = await asyncio.gather(
            *(
                self._ask("checkout", f"/v1/bookings/{booking}/checkout", paying, key)
                for _ in range(draw.choice([1, 1, 2]))
            )
        )
        if answers[0].status == 202 and not await self._is_paid(draw, booking):
            return
        if answers[0].status in {200, 201, 202}:
            await self._play(draw, draw.choice(PLOTS), booking, item, key)

    async def _is_paid(self, draw: random.Random, booking: str) -> bool:
        """Do what the payer is asked to, or do not; whether it comes to a payment before long."""
        outcome = draw.choice(["pass", "pass", "fail", "never"])
        async with asyncio.timeout(ANSWER_SECONDS):
            while True:
                answer = await self._shop.answered("GET", f"/v1/bookings/{booking}/checkout")
                now = answer.json()["current"]
                if now["status"] in {"paid", "not-charged"}:
                    return bool(now["status"] == "paid")
                if "next_action" in now and outcome == "never":
                    return False
                if "next_action" in now:
                    await self._shop.decide(now["next_action"]["url"], outcome)
                await asyncio.sleep(LOOK_SECONDS)

    async def _play(
        self, draw: random.Random, plot: tuple[str, ...], booking: str, item: dict[str, Any], key: str
    ) -> None:
        until = date.fromisoformat(item["from"])
        nights = {"more": 6, "less": 1}
        for move in plot:
            path = f"/v1/bookings/{booking}"
            if move == "cancel":
                await asyncio.gather(*(self._ask("cancel", f"{path}/cancel", {}) for _ in range(draw.choice([1, 2]))))
            elif move == "rest":
                await self._ask("checkout", f"{path}/checkout", {"payment": {"token": "tok_ok"}}, f"{key}-rest")
            else:
                other = {**item, "to": str(until + timedelta(days=nights[move]))}
                await self._ask("amend", f"{path}/amend", {"items": [other]})

    async def _ask(self, what: str, path: str, body: Any, key: str | None = None) -> Answer:
        """Ask until there is an answer, and have a look at it."""
        answer = await self._shop.answered("POST", path, body, key)
        problem = answer.json().get("code") if answer.status >= 400 else None
        told = f"{what} {answer.status} {problem or ''}".strip()
        self.told[told] = self.told.get(told, 0) + 1
        is_card = CARD in str(body) and (answer.status, problem) == (422, "card-number")
        if answer.status not in ALLOWED[what] and not is_card:
            self.strange.append(f"{told}: {answer.body.decode(errors='replace')[:300]}")
        return answer


def _stay(draw: random.Random, resource: str) -> dict[str, Any]:
    arrival = OPENING + timedelta(days=draw.randrange(60))
    return {"resource": resource, "from": str(arrival), "to": str(arrival + timedelta(days=draw.randint(2, 4)))}
