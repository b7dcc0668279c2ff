"""The stream as clients meet it: a booking placed over HTTP is heard of, and nothing is missed while nobody listens."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import Any

import asyncpg
import pytest

from onebook.api.roles import Role
from tests.acceptance.conftest import Api, nights
from tests.conftest import Server

SECONDS = 20


class Stream:
    """A plain reader of /v1/stream."""

    def __init__(self, api: Api, query: str, token: str, cursor: str | None) -> None:
        self._connection = HTTPConnection(api.base_url.removeprefix("http://"), timeout=SECONDS)
        headers = {"authorization": f"Bearer {token}"} | ({} if cursor is None else {"last-event-id": cursor})
        self._connection.request("GET", f"/v1/stream?{query}", headers=headers)
        self._answer = self._connection.getresponse()
        assert self._answer.status == 200, self._answer.read()
        self.cursor = ""

    def next(self) -> tuple[str, Any]:
        """The next event's name (empty for a CloudEvent) and content."""
        name, content = "", None
        while True:
            line = self._answer.readline().decode().rstrip("\n")
            field, _, value = line.partition(": ")
            if field == "id":
                self.cursor = value
            elif field == "event":
                name = value
            elif field == "data":
                content = json.loads(value)
            elif not line and content is not None:
                return name, content

    def close(self) -> None:
        """Leave."""
        self._answer.close()
        self._connection.close()


@contextmanager
def listening(api: Api, query: str, *, token: str | None = None, cursor: str | None = None) -> Iterator[Stream]:
    """A stream that says that it listens."""
    stream = Stream(api, query, token or api.token(), cursor)
    try:
        assert stream.next()[0] == "ready"
        yield stream
    finally:
        stream.close()


def test_a_booking_is_heard_of(api: Api, venue: str) -> None:
    """Who listens to its venue gets the whole booking, another channel only what is left."""
    with (
        listening(api, f"venue={venue}&types=booking.held") as desk,
        listening(api, f"venue={venue}", token=api.token(Role.CHANNEL, "rival")) as rival,
    ):
        placed = api.book([nights(venue)], reference="for nobody else", token=api.token(Role.CHANNEL, "atlas")).json()
        _, full = desk.next()
        _, public = rival.next()
        assert (full["subject"], full["data"]["reference"]) == (f"bookings/{placed['id']}", "for nobody else")
        assert (public["id"], public["type"]) == (full["id"], "onebook.availability.changed.v1")
        assert public["data"] == {"resources": full["data"]["resources"]}
        assert placed["id"] not in json.dumps(public)


def test_what_happened_meanwhile_is_told_afterwards(api: Api, venue: str) -> None:
    """A client that comes again with its last cursor gets exactly what it missed, in order."""
    with listening(api, f"venue={venue}&types=booking.held") as stream:
        first = api.book([nights(venue)]).json()
        assert stream.next()[1]["data"]["booking"] == first["id"]
        cursor = stream.cursor
    missed = [api.book([nights(venue)]).json()["id"] for _ in range(2)]
    with listening(api, f"venue={venue}&types=booking.held", cursor=cursor) as stream:
        assert [stream.next()[1]["data"]["booking"] for _ in missed] == missed


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [("venue=atlantis", 404, "not-found"), ("", 422, "invalid"), ("venue=0&after=%20", 400, "cursor-malformed")],
)
def test_what_cannot_be_listened_to_is_refused(api: Api, query: str, status: int, code: str) -> None:
    """A refusal is a problem document like any other."""
    place = {"name": "Alfama", "timezone": "Europe/Lisbon", "currency": "EUR", "market": "lisboa"}
    assert api.request("PUT", "/v1/venues/0", place).status in {200, 201}
    reply = api.request("GET", f"/v1/stream?{query}")
    assert (reply.status, reply.code) == (status, code)


@pytest.mark.parametrize("again", [False, True], ids=["parsed", "unparsed"])
def test_a_stream_goes_on_from_a_snapshot(api: Api, venue: str, again: bool) -> None:
    """The cursor of an availability answer brings everything that is not in the answer."""
    query = f"venue={venue}&from=2027-03-01&to=2027-03-04"
    before = api.book([nights(venue)]).json()["items"][0]
    version = f"{before['resource']}:{before['version']}"
    assert api.request("GET", f"/v1/availability?{query}&resource_version={version}").status == 200
    connection = HTTPConnection(api.base_url.removeprefix("http://"), timeout=SECONDS)
    for _ in range(3 if again else 1):
        connection.request("GET", f"/v1/availability?{query}", headers={"authorization": f"Bearer {api.token()}"})
        snapshot = connection.getresponse()
        snapshot.read()
    connection.close()
    missed = [api.book([nights(venue)]).json()["id"] for _ in range(2)]
    with listening(api, f"venue={venue}&types=booking.held", cursor=snapshot.headers["onebook-cursor"]) as stream:
        told: list[str] = []
        while missed[-1] not in told:
            told.append(stream.next()[1]["data"]["booking"])
    assert told[-2:] == missed


def test_a_checkout_is_heard_of_by_its_channel(api: Api, server: Server, venue: str) -> None:
    """An event of a checkout, which touches nothing on sale, reaches its channel in full and no other in any form."""
    query = f"venue={venue}&types=checkout.completed,availability.changed"
    data = {"checkout": "c1", "channel": "atlas", "state": "completed", "resources": [], "venues": [venue]}

    async def tell() -> None:
        connection = await asyncpg.connect(server.database_url)
        await connection.execute(
            "INSERT INTO log (txn, time, type, subject, venues, data) "
            "VALUES (log_txn(), clock_timestamp(), 'checkout.completed', 'checkouts/c1', $1, $2)",
            [venue],
            json.dumps(data),
        )
        await connection.close()

    with (
        listening(api, query, token=api.token(Role.CHANNEL, "atlas")) as atlas,
        listening(api, query, token=api.token(Role.CHANNEL, "rival")) as rival,
    ):
        asyncio.run(tell())
        _, told = atlas.next()
        assert (told["type"], told["subject"], told["data"]) == ("onebook.checkout.completed.v1", "checkouts/c1", data)
        api.book([nights(venue)])
        assert rival.next()[1]["type"] == "onebook.availability.changed.v1"
