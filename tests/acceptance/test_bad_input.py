"""Bad input over HTTP: told what is wrong, in bounds, and never with a 5xx."""

import json
import socket
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest

from tests.acceptance.conftest import Api, nights

KIBIBYTE = 1024


def bookings(api: Api, body: Any, **more: Any) -> Any:
    """POST to /v1/bookings under a fresh key."""
    return api.request("POST", "/v1/bookings", body, headers={"idempotency-key": str(uuid4())}, **more)


@pytest.mark.parametrize("chunked", [False, True], ids=["announced", "chunked"])
def test_huge_bodies_are_refused(api: Api, chunked: bool) -> None:
    """A body beyond 64 KiB is 413, whether its length is announced or not; one of 64 KiB is read."""
    body = b'{"items": [], "reference": "' + b"x" * 64 * KIBIBYTE + b'"}'
    assert bookings(api, body, chunked=chunked).status == 413
    fitting = b" " * (64 * KIBIBYTE - 13) + b'{"items": []}'
    assert bookings(api, fitting, chunked=chunked).status == 422


def test_bulk_routes_take_more(api: Api, venue: str) -> None:
    """A bulk body may have 10 MiB and no more."""
    path = f"/v1/venues/{venue}/resources:bulk"
    assert api.request("POST", path, b" " * (10 * KIBIBYTE**2 - 2) + b"[]").status == 422
    assert api.request("POST", path, b" " * (10 * KIBIBYTE**2 + 1)).status == 413


def test_a_length_beyond_all_bounds_is_refused_at_once(api: Api) -> None:
    """A body announced as a gigabyte is 413 before any of it is sent, and the connection ends."""
    host, port = api.base_url.removeprefix("http://").split(":")
    head = (
        f"POST /v1/bookings HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {api.token()}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {KIBIBYTE**3}\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(head.encode())
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    assert received.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in received.lower()


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"from": "2026-12-04", "to": "2026-12-01"}, "/items/0/to"),
        ({"from": "2026-12-01", "to": "2026-12-01"}, "/items/0/to"),
        ({"from": "2026-02-30"}, "/items/0/from"),
        ({"from": "01/12/2026"}, "/items/0/from"),
        ({"from": "2026-12-01T10:00:00"}, "/items/0/from"),
        ({"to": None}, "/items/0/to"),
        ({"to": "2099-12-31"}, "/items/0/to"),
        ({"session": "late"}, "/items/0/session"),
    ],
)
def test_times_must_make_sense(api: Api, venue: str, changes: dict[str, Any], pointer: str) -> None:
    """Reversed, empty, impossible, foreign and endless periods of nights are 422 at their field."""
    reply = bookings(api, {"items": [nights(venue) | changes]})
    assert (reply.status, reply.json()["pointer"]) == (422, pointer)


@pytest.mark.parametrize(
    ("starts", "ends", "pointer"),
    [
        ("2026-12-01T10:00:00", "2026-12-01T11:00:00+00:00", "/items/0/from"),
        ("2026-12-01T10:00:00+00:00", "2026-12-01T11:00:00", "/items/0/to"),
        ("2026-12-01T10:05:00+00:00", "2026-12-01T11:00:00+00:00", "/items/0/from"),
        ("2026-12-01T10:00:30+00:00", "2026-12-01T11:00:00+00:00", "/items/0/from"),
        ("2026-12-01T11:00:00+00:00", "2026-12-01T11:30:00+01:00", "/items/0/to"),
        ("2026-12-01T25:00:00+00:00", "2026-12-01T11:00:00+00:00", "/items/0/from"),
        ("0001-01-01T00:00:00+23:59", "2026-12-01T11:00:00+00:00", "/items/0/from"),
        ("2026-12-01", "2026-12-02", "/items/0/from"),
    ],
)
def test_instants_must_make_sense(api: Api, venue: str, starts: str, ends: str, pointer: str) -> None:
    """Naive, reversed and impossible instants, and those off the grid, are 422 at their field."""
    reply = bookings(api, {"items": [{"resource": f"{venue}/ana", "from": starts, "to": ends}]})
    assert (reply.status, reply.json()["pointer"]) == (422, pointer)


def test_a_clock_change_neither_loses_nor_repeats_an_hour(api: Api) -> None:
    """An opening that a clock change shortens is as long as it is: instants carry their offset, so none is in a gap."""
    venue = f"v-{uuid4().hex[:12]}"
    place = {"name": "Night bar", "timezone": "Europe/Lisbon", "currency": "EUR", "market": "lisboa"}
    bar = {
        "kind": "table",
        "name": "Bar",
        "capacity": 1,
        "grid": {"unit": "minute", "minutes": 30},
        "hours": {"sun": [["00:00", "04:00"]]},
    }
    api.request("PUT", f"/v1/venues/{venue}", place)
    api.request("PUT", f"/v1/venues/{venue}/resources/bar", bar)
    # On 2027-03-28 Lisbon's clocks go from 01:00 to 02:00: the opening lasts three hours, 00:00Z to 03:00Z.
    whole = {"resource": f"{venue}/bar", "from": "2027-03-28T00:00:00+00:00", "to": "2027-03-28T04:00:00+01:00"}
    assert api.book([whole | {"to": "2027-03-28T04:30:00+01:00"}]).code == "outside-hours"
    told = api.book([whole])
    assert (told.status, told.json()["items"][0]["to"]) == (201, "2027-03-28T04:00:00+01:00")


@pytest.mark.parametrize(
    ("path", "parameter"),
    [
        ("/v1/availability?from=2026-12-01&to=2026-12-02", "venue"),
        ("/v1/availability?venue=x&venue=y&from=2026-12-01&to=2026-12-02", "venue"),
        ("/v1/availability?venue={venue}&from=2026-12-02&to=2026-12-01", "to"),
        ("/v1/availability?venue={venue}&from=tomorrow&to=2026-12-01", "from"),
        ("/v1/availability?venue={venue}&from=2026-12-01&to=2026-12-02&quantity=-1", "quantity"),
        ("/v1/availability?venue={venue}&from=2026-12-01&to=2026-12-02&resource_version=x", "resource_version"),
        ("/v1/availability?venue=%00&from=2026-12-01&to=2026-12-02", "venue"),
        ("/v1/search?from=2026-12-01&to=2026-12-02", "market"),
        ("/v1/search?venue={venue}&from=2026-12-01&to=2026-12-02&kind=boat", "kind"),
        ("/v1/search?venue={venue}&form=2026-12-01", "form"),
        ("/v1/bookings?limit=0", "limit"),
        ("/v1/bookings?limit=many", "limit"),
        ("/v1/bookings?status=lost", "status"),
        ("/v1/bookings?cursor=AAAA", "cursor"),
        ("/v1/bookings?cursor=%C3%A9", "cursor"),
        ("/v1/events?after=AAAA", "after"),
    ],
)
def test_a_wrong_parameter_is_named(api: Api, venue: str, path: str, parameter: str) -> None:
    """A query that means nothing is 422 and names the parameter."""
    reply = api.request("GET", path.replace("{venue}", venue))
    assert reply.status == 422, reply
    assert reply.json()["parameter"] == parameter


@pytest.mark.parametrize("identity", ["1", "not-a-uuid", "\x00", "é", "a/b", "0" * 5000])
def test_an_id_that_cannot_be_one_is_not_found(api: Api, identity: str) -> None:
    """Whatever stands where an id is expected is at worst not found."""
    for method, path in (("GET", "/v1/bookings/{}"), ("POST", "/v1/bookings/{}/confirm")):
        assert api.request(method, path.format(quote(identity, safe=""))).status == 404
    assert api.request("DELETE", f"/v1/venues/x/blocks/{quote(identity, safe='')}").status == 404


@pytest.mark.parametrize("code", ["\x00", "a b", "é", "-a", "x" * 65, "a\n"])
def test_a_code_has_a_form(api: Api, venue: str, code: str) -> None:
    """A name that cannot stand in a URL as it is cannot be given, and is not found."""
    place = {"name": "Alfama", "timezone": "Europe/Lisbon", "currency": "EUR", "market": "lisboa"}
    room = {"kind": "room", "name": "Double", "capacity": 3, "grid": {"unit": "night"}}
    quoted = quote(code, safe="")
    named = api.request("PUT", f"/v1/venues/{quoted}", place)
    assert (named.status, named.json()["parameter"]) == (422, "venue")
    assert api.request("PUT", f"/v1/venues/{venue}/resources/{quoted}", room).status == 422
    assert api.request("PUT", f"/v1/venues/{quoted}/resources/double", room).status == 404
    change = [{"from": "2026-12-01", "to": "2026-12-02", "closed": True}]
    assert api.request("PATCH", f"/v1/venues/{venue}/resources/{quoted}/inventory", change).status == 404


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ([], ""),
        ([{"from": "2026-12-01", "to": "2026-12-02"}], "/0"),
        ([{"from": "2026-12-01", "to": "2026-12-02", "capacity": -1}], "/0/capacity"),
        ([{"from": "2026-12-01", "to": "2026-12-02", "closed": None}], "/0/closed"),
        ([{"from": "2026-12-02", "to": "2026-12-01", "closed": True}], "/0/to"),
        ([{"closed": True}], "/0/from"),
        ([{"session": "late", "closed": True}], "/0/session"),
        ([{"from": "2026-12-01", "to": "2066-12-02", "closed": True}], ""),
        ({"from": "2026-12-01"}, ""),
    ],
)
def test_inventory_changes_must_make_sense(api: Api, venue: str, changes: Any, pointer: str) -> None:
    """A change that changes nothing, everything, or something impossible is 422 at its field."""
    reply = api.request("PATCH", f"/v1/venues/{venue}/resources/double/inventory", changes)
    assert (reply.status, reply.json()["pointer"]) == (422, pointer)


@pytest.mark.parametrize("value", ["x", '"1', "1,2", "-1"])
def test_if_match_has_a_form(api: Api, venue: str, value: str) -> None:
    """An If-Match that names no version is 400, and never ignored."""
    change = [{"from": "2026-12-01", "to": "2026-12-02", "closed": True}]
    path = f"/v1/venues/{venue}/resources/double/inventory"
    assert api.request("PATCH", path, change, headers={"if-match": value}).status == 400


def test_unknown_paths_and_methods_are_problems_too(api: Api) -> None:
    """A path that does not exist is 404, a method 405 with what is allowed, both as problem documents."""
    assert api.request("GET", "/v1/nothing").code == "not-found"
    wrong = api.request("DELETE", "/v1/bookings")
    assert (wrong.status, wrong.code) == (405, "method-not-allowed")
    assert {"GET", "POST"} <= set(wrong.headers["allow"].replace(" ", "").split(","))


def test_a_basket_at_its_bounds(api: Api, venue: str) -> None:
    """A hundred items are decided as one basket, a hundred and one are too many."""
    item = {"resource": f"{venue}/show", "session": "late"}
    assert bookings(api, {"items": [item] * 10}).status == 201
    assert bookings(api, {"items": [item] * 100}).code == "sold-out"
    assert bookings(api, {"items": [item] * 101}).json()["pointer"] == "/items"


def test_text_survives_as_it_was_sent(api: Api, venue: str) -> None:
    """Text outside of ASCII, escaped or not, is kept as it is; control characters are refused."""
    text = 'Zoë 🛎 \u2028 "quoted" \\ /'
    for ascii_only in (True, False):
        body = json.dumps({"items": [nights(venue)], "reference": text}, ensure_ascii=ascii_only).encode()
        assert bookings(api, body).json()["reference"] == text
    assert bookings(api, {"items": [nights(venue)], "reference": "a\x00b"}).json()["pointer"] == "/reference"
