"""A server with its partners under load, and the check that everybody is right again.

The market goes on booking while a fault strikes; then it pauses, and everything derived must come to equal the ledger's tables.
"""

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any, Self

import asyncpg

from onebook.ops.http_client import Answer, Client, ConnectionFailed
from onebook.ops.verify.audit import verify
from tests.acceptance.crowd import OPENING
from tests.acceptance.mirror import (
    TROUBLE,
    Mirror,
    Shelf,
    Shelves,
    StreamMirror,
    WebhookMirror,
    answered,
    differences,
    ledger_of,
)
from tests.conftest import Server

VENUE = "exchange"
ROOMS = 8
NIGHTS = 60
CAPACITY = 40
PROMISED_SECONDS = 30.0
ANSWER_SECONDS = 60.0
PAUSE_SECONDS = 0.05
POLL_SECONDS = 0.05
ENVIRONMENT = {
    "ONEBOOK_WEBHOOKS_ALLOW_LOOPBACK": "true",
    "ONEBOOK_PUSH_COMMENT_SECONDS": "2",
    "ONEBOOK_PUSH_MAX_CLIENT_BUFFER_KIB": "32",
}

# What follows a hold; the first leaves it to its deadline.
PLOTS = ((), ("confirm",), ("release",), ("confirm", "cancel"))


class Market:
    """Clients that book, and an operator who changes what there is; each repeats a question until it is answered."""

    def __init__(self, server: Server, *, seed: int, clients: int = 8, think_seconds: float = 0.03) -> None:
        self._http = Client(server.url, connections=clients + 1)
        self._token = server.token("admin")
        self._seed = seed
        self._clients = clients
        self._think_seconds = think_seconds
        self._open = asyncio.Event()
        self._changed = asyncio.Condition()
        self._busy = 0
        self.answers = 0
        self.refusals = 0
        """Answers 503 and connections that broke, each followed by a repetition."""
        self.strange: list[str] = []

    async def prepare(self) -> None:
        """The venue and its first rooms."""
        place = {"name": "Exchange", "timezone": "Europe/Lisbon", "currency": "EUR", "market": "lisboa"}
        await self.send("PUT", f"/v1/venues/{VENUE}", place)
        await self.define([f"room-{number}" for number in range(ROOMS)], CAPACITY)

    async def define(self, codes: list[str], capacity: int) -> Answer:
        """Rooms in bulk, new or with another capacity."""
        room = {"kind": "room", "name": "Room", "capacity": capacity, "grid": {"unit": "night"}}
        return await self.send("POST", f"/v1/venues/{VENUE}/resources:bulk", [{"code": code, **room} for code in codes])

    async def run(self) -> None:
        """Everybody, until cancelled."""
        self._open.set()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._operate())
            for number in range(self._clients):
                group.create_task(self._book(number))

    async def after(self, answers: int) -> None:
        """Return when so many more answers have come."""
        wanted = self.answers + answers
        async with asyncio.timeout(ANSWER_SECONDS), self._changed:
            await self._changed.wait_for(lambda: self.answers >= wanted)

    @asynccontextmanager
    async def closed(self) -> AsyncIterator[None]:
        """Nobody asks anything while the block runs, and all that was asked before is answered."""
        self._open.clear()
        try:
            async with asyncio.timeout(ANSWER_SECONDS), self._changed:
                await self._changed.wait_for(lambda: not self._busy)
            yield
        finally:
            self._open.set()

    async def send(self, method: str, path: str, body: Any = None, key: str | None = None) -> Answer:
        """Ask until there is an answer other than 503."""
        headers = {} if key is None else {"Idempotency-Key": key}
        async with asyncio.timeout(ANSWER_SECONDS):
            while True:
                try:
                    answer = await self._http.request(method, path, json=body, token=self._token, headers=headers)
                except ConnectionFailed:
                    answer = None
                if answer is not None and answer.status != 503:
                    return answer
                self.refusals += 1
                await asyncio.sleep(PAUSE_SECONDS)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        await asyncio.sleep(self._think_seconds)
        await self._open.wait()
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1
            async with self._changed:
                self._changed.notify_all()

    async def _book(self, number: int) -> None:
        draw = random.Random(f"{self._seed}/{number}")
        for turn in itertools.count():
            plot = draw.choice(PLOTS)
            stay = {"resource": f"{VENUE}/room-{draw.randrange(ROOMS)}", **_nights(draw, 4)}
            wish = {"items": [stay], "ttl_seconds": 60 if plot else 2}
            async with self._turn():
                answer = await self.send("POST", "/v1/bookings", wish, f"{self._seed}-{number}-{turn}")
                self._note(answer, {200, 201, 409})
            for move in plot if answer.status == 201 else ():
                async with self._turn():
                    self._note(await self.send("POST", f"/v1/bookings/{answer.json()['id']}/{move}"), {200, 410})

    async def _operate(self) -> None:
        draw = random.Random(f"{self._seed}/operator")
        for turn in itertools.count():
            async with self._turn():
                if turn % 20 == 0:
                    self._note(await self.define([f"new-{turn}-{number}" for number in range(3)], 2), {200})
                elif turn % 20 == 10:
                    # Below what is sold is refused.
                    again = await self.define([f"room-{draw.randrange(ROOMS)}"], CAPACITY + draw.randrange(10))
                    self._note(again, {200, 409})
                else:
                    change: dict[str, Any] = {"closed": draw.random() < 0.5}
                    if draw.random() < 0.3:
                        change = {"capacity": CAPACITY + draw.randrange(5)}
                    self._note(await self.change(draw.randrange(ROOMS), {**_nights(draw, 10), **change}), {200, 409})

    async def change(self, room: int, change: dict[str, Any]) -> Answer:
        """Change some nights of a room."""
        return await self.send("PATCH", f"/v1/venues/{VENUE}/resources/room-{room}/inventory", [change])

    def _note(self, answer: Answer, expected: set[int]) -> None:
        self.answers += 1
        if answer.status not in expected:
            self.strange.append(f"{answer.status} {answer.body.decode(errors='replace')[:300]}")


def _nights(draw: random.Random, longest: int) -> dict[str, str]:
    first = OPENING + timedelta(days=draw.randrange(NIGHTS))
    return {"from": str(first), "to": str(first + timedelta(days=draw.randint(1, longest)))}


class Pipeline:
    """A server of two workers, a market, and a mirror for each worker and for webhooks."""

    def __init__(self, server: Server, seed: int, **market: Any) -> None:
        self.server = server
        self.random = random.Random(seed)
        self.market = Market(server, seed=seed, **market)
        self.streams = [StreamMirror(server, VENUE, index) for index in range(len(server.status["workers"]))]
        self.webhooks = WebhookMirror(server, VENUE)
        self.mirrors: list[Mirror] = [*self.streams, self.webhooks]
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        stack = self._stack
        await stack.enter_async_context(self.webhooks.listening())
        wished = {"url": self.webhooks.url, "venues": ["*"], "types": ["*"]}
        answer = await self.market.send("POST", "/v1/webhooks", wished)
        assert answer.status == 201, answer.body
        self.webhooks.secret, self.endpoint = answer.json()["secret"], answer.json()["id"]
        await self.market.prepare()
        for running in (*(mirror.run() for mirror in self.streams), self.webhooks.run(), self.market.run()):
            stack.push_async_callback(_ended, asyncio.create_task(running))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    @property
    def database_url(self) -> str:
        """Where the database is, also while it is away."""
        return str(self.server.status["database"])

    @property
    def told(self) -> str:
        """What the mirrors have been through."""
        streams = [
            f"{each.name}: {each.connections} connections, {each.repeated} repetitions, {each.resets} resets, {each.drops} drops"
            for each in self.streams
        ]
        hooks = self.webhooks
        return "; ".join([*streams, f"webhooks: {len(hooks.received)} ids, {sum(hooks.received.values())} requests"])

    async def recovers_from(self, fault: "Callable[[Pipeline], Awaitable[None]]") -> float:
        """Let a fault strike under load; the seconds from its end until everything was right again. Raises TimeoutError."""
        await self.market.after(100)
        await fault(self)
        ended = time.monotonic()
        async with self.market.closed():
            await self.until_right(ended + PROMISED_SECONDS)
            seconds = time.monotonic() - ended
            await self.until(self._is_ready, PROMISED_SECONDS)
            await self.assert_sound()
        return seconds

    async def until_right(self, deadline: float) -> None:
        """Everything derived equals the ledger's tables. Raises AssertionError with what is wrong at the deadline."""
        wrong = ["nothing was compared"]
        while wrong and time.monotonic() < deadline:
            try:
                wrong = await self._wrong()
            except (*TROUBLE, LookupError, asyncpg.PostgresError) as error:
                wrong = [repr(error)]
            await asyncio.sleep(POLL_SECONDS)
        assert not wrong, f"{len(wrong)} things are wrong, such as: {wrong[:5]}"

    async def assert_sound(self) -> None:
        """What must be so whenever everything has settled: order, signatures, versions, answers, and the auditor's word."""
        assert not self.webhooks.disorders
        assert not self.webhooks.forged
        assert not self.market.strange
        trouble = [(mirror.gaps, mirror.resets) for mirror in self.streams]
        assert trouble == [(0, 0)] * len(self.streams), f"(gaps, resets) of the streams: {trouble}"
        report = await verify(self.database_url, expect_sweeper=True)
        assert report.ok, [check for check in report.checks if not check.ok]

    async def until(self, condition: Callable[[], Awaitable[bool]], seconds: float) -> None:
        """Return as soon as something is so. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while not await condition():  # noqa: ASYNC110 - nobody tells us
                await asyncio.sleep(POLL_SECONDS)

    async def readiness(self) -> tuple[int, str]:
        """What /readyz says, and what of it does not move."""
        async with answered(self.server, "/readyz") as (wire, status):
            return status, str((await wire.body()).get("detail", ""))

    async def has_dropped_one(self) -> bool:
        """Whether a client of a stream was ended for reading too slowly."""
        async with answered(self.server, "/metrics") as (wire, _):
            return 'onebook_push_ended_total{reason="too-slow"}' in await wire.text()

    async def is_stuck(self) -> bool:
        """Whether /readyz says that the relay is not heard."""
        status, detail = await self.readiness()
        return status == 503 and "relay" in detail

    async def _is_ready(self) -> bool:
        return (await self.readiness())[0] == 200

    async def wrong_in(self, mirror: Mirror) -> list[str]:
        """Where one mirror differs from the ledger's tables."""
        database = await asyncpg.connect(self.database_url, timeout=2, command_timeout=5)
        try:
            return differences(mirror.shelves, await ledger_of(database, VENUE))
        finally:
            await database.close()

    async def _wrong(self) -> list[str]:
        database = await asyncpg.connect(self.database_url, timeout=2, command_timeout=5)
        try:
            truth = await ledger_of(database, VENUE)
            wrong = [f"{mirror.name}: {each}" for mirror in self.mirrors for each in differences(mirror.shelves, truth)]
            for worker in self.server.status["workers"]:
                wrong += [
                    f"worker {worker}: {each}" for each in differences(await self._view(worker), _within_view(truth))
                ]
            rows = await database.fetch("SELECT position FROM log")
            missing = {row["position"] for row in rows} - self.webhooks.positions
        finally:
            await database.close()
        return wrong + [f"the webhook of event {position} is missing" for position in sorted(missing)]

    async def _view(self, worker: int) -> Shelves:
        path = f"/v1/availability?venue={VENUE}&from={OPENING}&to={OPENING + timedelta(days=NIGHTS)}"
        async with answered(self.server, path, worker) as (wire, status):
            if status != 200:
                raise ConnectionError(f"{path} answers {status}")
            found = (await wire.body())["resources"]
        return {
            each["resource"]: Shelf(each["version"], 0, dict(zip(each["cells"], each["available"], strict=True)))
            for each in found
        }


def _within_view(truth: Shelves) -> Shelves:
    """The truth as /v1/availability shows it: every night of the period."""
    nights = [str(OPENING + timedelta(days=number)) for number in range(NIGHTS)]
    return {
        key: Shelf(shelf.version, 0, {night: shelf.cells.get(night, shelf.otherwise) for night in nights})
        for key, shelf in truth.items()
    }


async def _ended(task: "asyncio.Task[None]") -> None:
    """Its end; what it raised before is raised here."""
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()
