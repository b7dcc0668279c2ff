"""What the guard keeps from a gateway, and what of a gateway it keeps from everybody else."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping

import msgspec
import pytest
import stamina

from onebook.checkout.gateways import breaker
from onebook.checkout.gateways.breaker import Guarded, KeptBack
from onebook.checkout.gateways.protocol import (
    Gateway,
    GatewayAway,
    GatewayRefused,
    Notification,
    Order,
    OutcomeUnknown,
    Payment,
    PaymentState,
    Refund,
)
from onebook.checkout.metrics import GATEWAY_CALLS
from onebook.config import load

FAILURES = 3
OPEN_SECONDS = 5.0
ORDER = Order("checkout-1", 12_345, "EUR", "pm_1", booking="booking-1")
PAYMENT = Payment("checkout-1", "pi_1", PaymentState.AUTHORIZED, 12_345, "EUR")

Answer = Callable[[], Awaitable[Payment]]


class Puppet:
    """A gateway that does what the test says, and counts."""

    name = "puppet"

    def __init__(self) -> None:
        self.answer: Answer = fine
        self.asked = 0
        self.under_way = 0
        self.most_under_way = 0

    async def authorize(self, order: Order) -> Payment:
        """What the test says."""
        self.asked += 1
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            return await self.answer()
        finally:
            self.under_way -= 1

    async def find(self, order: Order, reference: str | None) -> Payment | None:
        """The same."""
        return await self.authorize(order)

    async def capture(self, order: Order, reference: str, amount_minor: int) -> Payment:
        """The same."""
        return await self.authorize(order)

    async def void(self, order: Order, reference: str | None) -> Payment:
        """The same."""
        return await self.authorize(order)

    async def refund(self, order: Order, reference: str, refund_key: str, amount_minor: int) -> Refund:
        """Nothing: no test asks."""
        raise NotImplementedError

    async def payments(self, since_epoch_seconds: float) -> AsyncIterator[Payment]:
        """A payment, and then whatever the test says."""
        yield PAYMENT
        yield await self.authorize(ORDER)

    def read_notification(self, headers: Mapping[str, str], body: bytes) -> Notification:
        """Nothing: no test asks."""
        raise NotImplementedError

    async def close(self) -> None:
        """Nothing to end."""


async def fine() -> Payment:
    """It works."""
    return PAYMENT


async def away() -> Payment:
    """It is not there."""
    raise GatewayAway("nobody listens")


async def unknown() -> Payment:
    """Nobody knows."""
    raise OutcomeUnknown("the connection was cut")


async def refused() -> Payment:
    """It will not."""
    raise GatewayRefused("no")


async def hangs() -> Payment:
    """It never answers."""
    return await asyncio.Future[Payment]()


class Bench:
    """A puppet behind a guard, and the clock in the test's hands."""

    def __init__(self, concurrency: int = 10, timeout_seconds: float = 5.0) -> None:
        self.now = 1000.0
        self.puppet = Puppet()
        settings = msgspec.structs.replace(
            load(environment={}).payments,
            concurrency=concurrency,
            timeout_seconds=timeout_seconds,
            breaker_failures=FAILURES,
            breaker_seconds=OPEN_SECONDS,
        )
        gateway: Gateway = self.puppet
        self.guarded = Guarded(gateway, settings, clock=lambda: self.now)

    async def ask(self, answer: Answer) -> Payment:
        """One call, answered like that."""
        self.puppet.answer = answer
        return await self.guarded.authorize(ORDER)

    async def fail(self, times: int) -> None:
        """So many failures in a row."""
        for _ in range(times):
            with pytest.raises(OutcomeUnknown):
                await self.ask(unknown)


@pytest.fixture
async def bench() -> Bench:
    """One that hardly bounds anything."""
    return Bench()


@pytest.fixture(autouse=True)
def at_once() -> Iterator[None]:
    """Calls are repeated as often as in earnest, but without waiting."""
    with stamina.set_testing(True, attempts=breaker.QUICK_ATTEMPTS):
        yield


async def test_failures_in_a_row_open_the_breaker(bench: Bench) -> None:
    """Then nothing is sent, and it is told for how long."""
    await bench.fail(FAILURES)
    asked = bench.puppet.asked
    bench.now += 2
    assert bench.guarded.open_for_seconds == pytest.approx(OPEN_SECONDS - 2)
    with pytest.raises(KeptBack) as kept:
        await bench.ask(fine)
    assert kept.value.retry_after_seconds == pytest.approx(OPEN_SECONDS - 2)
    assert bench.puppet.asked == asked


@pytest.mark.parametrize("answer", [fine, refused])
async def test_an_answer_between_failures_keeps_it_closed(bench: Bench, answer: Answer) -> None:
    """A refusal is an answer too: the gateway works."""
    for _ in range(3):
        await bench.fail(FAILURES - 1)
        if answer is fine:
            await bench.ask(fine)
        else:
            with pytest.raises(GatewayRefused):
                await bench.ask(refused)
    assert bench.guarded.open_for_seconds == 0


async def test_one_call_probes_when_its_time_is_over(bench: Bench) -> None:
    """The others are kept back until it is answered; its success closes the breaker."""
    await bench.fail(FAILURES)
    bench.now += OPEN_SECONDS
    assert bench.guarded.open_for_seconds == 0
    answer = asyncio.Future[Payment]()
    bench.puppet.answer = lambda: answer
    probe = asyncio.create_task(bench.guarded.authorize(ORDER))
    await asyncio.sleep(0)
    assert bench.guarded.open_for_seconds > 0
    with pytest.raises(KeptBack):
        await bench.guarded.authorize(ORDER)
    answer.set_result(PAYMENT)
    assert await probe == PAYMENT
    assert bench.guarded.open_for_seconds == 0
    assert await asyncio.gather(*(bench.ask(fine) for _ in range(5))) == [PAYMENT] * 5


async def test_a_probe_that_fails_opens_it_again(bench: Bench) -> None:
    """For the whole time."""
    await bench.fail(FAILURES)
    bench.now += OPEN_SECONDS
    await bench.fail(1)
    assert bench.guarded.open_for_seconds == pytest.approx(OPEN_SECONDS)


async def test_a_probe_that_is_given_up_makes_room_for_another(bench: Bench) -> None:
    """Its caller has gone away: that says nothing about the gateway."""
    await bench.fail(FAILURES)
    bench.now += OPEN_SECONDS
    probe = asyncio.create_task(bench.ask(hangs))
    await asyncio.sleep(0)
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe
    assert await bench.ask(fine) == PAYMENT


@pytest.mark.parametrize("slots", [2, 8])
async def test_a_gateway_that_hangs_takes_its_slots_and_no_more(slots: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The calls beyond them are told soon, and nothing of them was sent; a gateway beside it is asked as always."""
    monkeypatch.setattr(breaker, "SLOT_SECONDS", 0.01)
    hanging, beside = Bench(concurrency=slots, timeout_seconds=0.05), Bench(concurrency=1)
    hanging.puppet.answer = hangs
    calls = [asyncio.create_task(hanging.guarded.authorize(ORDER)) for _ in range(10)]
    assert await beside.ask(fine) == PAYMENT
    ends = await asyncio.gather(*calls, return_exceptions=True)
    assert hanging.puppet.most_under_way == hanging.puppet.asked == slots
    assert [type(end) for end in ends].count(OutcomeUnknown) == slots
    assert [type(end) for end in ends].count(KeptBack) == 10 - slots


async def test_slots_are_free_again(bench: Bench) -> None:
    """Whatever became of the calls that had them."""
    bench = Bench(concurrency=1)
    for answer in (fine, refused, unknown, fine):
        await asyncio.gather(bench.ask(answer), return_exceptions=True)
    assert await bench.ask(fine) == PAYMENT


async def test_what_was_not_carried_out_is_sent_again_at_once() -> None:
    """Twice at the most; what may have been carried out is not."""
    bench = Bench()
    answers = iter([away, away, fine])
    bench.puppet.answer = lambda: next(answers)()
    assert await bench.guarded.authorize(ORDER) == PAYMENT
    assert bench.puppet.asked == 3
    with pytest.raises(GatewayAway):
        await bench.ask(away)
    assert bench.puppet.asked == 6
    bench.now += OPEN_SECONDS
    await bench.fail(1)
    assert bench.puppet.asked == 7


async def test_a_list_that_breaks_off_does_not_seem_to_end(bench: Bench) -> None:
    """Who reconciles must not take a part for the whole."""
    bench.puppet.answer = away
    seen = []
    with pytest.raises(GatewayAway):  # noqa: PT012  # what was listed before is listed
        async for payment in bench.guarded.payments(0):
            seen.append(payment)  # noqa: PERF401  # it raises
    assert seen == [PAYMENT]
    bench.puppet.answer = fine
    assert [payment async for payment in bench.guarded.payments(0)] == [PAYMENT, PAYMENT]


async def test_calls_are_counted_by_what_came_of_them(bench: Bench) -> None:
    """Also those that were never sent."""

    def counted(outcome: str) -> float:
        return float(GATEWAY_CALLS.labels("authorize", outcome)._value.get())

    outcomes = ("done", "refused", "unknown", "kept back")
    before = [counted(outcome) for outcome in outcomes]
    await bench.ask(fine)
    with pytest.raises(GatewayRefused):
        await bench.ask(refused)
    await bench.fail(FAILURES)
    with pytest.raises(KeptBack):
        await bench.ask(fine)
    assert [counted(outcome) - was for outcome, was in zip(outcomes, before, strict=True)] == [1, 1, FAILURES, 1]
