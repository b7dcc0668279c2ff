"""The rush over HTTP while workers are killed: whatever dies, each night is sold exactly as often as there are rooms."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Callable
from datetime import date, timedelta
from random import Random

import asyncpg
import psutil
import pytest
from tests.concurrency.crowd import CLIENTS, assert_sound
from tests.conftest import Server

from onebook.ops.http_client import Answer, Client, ConnectionFailed

VENUE = "rush"
CAPACITIES = (1, 2, 3, 4, 5)
OPENING = date(2030, 1, 1)
WORKERS = 2
PATIENCE_SECONDS = 60.0
LONGEST_PAUSE_SECONDS = 1.0

Night = tuple[int, str]
"""A room by its capacity, and a date."""


class Campaign:
    """Clients that all want the same nights in the same order, and somebody who kills workers while they book."""

    def __init__(self, server: Server, *, attempts: int, kills: int, seed: int) -> None:
        self._server = server
        self._http = Client(server.url, connections=CLIENTS, timeout_seconds=10)
        self._admin, self._channel = server.token("admin"), server.token("channel", "web")
        self._random = Random(seed)
        self._rounds = -(-attempts // CLIENTS)
        self._kill_after = sorted(self._random.sample(range(CLIENTS, attempts), kills))
        self.sold: dict[str, Night] = {}
        self.answers = 0
        self.killed = 0

    @property
    def nights(self) -> list[Night]:
        """Every night that is rushed for, in that order."""
        found = (divmod(number, len(CAPACITIES)) for number in range(self._rounds))
        return [(CAPACITIES[room], (OPENING + timedelta(days=day)).isoformat()) for day, room in found]

    async def run(self) -> None:
        """The whole campaign."""
        async with self._http:
            await self._open_venue()
            async with asyncio.TaskGroup() as clients:
                for number in range(CLIENTS):
                    clients.create_task(self._client(number))

    async def _open_venue(self) -> None:
        venue = {"name": "Rush", "timezone": "Europe/Lisbon", "currency": "EUR", "market": "lisboa"}
        rooms = [
            {"code": f"of-{n}", "kind": "room", "name": f"{n} rooms", "capacity": n, "grid": {"unit": "night"}}
            for n in CAPACITIES
        ]
        await self._ask("PUT", f"/v1/venues/{VENUE}", venue, self._admin, "venue")
        await self._ask("POST", f"/v1/venues/{VENUE}/resources:bulk", rooms, self._admin, "rooms")

    async def _client(self, number: int) -> None:
        for capacity, night in self.nights:
            item = {
                "resource": f"{VENUE}/of-{capacity}",
                "from": night,
                "to": (date.fromisoformat(night) + timedelta(days=1)).isoformat(),
            }
            body = {"items": [item], "ttl_seconds": 3600, "confirm": number % 2 == 0}
            answer = await self._ask("POST", "/v1/bookings", body, self._channel, f"{number}/{capacity}/{night}")
            if answer.status in (200, 201):
                self.sold[answer.json()["id"]] = capacity, night
            else:
                assert answer.json()["code"] == "sold-out"
            self.answers += 1
            self._kill_when_due()

    async def _ask(self, method: str, path: str, body: object, token: str, key: str) -> Answer:
        """One question, with the same key until it is answered."""
        pause_seconds = 0.02
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                try:
                    answer = await self._http.request(
                        method, path, json=body, token=token, headers={"idempotency-key": key}
                    )
                except ConnectionFailed:
                    pass
                else:
                    if answer.status != 503:
                        assert answer.status in (200, 201, 409), answer.body
                        return answer
                await asyncio.sleep(pause_seconds * (1 + self._random.random()))
                pause_seconds = min(2 * pause_seconds, LONGEST_PAUSE_SECONDS)

    def _kill_when_due(self) -> None:
        """SIGKILL to one of the workers there are, which the supervisor replaces."""
        if not self._kill_after or self.answers < self._kill_after[0]:
            return
        if alive := [child.pid for child in psutil.Process(self._server.process.pid).children() if _is_worker(child)]:
            os.kill(self._random.choice(alive), signal.SIGKILL)
            del self._kill_after[0]
            self.killed += 1


def _is_worker(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE and "onebook.worker" in process.cmdline()
    except psutil.NoSuchProcess:
        return False


async def rush(server: Server, *, attempts: int, kills: int, seed: int) -> None:
    """A campaign, and what must be so after it."""
    campaign = Campaign(server, attempts=attempts, kills=kills, seed=seed)
    await campaign.run()
    assert campaign.answers >= attempts
    assert campaign.killed == kills
    assert Counter(campaign.sold.values()) == {night: night[0] for night in campaign.nights}
    connection = await asyncpg.connect(server.database_url)
    try:
        stored = {row["id"] for row in await connection.fetch("SELECT id::text FROM booking")}
    finally:
        await connection.close()
    assert stored == campaign.sold.keys()
    await assert_sound(server.database_url)


async def test_a_rush_while_workers_are_killed(new_server: Callable[..., Server]) -> None:
    """3,000 attempts with three kills sell exactly what there is, and every acknowledged booking is there."""
    await rush(new_server(workers=WORKERS), attempts=3_000, kills=3, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", [1, 2])
async def test_a_long_rush_while_workers_are_killed(new_server: Callable[..., Server], seed: int) -> None:
    """100,000 attempts with twelve kills do."""
    await rush(new_server(workers=WORKERS), attempts=100_000, kills=12, seed=seed)
