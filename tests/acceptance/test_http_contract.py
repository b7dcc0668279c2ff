"""The public surface, as the contract has it: bookings, inventory, reading and probes over HTTP."""

import time
from typing import Any
from uuid import uuid4

import pytest

from onebook.api.roles import Role
from tests.acceptance.conftest import Api, nights

WAYS = pytest.mark.parametrize("long_way", [False, True], ids=["express way", "long way"])


@WAYS
def test_a_hold_is_answered_in_full(api: Api, venue: str, long_way: bool) -> None:
    """A hold is 201 with its deadline, its items and the version each brought about."""
    reply = api.book([nights(venue)], ttl_seconds=60, reference="R-1", customer="C-1", long_way=long_way)
    told = reply.json()
    assert reply.status == 201
    assert reply.headers["location"] == f"/v1/bookings/{told['id']}"
    assert (told["status"], told["channel"], told["reference"], told["customer"]) == ("held", "desk", "R-1", "C-1")
    assert told["items"] == [nights(venue) | {"version": 2}]
    assert told["expires_at"] > told["server_time"]


@WAYS
def test_a_key_has_one_effect_and_one_answer(api: Api, venue: str, long_way: bool) -> None:
    """A repeat is 200 with the same bytes whatever has happened since; another payload is 422."""
    key = str(uuid4())
    first = api.book([nights(venue)], key=key, long_way=long_way)
    api.request("POST", f"/v1/bookings/{first.json()['id']}/confirm")
    repeated = api.book([nights(venue)], key=key, long_way=not long_way)
    assert (repeated.status, repeated.headers["idempotent-replayed"]) == (200, "true")
    assert repeated.body == first.body
    other = api.book([nights(venue, quantity=2)], key=key, long_way=long_way)
    assert (other.status, other.code) == (422, "idempotency-key-reused")


BAD_BASKETS: list[tuple[Any, dict[str, str], int]] = [
    (b"{", {"idempotency-key": "k"}, 400),
    (b'{"items": [], "items": []}', {"idempotency-key": "k"}, 422),
    ({"items": []}, {"idempotency-key": "k"}, 422),
    ({"items": [{"resource": "nowhere/none", "from": "2026-12-01", "to": "2026-12-02"}]}, {}, 400),
    (
        {"items": [{"resource": "nowhere/none", "from": "2026-12-01", "to": "2026-12-02"}]},
        {"idempotency-key": "k"},
        404,
    ),
    ({"items": [{"resource": "nowhere"}]}, {"idempotency-key": "a b"}, 400),
    ({"items": [{"resource": "nowhere"}]}, {"idempotency-key": "k" * 256}, 400),
    ({"items": [{"resource": "nowhere"}]}, {"idempotency-key": "k", "content-type": "text/plain"}, 415),
    ({"items": [{"resource": "nowhere"}]}, {"idempotency-key": "k", "authorization": "Bearer no"}, 401),
]


@pytest.mark.parametrize(("body", "headers", "status"), BAD_BASKETS)
def test_both_ways_refuse_alike(api: Api, body: Any, headers: dict[str, str], status: int) -> None:
    """The express way and the long one give the same answer to a bad request."""
    token = None if "authorization" in headers else ""
    express, long = (
        api.request("POST", "/v1/bookings", body, headers=headers, token=token, long_way=long_way)
        for long_way in (False, True)
    )
    assert (express.status, long.status) == (status, status)
    assert express.body == long.body
    assert express.headers["content-type"] == long.headers["content-type"] == "application/problem+json"


def test_a_basket_is_all_or_nothing(api: Api, venue: str) -> None:
    """A basket of three kinds is taken as one, and a refusal of one item leaves the others free."""
    basket = [
        nights(venue, quantity=2),
        {
            "resource": f"{venue}/ana",
            "from": "2026-12-01T10:00:00+00:00",
            "to": "2026-12-01T11:00:00+00:00",
        },
        {"resource": f"{venue}/show", "session": "late", "quantity": 10},
    ]
    assert api.book(basket).status == 201
    refused = api.book([nights(venue), basket[1]])
    assert (refused.status, refused.code) == (409, "sold-out")
    assert [item["resource"] for item in refused.json()["items"]] == [f"{venue}/ana"]
    assert api.book([nights(venue)]).status == 201


def test_a_refusal_tells_figures_and_alternatives(api: Api, venue: str) -> None:
    """Sold out names the cells, what is left, and other nights that would do."""
    api.book([nights(venue, quantity=2)])
    wait_for(api, venue, 2)  # alternatives are looked for in the view
    refused = api.book([nights(venue, "2026-12-02", "2026-12-06", quantity=2)])
    told = refused.json()
    assert (refused.status, told["code"], told["type"]) == (409, "sold-out", "urn:onebook:problem:sold-out")
    assert told["items"] == [
        {"resource": f"{venue}/double", "unavailable": ["2026-12-02", "2026-12-03"], "available": 1}
    ]
    assert 1 <= len(told["alternatives"]) <= 3
    assert api.book([told["alternatives"][0] | {"quantity": 2}], confirm=True).status == 201


def test_the_life_of_a_booking(api: Api, venue: str) -> None:
    """Hold, extend, confirm and cancel are answered with the state; repeats find it done; wrong moves name the state."""
    path = api.book([nights(venue)]).headers["location"]
    extended = api.request("POST", f"{path}/extend", {"ttl_seconds": 3600})
    assert (extended.status, extended.json()["status"]) == (200, "held")
    for _ in range(2):
        confirmed = api.request("POST", f"{path}/confirm", {})
        assert (confirmed.status, confirmed.json()["status"], confirmed.json()["expires_at"]) == (
            200,
            "confirmed",
            None,
        )
    released = api.request("POST", f"{path}/release")
    assert (released.status, released.code, released.json()["state"]) == (409, "wrong-state", "confirmed")
    for _ in range(2):
        cancelled = api.request("POST", f"{path}/cancel", {"reason": "ill"})
        assert (cancelled.status, cancelled.json()["status"]) == (200, "cancelled")
    assert api.request("POST", f"{path}/amend", {"items": [nights(venue)]}).code == "wrong-state"


def test_a_hold_that_ran_out_is_gone(api: Api, venue: str) -> None:
    """After its deadline a hold expires by itself and can be neither confirmed nor extended."""
    path = api.book([nights(venue)], ttl_seconds=1).headers["location"]
    deadline = time.monotonic() + 10
    while api.request("GET", path).json()["status"] != "expired" and time.monotonic() < deadline:
        time.sleep(0.1)
    for step, body in (("confirm", None), ("extend", {"ttl_seconds": 60})):
        reply = api.request("POST", f"{path}/{step}", body)
        assert (reply.status, reply.code) == (410, "hold-expired")
    assert api.request("POST", f"{path}/release").json()["status"] == "expired"


def test_an_amendment_keeps_its_own_units(api: Api, venue: str) -> None:
    """A booking of all rooms can be moved by a night; one that cannot be had leaves it as it was."""
    path = api.book([nights(venue, quantity=3)], confirm=True).headers["location"]
    moved = api.request("POST", f"{path}/amend", {"items": [nights(venue, "2026-12-02", "2026-12-05", 3)]})
    assert moved.status == 200
    refused = api.request("POST", f"{path}/amend", {"items": [nights(venue, quantity=4)]})
    assert (refused.status, refused.code) == (409, "sold-out")
    assert api.request("GET", path).json()["items"] == moved.json()["items"]


def test_a_booking_has_an_etag(api: Api, venue: str) -> None:
    """A booking that has not moved is 304 to who knows it, and has another ETag after a move."""
    path = api.book([nights(venue)]).headers["location"]
    etag = api.request("GET", path).headers["etag"]
    known = api.request("GET", path, headers={"if-none-match": etag})
    assert (known.status, known.body) == (304, b"")
    assert api.request("POST", f"{path}/confirm").headers["etag"] != etag
    assert api.request("GET", path, headers={"if-none-match": etag}).status == 200


def test_a_channel_sees_only_its_own(api: Api, venue: str) -> None:
    """Another channel's booking is 404 to every request, and not in the list; the desk finds both."""
    atlas, harbor = (api.token(Role.CHANNEL, channel) for channel in ("atlas", "harbor"))
    path = api.book([nights(venue)], token=atlas).headers["location"]
    assert api.request("GET", path, token=atlas).json()["channel"] == "atlas"
    assert api.request("GET", path, token=harbor).status == 404
    for step, body in (
        ("confirm", None),
        ("release", None),
        ("cancel", None),
        ("extend", {"ttl_seconds": 60}),
        ("amend", {"items": [nights(venue)]}),
    ):
        assert api.request("POST", f"{path}/{step}", body, token=harbor).status == 404
    listed = {
        token: len(api.request("GET", f"/v1/bookings?venue={venue}", token=token).json()["bookings"])
        for token in (atlas, harbor, api.token())
    }
    assert list(listed.values()) == [1, 0, 1]


def test_one_key_of_two_channels_is_two_keys(api: Api, venue: str) -> None:
    """Channels choose their keys without knowing of each other."""
    first, second = (
        api.book([nights(venue)], key="one", token=api.token(Role.CHANNEL, f"{venue}-{n}")) for n in (1, 2)
    )
    assert (first.status, second.status) == (201, 201)
    assert first.json()["id"] != second.json()["id"]


def test_bookings_come_page_by_page(api: Api, venue: str) -> None:
    """Every booking of a venue is listed once, over as many pages as it takes, and by status."""
    placed = {api.book([nights(venue, f"2026-12-0{day}", f"2026-12-0{day + 1}")]).json()["id"] for day in range(1, 6)}
    found: list[str] = []
    cursor = ""
    for _ in range(3):
        page = api.request("GET", f"/v1/bookings?venue={venue}&limit=2{cursor}").json()
        found += [booking["id"] for booking in page["bookings"]]
        cursor = f"&cursor={page['next_cursor']}"
    assert page["next_cursor"] is None
    assert sorted(found) == sorted(placed)
    assert api.request("GET", f"/v1/bookings?venue={venue}&status=cancelled").json()["bookings"] == []


def test_definitions_are_created_then_replaced(api: Api, venue: str) -> None:
    """Putting is 201 the first time and 200 after; the grid of what is sold cannot change."""
    path = f"/v1/venues/{venue}/resources/suite"
    suite = {"kind": "room", "name": "Suite", "capacity": 1, "grid": {"unit": "night"}}
    assert [api.request("PUT", path, suite).status for _ in range(2)] == [201, 200]
    item = nights(venue) | {"resource": f"{venue}/suite"}
    api.book([item])
    assert api.request("PUT", path, suite | {"grid": {"unit": "session"}}).code == "in-use"
    assert api.request("PUT", path, suite | {"capacity": 0}).code == "capacity-below-sold"
    show = {"from": "2026-12-25T20:00:00+00:00", "to": "2026-12-25T22:00:00+00:00"}
    assert api.request("PUT", f"/v1/venues/{venue}/sessions/late", show).status == 200


def test_a_hall_is_one_request(api: Api, venue: str) -> None:
    """Two thousand seats are created in one call, and the same call again changes nothing."""
    seats = [
        {"code": f"R{row}-{seat}", "kind": "seat", "name": f"{row}/{seat}", "capacity": 1, "grid": {"unit": "session"}}
        for row in range(40)
        for seat in range(50)
    ]
    for created in (2000, 0):
        reply = api.request("POST", f"/v1/venues/{venue}/resources:bulk", seats)
        assert (reply.status, reply.json()["created"], len(reply.json()["resources"])) == (200, created, 2000)
    wrong = api.request("POST", f"/v1/venues/{venue}/resources:bulk", [*seats[:17], seats[17] | {"kind": "boat"}])
    assert (wrong.status, wrong.json()["pointer"]) == (422, "/17/kind")


def test_inventory_is_changed_by_date_and_version(api: Api, venue: str) -> None:
    """Restrictions hold, a capacity below what is sold is refused with figures, and If-Match guards a lost update."""
    path = f"/v1/venues/{venue}/resources/double/inventory"
    api.book([nights(venue, quantity=2)])
    below = api.request("PATCH", path, [{"from": "2026-12-01", "to": "2026-12-04", "capacity": 1}])
    assert (below.status, below.code, below.json()["taken"]) == (409, "capacity-below-sold", 2)
    changes = [
        {"from": "2026-12-10", "to": "2026-12-12", "closed": True},
        {"from": "2026-12-20", "to": "2026-12-21", "min_stay": 2},
    ]
    changed = api.request("PATCH", path, changes, headers={"if-match": '"2"'})
    assert (changed.status, changed.json(), changed.headers["etag"]) == (200, {"version": 3}, '"3"')
    stale = api.request("PATCH", path, changes, headers={"if-match": '"2"'})
    assert (stale.status, stale.code, stale.json()["version"]) == (412, "version-mismatch", 3)
    assert api.book([nights(venue, "2026-12-09", "2026-12-11")]).code == "closed"
    assert api.book([nights(venue, "2026-12-20", "2026-12-21")]).code == "min-stay"


def test_a_session_is_closed_by_name(api: Api, venue: str) -> None:
    """Inventory of what is sold by session is changed by session."""
    path = f"/v1/venues/{venue}/resources/show/inventory"
    assert api.request("PATCH", path, [{"session": "late", "closed": True}]).status == 200
    assert api.book([{"resource": f"{venue}/show", "session": "late"}]).code == "closed"
    assert api.request("PATCH", path, [{"from": "2026-12-01", "to": "2026-12-02", "closed": True}]).status == 422


def test_a_block_takes_units_out_of_sale(api: Api, venue: str) -> None:
    """A block is placed and lifted, lifting it again finds it done, and it belongs to its venue."""
    blocks = f"/v1/venues/{venue}/blocks"
    block = api.request("POST", blocks, {"items": [nights(venue, quantity=3)], "reason": "paint"})
    assert (block.status, block.json()["reason"]) == (201, "paint")
    assert api.book([nights(venue)]).code == "sold-out"
    assert api.request("DELETE", f"/v1/venues/elsewhere/blocks/{block.json()['id']}").status == 404
    for _ in range(2):
        lifted = api.request("DELETE", block.headers["location"])
        assert lifted.status == 200
        assert lifted.json()["lifted_at"] is not None
    assert api.book([nights(venue)]).status == 201
    stranger = api.request("POST", blocks, {"items": [nights("elsewhere")]})
    assert (stranger.status, stranger.json()["pointer"]) == (422, "/items/0/resource")


@pytest.mark.parametrize("long_way", [False, True])
def test_availability_has_versions_and_an_etag(api: Api, venue: str, long_way: bool) -> None:
    """Availability tells every cell with the version, is 304 while nothing changes, and can be asked for a version."""
    path = f"/v1/availability?venue={venue}&resource={venue}/double&from=2026-12-01&to=2026-12-03"
    api.book([nights(venue, "2026-12-01", "2026-12-02")])
    reply = api.request("GET", f"{path}&resource_version={venue}/double:2", long_way=long_way)
    cells = {"resource": f"{venue}/double", "version": 2, "cells": ["2026-12-01", "2026-12-02"], "available": [2, 3]}
    assert reply.json() == {"venue": venue, "from": "2026-12-01", "to": "2026-12-03", "resources": [cells]}
    assert reply.headers["cache-control"] == "public, s-maxage=1, max-age=1, stale-while-revalidate=5"
    known = {"if-none-match": reply.headers["etag"]}
    again = api.request("GET", path, headers=known, long_way=long_way)
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", reply.headers["etag"])
    api.book([nights(venue)])
    changed = api.request("GET", f"{path}&resource_version={venue}/double:3", headers=known, long_way=long_way)
    assert (changed.status, changed.json()["resources"][0]["version"]) == (200, 3)
    ahead = api.request("GET", f"{path}&resource_version={venue}/double:4", long_way=long_way)
    assert ahead.json()["behind"] == [{"resource": f"{venue}/double", "wanted": 4, "version": 3}]
    assert (ahead.status, ahead.headers["cache-control"]) == (200, "no-store")


def test_both_ways_answer_alike(api: Api, venue: str) -> None:
    """What the express way answers about availability is what the ordinary route does, errors and refusals too."""
    wait_for(api, venue, 1)
    good = f"venue={venue}&from=2026-12-01&to=2026-12-24"
    for query, token in (
        (good, ""),
        (f"{good}&quantity=3", ""),
        (f"{good}&resource={venue}/double&resource={venue}/ana", ""),
        (f"venue={venue}&from=2026-12-24T08:00:00%2B00:00&to=2026-12-25T00:00:00Z&resource=show", ""),
        (f"{good}&resource=nothing", ""),
        (f"{good}&venue={venue}", ""),
        (f"{good}&limit=3", ""),
        (f"{good}&quantity=", ""),
        (f"venue={venue}&from=2026-12-02&to=2026-12-01", ""),
        ("venue=nowhere&from=2026-12-01&to=2026-12-02", ""),
        (good, None),
        (good, "nonsense"),
    ):
        replies = [
            api.request("GET", f"/v1/availability?{query}", token=token, long_way=long_way)
            for long_way in (False, True)
        ]
        # The cursor is a place that moves with every heartbeat, also between two requests.
        moving = {"connection", "date", "onebook-cursor"}
        told = [
            (reply.status, reply.body, {k: v for k, v in reply.headers.items() if k not in moving}) for reply in replies
        ]
        assert told[0] == told[1], query
        assert ("onebook-cursor" in replies[0].headers) == ("onebook-cursor" in replies[1].headers), query


def test_search_finds_what_is_free_throughout(api: Api, venue: str) -> None:
    """A search by market finds resources with enough units in every cell of the period."""
    api.book([nights(venue, "2026-12-02", "2026-12-03", 2)])
    wait_for(api, venue, 2)
    path = f"/v1/search?market=market%20of%20{venue}&kind=room&from=2026-12-01&to=2026-12-04"
    found = api.request("GET", f"{path}&quantity=1").json()["resources"]
    assert [(room["resource"], room["available"]) for room in found] == [(f"{venue}/double", 1)]
    assert api.request("GET", f"{path}&quantity=2").json()["resources"] == []


def wait_for(api: Api, venue: str, version: int) -> None:
    """Returns when the view has a version of the venue's double rooms."""
    period = "from=2026-12-01&to=2026-12-02"
    reply = api.request("GET", f"/v1/availability?venue={venue}&{period}&resource_version={venue}/double:{version}")
    assert "behind" not in reply.json()


def test_the_log_is_read_in_order(api: Api, venue: str) -> None:
    """Events are CloudEvents in order, one per command, resumed by cursor, with the caller's trace."""
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    placed = api.request(
        "POST",
        "/v1/bookings",
        {"items": [nights(venue)]},
        headers={"idempotency-key": str(uuid4()), "traceparent": trace},
    )
    api.request("POST", f"{placed.headers['location']}/confirm", headers={"traceparent": "broken"})
    first = api.request("GET", f"/v1/events?venue={venue}&limit=1000").json()
    held, confirmed = first["events"][-2:]
    assert held["type"] == "onebook.booking.held.v1"
    assert (held["traceparent"][:36], held["traceparent"][-3:]) == (trace[:36], trace[-3:])
    assert (confirmed["type"], "traceparent" in confirmed) == ("onebook.booking.confirmed.v1", False)
    assert held["specversion"] == "1.0"
    assert held["subject"] == f"bookings/{placed.json()['id']}"
    assert held["data"]["resources"][0]["available"] == [2, 2, 2]
    rest = api.request("GET", f"/v1/events?venue={venue}&after={first['cursor']}").json()
    assert rest["events"] == []


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/healthz", "application/json"),
        ("/readyz", "application/json"),
        ("/metrics", "text/plain"),
        ("/openapi.json", "application/json"),
        ("/docs", "text/html"),
        ("/docs/swagger-ui-bundle.js", "text/javascript"),
        ("/docs/start.js", "text/javascript"),
        ("/docs/swagger-ui.css", "text/css"),
    ],
)
def test_probes_and_documents_need_no_token(api: Api, path: str, content_type: str) -> None:
    """Probes, metrics and the document are open."""
    reply = api.request("GET", path, token=None)
    assert reply.status == 200
    assert reply.headers["content-type"].startswith(content_type)


def test_the_document_page_asks_nobody_else(api: Api) -> None:
    """The page's policy allows neither other hosts nor inline scripts."""
    policy = api.request("GET", "/docs", token=None).headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "http" not in policy
