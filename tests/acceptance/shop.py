"""A server with its gateway, seen from outside: what shoppers ask, what goes wrong, and where everything stands."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import asyncpg

from onebook.embedded.folder import DataFolder
from onebook.embedded.processes import read_postmaster
from onebook.key_file import secret_key
from onebook.ops.http_client import Answer, Client, ConnectionFailed
from onebook.ops.verify.audit import verify
from tests.acceptance.faults import frozen
from tests.acceptance.money_join import Joined, joined, journal_of
from tests.conftest import Server, onebook

PAUSE_SECONDS = 0.05
BACK_SECONDS = 30.0
PAGE = 1000
UNENDED = """
    SELECT (SELECT count(*) FROM payment.checkout WHERE finished_at IS NULL)
         + (SELECT count(*) FROM payment.settlement WHERE finished_at IS NULL)
"""


class Shop:
    """A server under test, and hands on everything around it."""

    def __init__(self, server: Server, *, clients: int) -> None:
        self.server = server
        self._token = server.token("admin")
        self._http = Client(server.url, connections=clients, timeout_seconds=20)
        secret = secret_key(server.data / "keys" / "simulator.key").hex()
        self._gateway = Client(server.status["gateway"], connections=8)
        self._gateway_token = secret
        self.strange: list[str] = []

    async def close(self) -> None:
        """End the connections."""
        await asyncio.gather(self._http.close(), self._gateway.close())

    async def ask(self, method: str, path: str, body: Any = None, key: str | None = None) -> Answer | None:
        """One request; None where the connection broke."""
        headers = {} if key is None else {"idempotency-key": key}
        try:
            return await self._http.request(method, path, json=body, token=self._token, headers=headers)
        except ConnectionFailed:
            return None

    async def answered(self, method: str, path: str, body: Any = None, key: str | None = None) -> Answer:
        """The same until there is an answer other than 503."""
        async with asyncio.timeout(60):
            while True:
                answer = await self.ask(method, path, body, key)
                if answer is not None and answer.status != 503:
                    return answer
                await asyncio.sleep(PAUSE_SECONDS)  # what a polite client does

    async def faults(self, **faults: Any) -> None:
        """Have the gateway fail; without arguments it is sound again."""
        async with asyncio.timeout(BACK_SECONDS):
            while True:
                try:
                    answer = await self._gateway.request("PUT", "/faults", json=faults, token=self._gateway_token)
                except ConnectionFailed:
                    await asyncio.sleep(PAUSE_SECONDS)  # it is being started again
                    continue
                assert answer.status == 200, answer.body
                return

    async def charge(self, key: str, booking: str, amount_minor: int) -> None:
        """Charge something at the gateway behind the server's back."""
        order = {"key": key, "amount_minor": amount_minor, "currency": "EUR", "token": "tok_ok", "booking": booking}
        await self._told("/payments", order)
        await self._told(f"/payments/{key}/capture", {"amount_minor": amount_minor})

    async def give_back(self, key: str, amount_minor: int) -> None:
        """Refund something there behind the server's back."""
        await self._told(f"/payments/{key}/refunds", {"key": f"{key}:behind", "amount_minor": amount_minor})

    async def _told(self, path: str, body: Any) -> None:
        answer = await self._gateway.request("POST", path, json=body, token=self._gateway_token)
        assert answer.status == 200, answer.body

    async def listed(self) -> dict[str, dict[str, Any]]:
        """The gateway's payments by key, as it lists them."""
        found: dict[str, dict[str, Any]] = {}
        after: int | None = 0
        while after is not None:
            path = f"/payments?after={after}&limit={PAGE}"
            page = (await self._gateway.request("GET", path, token=self._gateway_token)).json()
            found |= {payment["key"]: payment for payment in page["payments"]}
            after = page["next"]
        return found

    async def decide(self, url: str, outcome: str) -> bool:
        """What the payer does at the page of a challenge; whether the page took it."""
        try:
            async with aiohttp.ClientSession() as browser, browser.post(url, data={"outcome": outcome}) as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    def theirs(self) -> dict[str, dict[str, Any]]:
        """The gateway's payments by key, as its file has them."""
        return journal_of(self.server.data)

    @asynccontextmanager
    async def database(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection of the owner's."""
        connection = await asyncpg.connect(self.server.database_url)
        try:
            yield connection
        finally:
            await connection.close()

    @asynccontextmanager
    async def workers_killed(self) -> AsyncIterator[None]:
        """kill -9 of all of them; others are there when the block has ended."""
        killed = set(self.server.status["workers"])
        for worker in killed:
            os.kill(worker, signal.SIGKILL)
        yield
        await until(lambda: killed.isdisjoint(now := self.server.status["workers"]) and len(now) == len(killed))

    @asynccontextmanager
    async def simulator_killed(self) -> AsyncIterator[None]:
        """kill -9 of the gateway; another one is there when the block has ended."""
        killed = self.server.status["simulator"]
        os.kill(killed, signal.SIGKILL)
        yield
        await until(lambda: self.server.status["simulator"] not in {killed, None})

    @asynccontextmanager
    async def database_killed(self) -> AsyncIterator[None]:
        """kill -9 of PostgreSQL's first process, and with it of all others; in the block it is back, and no worker has moved."""
        cluster = DataFolder(self.server.data).postgres
        killed = read_postmaster(cluster)
        assert killed is not None
        with frozen(*self.server.status["workers"]):
            os.kill(killed.pid, signal.SIGKILL)
            await until(lambda: (now := read_postmaster(cluster)) is not None and now.pid != killed.pid and now.ready)
            yield

    async def has_ended(self) -> bool:
        """Whether no saga is under way any more."""
        async with self.database() as database:
            return not await database.fetchval(UNENDED)

    async def joined(self, sold: Iterable[str]) -> Joined:
        """Our books beside the gateway's; its file and its list must say the same."""
        theirs = self.theirs()
        assert theirs == await self.listed()
        async with self.database() as database:
            return await joined(database, theirs, sold)

    async def assert_all_adds_up(self, sold: Iterable[str]) -> None:
        """Nothing differs: by the join, by `onebook money reconcile`, by `onebook verify`."""
        found = await self.joined(sold)
        assert not found.differences, found.differences
        compared = await asyncio.to_thread(
            onebook, "money", "reconcile", "--data", str(self.server.data), "--json", check=False
        )
        assert compared.returncode == 0 and json.loads(compared.stdout)["payments"] > 0, compared
        report = await verify(self.server.database_url, expect_sweeper=True)
        assert report.ok, [check for check in report.checks if not check.ok]


async def until(condition: Callable[[], bool]) -> None:
    """Return as soon as the condition holds; fail after a bounded time."""
    async with asyncio.timeout(BACK_SECONDS):
        while not condition():  # noqa: ASYNC110 - a file, nobody tells us
            await asyncio.sleep(PAUSE_SECONDS)
