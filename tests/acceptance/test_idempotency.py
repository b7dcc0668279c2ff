"""One idempotency key, one effect, one answer: also when duplicates race over two workers and one of them is killed."""

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import date, timedelta
from typing import Any

import asyncpg
import pytest

from onebook.ops.http_client import Answer, Client, ConnectionFailed
from onebook.ops.verify.audit import verify
from tests.conftest import Server

WORKERS = 2
KEYS_AT_ONCE = 12
MAX_DUPLICATES = 20
ANSWER_SECONDS = 60.0
OPENING = date(2030, 3, 1)
VENUE = {"name": "Echo", "timezone": "Europe/Lisbon", "currency": "EUR", "market": "lisboa"}
ROOM = {"kind": "room", "name": "Room", "capacity": 1_000_000, "grid": {"unit": "night"}}


class Echo:
    """Clients of two workers that send everything several times at once."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._admin = server.token("admin")
        self._token = server.token("channel", "echo")
        self._http = Client(server.url, connections=KEYS_AT_ONCE * MAX_DUPLICATES)
        self._at_once = asyncio.Semaphore(KEYS_AT_ONCE)
        self.kept = 0

    async def open_venue(self) -> None:
        """Something that never runs out, in two resources, so that baskets lock more than one."""
        await self._send("PUT", "/v1/venues/echo", VENUE, self._admin)
        for code in ("one", "two"):
            await self._send("PUT", f"/v1/venues/echo/resources/{code}", ROOM, self._admin)

    async def duplicates(self, key: str, draw: random.Random) -> Sequence[Answer]:
        """The answers to 2–20 requests with one key, all sent at once."""
        arrival = OPENING + timedelta(days=draw.randrange(30))
        codes = draw.choice([["one"], ["two"], ["one", "two"]])
        items = [
            {"resource": f"echo/{code}", "from": str(arrival), "to": str(arrival + timedelta(days=2))} for code in codes
        ]
        body = {"items": items, "confirm": draw.random() < 0.5, "ttl_seconds": 600}
        async with self._at_once:
            answers = await asyncio.gather(
                *(
                    self._send("POST", "/v1/bookings", body, self._token, key)
                    for _ in range(draw.randint(2, MAX_DUPLICATES))
                )
            )
        self.kept += 1
        return answers

    async def kill_a_worker_at(self, kept: int) -> None:
        """kill -9 of one worker once so many keys are through."""
        while self.kept < kept:  # noqa: ASYNC110 - the answers are what it waits for
            await asyncio.sleep(0.01)
        os.kill(self._server.status["workers"][0], signal.SIGKILL)

    async def close(self) -> None:
        """Hang up."""
        await self._http.close()

    async def _send(self, method: str, path: str, body: Any, token: str, key: str | None = None) -> Answer:
        """Repeat until there is an answer other than 503."""
        headers = {} if key is None else {"Idempotency-Key": key}
        async with asyncio.timeout(ANSWER_SECONDS):
            while True:
                try:
                    answer = await self._http.request(method, path, json=body, token=token, headers=headers)
                    if answer.status != 503:
                        return answer
                except ConnectionFailed:
                    pass
                await asyncio.sleep(0.05)  # what a polite client does


@asynccontextmanager
async def echo_at(server: Server) -> AsyncIterator[Echo]:
    """Clients with something to book."""
    echo = Echo(server)
    await echo.open_venue()
    try:
        yield echo
    finally:
        await echo.close()


@pytest.mark.parametrize(
    ("keys", "kills"), [(300, 1), pytest.param(10_000, 10, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]
)
async def test_a_key_has_one_effect_and_one_answer(new_server: Callable[..., Server], keys: int, kills: int) -> None:
    """Concurrent duplicates over two workers, one killed in between, make one booking and get the same bytes."""
    server = await asyncio.to_thread(new_server, workers=WORKERS)
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    names = [f"key-{number}" for number in range(keys)]
    async with echo_at(server) as echo:
        killer = asyncio.gather(*(echo.kill_a_worker_at(keys * (k + 1) // (kills + 1)) for k in range(kills)))
        answers = await asyncio.gather(*(echo.duplicates(name, random.Random(f"{seed}/{name}")) for name in names))
        await killer
    for name, told in zip(names, answers, strict=True):
        statuses = Counter(answer.status for answer in told)
        assert statuses.keys() <= {200, 201}, (name, [answer.body for answer in told])
        assert statuses[201] <= 1, "the effect is told once; that answer may have been lost with its worker"
        assert len({answer.body for answer in told}) == 1, name
        assert all((a.status == 200) == (a.headers.get("idempotent-replayed") == "true") for a in told), name
    effects = await bookings_by_key(server.database_url)
    assert effects == {name: told[0].json()["id"] for name, told in zip(names, answers, strict=True)}
    report = await verify(server.database_url, expect_sweeper=True)
    assert report.ok, [check for check in report.checks if not check.ok]
    print(f"{keys} keys, {sum(map(len, answers))} requests, {kills} workers killed")


async def bookings_by_key(url: str) -> dict[str, str]:
    """What is stored; a key with two bookings would fail here."""
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch("SELECT idempotency_key, id::text FROM booking WHERE channel = 'echo'")
    finally:
        await connection.close()
    assert len(rows) == len({row[0] for row in rows})
    return dict(map(tuple, rows))
