"""Streams over real connections, on a real log: what arrives, from where it goes on, and who is dropped."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
import uvicorn
from litestar import Litestar
from tests.conftest import Bench, data_folder

from onebook.api import stream_routes
from onebook.api.app import Application
from onebook.api.express import ExpressProtocol
from onebook.api.express_stream import STREAM_PATH
from onebook.api.operation import ENGINE
from onebook.api.roles import Role
from onebook.api.tokens import Keys
from onebook.config import PushSettings
from onebook.ledger.ledger import Placing
from onebook.log.read import START, Cursor
from onebook.log.stream import StreamEvent, event_of_row
from onebook.model.commands import Wanted
from onebook.push import resume
from onebook.push.hub import Hub

PLENTY = 1000
SETTINGS = PushSettings(max_clients=50, max_client_buffer_kib=64, kept_events=2000, comment_seconds=15.0)
ROWS = "SELECT * FROM log WHERE (txn, position) > ($1, $2) ORDER BY txn, position"


class Worker:
    """A hub and its server; events are handed to it by the test, as the consumer would."""

    def __init__(self, bench: Bench, hub: Hub, keys: Keys, port: int) -> None:
        self.bench = bench
        self.hub = hub
        self.keys = keys
        self.url = f"http://127.0.0.1:{port}"
        self._handed = START

    def token(self, role: Role = Role.ADMIN, channel: str | None = None, ttl_seconds: int = 60) -> str:
        """A token."""
        return self.keys.mint(role, ttl_seconds=ttl_seconds, channel=channel)

    async def entries(self) -> list[StreamEvent]:
        """What the log has that the hub was not given yet."""
        rows = await self.bench.reader.fetch(ROWS, *self._handed)
        if rows:
            self._handed = Cursor(rows[-1]["txn"], rows[-1]["position"])
        return [event_of_row(row) for row in rows]

    async def follow(self, *, beat: bool = True) -> list[StreamEvent]:
        """Give the hub what is new, and a heartbeat."""
        events = await self.entries()
        await self.hub.handle(events)
        if beat:
            await self.hub.checkpoint(await self.bench.reader.fetchval("SELECT log_horizon()"))
        return events


class Listener:
    """A client of /v1/stream that reads it as it is written."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.answer = answer
        self.raw = b""
        self.cursor = ""
        self._unread = b""

    async def next(self) -> dict[str, str]:
        """The next event that has data; comments are passed over."""
        async with asyncio.timeout(10):
            while True:
                while b"\n\n" not in self._unread:
                    piece = await self.answer.content.readany()
                    if not piece:
                        raise EOFError
                    self.raw += piece
                    self._unread += piece
                block, _, self._unread = self._unread.partition(b"\n\n")
                lines = [line.partition(": ") for line in block.decode().split("\n")]
                found = {name: value for name, _, value in lines if name}
                self.cursor = found.get("id", self.cursor)
                if "data" in found:
                    return found

    async def events(self, count: int) -> list[dict[str, Any]]:
        """The next CloudEvents."""
        found: list[dict[str, Any]] = []
        while len(found) < count:
            event = await self.next()
            assert "event" not in event, event
            found.append(json.loads(event["data"]))
        return found

    async def ids(self, count: int) -> list[int]:
        """The next CloudEvents' ids."""
        return [int(event["id"]) for event in await self.events(count)]


@asynccontextmanager
async def listening(worker: Worker, query: str = "venue=alfama", *, token: str | None = None, **headers: str) -> Any:
    """Listen; `ready` or `reset` is still to be read."""
    sent = {
        "authorization": f"Bearer {token or worker.token()}",
        **{n.replace("_", "-"): v for n, v in headers.items()},
    }
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{worker.url}{STREAM_PATH}?{query}", headers=sent) as answer,
    ):
        assert answer.status == 200, await answer.text()
        yield Listener(answer)


class _Server(uvicorn.Server):
    def capture_signals(self) -> Any:
        """Signals are the test run's."""
        return nullcontext()


@asynccontextmanager
async def open_worker(bench: Bench, settings: PushSettings = SETTINGS) -> AsyncIterator[Worker]:
    """A worker without a ledger of its own."""
    with data_folder() as folder, socket.create_server(("127.0.0.1", 0)) as listener:
        keys, hub = Keys.open(folder), Hub(bench.reader, settings)
        # Streams need no more of an engine than this.
        engine = SimpleNamespace(keys=keys, hub=hub, answer_seconds=4.5)
        app = Litestar([*stream_routes.ROUTES, *stream_routes.SOCKETS], openapi_config=None, logging_config=None)
        app.state[ENGINE] = engine
        server = _Server(
            uvicorn.Config(
                Application(app),
                http=ExpressProtocol,
                ws="websockets-sansio",
                lifespan="off",
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=2,
            )
        )
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        worker = Worker(bench, hub, keys, listener.getsockname()[1])
        await hub.start()
        await worker.entries()  # what came before is below its horizon
        try:
            yield worker
        finally:
            server.should_exit = True
            await serving
            hub.close()


@pytest.fixture
async def worker(bench: Bench) -> AsyncIterator[Worker]:
    """One worker on a market with two venues."""
    for key in ("alfama/double", "porto/double"):
        await bench.room(key, capacity=PLENTY)
    async with open_worker(bench) as opened:
        yield opened


async def emptied(worker: Worker) -> None:
    """Returns when the hub has noticed that its clients are gone."""
    async with asyncio.timeout(10):
        while worker.hub._clients:  # noqa: ASYNC110  # the protocol is told by the kernel, and tells nobody else
            await asyncio.sleep(0)


async def book(
    bench: Bench, count: int, *, venue: str = "alfama", channel: str = "atlas", ttl_seconds: int = 600
) -> None:
    """Holds, each of a channel, with a reference and a customer."""
    for number in range(count):
        placing = Placing(
            channel=channel,
            idempotency_key=f"{channel}-{time.monotonic_ns()}-{number}",
            request_hash=b"0" * 16,
            ttl_seconds=ttl_seconds,
            confirm=False,
            reference=f"reference-of-{channel}",
            customer=f"customer-of-{channel}",
        )
        wanted = Wanted(resource=f"{venue}/double", starts="2026-12-01", ends="2026-12-04", quantity=1)
        await bench.ledger.place((wanted,), placing)


async def test_what_is_committed_arrives_in_its_order(worker: Worker) -> None:
    """A listener is told when it listens, and then gets every event of its venue, once and in order, with its facts."""
    async with listening(worker) as listener:
        ready = await listener.next()
        assert (ready["event"], json.loads(ready["data"])) == ("ready", {"from": "now"})
        assert listener.answer.headers["content-type"] == "text/event-stream"
        assert listener.answer.headers["cache-control"] == "no-store"
        assert listener.answer.headers["x-accel-buffering"] == "no"
        await book(worker.bench, 3, venue="porto")
        await book(worker.bench, 5)
        handed = await worker.follow()
        mine = [event for event in handed if event.venues == ("alfama",)]
        events = await listener.events(len(mine))
        assert [event["id"] for event in events] == [event.id for event in mine]
        assert [event["data"]["resources"][0]["version"] for event in events] == [2, 3, 4, 5, 6]


async def test_filters_by_type_take_short_and_full_names(worker: Worker) -> None:
    """`types` goes by what the client would see, in either spelling, separated or repeated."""
    queries = ("types=booking.held,block.placed", "types=onebook.booking.held.v1", "types=x.y&types=*")
    async with AsyncExitStack() as stack:
        listeners = [await stack.enter_async_context(listening(worker, f"venue=alfama&{query}")) for query in queries]
        nobody = await stack.enter_async_context(listening(worker, "venue=alfama&types=booking.expired"))
        for listener in (*listeners, nobody):
            await listener.next()
        await book(worker.bench, 1)
        (held,) = await worker.follow()
        for listener in listeners:
            assert await listener.ids(1) == [held.position]
        worker.hub.close()
        assert (await nobody.next())["event"] == "bye"


async def test_a_channel_never_sees_anything_of_another(worker: Worker) -> None:
    """Of another channel's bookings it gets what is available, and not a byte of who, what and for whom."""
    token = worker.token(Role.CHANNEL, "atlas")
    async with listening(worker, token=token) as atlas, listening(worker) as desk:
        await atlas.next()
        await desk.next()
        await book(worker.bench, 4, channel="rival")
        await book(worker.bench, 2, channel="atlas")
        await worker.follow()
        seen, full = await atlas.events(6), await desk.events(6)
        worker.hub.close()
        assert (await atlas.next())["event"] == "bye"
        secrets = [full[number]["data"]["booking"] for number in range(4)]
        for secret in (*secrets, "rival", "reference-of-rival", "customer-of-rival"):
            assert secret.encode() in desk.raw
            assert secret.encode() not in atlas.raw
        assert [event["type"] for event in seen[:4]] == ["onebook.availability.changed.v1"] * 4
        assert [event["data"]["resources"] for event in seen] == [event["data"]["resources"] for event in full]
        assert [event["id"] for event in seen] == [event["id"] for event in full]
        assert seen[4:] == full[4:]


async def test_without_a_lost_or_repeated_event_at_every_cursor(worker: Worker, bench: Bench) -> None:
    """Whoever comes again with the cursor of any event gets exactly what follows, at this worker or another one."""
    async with open_worker(bench) as other, listening(worker) as listener:
        await listener.next()
        cursors, ids = [listener.cursor], []
        for round_number in range(4):
            await book(bench, 3)
            for each in (worker, other):
                await each.follow(beat=round_number % 2 == 0)
            for _ in range(3):
                ids += await listener.ids(1)
                cursors.append(listener.cursor)
        for at in (worker, other):
            for number, cursor in enumerate(cursors):
                async with listening(at, Last_Event_ID=cursor) as again:
                    assert (await again.next())["event"] == "ready"
                    assert await again.ids(len(ids) - number) == ids[number:]


async def test_an_older_cursor_goes_on_from_the_log(worker: Worker, bench: Bench) -> None:
    """What a new worker has not seen itself it reads from the log: nothing missing, then live without a seam."""
    async with listening(worker) as listener:
        await listener.next()
        cursor = listener.cursor
        await book(bench, 600)
        expected = [event.position for event in await worker.follow()]
        async with open_worker(bench) as other, listening(other, f"venue=alfama&after={cursor}") as again:
            assert json.loads((await again.next())["data"]) == {"from": "log"}
            assert await again.ids(600) == expected
            # The log's own cursors lead on as well, and so does a live one that follows them.
            middle = again.cursor
            await book(bench, 2)
            live = [event.position for event in await other.follow()]
            assert await again.ids(2) == live
            async with listening(other, Last_Event_ID=middle) as third:
                await third.next()
                assert await third.ids(2) == live


async def test_a_hub_that_lags_repeats_nothing_that_came_from_the_log(worker: Worker, bench: Bench) -> None:
    """Events that a client got from the log, and the hub handles only afterwards, do not come a second time."""
    async with open_worker(bench) as late, listening(worker) as listener:
        await listener.next()
        await book(bench, 3)
        await worker.follow(beat=False)
        await listener.ids(3)
        await book(bench, 2)
        async with listening(late, Last_Event_ID=listener.cursor) as again:
            await again.next()
            from_log = await again.ids(5)
            assert from_log == [event.position for event in await late.follow()]
            await book(bench, 1)
            live = [event.position for event in await late.follow()]
            assert await again.ids(1) == live


@pytest.mark.parametrize(
    ("cursor", "reason"),
    [("no_cursor_of_ours", "unknown-cursor"), (str(Cursor(2**62, 1)), "unknown-cursor"), (str(START), "too-old")],
)
async def test_a_cursor_that_leads_nowhere_is_reset(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, cursor: str, reason: str
) -> None:
    """It is told so, with a reason and a cursor that is good, and the stream goes on live."""
    monkeypatch.setattr(resume, "MAX_ENTRIES", 1)
    await worker.follow()
    async with listening(worker, Last_Event_ID=cursor) as listener:
        reset = await listener.next()
        assert (reset["event"], json.loads(reset["data"])) == ("reset", {"reason": reason})
        assert (await listener.next())["event"] == "ready"
        await book(worker.bench, 1)
        (event,) = await worker.follow()
        assert await listener.ids(1) == [event.position]


@pytest.mark.parametrize(
    ("query", "headers", "status", "code"),
    [
        ("venue=alfama", {"authorization": "Bearer forged.to.ken"}, 401, "unauthorized"),
        ("venue=atlantis", {}, 404, "not-found"),
        ("", {}, 422, "invalid"),
        ("venue=alfama&types=UP", {}, 422, "invalid"),
        ("venue=alfama&venues=porto", {}, 422, "invalid"),
        ("venue=alfama", {"last-event-id": "not a cursor"}, 400, "cursor-malformed"),
    ],
)
async def test_what_cannot_be_streamed_is_refused(
    worker: Worker, query: str, headers: dict[str, str], status: int, code: str
) -> None:
    """Errors of form are problem documents, before any stream begins."""
    sent = {"authorization": f"Bearer {worker.token()}", **headers}
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{worker.url}{STREAM_PATH}?{query}", headers=sent) as answer,
    ):
        assert (answer.status, (await answer.json(content_type=None))["code"]) == (status, code)


async def test_a_token_without_the_scope_is_refused(worker: Worker) -> None:
    """Who may not read inventory may not listen."""
    sent = {"authorization": f"Bearer {worker.token(Role.PAYMENTS)}"}
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{worker.url}{STREAM_PATH}?venue=alfama", headers=sent) as answer,
    ):
        assert answer.status == 403


async def test_http_1_0_cannot_carry_a_stream(worker: Worker) -> None:
    """It is told so, and nothing is begun."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(worker.url.rpartition(":")[2]))
    writer.write(f"GET {STREAM_PATH}?venue=alfama HTTP/1.0\r\nauthorization: Bearer {worker.token()}\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert b" 505 " in head.partition(b"\r\n")[0]
    assert b'"cannot-stream"' in await reader.read()
    writer.close()
    await writer.wait_closed()


async def test_the_last_seat_is_taken(bench: Bench) -> None:
    """Beyond max_clients a client is told to come back, and may when another has left."""
    await bench.room("alfama/double")
    settings = PushSettings(max_clients=1, max_client_buffer_kib=64, kept_events=10, comment_seconds=15.0)
    async with open_worker(bench, settings) as worker:
        sent = {"authorization": f"Bearer {worker.token()}"}
        async with listening(worker) as first, aiohttp.ClientSession() as session:
            await first.next()
            async with session.get(f"{worker.url}{STREAM_PATH}?venue=alfama", headers=sent) as answer:
                assert answer.status == 503
                assert int(answer.headers["retry-after"]) > 0
        await emptied(worker)
        async with listening(worker) as second:
            assert (await second.next())["event"] == "ready"


async def test_a_token_that_expires_ends_its_stream(worker: Worker) -> None:
    """The stream says why it ends."""
    async with listening(worker, token=worker.token(ttl_seconds=2)) as listener:
        assert (await listener.next())["event"] == "ready"
        dropped = await listener.next()
        assert (dropped["event"], json.loads(dropped["data"])) == ("dropped", {"code": "token-expired"})
        with pytest.raises(EOFError):
            await listener.next()


async def test_who_does_not_read_is_dropped_and_others_go_on(worker: Worker) -> None:
    """A client that stops reading costs a bounded buffer, then its place, is told why, and delays nobody."""
    stalled = socket.socket()
    stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stalled.connect(("127.0.0.1", int(worker.url.rpartition(":")[2])))
    request = f"GET {STREAM_PATH}?venue=alfama HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {worker.token()}\r\n\r\n"
    stalled.sendall(request.encode())
    assert b"200 OK" in await asyncio.to_thread(stalled.recv, 100)
    clients = worker.hub._clients
    async with listening(worker) as listener:
        await listener.next()
        await book(worker.bench, 200)
        entries = await worker.entries()
        rounds, largest = 0, 0
        while len(clients) == 2:
            # The same facts under new numbers: what counts here is how much there is.
            rounds += 1
            assert rounds < 100, "nobody was dropped"
            for number, entry in enumerate(entries):
                entry.position = 10**9 + rounds * 1000 + number
            await worker.hub.handle(entries)
            largest = max(largest, *(client.backlog_bytes() for client in clients))
            assert len(await listener.events(len(entries))) == len(entries)
        assert largest < 64 * 1024 + 2 * sum(len(entry.body) + 100 for entry in entries)
        stalled.settimeout(10)
        received = b""
        while piece := await asyncio.to_thread(stalled.recv, 65536):
            received += piece
        assert received.endswith(b'event: dropped\ndata: {"code":"too-slow"}\n\n\r\n0\r\n\r\n')
    stalled.close()


async def test_tcp_watches_over_silent_connections(worker: Worker) -> None:
    """A stream's socket has keep-alives, and a limit to how long nothing is acknowledged."""
    async with listening(worker) as listener:
        await listener.next()
        (client,) = worker.hub._clients
        connection = client._protocol.transport.get_extra_info("socket")  # type: ignore[attr-defined]
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000


async def test_a_client_that_leaves_is_forgotten(worker: Worker) -> None:
    """Its place is free again without anything being sent."""
    async with listening(worker) as listener:
        await listener.next()
        assert len(worker.hub._clients) == 1
    await emptied(worker)
    assert list(worker.hub._audiences) == []


@asynccontextmanager
async def socket_to(
    worker: Worker, query: str = "venue=alfama", *, protocols: tuple[str, ...] = (), token: str | None = None
) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """A WebSocket; with a token as a header, or with subprotocols."""
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{worker.url}/v1/ws?{query}", headers=headers, protocols=protocols) as opened,
    ):
        yield opened


async def test_a_socket_gets_what_a_stream_gets(worker: Worker) -> None:
    """Over WebSocket the same events come with the same cursors, one message each; a browser's token is a subprotocol."""
    browser = ("onebook.v1", f"bearer.{worker.token()}")
    async with socket_to(worker, protocols=browser) as channel, listening(worker) as listener:
        assert channel.protocol == "onebook.v1"
        ready = await channel.receive_json(timeout=10)
        assert (ready["stream"], ready["from"]) == ("ready", "now")
        await listener.next()
        await book(worker.bench, 5)
        await worker.follow()
        messages = [await channel.receive_json(timeout=10) for _ in range(5)]
        assert [message["event"] for message in messages] == await listener.events(5)
        assert messages[-1]["cursor"] == listener.cursor
        async with socket_to(worker, f"venue=alfama&after={messages[1]['cursor']}", token=worker.token()) as again:
            assert (await again.receive_json(timeout=10))["from"] == "ring"
            assert [await again.receive_json(timeout=10) for _ in range(3)] == messages[2:]


@pytest.mark.parametrize(
    ("query", "role", "code", "reason"),
    [
        ("venue=alfama", None, 4401, "unauthorized"),
        ("venue=alfama", Role.PAYMENTS, 4403, "scope-missing"),
        ("venue=atlantis", Role.ADMIN, 4404, "not-found"),
        ("", Role.ADMIN, 4422, "invalid"),
        ("venue=alfama&after=%20", Role.ADMIN, 4400, "cursor-malformed"),
    ],
)
async def test_a_socket_is_closed_with_a_code_and_a_reason(
    worker: Worker, query: str, role: Role | None, code: int, reason: str
) -> None:
    """What HTTP would answer with a problem closes a socket with 4000 + its status."""
    async with socket_to(worker, query, token=None if role is None else worker.token(role)) as channel:
        closing = await channel.receive(timeout=10)
        assert (closing.type, closing.data, closing.extra) == (aiohttp.WSMsgType.CLOSE, code, reason)


async def test_a_socket_ends_with_its_token_and_with_the_server(worker: Worker) -> None:
    """4401 when the token expires, 1012 when the server stops."""
    async with (
        socket_to(worker, token=worker.token(ttl_seconds=2)) as brief,
        socket_to(worker, token=worker.token()) as long,
    ):
        for channel in (brief, long):
            await channel.receive_json(timeout=10)
        assert (await brief.receive(timeout=10)).data == 4401
        worker.hub.close()
        assert (await long.receive(timeout=10)).data == 1012


async def test_a_socket_that_is_not_read_is_dropped(worker: Worker) -> None:
    """Its queue is bounded; then its place is free, and its connection is cut."""
    async with socket_to(worker, token=worker.token()) as channel:
        await channel.receive_json(timeout=10)
        channel._reader._protocol.pause_reading()  # the client stops taking what the kernel has
        await book(worker.bench, 200)
        entries = await worker.entries()
        rounds = 0
        while worker.hub._clients:
            rounds += 1
            assert rounds < 200, "it was not dropped"
            for number, entry in enumerate(entries):
                entry.position = 10**9 + rounds * 1000 + number
            await worker.hub.handle(entries)
            await asyncio.sleep(0)
            assert all(each.backlog_bytes() < 1024 * 1024 for each in worker.hub._clients)
