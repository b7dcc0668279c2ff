"""`onebook bench webhooks`: how long after a booking a partner's endpoint has it, and how many deliveries a second there can be.

One Onebook as users start it, and an endpoint on loopback in a process of its own: bookings at a rate first, then a number of
them as fast as they are answered, until all are delivered. The CLI calls it; nothing survives the run; bounded by the plan,
`DRAIN_SECONDS`, and the timeouts of servers.py, rounds.py and instruments.py.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from onebook.ops.bench.arrivals import Received
from onebook.ops.bench.hardware import hardware
from onebook.ops.bench.instruments import Instrument, instrument
from onebook.ops.bench.passage import scrape, stages_between
from onebook.ops.bench.rounds import BenchPlan, Rounds, Scenario, execute, throw_away_folder
from onebook.ops.bench.servers import BenchUnavailable, Server, benchmarks_folder, onebook_server
from onebook.ops.bench.webhooks_report import Backlog, PacedWebhooks, WebhooksReport, webhooks_targets
from onebook.ops.http_client import Client, ConnectionFailed

RESOURCES = 1000
NIGHTS = 365
RATE = 200
CONNECTIONS = 32
BACKLOG_PER_SECOND = 1000  # bookings for each second of the plan, made as fast as they are answered
BACKLOG_CONNECTIONS = 64
SETTLE_SECONDS = 30
DRAIN_SECONDS = 300
MAX_BOOKING_SECONDS = 120
SETTINGS = {"ONEBOOK_WEBHOOKS_ALLOW_LOOPBACK": "true"}


async def run_webhooks(plan: BenchPlan | None = None, tell: Callable[[str], None] = lambda _: None) -> WebhooksReport:
    """Measure; `tell` is called with a line of progress before each step. Raises BenchUnavailable."""
    plan = plan or BenchPlan()
    benchmarks_folder()
    scenario = Scenario(RESOURCES, NIGHTS, datetime.now(UTC).date() + timedelta(days=1))
    with throw_away_folder() as folder:
        tell("starting onebook")
        async with (
            onebook_server(folder / "onebook", workers=plan.workers, resources=RESOURCES, settings=SETTINGS) as server,
            instrument("receive.py") as endpoint,
        ):
            await endpoint.tell(f"trust {await _subscribe(server, endpoint.ready)}")
            return await _Deliveries(Rounds(plan, scenario, [server]), server, endpoint, folder, tell).run()


class _Created(msgspec.Struct, frozen=True):
    """Of the answer to a new endpoint."""

    secret: str


async def _subscribe(server: Server, url: str) -> str:
    """Have every event of the venue sent to a URL; the secret that it is signed with. Raises BenchUnavailable."""
    wanted = {"url": url, "venues": ["bench"], "types": ["*"]}
    try:
        async with Client(server.url) as client:
            answer = await client.request("POST", "/v1/webhooks", json=wanted, token=server.admin_token)
    except ConnectionFailed as error:
        raise BenchUnavailable(f"POST /v1/webhooks was not answered: {error}") from error
    if answer.status != 201:
        raise BenchUnavailable(f"POST /v1/webhooks was answered with {answer.status}: {answer.body[:500]!r}")
    return msgspec.json.decode(answer.body, type=_Created).secret


@dataclass(frozen=True, slots=True)
class _Deliveries:
    """One run, while server and endpoint live."""

    rounds: Rounds
    server: Server
    endpoint: Instrument
    folder: Path
    tell: Callable[[str], None]

    async def run(self) -> WebhooksReport:
        """Both parts."""
        plan = self.rounds.plan
        paced = await self._paced()
        backlog = await self._backlog()
        postgresql = await execute(self.server.database, "SHOW server_version")
        return WebhooksReport(
            seconds=plan.seconds,
            workers=plan.workers,
            paced=paced,
            backlog=backlog,
            meanwhile_per_second=backlog.meanwhile_per_second,
            drained_per_second=backlog.drained_per_second,
            targets=webhooks_targets(paced, backlog),
            hardware=await asyncio.to_thread(hardware, self.folder, postgresql, paced.load.driver),
        )

    async def _paced(self) -> PacedWebhooks:
        """Bookings at a rate, warmed up."""
        plan = self.rounds.plan
        self.tell(f"{RATE} bookings a second")
        if plan.warm_up_seconds:
            seed = plan.seed + 1000
            warm_up = await self.rounds.drive(self.server, CONNECTIONS, plan.warm_up_seconds, seed, rate=RATE)
            await self.endpoint.report(Received, warm_up.placed, SETTLE_SECONDS)
        await self.endpoint.tell("begin")
        before = await scrape(self.server)
        load = await self.rounds.drive(self.server, CONNECTIONS, plan.seconds, plan.seed, rate=RATE)
        received = await self.endpoint.report(Received, load.placed, SETTLE_SECONDS)
        return PacedWebhooks(RATE, load, received, stages_between(before, await scrape(self.server)))

    async def _backlog(self) -> Backlog:
        """As many bookings as can be, and then nothing but deliveries."""
        plan = self.rounds.plan
        requests = BACKLOG_PER_SECOND * plan.seconds
        self.tell(f"{requests:,} bookings as fast as can be, until all are delivered")
        await self.endpoint.tell("begin")
        load = await self.rounds.drive(
            self.server, BACKLOG_CONNECTIONS, MAX_BOOKING_SECONDS, plan.seed + 1, requests=requests
        )
        meanwhile = await self.endpoint.report(Received, 0, 0)
        drained_from = time.monotonic()
        received = await self.endpoint.report(Received, load.placed, DRAIN_SECONDS)
        return Backlog(load, meanwhile.deliveries, received, time.monotonic() - drained_from)
