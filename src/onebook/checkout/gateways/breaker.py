"""A gateway behind a bulkhead and a breaker, so that one that hangs or fails holds up nobody else.

Who calls me: the checkout and its settlements, instead of the gateway. What I own: the slots, the breaker, the calls under way.
What survives a crash: nothing, every worker learns anew. What bounds me: `concurrency` calls at once; SLOT_SECONDS for a slot;
`timeout_seconds` for an answer, after which the outcome is unknown; QUICK_ATTEMPTS within QUICK_SECONDS, of calls that were
certainly not carried out. After `breaker_failures` failures in a row nothing is sent for `breaker_seconds`; then one call probes.

A refusal or a declined card is an answer: the gateway works.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TypeVar

import stamina
import structlog

from onebook.breaker import Breaker, BreakerState
from onebook.checkout.gateways.protocol import (
    Gateway,
    GatewayAway,
    GatewayRefused,
    Notification,
    Order,
    OutcomeUnknown,
    Payment,
    Refund,
)
from onebook.checkout.metrics import GATEWAY_BREAKER, calls, seconds
from onebook.config import PaymentSettings

SLOT_SECONDS = 0.5
PROBE_SECONDS = 1.0
QUICK_ATTEMPTS = 3
QUICK_SECONDS = 1.0
_LEVEL = {BreakerState.CLOSED: 0, BreakerState.HALF_OPEN: 1, BreakerState.OPEN: 2}

T = TypeVar("T")

log = structlog.get_logger()


class KeptBack(GatewayAway):
    """Not sent at all: the breaker is open, or all slots are taken."""


class Guarded:
    """Any gateway, guarded. Calls may be repeated here, since every gateway does one thing once per key."""

    def __init__(
        self, gateway: Gateway, settings: PaymentSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name = gateway.name
        self._gateway = gateway
        self._timeout_seconds = settings.timeout_seconds
        self._clock = clock
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._breaker = Breaker(settings.breaker_failures, settings.breaker_seconds)
        self._probes = 0
        self._repeating = stamina.AsyncRetryingCaller(
            attempts=QUICK_ATTEMPTS, timeout=QUICK_SECONDS, wait_initial=0.05, wait_max=0.4, wait_jitter=0.2
        ).on(_is_worth_repeating)
        GATEWAY_BREAKER.labels(self.name).set(0)

    @property
    def open_for_seconds(self) -> float:
        """How long nothing is sent yet; 0 while the gateway is asked. A checkout looks here before it begins."""
        now = self._clock()
        if self._breaker.allows(now, self._probes):
            return 0.0
        left = self._breaker.opens_until - now
        return left if left > 0 else PROBE_SECONDS  # somebody else's probe is under way

    async def authorize(self, order: Order) -> Payment:
        """As the gateway's own."""
        return await self._call("authorize", lambda: self._gateway.authorize(order))

    async def find(self, order: Order, reference: str | None) -> Payment | None:
        """As the gateway's own."""
        return await self._call("find", lambda: self._gateway.find(order, reference))

    async def capture(self, order: Order, reference: str, amount_minor: int) -> Payment:
        """As the gateway's own."""
        return await self._call("capture", lambda: self._gateway.capture(order, reference, amount_minor))

    async def void(self, order: Order, reference: str | None) -> Payment:
        """As the gateway's own."""
        return await self._call("void", lambda: self._gateway.void(order, reference))

    async def refund(self, order: Order, reference: str, refund_key: str, amount_minor: int) -> Refund:
        """As the gateway's own."""
        return await self._call("refund", lambda: self._gateway.refund(order, reference, refund_key, amount_minor))

    async def payments(self, since_epoch_seconds: float) -> AsyncIterator[Payment]:
        """As the gateway's own. Not repeated: a list that has broken off cannot be gone on with, and would only seem to end."""
        listed = self._gateway.payments(since_epoch_seconds)
        while (payment := await self._once("payments", lambda: anext(listed, None))) is not None:
            yield payment

    def read_notification(self, headers: Mapping[str, str], body: bytes) -> Notification:
        """As the gateway's own; nothing is sent."""
        return self._gateway.read_notification(headers, body)

    async def close(self) -> None:
        """End the gateway's connections."""
        await self._gateway.close()

    async def _call(self, operation: str, call: Callable[[], Awaitable[T]]) -> T:
        try:
            return await self._once(operation, call)
        except GatewayAway as error:
            return await self._again(operation, call, error)

    async def _again(self, operation: str, call: Callable[[], Awaitable[T]], error: GatewayAway) -> T:
        """Repeat a call that has failed once. Were stamina there from the start, it would take longer than many a call does."""
        first = [error]

        async def attempt() -> T:
            if first:
                raise first.pop()
            return await self._once(operation, call)

        return await self._repeating(attempt)

    async def _once(self, operation: str, call: Callable[[], Awaitable[T]]) -> T:
        try:
            self._check()
            await self._take_slot()
        except KeptBack:
            calls(operation, "kept back").inc()
            raise
        try:
            return await self._attempt(operation, call)
        finally:
            self._slots.release()

    async def _attempt(self, operation: str, call: Callable[[], Awaitable[T]]) -> T:
        probes = self._breaker.state is BreakerState.HALF_OPEN
        self._probes += probes
        if probes:
            GATEWAY_BREAKER.labels(self.name).set(_LEVEL[BreakerState.HALF_OPEN])
        began = time.perf_counter()
        try:
            answer = await self._answer(call)
        except GatewayRefused:
            self._note(operation, "refused", began)
            raise
        except GatewayAway:
            self._note(operation, "away", began)
            raise
        except OutcomeUnknown:
            self._note(operation, "unknown", began)
            raise
        finally:
            self._probes -= probes
        self._note(operation, "done", began)
        return answer

    async def _answer(self, call: Callable[[], Awaitable[T]]) -> T:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await call()
        except TimeoutError as error:
            raise OutcomeUnknown(f"{self.name} did not answer within {self._timeout_seconds:g} s") from error

    async def _take_slot(self) -> None:
        if not self._slots.locked():
            await self._slots.acquire()  # at once
            return
        try:
            async with asyncio.timeout(SLOT_SECONDS):
                await self._slots.acquire()
        except TimeoutError as error:
            raise KeptBack(f"too many calls to {self.name} are under way") from error
        try:
            self._check()  # it may have opened meanwhile
        except KeptBack:
            self._slots.release()
            raise

    def _check(self) -> None:
        if left := self.open_for_seconds:
            raise KeptBack(f"{self.name} has failed repeatedly and is left alone", left)

    def _note(self, operation: str, outcome: str, began: float) -> None:
        calls(operation, outcome).inc()
        seconds(operation).observe(time.perf_counter() - began)
        before = self._breaker.state
        if outcome in {"away", "unknown"}:
            self._breaker.failed(self._clock())
        else:
            self._breaker.succeeded()
        after = self._breaker.state
        if after is not before:
            GATEWAY_BREAKER.labels(self.name).set(_LEVEL[after])
            log.warning("gateway_breaker", gateway=self.name, state=after.value)


def _is_worth_repeating(error: Exception) -> bool:
    """Whether it was certainly not carried out, and may be a moment later; what was kept back here would be again."""
    return isinstance(error, GatewayAway) and not isinstance(error, KeptBack)
