"""Webhooks and the bulk delta over HTTP, from a server as users start it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any
from uuid import uuid4

import pytest

from onebook.api.roles import Role
from tests.acceptance.conftest import Api, nights
from tests.conftest import Server, data_folder, onebook, start_server
from tests.integration.receiver import Receiver, answering, open_receiver


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server that may send to this machine."""
    with data_folder() as data:
        running = start_server(data, environment={"ONEBOOK_WEBHOOKS_ALLOW_LOOPBACK": "true"})
        try:
            yield running
        finally:
            assert running.stop() == 0


@pytest.fixture(scope="module")
def api(server: Server) -> Api:
    """That server, to be asked."""
    return Api(server)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A partner that accepts."""
    async with open_receiver() as opened:
        yield opened


@pytest.fixture
def venue(api: Api) -> str:
    """A venue with three double rooms."""
    code = f"v-{uuid4().hex[:12]}"
    place = {"name": "Alfama", "timezone": "Europe/Lisbon", "currency": "EUR", "market": "lisboa"}
    room = {"kind": "room", "name": "Double", "capacity": 3, "grid": {"unit": "night"}}
    assert api.request("PUT", f"/v1/venues/{code}", place).status == 201
    assert api.request("PUT", f"/v1/venues/{code}/resources/double", room).status == 201
    return code


async def asked(call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """A blocking request, while the receiver's loop goes on."""
    return await asyncio.to_thread(call, *arguments, **named)


async def created(api: Api, receiver: Receiver, venue: str, **wishes: Any) -> dict[str, Any]:
    """An endpoint at a path of its own."""
    path = f"/{uuid4().hex}"
    body = {"url": receiver.url + path, "venues": [venue], "types": ["*"], **wishes}
    reply = await asked(api.request, "POST", "/v1/webhooks", body)
    assert reply.status == 201, reply
    endpoint: dict[str, Any] = reply.json()
    assert endpoint["secret"].startswith("whsec_")
    receiver.secrets[path].append(endpoint["secret"])
    return {**endpoint, "path": path}


async def test_from_a_booking_to_a_partner(api: Api, receiver: Receiver, venue: str) -> None:
    """A booking is posted, signed; the log of deliveries says so; a replay sends it again under its id."""
    endpoint = await created(api, receiver, venue, types=["booking.held"])
    received, base = receiver.paths[endpoint["path"]], f"/v1/webhooks/{endpoint['id']}"
    booked = await asked(api.book, [nights(venue)])
    await receiver.until(lambda: bool(received.accepted))
    identity, event = received.requests[0]
    assert event["data"]["booking"] == booked.json()["id"]

    async def logged() -> list[dict[str, Any]]:
        reply = await asked(api.request, "GET", f"{base}/deliveries?status=delivered")
        found: list[dict[str, Any]] = reply.json()["deliveries"]
        return found

    async with asyncio.timeout(10):
        while not (deliveries := await logged()):  # noqa: ASYNC110  # the log is written after the answer, by another process
            await asyncio.sleep(0.02)
    assert [(each["id"], each["tried"][0]["status_code"]) for each in deliveries] == [(identity, 204)]
    replayed = await asked(api.request, "POST", f"{base}/replay", {"minutes": 5})
    assert (replayed.status, replayed.json()) == (202, {"queued": 1, "is_all": True})
    await receiver.until(lambda: len(received.requests) == 2)
    assert received.requests[1][0] == identity


async def test_the_life_of_an_endpoint(api: Api, receiver: Receiver, venue: str) -> None:
    """Made, read without its secret, changed, rotated, tested, disabled, deleted."""
    endpoint = await created(api, receiver, venue)
    base, received = f"/v1/webhooks/{endpoint['id']}", receiver.paths[endpoint["path"]]
    read = (await asked(api.request, "GET", base)).json()
    assert read["types"] == ["*"] and "secret" not in read
    listed = (await asked(api.request, "GET", "/v1/webhooks")).json()["webhooks"]
    assert read in listed
    changed = await asked(api.request, "PATCH", base, {"types": ["booking.held"]})
    assert changed.json()["types"] == ["onebook.booking.held.v1"]
    rotated = (await asked(api.request, "POST", f"{base}/rotate")).json()
    assert rotated["secret"] != endpoint["secret"] and rotated["previous_until"] is not None
    for secret in (endpoint["secret"], rotated["secret"]):
        receiver.secrets[endpoint["path"]].append(secret)
        tested = await asked(api.request, "POST", f"{base}/test")
        assert tested.status == 202
        await receiver.until(partial(received.accepted.__contains__, tested.json()["delivery"]))
    assert (await asked(api.request, "PATCH", base, {"status": "disabled"})).json()["reason"] == "disabled on request"
    assert (await asked(api.request, "POST", f"{base}/test")).code == "webhook-disabled"
    assert (await asked(api.request, "DELETE", base)).status == 204
    for method, path in (("GET", base), ("DELETE", base), ("POST", f"{base}/rotate"), ("GET", f"{base}/deliveries")):
        assert (await asked(api.request, method, path)).status == 404


async def test_what_failed_arrives_after_a_kill(receiver: Receiver) -> None:
    """What failed before a restart of the whole is delivered after it, under the same id."""
    with data_folder() as data:
        own = start_server(data, environment={"ONEBOOK_WEBHOOKS_ALLOW_LOOPBACK": "true"})
        try:
            await _fails_then_arrives(own, receiver)
        finally:
            own.stop()


async def _fails_then_arrives(own: Server, receiver: Receiver) -> None:
    api = Api(own)
    place = {"name": "Baixa", "timezone": "Europe/Lisbon", "currency": "EUR", "market": "lisboa"}
    room = {"kind": "room", "name": "Double", "capacity": 3, "grid": {"unit": "night"}}
    await asked(api.request, "PUT", "/v1/venues/baixa", place)
    await asked(api.request, "PUT", "/v1/venues/baixa/resources/double", room)
    endpoint = await created(api, receiver, "baixa", types=["booking.held"])
    received = receiver.paths[endpoint["path"]]
    receiver.behave = answering(500)
    await asked(api.book, [nights("baixa")])
    await receiver.until(lambda: len(received.requests) == 1)
    receiver.behave = answering(204)
    await asked(own.kill)
    again = await asked(start_server, own.data, environment={"ONEBOOK_WEBHOOKS_ALLOW_LOOPBACK": "true"})
    own.process, own.url = again.process, again.url
    await receiver.until(lambda: bool(received.accepted))
    assert list(received.accepted) == [received.requests[0][0]]


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1/",
        "http://169.254.169.254/latest/",
        "https://[::ffff:127.0.0.1]/",
        "http://[fd00:ec2::254]/",
        "x",
        "ftp://127.0.0.1/",
        "https://me:pw@127.0.0.1/",
        "http://0x0a000001/",
        "http://127.0.0.1:22/",
    ],
)
def test_a_refused_address(api: Api, venue: str, url: str) -> None:
    """It is 422 and names the field, at creation and when it is changed."""
    reply = api.request("POST", "/v1/webhooks", {"url": url, "venues": [venue], "types": ["*"]})
    assert (reply.status, reply.code, reply.json()["pointer"]) == (422, "forbidden-address", "/url")
    good = api.request(
        "POST", "/v1/webhooks", {"url": "http://127.0.0.1:9999/", "venues": [venue], "types": ["*"]}
    ).json()
    assert api.request("PATCH", f"/v1/webhooks/{good['id']}", {"url": url}).code == "forbidden-address"
    assert api.request("DELETE", f"/v1/webhooks/{good['id']}").status == 204


def test_bad_wishes(api: Api, venue: str) -> None:
    """An unknown venue is 404; nothing wished for, or no such kind of replay, is 422."""
    body: dict[str, Any] = {"url": "http://127.0.0.1:9999/", "venues": [venue], "types": ["*"]}
    assert api.request("POST", "/v1/webhooks", {**body, "venues": ["no-such"]}).status == 404
    wrong: list[dict[str, Any]] = [{"venues": []}, {"types": []}, {"types": ["Booking Held"]}, {"secret": "mine"}]
    for change in wrong:
        assert api.request("POST", "/v1/webhooks", {**body, **change}).status == 422
    base = f"/v1/webhooks/{api.request('POST', '/v1/webhooks', body).json()['id']}"
    for replay in (
        {},
        {"since": "9999-12-31T23:59:59-14:00"},
        {"minutes": 1, "deliveries": ["msg_1"]},
        {"deliveries": ["msg_1"]},
        {"minutes": 0},
    ):
        assert api.request("POST", f"{base}/replay", replay).status == 422
    assert api.request("GET", f"{base}/deliveries?cursor=x").code == "bad-cursor"
    assert api.request("DELETE", base).status == 204


@pytest.mark.parametrize("role", [Role.CHANNEL, Role.READER, Role.STOREFRONT])
def test_webhooks_need_their_scope(api: Api, role: Role) -> None:
    """Without channels:write nothing of them is seen."""
    assert api.request("GET", "/v1/webhooks", token=api.token(role)).status == 403


def test_the_bulk_delta(api: Api, venue: str) -> None:
    """What was booked is told as it stands; nothing since now; a day back at most."""
    assert api.book([nights(venue)]).status == 201
    delta = api.request("GET", f"/v1/bulk-delta?venue={venue}&minutes=5", token=api.token(Role.CHANNEL)).json()
    [double] = delta["resources"]
    assert double["resource"] == f"{venue}/double" and double["redefined"] and double["otherwise"] == 3
    assert dict(zip(double["cells"], double["available"], strict=True))["2026-12-01"] == 2
    later = api.request("GET", f"/v1/bulk-delta?venue={venue}&since=2026-01-01T00:00:00Z")
    assert (later.status, later.code) == (422, "answer-too-large")
    assert api.request("GET", f"/v1/bulk-delta?venue={venue}").status == 422
    assert api.request("GET", "/v1/bulk-delta?venue=no-such&minutes=5").status == 404


def test_the_command(api: Api, server: Server, venue: str) -> None:
    """`onebook webhooks` tells of endpoints, and sends a test."""
    body = {"url": "http://127.0.0.1:9999/", "venues": [venue], "types": ["*"]}
    identity = api.request("POST", "/v1/webhooks", body).json()["id"]
    data = ("--data", str(server.data))
    assert identity in onebook("webhooks", "list", *data).stdout
    assert venue in onebook("webhooks", "show", identity, *data, "--json").stdout
    assert "msg_" in onebook("webhooks", "test", identity, *data).stdout
    assert "onebook.webhook.test.v1" in onebook("webhooks", "deliveries", identity, *data, "--json").stdout
    assert '"queued"' in onebook("webhooks", "replay", identity, "--minutes", "5", *data, "--json").stdout
    assert onebook("webhooks", "show", str(uuid4()), *data, check=False).returncode == 1
    assert api.request("DELETE", f"/v1/webhooks/{identity}").status == 204
