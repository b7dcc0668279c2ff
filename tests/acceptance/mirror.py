"""What partners do: mirrors of a venue's availability, kept by the stream or by webhooks, and the ledger that they must equal.

A mirror begins with `/v1/bulk-delta`, which has every cell and the cursor that the stream goes on from. It takes an event in
where that brings the version after the one it knows; an older one is a repetition, a later one a gap, and it reads again.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import psutil
from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError

from tests.conftest import Server

EPOCH = date(1970, 1, 1)
ALL_MINUTES = 1440  # as far back as it goes; the venue is younger
ANSWER_SECONDS = 10.0
SILENCE_SECONDS = 6.0
PAUSE_SECONDS = 0.1
TRIES_PER_WORKER = 60

LEDGER = """
SELECT venue.code || '/' || resource.code AS resource, head.version, resource.capacity + resource.overbooking AS otherwise,
       array_remove(array_agg(cell.number), NULL) AS cells,
       array_agg(CASE WHEN cell.closed THEN 0
                      ELSE cell.capacity + cell.overbooking - cell.held - cell.booked - cell.blocked END) AS available
FROM resource JOIN venue ON venue.id = resource.venue_id JOIN head ON head.resource_id = resource.id
LEFT JOIN cell ON cell.resource_id = resource.id
WHERE venue.code = $1 GROUP BY venue.code, resource.code, head.version, resource.capacity, resource.overbooking
"""

TROUBLE = (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)


@dataclass
class Shelf:
    """One resource sold by the night: what each night has, and all that are not named."""

    version: int
    otherwise: int
    cells: dict[str, int] = field(default_factory=dict)

    def nights(self) -> dict[str, int]:
        """The nights that differ from the others."""
        return {night: left for night, left in self.cells.items() if left != self.otherwise}


Shelves = dict[str, Shelf]


def differences(mirror: Shelves, ledger: Shelves) -> list[str]:
    """Where a mirror is wrong; empty where it is right."""
    found = [f"{key}: {'unknown' if key in ledger else 'no such thing'}" for key in mirror.keys() ^ ledger.keys()]
    for key in mirror.keys() & ledger.keys():
        mine, true = mirror[key], ledger[key]
        if (mine.version, mine.otherwise, mine.nights()) != (true.version, true.otherwise, true.nights()):
            wrong = {
                night: (mine.nights().get(night), true.nights().get(night)) for night in {*mine.cells, *true.cells}
            }
            told = sorted((night, pair) for night, pair in wrong.items() if pair[0] != pair[1])[:3]
            found.append(f"{key}: version {mine.version}, should be {true.version}; (has, should have) {told}")
    return found


async def ledger_of(database: asyncpg.Connection, venue: str) -> Shelves:
    """The truth, from the ledger's tables."""
    rows = await database.fetch(LEDGER, venue)
    return {
        row["resource"]: Shelf(
            row["version"],
            row["otherwise"],
            {
                str(EPOCH + timedelta(days=number)): left
                for number, left in zip(row["cells"], row["available"], strict=False)  # [NULL] where there is no cell
            },
        )
        for row in rows
    }


class Wire:
    """One connection to a server of several workers, and the worker at its other end."""

    def __init__(self, server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._server = server
        self._reader = reader
        self._writer = writer

    async def ask(self, path: str, headers: dict[str, str]) -> int:
        """The status of an answer; `body` or `lines` has the rest."""
        fields = {"host": "mirror", "authorization": f"Bearer {self._server.token('admin')}", **headers}
        lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
        self._writer.write("\r\n".join(lines).encode())
        async with asyncio.timeout(ANSWER_SECONDS):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        self._length = next((int(line[15:]) for line in head if line.lower().startswith("content-length:")), 0)
        return int(head[0].split()[1])

    async def text(self) -> str:
        """The answer."""
        async with asyncio.timeout(ANSWER_SECONDS):
            return (await self._reader.readexactly(self._length)).decode()

    async def body(self) -> Any:
        """The answer, decoded."""
        return json.loads(await self.text())

    async def lines(self) -> AsyncIterator[str]:
        """The lines of a stream without an end. Raises TimeoutError when nothing comes, not even a sign of life."""
        rest = b""
        while True:
            async with asyncio.timeout(SILENCE_SECONDS):
                size = int(await self._reader.readuntil(b"\r\n"), 16)
                *lines, rest = (rest + await self._reader.readexactly(size)).split(b"\n")
                await self._reader.readexactly(2)
            if not size:
                return
            for line in lines:
                yield line.decode()

    def worker(self) -> int | None:
        """The process that answers here, as far as that can be seen."""
        ours, theirs = self._writer.get_extra_info("sockname")[1], self._writer.get_extra_info("peername")[1]
        for pid in self._server.status["workers"]:
            try:
                connections = psutil.Process(pid).net_connections("tcp")
            except psutil.Error:  # it has just been killed
                continue
            if any(each.raddr and (each.laddr.port, each.raddr.port) == (theirs, ours) for each in connections):
                return int(pid)
        return None

    def close(self) -> None:
        """Hang up."""
        self._writer.transport.abort()


@asynccontextmanager
async def answered(
    server: Server, path: str, worker: int | None = None, headers: dict[str, str] | None = None
) -> AsyncIterator[tuple[Wire, int]]:
    """A request and its status; of one certain worker, where one is named. Raises LookupError where that cannot be had."""
    for _ in range(TRIES_PER_WORKER):
        address = urlsplit(server.url)
        wire = Wire(server, *await asyncio.open_connection(address.hostname, address.port, limit=2**20))
        try:
            status = await wire.ask(path, headers or {})
            if worker is None or wire.worker() == worker:
                yield wire, status
                return
        finally:
            wire.close()
    raise LookupError(f"worker {worker} does not answer")


class Mirror:
    """A partner's copy of one venue. `gaps` and `repeated` count what was found on the way."""

    def __init__(self, server: Server, venue: str, name: str) -> None:
        self.name = name
        self.shelves: Shelves = {}
        self.gaps = self.repeated = self.reads = 0
        self.cursor: str | None = None
        self._server = server
        self._venue = venue

    def take(self, event: Any) -> bool:
        """Merge an event by version; False where the mirror has to read again."""
        definitions = {each["resource"]: each for each in event["data"].get("definitions", ())}
        is_clear = True
        for touched in event["data"].get("resources", ()):
            key, version = touched["resource"], touched["version"]
            shelf = self.shelves.get(key)
            known = 0 if shelf is None else shelf.version
            if version <= known:
                self.repeated += 1
            elif version > known + 1:
                self.gaps += 1
                is_clear = False
            elif shelf is None:
                defined = definitions[key]
                self.shelves[key] = Shelf(version, defined["capacity"] + defined["overbooking"])
            elif key in definitions:
                is_clear = False  # which of its nights have a capacity of their own is not for a mirror to know
            else:
                shelf.version = version
                shelf.cells.update(zip(touched["cells"], touched["available"], strict=True))
        return is_clear

    async def read_again(self) -> None:
        """Everything anew. Raises OSError and the like when nobody answers."""
        path = f"/v1/bulk-delta?venue={self._venue}&minutes={ALL_MINUTES}"
        async with answered(self._server, path) as (wire, status):
            if status != 200:
                raise ConnectionError(f"{path} answers {status}")
            delta = await wire.body()
        self.reads += 1
        self.cursor = delta["cursor"]
        for changed in delta["resources"]:
            shelf = self.shelves.get(changed["resource"])
            if shelf is None or shelf.version <= changed["version"]:
                cells = dict(zip(changed["cells"], changed["available"], strict=True))
                self.shelves[changed["resource"]] = Shelf(changed["version"], changed["otherwise"], cells)


class StreamMirror(Mirror):
    """Kept by /v1/stream of one worker, the `index`th; by any while that cannot be had."""

    def __init__(self, server: Server, venue: str, index: int) -> None:
        super().__init__(server, venue, f"stream of worker {index}")
        self._index = index
        self.connections = self.resets = self.drops = 0

    async def run(self) -> None:
        """Listen until cancelled, and come back with the cursor after every end."""
        while True:
            try:
                await self._listen()
            except (*TROUBLE, LookupError):
                await asyncio.sleep(PAUSE_SECONDS)  # what a polite client does

    async def _listen(self) -> None:
        if self.cursor is None:
            await self.read_again()
        await self._hear({"last-event-id": str(self.cursor)})

    async def _hear(self, headers: dict[str, str]) -> None:
        path = f"/v1/stream?venue={self._venue}"
        async with answered(self._server, path, self._server.status["workers"][self._index], headers) as (wire, status):
            if status != 200:
                raise ConnectionError(f"{path} answers {status}")
            self.connections += 1
            name = content = cursor = ""
            async for line in wire.lines():
                kind, _, value = line.partition(": ")
                if kind == "id":
                    cursor = value
                elif kind == "event":
                    name = value
                elif kind == "data":
                    content = value
                elif not line:
                    await self._dispatch(name, content, cursor)
                    name = content = ""

    async def _dispatch(self, name: str, content: str, cursor: str) -> None:
        if name == "dropped":
            self.drops += 1
            self.cursor = None  # the next connection begins with a snapshot
            return
        if name == "reset":
            self.resets += 1
            await self.read_again()
        elif content and not name and not self.take(json.loads(content)):
            await self.read_again()
        self.cursor = cursor


class CarelessMirror(StreamMirror):
    """A control: it believes what comes whatever its version, and after an end it goes on from now."""

    def __init__(self, server: Server, venue: str) -> None:
        super().__init__(server, venue, 0)
        self.may_return = asyncio.Event()
        self.is_away = asyncio.Event()
        self.is_back = asyncio.Event()

    async def run(self) -> None:
        """Listen until the first end, and again once it may."""
        with suppress(*TROUBLE):
            await self._listen()
        self.is_away.set()
        await self.may_return.wait()
        while True:
            with suppress(*TROUBLE, LookupError):
                await self._hear({})

    def take(self, event: Any) -> bool:
        """Merge an event as if nothing could be missing before it."""
        for touched in event["data"].get("resources", ()):
            shelf = self.shelves.get(touched["resource"])
            if shelf is not None:
                shelf.version = touched["version"] - 1
        return super().take(event)

    async def _dispatch(self, name: str, content: str, cursor: str) -> None:
        if name == "ready" and self.is_away.is_set():
            self.is_back.set()
        await super()._dispatch(name, content, cursor)


class WebhookMirror(Mirror):
    """Kept by webhooks, each verified by the official library; reads again beside them where it has to."""

    def __init__(self, server: Server, venue: str) -> None:
        super().__init__(server, venue, "webhooks")
        self.url = ""
        self.secret = ""
        self.received: dict[str, int] = {}
        """How often each webhook-id has come."""
        self.positions: set[int] = set()
        self.disorders: list[str] = []
        self.forged = 0
        self._latest: dict[str, int] = {}
        self._stale = asyncio.Event()

    async def run(self) -> None:
        """Read again whenever that is needed, until cancelled."""
        while True:
            await self._stale.wait()
            self._stale.clear()
            try:
                await self.read_again()
            except TROUBLE:
                self._stale.set()
                await asyncio.sleep(PAUSE_SECONDS)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Answer on a free port of loopback."""
        app = web.Application()
        app.router.add_post("/", self._accept)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
        try:
            yield
        finally:
            await runner.cleanup()

    async def _accept(self, request: web.Request) -> web.Response:
        body = await request.read()
        try:
            event = Webhook(self.secret).verify(body, dict(request.headers))
        except WebhookVerificationError:
            self.forged += 1
            return web.Response(status=401)
        identity = request.headers["webhook-id"]
        self.received[identity] = self.received.get(identity, 0) + 1
        if self.received[identity] == 1:
            self.positions.add(int(event["id"]))
            self._note_order(identity, event["data"].get("resources", ()))
        if event["source"] == f"/venues/{self._venue}" and not self.take(event):
            self._stale.set()
        return web.Response(status=204)

    def _note_order(self, identity: str, resources: Sequence[Any]) -> None:
        for touched in resources:
            key, version = touched["resource"], touched["version"]
            latest = self._latest.get(key, 0)
            if version != latest + 1:
                self.disorders.append(f"{identity}: version {version} of {key} came after {latest}")
            self._latest[key] = max(version, latest)
