"""The desk of `onebook replay`: asks the server for each stay, cancels it on its day, notes what came of it.

It lives for one replay and owns its sales; nothing survives it. At most `concurrency` requests are under way.
When the server is away or busy, a request is repeated with the same key after each of `PAUSES_SECONDS`.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from itertools import chain
from time import perf_counter
from typing import Any

import msgspec

from onebook.ops.http_client import Answer, Client, ConnectionFailed
from onebook.ops.replay.calendar import Day
from onebook.ops.replay.market import Market
from onebook.ops.replay.rows import Stay

PAUSES_SECONDS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0)
MAX_RETRY_AFTER_SECONDS = 5.0
_BUSY_STATUSES = frozenset({429, 503})


class MarketRefused(Exception):
    """The venues of the replay could not be set up; says which request failed and how."""


class Outcome(StrEnum):
    """What came of asking for a stay."""

    SOLD = "sold"
    REFUSED = "refused"
    FAILED = "failed"


class Sale(msgspec.Struct, frozen=True):
    """A stay that was asked for. `code` is why not; `seconds` runs from the first try to the last answer."""

    stay: Stay
    outcome: Outcome
    seconds: float
    booking: str = ""
    code: str = ""
    cancelled: bool = False
    cancel_failure: str = ""


class _Booking(msgspec.Struct):
    id: str
    status: str


class _Refusal(msgspec.Struct):
    code: str


class Tokens(msgspec.Struct, frozen=True):
    """The bearer tokens of a replay: `setup` creates venues; without `channels` it sells for all of them."""

    setup: str
    channels: Mapping[str, str] = {}

    def of(self, channel: str) -> str:
        """The token under which a channel sells."""
        return self.channels[channel] if self.channels else self.setup


class Desk:
    """Carries out a calendar day by day; `sales` holds, by line of the file, what has come of it so far."""

    def __init__(
        self, client: Client, tokens: Tokens, market: Market, *, concurrency: int, chance: random.Random
    ) -> None:
        self.sales: dict[int, Sale] = {}
        self.retries = 0
        self._client = client
        self._tokens = tokens
        self._market = market
        self._concurrency = concurrency
        self._chance = chance

    async def open_market(self) -> None:
        """Create the venues and room types; raises `MarketRefused`."""
        for path, body in chain(self._market.venues(), self._market.resources()):
            try:
                answer = await self._send("PUT", path, body, self._tokens.setup)
            except ConnectionFailed as error:
                raise MarketRefused(f"PUT {path}: {error}") from error
            if answer.status not in (200, 201):
                raise MarketRefused(f"PUT {path}: {_problem(answer)}")

    async def work(self, day: Day) -> None:
        """Carry out one day; returns when every request of it has been answered or given up."""
        await self._each(day.cancelled, self._cancel)
        await self._each(day.booked, self._book)
        await self._each(day.given_up, self._cancel)

    async def _each(self, stays: Sequence[Stay], act: Callable[[Stay], Awaitable[None]]) -> None:
        waiting = iter(stays)

        async def agent() -> None:
            for stay in waiting:  # The agents share one iterator: each stay goes to exactly one of them.
                await act(stay)

        async with asyncio.TaskGroup() as agents:
            for _ in range(min(self._concurrency, len(stays))):
                agents.create_task(agent())

    async def _book(self, stay: Stay) -> None:
        began = perf_counter()
        try:
            answer = await self._send(
                "POST",
                "/v1/bookings",
                self._market.booking(stay),
                self._tokens.of(stay.channel),
                {"Idempotency-Key": self._market.key(stay)},
            )
        except ConnectionFailed as failure:
            self.sales[stay.line] = Sale(stay, Outcome.FAILED, perf_counter() - began, code=str(failure))
            return
        self.sales[stay.line] = _sale(stay, answer, perf_counter() - began)

    async def _cancel(self, stay: Stay) -> None:
        sale = self.sales[stay.line]
        if sale.outcome is not Outcome.SOLD:
            return
        path = f"/v1/bookings/{sale.booking}/cancel"
        try:
            answer = await self._send("POST", path, {}, self._tokens.of(stay.channel))
            failure = "" if answer.status == 200 else _problem(answer)
        except ConnectionFailed as error:
            failure = str(error)
        self.sales[stay.line] = msgspec.structs.replace(sale, cancelled=not failure, cancel_failure=failure)

    async def _send(
        self, method: str, path: str, body: Any, token: str, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Try until the server is neither away nor busy; the last try's outcome stands, whatever it is."""
        for pause_seconds in PAUSES_SECONDS:
            try:
                answer = await self._client.request(method, path, json=body, token=token, headers=headers)
                if answer.status not in _BUSY_STATUSES:
                    return answer
                pause_seconds = max(pause_seconds, _retry_after_seconds(answer))
            except ConnectionFailed:
                pass  # The server may be restarting: ask again, as when it says that it is busy.
            self.retries += 1
            await asyncio.sleep(pause_seconds * self._chance.uniform(0.5, 1.5))
        return await self._client.request(method, path, json=body, token=token, headers=headers)


def _sale(stay: Stay, answer: Answer, seconds: float) -> Sale:
    try:
        # 200 is the answer to an earlier try of the same key whose own answer was lost.
        if answer.status in (200, 201):
            booking = msgspec.json.decode(answer.body, type=_Booking)
            if booking.status == "confirmed":
                return Sale(stay, Outcome.SOLD, seconds, booking=booking.id)
        elif answer.status == 409:
            refusal = msgspec.json.decode(answer.body, type=_Refusal)
            return Sale(stay, Outcome.REFUSED, seconds, code=refusal.code)
    except msgspec.DecodeError as error:
        return Sale(stay, Outcome.FAILED, seconds, code=f"HTTP {answer.status} with a wrong body: {error}")
    return Sale(stay, Outcome.FAILED, seconds, code=_problem(answer))


def _retry_after_seconds(answer: Answer) -> float:
    asked = answer.headers.get("retry-after", "")
    return min(float(asked), MAX_RETRY_AFTER_SECONDS) if asked.isascii() and asked.isdigit() else 0.0


def _problem(answer: Answer) -> str:
    """A problem in one line: status, code and detail (RFC 9457), or the beginning of what came instead."""
    try:
        problem = answer.json()
        told = " ".join(str(problem[name]) for name in ("code", "detail") if name in problem)
    except (msgspec.DecodeError, TypeError):
        told = answer.body[:120].decode("utf-8", "replace")
    return f"HTTP {answer.status} {told}".strip()
