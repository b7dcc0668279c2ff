"""What comes in under a payment gateway's name is its own, or nothing happens."""

import hmac
import json
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from tests.acceptance.conftest import Api, Reply
from tests.conftest import Server, data_folder, start_server

WHSEC = "whsec_onebook"
PATH = "/v1/gateways/stripe/notifications"
CHARGES = {
    "ONEBOOK_PAYMENTS_GATEWAY": "stripe",
    "ONEBOOK_PAYMENTS_STRIPE_URL": "http://127.0.0.1:9",
    "ONEBOOK_PAYMENTS_STRIPE_KEY": "sk_test_onebook",
    "ONEBOOK_PAYMENTS_STRIPE_WEBHOOK_SECRET": WHSEC,
}


@pytest.fixture(scope="module")
def shop() -> Iterator[Server]:
    """A server that charges through Stripe."""
    with data_folder() as data:
        running = start_server(data, environment=CHARGES)
        try:
            yield running
        finally:
            running.stop()


def event(**more: Any) -> bytes:
    """An event of Stripe's about a payment that is not ours, printed as Stripe prints: with spaces."""
    told = {
        "id": f"evt_{uuid4().hex}",
        "object": "event",
        "data": {"object": {"object": "charge", "metadata": {}, **more}},
    }
    return json.dumps(told, indent=2).encode()


def post(shop: Server, body: bytes, *, signed: bytes | None = None, path: str = PATH) -> Reply:
    """Send a body with the signature that Stripe would make for it, or for another one."""
    now = int(time.time())
    signature = hmac.new(
        WHSEC.encode(), f"{now}.".encode() + (body if signed is None else signed), "sha256"
    ).hexdigest()
    headers = {"stripe-signature": f"t={now},v1={signature}"}
    return Api(shop).request("POST", path, body, token=None, headers=headers)


async def noted(shop: Server, body: bytes) -> int:
    """How often the notification is written down."""
    connection = await asyncpg.connect(shop.database_url)
    try:
        query = "SELECT count(*) FROM payment.notification WHERE id = $1"
        return int(await connection.fetchval(query, json.loads(body)["id"]))
    finally:
        await connection.close()


async def test_a_signed_notification_is_taken_once(shop: Server) -> None:
    """It needs no token, and may come again; both are answered 200."""
    body = event()
    assert [post(shop, body).status for _ in range(2)] == [200, 200]
    assert await noted(shop, body) == 1


async def test_digits_in_it_are_no_card(shop: Server) -> None:
    """Networks number their transactions like cards; nothing of a notification but its id is kept."""
    assert post(shop, event(network_transaction_id="378282246310005")).status == 200


async def test_one_that_is_not_signed_is_refused(shop: Server) -> None:
    """Another body than the one that was signed, down to its spaces, or no signature at all."""
    body = event()
    for answer in (post(shop, body, signed=json.dumps(json.loads(body)).encode()), post(shop, body, signed=b"")):
        assert (answer.status, answer.code) == (400, "bad-signature")
    unsigned = Api(shop).request("POST", PATH, body, token=None)
    assert (unsigned.status, unsigned.code) == (400, "bad-signature")
    assert await noted(shop, body) == 0


@pytest.mark.parametrize("body", [b"", b"[]", b'"evt"', b"{", b"\xff", b'{"id": "evt"}', b'{"id": 1, "data": {}}'])
async def test_what_is_signed_and_no_event_is_refused(shop: Server, body: bytes) -> None:
    """Stripe does not send it; it is no reason to fall over."""
    answer = post(shop, body)
    assert (answer.status, answer.code) == (400, "bad-signature")


async def test_other_gateways_and_long_bodies_are_refused(shop: Server) -> None:
    """Only the gateway that charges here has anything to tell, and not at length."""
    assert post(shop, event(), path="/v1/gateways/simulator/notifications").status == 404
    assert post(shop, event(description="x" * 64 * 1024)).status == 413
