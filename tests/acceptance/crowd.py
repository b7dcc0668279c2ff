"""A crowd over HTTP that repeats what was not answered and remembers every answer, for tests that kill what it talks to."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date, datetime, timedelta
from typing import Any

import asyncpg

from onebook.ops.http_client import Answer, Client, ConnectionFailed
from onebook.ops.verify.audit import verify
from tests.conftest import Server

VENUE = "crowded"
ROOMS = 8
CAPACITY = 40
OPENING = date(2030, 3, 1)
HORIZON_DAYS = 60
ANSWER_SECONDS = 60.0
PAUSE_SECONDS = 0.05
PROMISED_SECONDS = 5.0
SHORT_TTL_SECONDS, LONG_TTL_SECONDS = 2, 60

Outage = tuple[datetime, datetime]
"""From the blow to the first answer after it."""

# What follows a hold; the first leaves it to its deadline.
PLOTS = ((), ("confirm",), ("release",), ("confirm", "cancel"))
# The states that a booking may have come to, by the last one that was acknowledged; all others are final.
LATER = {"held": {"held", "expired"}}


class Crowd:
    """Clients that go on until they are told to stop; every question of theirs is repeated until it is answered."""

    def __init__(self, server: Server, *, seed: int, clients: int = 32) -> None:
        self._token = server.token("channel", "crowd")
        self._admin = server.token("admin")
        self._seed = seed
        self._clients = clients
        self._stopping = False
        self._answered = asyncio.Condition()
        self._connections: list[Client] = []
        self.answers = 0
        self.told: dict[str, str] = {}
        self.strange: list[str] = []
        self.longest_refusal_seconds = 0.0
        self.talk_to(server)

    def talk_to(self, server: Server) -> None:
        """Go on with this server."""
        self._http = Client(server.url, connections=self._clients)
        self._connections.append(self._http)

    async def open_venue(self) -> None:
        """Define what the crowd wants."""
        venue = {"name": "Crowded", "timezone": "Europe/Lisbon", "currency": "EUR", "market": "lisboa"}
        await self.send("PUT", f"/v1/venues/{VENUE}", json=venue, token=self._admin)
        for number in range(ROOMS):
            room = {"kind": "room", "name": "Room", "capacity": CAPACITY, "grid": {"unit": "night"}}
            await self.send("PUT", f"/v1/venues/{VENUE}/resources/room-{number}", json=room, token=self._admin)

    async def run(self) -> None:
        """Everybody, until `stop`."""
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(self._clients):
                    group.create_task(self._live(number))
        finally:
            await asyncio.gather(*(connection.close() for connection in self._connections))

    def stop(self) -> None:
        """Nobody begins anything new."""
        self._stopping = True

    async def after(self, answers: int) -> None:
        """Return when so many more answers have come."""
        wanted = self.answers + answers
        async with asyncio.timeout(ANSWER_SECONDS), self._answered:
            await self._answered.wait_for(lambda: self.answers >= wanted)

    async def send(
        self, method: str, path: str, *, json: Any = None, key: str | None = None, token: str | None = None
    ) -> Answer:
        """Ask until there is an answer other than 503."""
        headers = {} if key is None else {"Idempotency-Key": key}
        async with asyncio.timeout(ANSWER_SECONDS):
            while True:
                try:
                    answer = await self._http.request(
                        method, path, json=json, token=token or self._token, headers=headers
                    )
                except ConnectionFailed:
                    pass
                else:
                    if answer.status != 503:
                        return answer
                    self.longest_refusal_seconds = max(self.longest_refusal_seconds, answer.seconds)
                await asyncio.sleep(PAUSE_SECONDS)  # what a polite client does

    async def _live(self, number: int) -> None:
        draw = random.Random(f"{self._seed}/{number}")
        for turn in itertools.count():
            if self._stopping:
                return
            await self._book(draw, f"{self._seed}-{number}-{turn}")

    async def _book(self, draw: random.Random, key: str) -> None:
        plot = draw.choice(PLOTS)
        arrival = OPENING + timedelta(days=draw.randrange(HORIZON_DAYS))
        stay = {
            "resource": f"{VENUE}/room-{draw.randrange(ROOMS)}",
            "from": str(arrival),
            "to": str(arrival + timedelta(days=draw.randint(1, 4))),
        }
        ttl_seconds = LONG_TTL_SECONDS if plot else SHORT_TTL_SECONDS
        answer = await self.send("POST", "/v1/bookings", json={"items": [stay], "ttl_seconds": ttl_seconds}, key=key)
        if await self._noted(answer, (200, 201), (409,)):
            identity = answer.json()["id"]
            for move in plot:
                answer = await self.send("POST", f"/v1/bookings/{identity}/{move}")
                if not await self._noted(answer, (200,), (410,)):
                    return

    async def _noted(self, answer: Answer, done: tuple[int, ...], refused: tuple[int, ...]) -> bool:
        """Remember an answer; whether what was asked for is done."""
        if answer.status in done:
            booking = answer.json()
            self.told[booking["id"]] = booking["status"]
        elif answer.status not in refused:
            self.strange.append(f"{answer.status} {answer.body.decode(errors='replace')[:300]}")
        async with self._answered:
            self.answers += 1
            self._answered.notify_all()
        return answer.status in done


@asynccontextmanager
async def crowd_at(server: Server, seed: int) -> AsyncIterator[Crowd]:
    """A crowd that books while the block runs, and afterwards has all its questions answered."""
    print(f"seed {seed}")
    crowd = Crowd(server, seed=seed)
    await crowd.open_venue()
    running = asyncio.create_task(crowd.run())
    try:
        yield crowd
    finally:
        crowd.stop()
        await running


async def assert_all_kept(crowd: Crowd, database_url: str, outages: list[Outage]) -> None:
    """What was acknowledged is there and nothing else, holds ended in time, and the auditor finds nothing.

    What went on for as long as an outage does not count as delay.
    """
    assert not crowd.strange, crowd.strange[:5]
    connection = await asyncpg.connect(database_url)
    try:
        await _until_no_hold_is_due(connection)
        rows = await connection.fetch("SELECT id::text, status FROM booking WHERE channel = 'crowd'")
        stored = {row["id"]: row["status"] for row in rows}
        assert stored.keys() == crowd.told.keys(), (
            "each acknowledged key has its booking, and each booking was acknowledged"
        )
        lost = {i: (told, stored[i]) for i, told in crowd.told.items() if stored[i] not in LATER.get(told, {told})}
        assert not lost
        late = await _longest_delay(connection, outages)
        assert late <= PROMISED_SECONDS
    finally:
        await connection.close()
    report = await verify(database_url, expect_sweeper=True)
    assert report.ok, [check for check in report.checks if not check.ok]
    print(f"{len(stored)} bookings kept; the latest end of a hold {late:.2f} s late;")
    print(f"the longest wait for a 503 {crowd.longest_refusal_seconds:.2f} s")


async def _until_no_hold_is_due(connection: asyncpg.Connection) -> None:
    soon = "SELECT EXISTS (SELECT FROM booking WHERE status = 'held' AND expires_at < now() + $1)"
    async with asyncio.timeout(SHORT_TTL_SECONDS + 3 * PROMISED_SECONDS):
        while await connection.fetchval(soon, timedelta(seconds=SHORT_TTL_SECONDS)):  # noqa: ASYNC110 - nobody tells us
            await asyncio.sleep(PAUSE_SECONDS)


async def _longest_delay(connection: asyncpg.Connection, outages: list[Outage]) -> float:
    """How late the log says that a hold ended, outages left out."""
    ends = await connection.fetch(
        "SELECT (held.data->>'expires_at')::timestamptz AS due, ended.time AS ended"
        " FROM log AS ended JOIN log AS held USING (subject)"
        " WHERE ended.type = 'booking.expired' AND held.type = 'booking.held'"
    )
    assert ends, "the crowd lets some of its holds run out"
    return max(_seconds_served(end["due"], end["ended"], outages) for end in ends)


def _seconds_served(due: datetime, ended: datetime, outages: list[Outage]) -> float:
    away = (min(ended, until) - max(due, since) for since, until in outages)
    return (ended - due - sum((max(gap, timedelta()) for gap in away), timedelta())).total_seconds()
