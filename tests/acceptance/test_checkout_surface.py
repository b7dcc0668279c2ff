"""What somebody who integrates checkouts meets, from the documents alone; and what others must not get by the same ways."""

import json
import re
import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from standardwebhooks import Webhook

from onebook.api.roles import Role
from onebook.key_file import secret_key
from onebook.simulator.job import notification_secret
from tests.acceptance.conftest import Api, Reply, nights
from tests.conftest import Server

DOCS = Path(__file__).parents[2] / "docs"


def documented_requests(page: str) -> list[list[str]]:
    """The arguments of each curl command in a page's first block of shell."""
    block = re.search(r"```sh\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    assert block is not None
    lines = block[1].replace("\\\n", " ").splitlines()
    return [shlex.split(line)[1:] for line in lines if line.startswith("curl ")]


def curl(api: Api, arguments: list[str], known: dict[str, str]) -> Reply:
    """Send what curl would send, which for want of another header is a form."""
    method, url, *rest = arguments[1], *(re.sub(r"\$(\w+)", lambda name: known[name[1]], a) for a in arguments[2:])
    options: list[tuple[str, str]] = list(zip(rest[::2], rest[1::2], strict=True))
    headers = {"content-type": "application/x-www-form-urlencoded"}
    headers |= {n.lower(): v for n, v in (value.split(": ", 1) for option, value in options if option == "-H")}
    body = next(value for option, value in options if option == "-d")
    return api.request(method, url.removeprefix(api.base_url), body.encode(), token=None, headers=headers)


def test_the_documented_requests_pay_for_a_room(api: Api, venue: str) -> None:
    """docs/checkout.md, sent as it stands but for the venue's name: priced, quoted, held and paid."""
    known = {
        "B": f"{api.base_url}/v1",
        "H": f"Authorization: Bearer {api.token()}",
        "J": "Content-Type: application/json",
    }
    answers: list[Any] = []
    for arguments in documented_requests("checkout.md"):
        reply = curl(api, [argument.replace("alfama", venue) for argument in arguments], known)
        assert reply.status in {200, 201}, reply
        answers.append(reply.json())
        known |= {"ID": str(answers[-1].get("id")), "QUOTE": str(answers[-1].get("quote", known.get("QUOTE")))}
    assert (answers[-1]["status"], answers[-1]["amount_minor"]) == ("paid", 30_000)


def priced(api: Api, venue: str) -> None:
    """A hundred euros a night."""
    plan = {"name": "Flexible", "currency": "EUR", "price_minor": 10_000}
    assert api.request("PUT", f"/v1/venues/{venue}/rates/flex", plan).status == 201


def checkout(api: Api, booking: str, **body: Any) -> Reply:
    """Pay for a booking, with a good token unless another is given."""
    return api.request("POST", f"/v1/bookings/{booking}/checkout", {"payment": {"token": "tok_ok"}} | body)


def test_a_refund_sent_again_is_told_as_such(api: Api, venue: str) -> None:
    """201 once, then 200 with the same bytes and Idempotent-Replayed, as with every other key."""
    priced(api, venue)
    booking = api.book([nights(venue)]).json()["id"]
    assert checkout(api, booking).status == 201
    key = {"idempotency-key": "refund"}
    first, again = [
        api.request("POST", f"/v1/bookings/{booking}/refunds", {"amount_minor": 100}, headers=key) for _ in range(2)
    ]
    assert (first.status, again.status, again.body) == (201, 200, first.body)
    assert "idempotent-replayed" not in first.headers and again.headers["idempotent-replayed"] == "true"


def test_amending_to_what_was_paid_for_changes_nothing(api: Api, venue: str) -> None:
    """The booking as it is, without a settlement; its account has no entry more."""
    priced(api, venue)
    path = api.book([nights(venue)]).headers["location"]
    assert checkout(api, path.rpartition("/")[2]).status == 201
    booking, folio = (api.request("GET", path + part).json() for part in ("", "/folio"))
    answered = api.request("POST", f"{path}/amend", {"items": [nights(venue)]})
    assert answered.status == 200
    assert {**answered.json(), "server_time": None} == {**booking, "server_time": None}
    assert api.request("GET", f"{path}/folio").json() == folio


def test_a_coupon_for_each_customer_needs_one(api: Api, venue: str) -> None:
    """Whoever names no customer cannot use it at all, or could use it without end."""
    priced(api, venue)
    terms = {"name": "Once", "currency": "EUR", "worth": {"kind": "fixed", "amount_minor": 500}}
    assert api.request("PUT", f"/v1/venues/{venue}/coupons/ONCE", terms | {"max_uses_per_customer": 1}).status == 201
    answers = []
    for customer in ({}, {"customer": "ana"}, {"customer": "ana"}):
        booking = api.book([nights(venue)], **customer).json()["id"]
        quote = api.request("POST", "/v1/quotes", {"booking": booking, "coupons": ["ONCE"]}).json()["quote"]
        reply = checkout(api, booking, quote=quote)
        answers.append(reply.json().get("code") or reply.status)
    assert answers == ["coupon-spent", 201, "coupon-spent"]


def test_only_who_may_check_out_learns_where_the_payer_has_to_go(api: Api, venue: str) -> None:
    """Whoever has the address may answer the challenge; a reader sees that there is one."""
    priced(api, venue)
    booking = api.book([nights(venue)], token=api.token(Role.CHANNEL)).json()["id"]
    assert checkout(api, booking, payment={"token": "tok_challenge"}).json()["status"] == "action-needed"
    found = {
        role: api.request("GET", f"/v1/bookings/{booking}/checkout", token=api.token(role)).json()["current"]
        for role in (Role.CHANNEL, Role.READER)
    }
    assert {each["status"] for each in found.values()} == {"action-needed"}
    assert [role for role, each in found.items() if "next_action" in each] == [Role.CHANNEL]


def test_another_channel_finds_nothing(api: Api, venue: str) -> None:
    """Not the booking, its checkout or its account; it can neither pay for it, nor end it, nor ask what it costs."""
    priced(api, venue)
    booking = api.book([nights(venue)], token=api.token(Role.CHANNEL)).json()["id"]
    assert checkout(api, booking).status == 201
    other = api.token(Role.STOREFRONT)
    asked = [
        api.request(method, f"/v1/bookings/{booking}{path}", body, token=other)
        for method, path, body in (
            ("GET", "", None),
            ("GET", "/checkout", None),
            ("GET", "/folio", None),
            ("POST", "/checkout", {"payment": {"token": "tok_ok"}}),
            ("POST", "/cancel", {}),
            ("POST", "/no-show", {}),
            ("POST", "/amend", {"items": [nights(venue, end="2026-12-03")]}),
        )
    ]
    asked.append(api.request("POST", "/v1/quotes", {"booking": booking}, token=other))
    assert [(reply.status, reply.code) for reply in asked] == [(404, "not-found")] * len(asked)


def test_a_patch_merges_an_address(api: Api) -> None:
    """RFC 7396, section 1: parts that are not named stay, null drops one, and the last one drops the address."""
    wanted = {"address": {"street": "Rua 1", "city": "Porto"}}
    headers = {"idempotency-key": str(uuid4())}
    path = f"/v1/customers/{api.request('POST', '/v1/customers', wanted, headers=headers).json()['id']}"
    for change, address in (
        ({"city": "Lisboa", "country": "PT"}, {"street": "Rua 1", "city": "Lisboa", "country": "PT"}),
        ({"street": None, "country": None}, {"city": "Lisboa"}),
        ({"city": None}, None),
    ):
        assert api.request("PATCH", path, {"address": change}).status == 200
        assert api.request("GET", path).json()["profile"].get("address") == address


def test_a_notification_that_cannot_be_kept_is_refused(api: Api, server: Server) -> None:
    """Signed as it may be: no text of PostgreSQL's has a zero in it."""
    secret = secret_key(server.data / "keys" / "simulator.key").hex()
    body = json.dumps({"id": "msg\0", "type": "payment.captured", "key": "k", "created": 1})
    now = datetime.now(UTC)
    headers = {
        "webhook-id": "msg",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(notification_secret(secret)).sign("msg", now, body),
    }
    path = "/v1/gateways/simulator/notifications"
    answer = api.request("POST", path, body.encode(), token=None, headers=headers)
    assert (answer.status, answer.code) == (400, "bad-signature")


def test_what_is_wrong_is_pointed_at(api: Api, venue: str) -> None:
    """A payment that is missing, an address that is taken, and days in the wrong order name their field."""
    priced(api, venue)
    unpaid = api.request("POST", f"/v1/bookings/{api.book([nights(venue)]).json()['id']}/checkout", {})
    assert (unpaid.status, unpaid.code, unpaid.json()["pointer"]) == (422, "payment-needed", "/payment")
    ana = {"email": f"{uuid4()}@example.org"}
    first, second = [
        api.request("POST", "/v1/customers", ana, headers={"idempotency-key": str(uuid4())}) for _ in range(2)
    ]
    assert (first.status, second.code, second.json()["pointer"]) == (201, "email-taken", "/email")
    backwards = api.request("GET", "/v1/money/report?from=2026-12-02&to=2026-12-01")
    assert (backwards.status, backwards.code, backwards.json()["parameter"]) == (422, "reversed-period", "to")


def test_a_checkout_needs_no_key(api: Api) -> None:
    """The document says so: without one the same payload is the same checkout."""
    paths = api.request("GET", "/openapi.json", token=None).json()["paths"]
    needs_key = {
        path: [
            header["required"] for header in paths[path]["post"]["parameters"] if header["name"] == "Idempotency-Key"
        ]
        for path in ("/v1/bookings", "/v1/bookings/{id}/checkout", "/v1/bookings/{id}/refunds")
    }
    assert list(needs_key.values()) == [[True], [False], [True]]
