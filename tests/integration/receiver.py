"""A partner's endpoint on loopback that verifies with the official library, and webhooks fed from the log, for the tests."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

import msgspec
from aiohttp import web
from standardwebhooks import Webhook
from tests.conftest import Bench

from onebook.channels.subscriptions import SecretView, Subscriptions
from onebook.channels.webhooks import Webhooks
from onebook.config import WebhookSettings, load
from onebook.ledger.database import open_reader
from onebook.ledger.ledger import Placing
from onebook.log.stream import event_of_row
from onebook.model.commands import Wanted

QUICK = msgspec.structs.replace(
    load(environment={}).webhooks,
    allow_loopback=True,
    first_retry_seconds=0.02,
    timeout_seconds=2.0,
    breaker_failures=1_000_000,
    breaker_seconds=0.1,
)

Behaviour = Callable[[web.Request, str], Awaitable[web.StreamResponse]]


@dataclass
class Received:
    """What one path of the receiver has got. `accepted` are webhook-ids that were answered 2xx, in that order."""

    requests: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    accepted: dict[str, None] = field(default_factory=dict)
    versions: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    """Of each resource, the versions in the order in which they came first."""
    seen: set[str] = field(default_factory=set)


class Receiver:
    """An HTTP server. `behave` answers a verified request; 204 unless a test says otherwise."""

    def __init__(self) -> None:
        self.secrets: dict[str, list[str]] = defaultdict(list)
        self.paths: dict[str, Received] = defaultdict(Received)
        self.behave: Behaviour = answering(204)
        self.url = ""
        self._changed = asyncio.Event()

    def trust(self, path: str, endpoint: SecretView) -> None:
        """Verify what comes to a path with an endpoint's secret from now on, and with those before it."""
        self.secrets[path].append(endpoint.secret)

    async def until(self, condition: Callable[[], bool], timeout_seconds: float = 60) -> None:
        """Wait until something is so after a request. Raises TimeoutError."""
        async with asyncio.timeout(timeout_seconds):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def accept(self, request: web.Request) -> web.StreamResponse:
        """Verify, note, and answer as the test wants."""
        body = await request.read()
        received = self.paths[request.path]
        identity = request.headers["webhook-id"]
        # The latest secret must verify: an endpoint that was rotated may know no other.
        event = Webhook(self.secrets[request.path][-1]).verify(body, dict(request.headers))
        received.requests.append((identity, event))
        received.headers.append({name.lower(): value for name, value in request.headers.items()})
        if identity not in received.seen:
            received.seen.add(identity)
            for touched in event["data"].get("resources", ()):
                received.versions[touched["resource"]].append(touched["version"])
        try:
            response = await self.behave(request, identity)
            if 200 <= response.status < 300:
                received.accepted[identity] = None
            return response
        finally:
            self._changed.set()


@asynccontextmanager
async def open_receiver() -> AsyncIterator[Receiver]:
    """A receiver on a free port."""
    receiver = Receiver()

    async def answer(request: web.Request) -> web.StreamResponse:
        return await receiver.accept(request)

    app = web.Application()
    app.router.add_post("/{name:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield receiver
    finally:
        await runner.cleanup()


def answering(status: int) -> Behaviour:
    """Answers everything so."""

    async def behave(_request: web.Request, _identity: str) -> web.StreamResponse:
        return web.Response(status=status)

    return behave


def unreliable(random: Random, share: float = 0.3, most: int = 8) -> Behaviour:
    """Fails a share of the requests: an error, a connection reset after the body was read, or an answer that comes late.

    None fails more than `most` times: one in 100,000 would otherwise keep a test waiting for minutes.
    """
    failures: Counter[str] = Counter()

    async def behave(request: web.Request, identity: str) -> web.StreamResponse:
        if random.random() >= share or failures[identity] == most:
            return web.Response(status=204)
        failures[identity] += 1
        match random.randrange(3):
            case 0:
                return web.Response(status=500, text="out of order " * 200)
            case 1:
                assert request.transport is not None
                request.transport.abort()
                return web.Response(status=500)
            case _:
                await asyncio.sleep(random.random() / 20)
                return web.Response(status=503)

    return behave


class Partner:
    """Webhooks running on a bench, fed from its log."""

    def __init__(self, bench: Bench, receiver: Receiver, settings: WebhookSettings = QUICK) -> None:
        self.bench = bench
        self.receiver = receiver
        self.settings = settings
        self.subscriptions = Subscriptions(bench.reader, settings)

    async def subscribe(self, path: str = "/hook", **wishes: Any) -> SecretView:
        """An endpoint at a path of the receiver."""
        wished: dict[str, Any] = {"venues": ["*"], "types": ["*"], "channel": None, **wishes}
        endpoint = await self.subscriptions.create(self.receiver.url + path, **wished)
        self.receiver.trust(path, endpoint)
        return endpoint

    async def hold(
        self, resource: str, night: int = 1, *, channel: str = "web", key: str = "", trace: str | None = None
    ) -> str:
        """Hold a unit for a night of December."""
        wanted = [Wanted(resource=resource, starts=f"2026-12-{night:02}", ends=f"2026-12-{night + 1:02}")]
        request = Placing(channel, key or f"{resource}-{night}", b"h", 3600, traceparent=trace)
        settled = await self.bench.ledger.place(wanted, request)
        return str(settled.verdict.booking.id)  # type: ignore[union-attr]

    @asynccontextmanager
    async def sending(self) -> AsyncIterator[Webhooks]:
        """A sender with the log as its stream; left as by a crash: nothing is finished first."""
        pool = await open_reader(self.bench.url, 5)
        webhooks = Webhooks(pool, self.settings)
        try:
            async with asyncio.TaskGroup() as group:
                running = [group.create_task(webhooks.run()), group.create_task(self._feed(webhooks))]
                yield webhooks
                for task in running:
                    task.cancel()
        finally:
            pool.terminate()

    async def _feed(self, webhooks: Webhooks) -> None:
        """What the consumer skeleton does, without a broker: the log from the handler's horizon on, and checkpoints."""
        place = (await webhooks.handler.start(), 0)
        while True:
            rows = await self.bench.reader.fetch(
                "SELECT * FROM log WHERE (txn, position) > ($1::bigint, $2::bigint) AND txn < log_horizon()"
                " ORDER BY txn, position LIMIT 500",
                *place,
            )
            if rows:
                await webhooks.handler.handle([event_of_row(row) for row in rows])
                place = (rows[-1]["txn"], rows[-1]["position"])
                await webhooks.handler.checkpoint(place[0])
            else:
                await asyncio.sleep(0.005)  # a poll, not a wait for something to have happened
