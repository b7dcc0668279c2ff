"""The auditor on a running server: nothing is wrong under load, however partners fail, and every worker is asked."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import msgspec
from tests.conftest import Server, onebook
from tests.integration.receiver import Receiver, open_receiver, unreliable

from onebook.commands.verify import served_in
from onebook.embedded.folder import DataFolder
from onebook.ops.http_client import Client
from onebook.ops.verify.audit import verify
from onebook.ops.verify.report import Report

CLIENTS = 6
ROOMS = 12
UNUSED = ["blocks", "books", "checkouts", "coupons", "settlements"]
"""What this load makes nothing of; the money's checks have tests of their own."""
AUDITS = 2
IMPATIENT = {
    "ONEBOOK_WEBHOOKS_ALLOW_LOOPBACK": "true",
    "ONEBOOK_WEBHOOKS_FIRST_RETRY_SECONDS": "0.05",
    "ONEBOOK_WEBHOOKS_BREAKER_SECONDS": "0.2",
    "ONEBOOK_WEBHOOKS_GIVE_UP_HOURS": "0.0002",
}


class Live:
    """A crowd at a venue, and partners who come, change their minds, ask for replays and go."""

    def __init__(self, server: Server, receiver: Receiver, seed: int) -> None:
        self._http = Client(server.url, connections=CLIENTS + 2)
        self._token = server.token("admin")
        self._receiver = receiver
        self._seed = seed
        self.booked = 0

    async def prepare(self) -> None:
        """Two venues with rooms, staff by the quarter of an hour, and a seat."""
        for venue in ("alfama", "baixa"):
            place = {"name": venue, "timezone": "Europe/Lisbon", "currency": "EUR", "market": "lisboa"}
            await self._send("PUT", f"/v1/venues/{venue}", place)
            room = {"kind": "room", "name": "Room", "capacity": 3, "grid": {"unit": "night"}}
            for number in range(ROOMS):
                await self._send("PUT", f"/v1/venues/{venue}/resources/r{number}", room)
        grid = {"unit": "minute", "minutes": 15}
        hours = {day: [["09:00", "18:00"]] for day in ("mon", "tue", "wed", "thu", "fri")}
        staff = {"kind": "staff", "name": "Ana", "capacity": 1, "grid": grid, "hours": hours}
        await self._send("PUT", "/v1/venues/baixa/resources/ana", staff)
        session = {"from": "2027-03-01T20:00:00Z", "to": "2027-03-01T22:00:00Z"}
        await self._send("PUT", "/v1/venues/baixa/sessions/evening", session)
        seat = {"kind": "seat", "name": "Seat", "capacity": 40, "grid": {"unit": "session"}}
        await self._send("PUT", "/v1/venues/baixa/resources/stalls", seat)
        for number in range(3):
            await self._partner({"venues": ["*"], "types": ["*"]}, f"/always{number}")
        await self._partner({"venues": ["alfama"], "types": ["availability.changed"], "channel": "web"}, "/public")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Everybody, while the block lasts."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._book(number)) for number in range(CLIENTS)]
            tasks.append(group.create_task(self._operate()))
            yield
            for task in tasks:
                task.cancel()
        await self._http.close()

    async def _book(self, number: int) -> None:
        draw = Random(f"{self._seed}/{number}")
        for turn in itertools.count():
            answer = await self._send(
                "POST", "/v1/bookings", {"items": [_item(draw)]}, {"Idempotency-Key": f"{number}-{turn}"}
            )
            if answer is not None and draw.random() < 0.7:
                self.booked += 1
                base = f"/v1/bookings/{answer['id']}"
                await self._send("POST", f"{base}/{draw.choice(['confirm', 'release'])}")

    async def _operate(self) -> None:
        draw = Random(f"{self._seed}/operator")
        for turn in itertools.count():
            path = f"/passing{turn}"
            endpoint = await self._partner({"venues": ["*"], "types": ["booking.held"]}, path)
            base = f"/v1/webhooks/{endpoint['id']}"
            nights = {"from": "2027-03-01", "to": "2027-03-20", "closed": draw.random() < 0.3}
            await self._send("PATCH", f"/v1/venues/alfama/resources/r{draw.randrange(ROOMS)}/inventory", [nights])
            await asyncio.sleep(0.1)
            await self._send("PATCH", base, {"types": ["*"], "venues": [draw.choice(["alfama", "baixa"])]})
            await self._send("POST", f"{base}/test")
            await asyncio.sleep(0.2)
            await self._send("POST", f"{base}/replay", {"minutes": 60})
            await asyncio.sleep(0.2)
            await self._send("PATCH", base, {"status": "disabled"})
            if draw.random() < 0.5:
                await self._send("DELETE", base)
            else:
                await self._send("PATCH", base, {"status": "active"})

    async def _partner(self, wishes: dict[str, Any], path: str) -> Any:
        endpoint = await self._send("POST", "/v1/webhooks", {"url": self._receiver.url + path, **wishes})
        self._receiver.secrets[path].append(endpoint["secret"])
        return endpoint

    async def _send(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        """What is answered; None where it was refused."""
        answer = await self._http.request(method, path, json=body, token=self._token, headers=headers)
        assert answer.status < 300 or answer.status in (404, 409, 410), (path, answer)
        return None if answer.status >= 300 or not answer.body else answer.json()


def _item(draw: Random) -> dict[str, Any]:
    kind = draw.random()
    if kind < 0.1:
        return {"resource": "baixa/stalls", "session": "evening"}
    if kind < 0.2:
        hour = draw.randrange(9, 17)
        day = draw.randrange(1, 6)
        return {
            "resource": "baixa/ana",
            "from": f"2027-03-{day:02}T{hour:02}:00:00Z",
            "to": f"2027-03-{day:02}T{hour:02}:30:00Z",
        }
    # A third of all for one room.
    room = 0 if draw.random() < 0.3 else draw.randrange(ROOMS)
    first = draw.randrange(1, 27)
    nights = {"from": f"2027-03-{first:02}", "to": f"2027-03-{first + draw.randrange(1, 4):02}"}
    return {"resource": f"{draw.choice(['alfama', 'baixa'])}/r{room}", **nights}


def wrong(report: Report) -> list[Any]:
    """What is not as it should be."""
    return [check for check in report.checks if not check.ok or not check.checked]


async def test_a_live_server_verifies_clean(new_server: Callable[..., Server]) -> None:
    """Under load, while partners fail, come, change, replay and go, no audit finds anything, and every check has examined."""
    server = new_server(workers=2, environment=IMPATIENT)
    served = served_in(DataFolder(server.data))
    async with open_receiver() as receiver:
        receiver.behave = unreliable(Random(5), most=1_000)
        live = Live(server, receiver, seed=11)
        await live.prepare()
        async with live.running():
            await receiver.until(lambda: sum(len(each.accepted) for each in receiver.paths.values()) > 200)
            for _ in range(AUDITS):
                report = await verify(server.database_url, expect_sweeper=True, served=served)
                assert wrong(report) == [], [check.findings for check in wrong(report)]
            last = await asyncio.to_thread(onebook, "verify", "--data", str(server.data), "--json", check=False)
    told = msgspec.json.decode(last.stdout, type=Report)
    assert (last.returncode, wrong(told)) == (0, []), [check.findings for check in wrong(told)]
    assert [check.name for check in told.checks if not check.examined] == UNUSED
    assert live.booked > 50


async def test_without_a_server_it_says_so(new_server: Callable[..., Server]) -> None:
    """With a database alone views are not checked, which the report says, with the reason."""
    server = new_server()
    told = await asyncio.to_thread(onebook, "verify", "--database", server.database_url)
    assert "not checked" in told.stdout
    report = await verify(server.database_url)
    [views] = [check for check in report.checks if check.name == "views"]
    assert (views.checked, views.remark) == (False, "no server was named")
