"""Offers and quotes over HTTP."""

from typing import Any

import pytest

from onebook.api.roles import Role
from tests.acceptance.conftest import Api, nights

FLEX = {"name": "Flexible", "currency": "EUR", "price_minor": 10_000}
VAT = {"name": "IVA", "levy": "tax", "rate": {"kind": "percent", "basis_points": 600}, "included": True}
CITY = {
    "name": "City",
    "levy": "tax",
    "rate": {"kind": "amount", "amount_minor": 200, "currency": "EUR", "per": "person-night"},
}
STRICT = {"name": "Strict", "steps": [{"hours_before": 48, "fee_basis_points": 10_000}]}
SUMMER = {"name": "Summer", "currency": "EUR", "worth": {"kind": "percent", "basis_points": 1000}, "max_uses": 5}
OFFERS = [
    ("rates", "flex", FLEX, {"price_minor": 9_000}),
    ("taxes", "vat", VAT, {"included": False}),
    ("policies", "strict", STRICT, {"no_show_basis_points": 5000}),
    ("coupons", "SUMMER", SUMMER, {"max_uses": 6}),
]


def put(api: Api, venue: str, kind: str, code: str, offer: dict[str, Any]) -> int:
    """The status with which an offer is put."""
    return api.request("PUT", f"/v1/venues/{venue}/{kind}/{code}", offer).status


def quote(api: Api, body: Any, **more: Any) -> Any:
    """POST to /v1/quotes."""
    return api.request("POST", "/v1/quotes", body, **more)


@pytest.mark.parametrize(
    ("kind", "code", "offer", "change"), OFFERS, ids=lambda part: part if str(part) == part else ""
)
def test_an_offer_is_put_whole(
    api: Api, venue: str, kind: str, code: str, offer: dict[str, Any], change: dict[str, Any]
) -> None:
    """Every kind of offer is created once, replaced, read alone and in its list, and deleted once."""
    path = f"/v1/venues/{venue}/{kind}"
    assert [put(api, venue, kind, code, offer) for _ in range(2)] == [201, 200]
    assert put(api, venue, kind, code, offer | change) == 200
    found = api.request("GET", f"{path}/{code}").json()
    assert found == found | {"code": code, **change}
    assert api.request("GET", path).json()[kind] == [found]
    assert [api.request("DELETE", f"{path}/{code}").status for _ in range(2)] == [204, 404]
    assert api.request("GET", f"{path}/{code}").status == 404
    assert put(api, "no-such-venue", kind, code, offer) == 404
    assert api.request("GET", f"/v1/venues/no-such-venue/{kind}").status == 404


@pytest.mark.parametrize(
    ("kind", "offer", "pointer"),
    [
        ("rates", FLEX | {"resources": ["double", "suite"]}, "/resources/1"),
        ("rates", FLEX | {"policy": "nobody"}, "/policy"),
        ("rates", FLEX | {"currency": "JPY"}, "/currency"),
        ("rates", FLEX | {"price_minor": -1}, "/price_minor"),
        ("rates", FLEX | {"price_minor": 99.5}, "/price_minor"),
        ("rates", FLEX | {"price": 1}, "/price"),
        (
            "rates",
            FLEX | {"overrides": [{"from": "2026-12-02", "to": "2026-12-01", "price_minor": 1}]},
            "/overrides/0/to",
        ),
        ("taxes", VAT | {"rate": {"kind": "percent", "basis_points": 10_001}}, "/rate/basis_points"),
        ("taxes", CITY | {"rate": CITY["rate"] | {"currency": "USD"}}, "/rate/currency"),  # type: ignore[operator]
        ("policies", STRICT | {"check_in": "25:00"}, "/check_in"),
        ("coupons", SUMMER | {"currency": "USD"}, "/currency"),
        ("coupons", SUMMER | {"stay_from": "2026-12-02", "stay_to": "2026-12-02"}, "/stay_to"),
        ("coupons", SUMMER | {"valid_from": "2026-12-02T00:00:00"}, "/valid_from"),
    ],
)
def test_an_offer_that_means_nothing_is_refused(
    api: Api, venue: str, kind: str, offer: dict[str, Any], pointer: str
) -> None:
    """Offers with wrong, foreign or contradicting fields are 422 at the field."""
    reply = api.request("PUT", f"/v1/venues/{venue}/{kind}/x", offer)
    assert (reply.status, reply.json()["pointer"]) == (422, pointer)


def test_a_coupon_code_is_for_who_may_define_it(api: Api, venue: str) -> None:
    """A channel may read rate plans and no coupons, and define neither."""
    put(api, venue, "rates", "flex", FLEX)
    put(api, venue, "coupons", "SECRET", SUMMER)
    channel = api.token(Role.CHANNEL)
    assert api.request("GET", f"/v1/venues/{venue}/rates", token=channel).status == 200
    assert api.request("GET", f"/v1/venues/{venue}/coupons", token=channel).status == 403
    assert api.request("PUT", f"/v1/venues/{venue}/rates/flex", FLEX, token=channel).status == 403


def test_a_quote_explains_each_line(api: Api, venue: str) -> None:
    """Prices, coupon and taxes are lines of their own; those that are not included sum to the total."""
    put(api, venue, "policies", "strict", STRICT)
    put(api, venue, "rates", "flex", FLEX | {"policy": "strict", "deposit": {"kind": "percent", "basis_points": 2000}})
    put(api, venue, "taxes", "vat", VAT)
    put(api, venue, "taxes", "city", CITY)
    put(api, venue, "coupons", "SUMMER", SUMMER)
    reply = quote(api, {"items": [nights(venue) | {"guests": {"adults": 2}}], "coupons": ["SUMMER"]})
    assert (reply.status, reply.headers["cache-control"]) == (200, "no-store")
    told = reply.json()
    lines = {(line["kind"], line["code"]): line["amount_minor"] for line in told["lines"]}
    assert lines == {
        ("price", "flex"): 30_000,
        ("coupon", "SUMMER"): -3_000,
        ("tax", "vat"): 1_528,  # of 27 000 the part that is contained: 27 000 - 27 000 / 1.06
        ("tax", "city"): 1_200,
    }
    figures = {
        name: told[name] for name in ("total_minor", "due_now_minor", "due_later_minor", "tax_minor", "currency")
    }
    assert figures == {
        "total_minor": 28_200,
        "due_now_minor": 5_640,
        "due_later_minor": 22_560,
        "tax_minor": 2_728,
        "currency": "EUR",
    }
    assert told["policies"] == [{"code": "strict", "steps": STRICT["steps"], "no_show_basis_points": 10_000}]
    assert told["items"][0]["arrives_at"] == "2026-12-01T15:00:00Z"
    assert told["coupons"] == [f"{venue}/SUMMER"]
    assert len(told["quote"]) < 1024


def test_a_booking_is_quoted_to_its_own_channel(api: Api, venue: str) -> None:
    """A quote for a booking names it; another channel's booking is as good as none."""
    put(api, venue, "rates", "flex", FLEX)
    booked = api.book([nights(venue, quantity=2)], token=api.token(Role.CHANNEL, "atlas")).json()
    told = quote(api, {"booking": booked["id"]}, token=api.token(Role.CHANNEL, "atlas")).json()
    assert (told["booking"], told["total_minor"]) == (booked["id"], 60_000)
    assert quote(api, {"booking": booked["id"]}, token=api.token(Role.CHANNEL, "globe")).status == 404


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 422, "invalid"),
        ({"items": []}, 422, "invalid"),
        ({"items": ["NIGHTS"], "booking": "00000000-0000-7000-8000-000000000000"}, 422, "invalid"),
        ({"booking": "00000000-0000-7000-8000-000000000000"}, 404, "not-found"),
        ({"booking": "x"}, 422, "invalid"),
        ({"items": ["NIGHTS"], "coupons": ["NONE"]}, 409, "coupon-invalid"),
        ({"items": ["NIGHTS"], "coupons": ["a/b/c"]}, 422, "invalid"),
        ({"items": ["NIGHTS"], "coupons": ["NONE"] * 11}, 422, "invalid"),
        ({"items": [{"rate_plan": "none"}]}, 409, "no-rate"),
        ({"items": [{"resource": "no/where"}]}, 404, "not-found"),
        ({"items": [{"to": "2026-11-01"}]}, 422, "reversed-period"),
        ({"items": [{"quantity": 0}]}, 422, "invalid"),
        ({"items": [{"guests": {"adults": -1}}]}, 422, "invalid"),
        ({"items": [{"guests": {"adults": 1.5}}]}, 422, "invalid"),
        ({"items": [{"session": "late"}]}, 422, "not-by-session"),
        ({"items": [{"price_minor": 1}]}, 422, "invalid"),
    ],
)
def test_bad_requests_are_told(api: Api, venue: str, body: dict[str, Any], status: int, code: str) -> None:
    """What means nothing, names nothing or has no price is refused with its code."""
    put(api, venue, "rates", "flex", FLEX)
    if body.get("items"):
        items = [nights(venue) | ({} if item == "NIGHTS" else item) for item in body["items"]]
        body = body | {"items": items}
    reply = quote(api, body)
    assert (reply.status, reply.code) == (status, code)
