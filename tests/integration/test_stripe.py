"""The gateway over Stripe: the suite of all gateways against localstripe, and what Stripe's documentation says beyond that."""

import hmac
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from tests.integration.gateway_conformance import ENDED, Bed, GatewayConformance, captured, listed, new_key, ordered

from onebook.checkout.gateways import stripe
from onebook.checkout.gateways.breaker import Guarded
from onebook.checkout.gateways.protocol import (
    BadNotification,
    Gateway,
    GatewayAway,
    GatewayRefused,
    Order,
    OutcomeUnknown,
    Payment,
    PaymentState,
)
from onebook.checkout.gateways.stripe import OrderChanged, StripeGateway
from onebook.checkout.gateways.stripe_wire import minor_amount, stripe_amount
from onebook.config import PaymentSettings, load

SETTINGS: PaymentSettings = msgspec.structs.replace(load(environment={}).payments, breaker_failures=100)
KEY = "sk_test_onebook"
WHSEC = "whsec_onebook"
RETURN_URL = "https://shop.example/paid"
NOBODY = "http://127.0.0.1:9"
HEADERS = {"authorization": f"Bearer {KEY}"}
NOW = 1_796_000_000

# Stripe's public test cards, by which localstripe decides; its form would make a token of them in the payer's browser.
CHALLENGING = "4000002500003155"


@pytest.fixture(scope="module")
def localstripe() -> Iterator[str]:
    """The URL of a localstripe of this module's own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.localstripe_server"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{json.loads(process.stdout.readline())}"
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=10)
        process.stdout.close()


def gateway_at(url: str) -> StripeGateway:
    """The gateway, at a fixed time."""
    return StripeGateway(url, KEY, WHSEC, timeout_seconds=5, return_url=RETURN_URL, clock=lambda: NOW)


@pytest.fixture
async def bed(localstripe: str) -> AsyncIterator[Bed]:
    """Guarded, as the checkout has it: orders sent at once are refused with 409 by Stripe, and sent again.

    Deviations of localstripe that are not mended in localstripe_server.py: a declined card's error is of the type
    `invalid_request_error` and has no `decline_code`, and errors have no `payment_intent`. The gateway relies on neither.
    """
    gateway, away = gateway_at(localstripe), gateway_at(NOBODY)
    async with aiohttp.ClientSession(localstripe, headers=HEADERS) as session:

        async def challenged() -> str:
            card = {"number": CHALLENGING, "exp_month": "12", "exp_year": "2030", "cvc": "123"}
            form = {"type": "card", **{f"card[{name}]": value for name, value in card.items()}}
            async with session.post("/v1/payment_methods", data=form) as answer:
                return str((await answer.json())["id"])

        async def answer(payment: Payment, passes: bool) -> None:
            path = f"/v1/payment_intents/{payment.reference}"
            async with session.get(path) as found:
                secret = (await found.json())["client_secret"]
            form = {"client_secret": secret, "success": str(passes).lower()}
            async with session.post(f"{path}/_authenticate", data=form) as answered:
                assert answered.status == 200

        yield Bed(
            gateway=Guarded(gateway, SETTINGS),
            away=Guarded(away, SETTINGS),
            ok=lambda: _token("pm_card_visa"),
            declined=lambda: _token("pm_card_chargeCustomerFail"),
            challenged=challenged,
            answer=answer,
        )
    await gateway.close()
    await away.close()


class TestStripe(GatewayConformance):
    """Stripe passes the suite of all gateways."""

    async def test_a_payment_is_found_after_its_key_is_forgotten(self, bed: Bed, localstripe: str) -> None:
        """A day later the order's payment is still the one there was, captured or not, and not an empty new one."""
        order, taken = await captured(bed)
        await a_day_passes(localstripe)
        assert await bed.gateway.find(order, None) == taken

    async def test_a_void_reaches_all_intents_of_an_order(self, bed: Bed, localstripe: str) -> None:
        """A day later voiding ends what was set aside then, and a late authorization, which would make another."""
        order = await ordered(bed.ok)
        payment = await bed.gateway.authorize(order)
        await a_day_passes(localstripe)
        voided = await bed.gateway.void(order, None)
        assert (voided.state, voided.reference) == (PaymentState.VOIDED, payment.reference)
        assert (await bed.gateway.authorize(order)).state in ENDED

    async def test_a_refund_happens_once_after_its_key_is_forgotten(self, bed: Bed, localstripe: str) -> None:
        """A refund that is repeated a day later is the same one."""
        order, taken = await captured(bed)
        key = new_key()
        refund = await bed.gateway.refund(order, taken.reference, key, 45)
        await a_day_passes(localstripe)
        assert await bed.gateway.refund(order, taken.reference, key, 45) == refund

    async def test_long_lists_are_read_to_their_end(self, bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
        """Page by page, each payment once."""
        monkeypatch.setattr(stripe, "PAGE", 2)
        orders = [(await captured(bed))[0] for _ in range(5)]
        keys = [payment.key for payment in await listed(bed.gateway)]
        assert [keys.count(order.key) for order in orders] == [1] * 5

    async def test_what_was_not_captured_was_not_refunded(self, bed: Bed) -> None:
        """Stripe gives back what is not captured as a refund; to us it was never taken."""
        order = await ordered(bed.ok)
        payment = await bed.gateway.authorize(order)
        taken = await bed.gateway.capture(order, payment.reference, 5_000)
        assert taken.refunded_minor == 0
        await bed.gateway.refund(order, payment.reference, new_key(), 1_000)
        found = await bed.gateway.find(order, payment.reference)
        assert found is not None
        assert (found.captured_minor, found.refunded_minor) == (5_000, 1_000)

    async def test_an_order_that_changes_under_its_key_is_told_loudly(self, bed: Bed) -> None:
        """Another amount under the same key is neither a refusal nor a fault of the gateway."""
        order = await ordered(bed.ok)
        await bed.gateway.authorize(order)
        with pytest.raises(OrderChanged):
            await bed.gateway.authorize(msgspec.structs.replace(order, amount_minor=order.amount_minor + 1))


# What localstripe cannot be brought to say, by a server that says it.


@dataclass
class Script:
    """Answers one after the other, the last one for ever, and what was asked."""

    gateway: Gateway
    answers: list[tuple[int, Any]]
    asked: list[web.Request] = field(default_factory=list)


@asynccontextmanager
async def scripted(*answers: tuple[int, Any]) -> AsyncIterator[Script]:
    """A gateway to such a server. An answer of status 0 is a connection that is cut."""

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        script.asked.append(request)
        status, body = script.answers.pop(0) if len(script.answers) > 1 else script.answers[0]
        if not status:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        return web.Response(status=status, text=body if isinstance(body, str) else json.dumps(body))

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server:
        gateway = gateway_at(str(server.make_url("")))
        script = Script(gateway, list(answers))
        try:
            yield script
        finally:
            await gateway.close()


ORDER = Order("checkout-1", 12_345, "EUR", "pm_1", booking="booking-1")


def intent(status: str, **more: Any) -> dict[str, Any]:
    """A PaymentIntent as Stripe documents it, as far as it is read."""
    return {
        "id": "pi_1",
        "object": "payment_intent",
        "amount": 12_345,
        "currency": "eur",
        "status": status,
        "metadata": {"onebook_key": "checkout-1"},
        "latest_charge": None,
        **more,
    }


async def test_requests_are_those_that_stripe_documents() -> None:
    """The key, a pinned version, form-encoded bodies, an idempotency key for each of the two steps."""
    async with scripted((200, intent("requires_payment_method")), (200, intent("requires_capture"))) as script:
        await script.gateway.authorize(ORDER)
    made, confirmed = script.asked
    assert made.headers["authorization"] == f"Bearer {KEY}"
    assert made.headers["stripe-version"] == stripe.VERSION
    assert (made.path, made.headers["idempotency-key"]) == ("/v1/payment_intents", "checkout-1:create")
    assert dict(await made.post()) == {
        "amount": "12345",
        "currency": "eur",
        "capture_method": "manual",
        "payment_method_types[]": "card",
        "metadata[onebook_key]": "checkout-1",
        "metadata[booking]": "booking-1",
    }
    assert confirmed.path == "/v1/payment_intents/pi_1/confirm"
    assert confirmed.headers["idempotency-key"] == "checkout-1:confirm"
    sent = {"payment_method": "pm_1", "return_url": RETURN_URL, "expand[]": "latest_charge"}
    assert dict(await confirmed.post()) == sent


@pytest.mark.parametrize(
    ("status", "more", "state"),
    [
        ("requires_capture", {}, PaymentState.AUTHORIZED),
        ("succeeded", {}, PaymentState.CAPTURED),
        ("canceled", {}, PaymentState.VOIDED),
        ("processing", {}, PaymentState.PROCESSING),
        ("requires_action", {"next_action": {"type": "use_stripe_sdk"}}, PaymentState.CHALLENGED),
        ("requires_payment_method", {"last_payment_error": {"code": "card_declined"}}, PaymentState.DECLINED),
        ("requires_payment_method", {}, None),
        ("requires_confirmation", {}, None),
    ],
)
async def test_what_a_status_means(status: str, more: dict[str, Any], state: PaymentState | None) -> None:
    """Every status that Stripe documents is one of ours; what was never confirmed is no payment."""
    async with scripted((200, intent(status, **more))) as script:
        found = await script.gateway.find(ORDER, "pi_1")
    assert (found and found.state) == state


async def test_a_decline_has_the_issuers_reason() -> None:
    """The decline code is told, and not only that the card was declined."""
    error = {"type": "card_error", "code": "card_declined", "decline_code": "insufficient_funds", "message": "…"}
    declined = intent("requires_payment_method", last_payment_error=error)
    made = (200, intent("requires_payment_method"))
    async with scripted(made, (402, {"error": error}), (200, declined)) as script:
        payment = await script.gateway.authorize(ORDER)
    assert (payment.state, payment.code) == (PaymentState.DECLINED, "insufficient_funds")


async def test_a_token_that_stripe_does_not_know_is_refused() -> None:
    """There is no payment then, and the reason is Stripe's."""
    made, error = intent("requires_payment_method"), {"type": "invalid_request_error", "code": "resource_missing"}
    async with scripted((200, made), (400, {"error": error}), (200, made)) as script:
        with pytest.raises(GatewayRefused) as refused:
            await script.gateway.authorize(ORDER)
    assert refused.value.code == "resource_missing"


async def test_what_stripe_will_not_make_is_void() -> None:
    """An order that is too small for Stripe has no payment, and a checkout that goes back is not held up by that."""
    refused = (400, {"error": {"type": "invalid_request_error", "code": "amount_too_small"}})
    nothing = (200, {"object": "search_result", "data": [], "has_more": False})
    async with scripted(refused, nothing, refused, nothing) as script:
        assert (await script.gateway.void(ORDER, None)).state is PaymentState.VOIDED
        assert await script.gateway.find(ORDER, None) is None


async def test_a_void_that_is_refused_is_not_given_up() -> None:
    """As long as the money is set aside, it has to be tried again."""
    async with scripted(
        (400, {"error": {"type": "invalid_request_error"}}), (200, intent("requires_capture"))
    ) as script:
        with pytest.raises(OutcomeUnknown):
            await script.gateway.void(ORDER, "pi_1")


async def test_what_is_processed_is_not_voided_yet() -> None:
    """Stripe cannot cancel it; it has to be tried again."""
    error = {"type": "invalid_request_error", "code": "payment_intent_unexpected_state"}
    async with scripted((400, {"error": error}), (200, intent("processing"))) as script:
        with pytest.raises(GatewayAway):
            await script.gateway.void(ORDER, "pi_1")


@pytest.mark.parametrize(
    ("status", "body", "raised"),
    [
        (409, {"error": {"type": "idempotency_error", "code": "idempotency_key_in_use"}}, GatewayAway),
        (429, {"error": {"type": "invalid_request_error", "code": "lock_timeout"}}, GatewayAway),
        (429, {"error": {"type": "invalid_request_error", "code": "rate_limit"}}, GatewayAway),
        (401, {"error": {"type": "invalid_request_error"}}, GatewayAway),
        (403, {"error": {"type": "invalid_request_error"}}, GatewayAway),
        (500, {"error": {"type": "api_error"}}, OutcomeUnknown),
        (503, "<html>", OutcomeUnknown),
        (302, "", OutcomeUnknown),
        (404, "<html>", OutcomeUnknown),
        (200, "<html>", OutcomeUnknown),
        (200, {"id": "pi_1"}, OutcomeUnknown),
        (0, "", OutcomeUnknown),
        (400, {"error": {"type": "idempotency_error", "message": "…"}}, OrderChanged),
        (400, {"error": {"type": "invalid_request_error", "code": "amount_too_small"}}, GatewayRefused),
    ],
)
async def test_what_an_error_means(status: int, body: Any, raised: type[Exception]) -> None:
    """What was certainly not done may be repeated, what was refused is final, and of the rest nobody knows."""
    async with scripted((status, body)) as script:
        with pytest.raises(raised):
            await script.gateway.authorize(ORDER)


@pytest.mark.parametrize(
    ("currency", "minor", "stripes"),
    [
        ("EUR", 1_999, 1_999),
        ("JPY", 500, 500),
        ("ISK", 500, 50_000),
        ("UGX", 500, 50_000),
        ("MGA", 500, 5),
        ("KWD", 5_120, 5_120),
    ],
)
def test_amounts_are_said_in_stripes_units(currency: str, minor: int, stripes: int) -> None:
    """And come back as what they were."""
    assert stripe_amount(minor, currency) == stripes
    assert minor_amount(stripes, currency) == minor


@pytest.mark.parametrize(("currency", "minor"), [("KWD", 5_124), ("MGA", 505)])
def test_an_amount_that_stripe_cannot_say_is_refused(currency: str, minor: int) -> None:
    """It is not rounded."""
    with pytest.raises(GatewayRefused) as refused:
        stripe_amount(minor, currency)
    assert refused.value.code == "amount-not-representable"


BODY = json.dumps({"id": "evt_1", "data": {"object": {"metadata": {"onebook_key": "checkout-1"}}}}).encode()


def signed(at: int = NOW, secret: str = WHSEC, body: bytes = BODY) -> str:
    """A signature as Stripe documents it, made without the code under test."""
    return hmac.new(secret.encode(), f"{at}.".encode() + body, "sha256").hexdigest()


@pytest.mark.parametrize(
    "header",
    [
        f"t={NOW},v1={signed()}",
        f"t={NOW},v1={signed(secret='whsec_old')},v1={signed()},v0=ffff",
        f"t={NOW - 299},v1={signed(NOW - 299)}",
        f"t={NOW + 299},v1={signed(NOW + 299)}",
    ],
)
async def test_a_signed_notification_is_read(header: str) -> None:
    """Also while the secret is being rolled, and with clocks that differ a little."""
    async with scripted((200, "")) as script:
        notification = script.gateway.read_notification({"stripe-signature": header}, BODY)
    assert (notification.id, notification.key) == ("evt_1", "checkout-1")


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, BODY),
        ({"stripe-signature": ""}, BODY),
        ({"stripe-signature": f"t={NOW}"}, BODY),
        ({"stripe-signature": f"v1={signed()}"}, BODY),
        ({"stripe-signature": f"t={NOW},v1={signed(secret='whsec_other')}"}, BODY),
        ({"stripe-signature": f"t={NOW},v1={signed()}"}, BODY + b" "),
        ({"stripe-signature": f"t={NOW - 1},v1={signed()}"}, BODY),
        ({"stripe-signature": f"t={NOW},t={NOW - 900},v1={signed(NOW - 900)}"}, BODY),
        ({"stripe-signature": f"t={NOW - 301},v1={signed(NOW - 301)}"}, BODY),
        ({"stripe-signature": f"t={NOW + 301},v1={signed(NOW + 301)}"}, BODY),
        ({"stripe-signature": f"t={NOW},v0={signed()}"}, BODY),
        ({"stripe-signature": f"t=²,v1={signed()}"}, BODY),
        ({"stripe-signature": f"t={NOW},v1=ünïcode"}, BODY),
        ({"stripe-signature": f"t={NOW},v1={signed(body=b'[]')}"}, b"[]"),
    ],
)
async def test_anything_else_is_no_notification(headers: dict[str, str], body: bytes) -> None:
    """Nobody else can tell us that a payment has changed, nor tell us again later what Stripe once said."""
    async with scripted((200, "")) as script:
        with pytest.raises(BadNotification):
            script.gateway.read_notification(headers, body)


async def test_without_a_secret_nothing_is_a_notification() -> None:
    """Anybody can sign with an empty secret."""
    gateway = StripeGateway(NOBODY, KEY, "", timeout_seconds=1, clock=lambda: NOW)
    headers = {"stripe-signature": f"t={NOW},v1={signed(secret='')}"}
    try:
        with pytest.raises(BadNotification):
            gateway.read_notification(headers, BODY)
    finally:
        await gateway.close()


async def a_day_passes(localstripe: str) -> None:
    """Stripe forgets its idempotency keys."""
    async with aiohttp.ClientSession(localstripe) as session, session.post("/_config/day") as answer:
        assert answer.status == 200


async def _token(name: str) -> str:
    return name
