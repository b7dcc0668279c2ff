"""The database hangs, dies or is stopped: every request is told so in time, nothing is promised, and it recovers by itself."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from uuid import uuid4

import psutil
import pytest

from onebook.embedded.folder import DataFolder
from onebook.embedded.postgres import EmbeddedPostgres
from onebook.embedded.processes import read_postmaster
from onebook.ops.http_client import Answer, Client
from tests.conftest import Server, data_folder

PROMISED_SECONDS = 5.0
RECOVERY_SECONDS = 30.0
VENUE = {"name": "Away", "timezone": "Europe/Lisbon", "currency": "EUR", "market": "lisboa"}
ROOM = {"kind": "room", "name": "Room", "capacity": 100, "grid": {"unit": "night"}}
STAY = {"items": [{"resource": "away/room", "from": "2030-03-01", "to": "2030-03-02"}]}


class Desk:
    """One client of a server whose database goes away."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._token = server.token("admin")
        self._http = Client(server.url, timeout_seconds=30)

    async def ask(self, method: str, path: str, json: Any = None, key: str | None = None) -> Answer:
        """One request, once."""
        headers = {} if key is None else {"Idempotency-Key": key}
        return await self._http.request(method, path, json=json, token=self._token, headers=headers)

    async def place(self, key: str) -> Answer:
        """A hold."""
        return await self.ask("POST", "/v1/bookings", STAY, key)

    async def until(self, path: str, status: int) -> Answer:
        """Ask until the answer has this status."""
        async with asyncio.timeout(RECOVERY_SECONDS):
            while (answer := await self.ask("GET", path)).status != status:  # noqa: ASYNC110 - nobody tells us
                await asyncio.sleep(0.05)
        return answer

    async def close(self) -> None:
        """Hang up."""
        await self._http.close()


@asynccontextmanager
async def desk_at(server: Server) -> AsyncIterator[Desk]:
    """A desk with a room to sell."""
    desk = Desk(server)
    assert (await desk.ask("PUT", "/v1/venues/away", VENUE)).status == 201
    assert (await desk.ask("PUT", "/v1/venues/away/resources/room", ROOM)).status == 201
    try:
        yield desk
    finally:
        await desk.close()


@pytest.fixture
async def desk(new_server: Callable[..., Server]) -> AsyncIterator[Desk]:
    """A desk at a server with a database of its own."""
    async with desk_at(await asyncio.to_thread(new_server)) as opened:
        yield opened


@contextmanager
def frozen(server: Server) -> Iterator[None]:
    """PostgreSQL and all its children stand still while the block runs."""
    postmaster = read_postmaster(DataFolder(server.data).postgres)
    assert postmaster is not None
    first = psutil.Process(postmaster.pid)
    stopped = [first, *first.children(recursive=True)]
    for process in stopped:
        process.suspend()
    try:
        yield
    finally:
        for process in stopped:
            process.resume()


async def assert_everything_is_unavailable(desk: Desk, booking: str) -> None:
    """Bookings are neither taken nor read, and that in time; what is on sale is told from memory; /readyz names the database."""
    asked = {
        "place": desk.place(uuid4().hex),
        "place again": desk.place("before"),
        "confirm": desk.ask("POST", f"/v1/bookings/{booking}/confirm"),
        "read": desk.ask("GET", f"/v1/bookings/{booking}"),
        "list": desk.ask("GET", "/v1/bookings?venue=away"),
        "log": desk.ask("GET", "/v1/events?venue=away"),
        "define": desk.ask("PUT", "/v1/venues/away", {**VENUE, "name": "Gone"}),
        "inventory": desk.ask(
            "PATCH",
            "/v1/venues/away/resources/room/inventory",
            [{"from": "2030-03-01", "to": "2030-03-02", "closed": True}],
        ),
        "/readyz": desk.ask("GET", "/readyz"),
    }
    answers = dict(zip(asked, await asyncio.gather(*asked.values()), strict=True))
    print({name: (answer.status, round(answer.seconds, 2)) for name, answer in answers.items()})
    for name, answer in answers.items():
        assert (name, answer.status) == (name, 503)
        assert (name, answer.headers["content-type"]) == (name, "application/problem+json")
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.seconds <= PROMISED_SECONDS, name
    for path in ("availability", "search"):
        on_sale = await desk.ask("GET", f"/v1/{path}?venue=away&from=2030-03-01&to=2030-03-03")
        assert (path, on_sale.status, len(on_sale.json()["resources"])) == (path, 200, 1)
    assert "database" in answers["/readyz"].json()["detail"]
    assert (await desk.ask("GET", "/healthz")).status == 200


async def assert_recovered(desk: Desk, lost_key: str) -> None:
    """It serves again without help, and what was refused before has one effect when it is repeated."""
    await desk.until("/readyz", 200)
    first, again = await desk.place(lost_key), await desk.place(lost_key)
    assert first.status in {200, 201} and again.status == 200
    assert first.body == again.body
    listed = (await desk.ask("GET", "/v1/bookings?venue=away&limit=200")).json()["bookings"]
    assert len(listed) == len({booking["id"] for booking in listed})


async def test_a_database_that_hangs(desk: Desk) -> None:
    """While PostgreSQL stands still everything is 503 within 5 s, twice in a row; when it goes on, so do we."""
    booking = (await desk.place("before")).json()["id"]
    with frozen(desk.server):
        await assert_everything_is_unavailable(desk, booking)
        await assert_everything_is_unavailable(desk, booking)
        lost = await desk.place("lost")
        assert lost.status == 503
    await assert_recovered(desk, "lost")


async def test_a_database_that_dies(desk: Desk) -> None:
    """While PostgreSQL is killed and started again no request fails otherwise than with 503, and each key has one effect."""
    postmaster = read_postmaster(DataFolder(desk.server.data).postgres)
    assert postmaster is not None
    os.kill(postmaster.pid, signal.SIGKILL)
    keys = [f"during-{number}" for number in range(20)]
    statuses = {answer.status for answer in await asyncio.gather(*map(desk.place, keys))}
    assert statuses <= {201, 503}
    await desk.until("/readyz", 200)
    again = [await desk.place(key) for key in keys]
    assert {answer.status for answer in again} <= {200, 201}
    assert len({answer.json()["id"] for answer in again}) == len(keys)


async def test_a_database_of_others_that_is_stopped(new_server: Callable[..., Server]) -> None:
    """With --database, a server that is stopped is waited for, and everything is 503 until it is back."""
    with data_folder() as folder:
        postgres = EmbeddedPostgres(folder)
        try:
            server = await asyncio.to_thread(new_server, "--database", await postgres.start())
            async with desk_at(server) as desk:
                booking = (await desk.place("before")).json()["id"]
                await postgres.stop()
                await assert_everything_is_unavailable(desk, booking)
                assert (await desk.place("lost")).status == 503
                await postgres.start()
                await assert_recovered(desk, "lost")
        finally:
            await postgres.stop()
