"""The simulator's client passes the conformance suite, and tells the kinds of failure apart."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from tests.integration.gateway_conformance import AMOUNT, Bed, GatewayConformance, Token, authorized, captured, ordered

from onebook.checkout.gateways.protocol import (
    BadNotification,
    GatewayAway,
    GatewayRefused,
    OutcomeUnknown,
    Payment,
    PaymentState,
    RefundState,
)
from onebook.checkout.gateways.simulator import SimulatorGateway
from onebook.config import load
from onebook.simulator.job import SimulatorJob
from onebook.simulator.server import open_simulator

SECRET = "sesame"  # noqa: S105 (of a simulator that lives for one test)
NOBODY = "http://127.0.0.1:9"


def token(name: str) -> Token:
    """The simulator's tokens are known beforehand."""

    async def make() -> str:
        return f"tok_{name}"

    return make


async def answer(payment: Payment, passes: bool) -> None:
    """As the payer's browser sends the form."""
    assert payment.challenge_url is not None
    async with aiohttp.ClientSession() as browser:
        async with browser.get(payment.challenge_url) as page:
            assert "<button" in await page.text()
        async with browser.post(payment.challenge_url, data={"outcome": "pass" if passes else "fail"}) as page:
            assert page.status == 200


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    """A simulator that lives for one test."""
    job = SimulatorJob("127.0.0.1", 0, str(tmp_path), SECRET, notify_url=None, log=load(environment={}).log)
    async with open_simulator(job) as address:
        yield address


@pytest.fixture
async def bed(url: str) -> AsyncIterator[Bed]:
    """Its client."""
    gateway = SimulatorGateway(url, SECRET, timeout_seconds=5, connections=8)
    away = SimulatorGateway(NOBODY, SECRET, timeout_seconds=5, connections=1)
    yield Bed(gateway, away, token("ok"), token("insufficient_funds"), token("challenge"), answer)
    await gateway.close()
    await away.close()


class TestSimulator(GatewayConformance):
    """The simulator is a gateway like any other."""


@pytest.mark.parametrize("trouble", ["timeout_before", "error_before"])
async def test_trouble_before_the_effect_is_an_unknown_outcome_and_nothing_happened(bed: Bed, trouble: str) -> None:
    """The caller cannot know, asks, and finds nothing; the call repeated succeeds."""
    order = await ordered(token(trouble))
    with pytest.raises(OutcomeUnknown):
        await bed.gateway.authorize(order)
    assert await bed.gateway.find(order, None) is None
    assert (await bed.gateway.authorize(order)).state is PaymentState.AUTHORIZED


@pytest.mark.parametrize("trouble", ["timeout_after", "error_after"])
async def test_trouble_after_the_effect_is_an_unknown_outcome_and_all_has_happened(bed: Bed, trouble: str) -> None:
    """The caller cannot know, asks, and finds the money taken; the call repeated changes nothing."""
    order = await ordered(token(f"{trouble}_capture"))
    payment = await bed.gateway.authorize(order)
    with pytest.raises(OutcomeUnknown):
        await bed.gateway.capture(order, payment.reference, AMOUNT)
    found = await bed.gateway.find(order, payment.reference)
    assert found is not None
    assert found.captured_minor == AMOUNT
    assert await bed.gateway.capture(order, payment.reference, AMOUNT) == found


async def test_a_gateway_that_does_not_answer_in_time_leaves_the_outcome_unknown(url: str) -> None:
    """A slow answer is given up, and does not turn up as the answer to the next call."""
    impatient = SimulatorGateway(url, SECRET, timeout_seconds=0.1, connections=1)
    order = await ordered(token("ok"))
    await set_faults(url, {"slow_ms": 60_000, "calls": ["authorize"]})
    with pytest.raises(OutcomeUnknown):
        await impatient.authorize(order)
    found = await impatient.find(order, None)
    assert found is not None
    assert found.state is PaymentState.AUTHORIZED
    await impatient.close()


async def test_who_finds_all_connections_busy_has_sent_nothing(url: str) -> None:
    """Waiting for a connection is bounded, and ends with certainty that nothing was done."""
    narrow = SimulatorGateway(url, SECRET, timeout_seconds=0.2, connections=1)
    await set_faults(url, {"hang_seconds": 60, "calls": ["authorize"]})
    orders = [await ordered(token("ok")) for _ in range(2)]
    ends = await asyncio.gather(*(narrow.authorize(order) for order in orders), return_exceptions=True)
    assert {type(end) for end in ends} <= {OutcomeUnknown, GatewayAway}
    assert isinstance(ends[0], OutcomeUnknown)
    await narrow.close()


async def test_a_wrong_password_is_a_refusal(url: str) -> None:
    """Nothing is done for a stranger, and asking again would not help."""
    stranger = SimulatorGateway(url, "guess", timeout_seconds=5, connections=1)
    with pytest.raises(GatewayRefused) as refusal:
        await stranger.authorize(await ordered(token("ok")))
    assert refusal.value.code == "wrong_secret"
    await stranger.close()


async def test_an_expired_authorization_is_refused_and_ended(bed: Bed) -> None:
    """A capture that comes too late for the card's issuer takes nothing, however often it is tried."""
    order = await ordered(token("capture_refused"))
    payment = await bed.gateway.authorize(order)
    for _ in range(2):
        with pytest.raises(GatewayRefused) as refusal:
            await bed.gateway.capture(order, payment.reference, AMOUNT)
        assert refusal.value.code == "authorization_expired"
    assert (await bed.gateway.void(order, payment.reference)).state is PaymentState.VOIDED


async def test_a_failed_refund_succeeds_under_another_key(bed: Bed) -> None:
    """The first refund of such a payment fails for good, the next one is given."""
    order = await ordered(token("refund_fails"))
    payment = await bed.gateway.authorize(order)
    await bed.gateway.capture(order, payment.reference, AMOUNT)
    for _ in range(2):
        assert (await bed.gateway.refund(order, payment.reference, "a", 100)).state is RefundState.FAILED
    assert (await bed.gateway.refund(order, payment.reference, "b", 100)).state is RefundState.SUCCEEDED
    found = await bed.gateway.find(order, None)
    assert found is not None
    assert found.refunded_minor == 100


async def test_a_key_of_any_characters_is_one_key(bed: Bed) -> None:
    """What a key is made of changes nothing, slashes and line breaks included."""
    order, payment = await authorized(bed)
    odd = type(order)("a/b?c=d\r\né%2F", AMOUNT, "EUR", "tok_ok", "booking")
    taken = await bed.gateway.authorize(odd)
    assert (await bed.gateway.capture(odd, taken.reference, AMOUNT)).key == odd.key
    assert await bed.gateway.find(order, None) == payment


async def test_the_list_goes_over_many_pages(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """However small a page is, every payment is listed once and in the order in which it was made."""
    monkeypatch.setattr("onebook.checkout.gateways.simulator.PAGE", 2)
    keys = [(await captured(bed))[0].key for _ in range(5)]
    assert [payment.key async for payment in bed.gateway.payments(0)] == keys


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, b"{}"),
        ({"webhook-id": "evt_1", "webhook-timestamp": "1", "webhook-signature": "v1,AAAA"}, b"{}"),
        ({"webhook-id": "evt_1", "webhook-timestamp": "1", "webhook-signature": "junk"}, b"\xff"),
    ],
)
async def test_a_forged_notification_is_refused(bed: Bed, headers: dict[str, str], body: bytes) -> None:
    """Whatever the signature lacks, it is a bad notification and nothing else."""
    with pytest.raises(BadNotification):
        bed.gateway.read_notification(headers, body)


async def set_faults(url: str, faults: dict[str, object]) -> None:
    """As a test or a person at a terminal sets them."""
    async with (
        aiohttp.ClientSession(headers={"authorization": f"Bearer {SECRET}"}) as session,
        session.put(f"{url}/faults", json=faults) as reply,
    ):
        assert reply.status == 200, await reply.text()
