"""`onebook bench checkout`: whole checkouts a second, at a rate, and what a hanging gateway does to other bookings' holds.

One Onebook as users start it, with the simulated gateway in a process of its own. Clients hold and pay as fast as they are
answered; then at a rate; then holds go on at a rate while checkouts of other bookings do too, with a gateway that answers and
one that hangs, in turns. In the end everything that was asked in the run is looked for in the database and in the gateway's own
list. The CLI calls it; nothing survives the run; bounded by the plan, END_POLLS, and the timeouts of servers.py and rounds.py.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import msgspec

from onebook.embedded.folder import DataFolder
from onebook.ops.bench.checkout_report import (
    CheckoutReport,
    FullSpeed,
    PacedCheckouts,
    Processors,
    Proof,
    Turn,
    checkout_targets,
    held_up,
)
from onebook.ops.bench.gateway import Gateway
from onebook.ops.bench.hardware import hardware
from onebook.ops.bench.report import LoadReport
from onebook.ops.bench.rounds import BenchPlan, Rounds, Scenario, execute, throw_away_folder
from onebook.ops.bench.servers import BenchUnavailable, Server, benchmarks_folder, onebook_server, tree_cpu_seconds
from onebook.ops.http_client import Client, ConnectionFailed
from onebook.sql import statements

SQL = statements("onebook.ops.bench", "checkout.sql")
RESOURCES = 1000
NIGHTS = 365
MAX_CLIENTS = 64
RATE = 150
HOLDS_RATE = 200
CHECKOUTS_RATE = 30
CONNECTIONS = 128  # at a rate: more than are ever under way, unless the server stalls
HANGING_CONNECTIONS = 256  # each checkout waits some seconds for a gateway that hangs
HANG = {"hang_seconds": 30.0}
POLL_SECONDS = 0.25
END_POLLS = 360  # 90 s for what is under way when the gateway answers again
PRICE = {"name": "Flexible", "currency": "EUR", "price_minor": 12_000}


async def run_checkout(plan: BenchPlan | None = None, tell: Callable[[str], None] = lambda _: None) -> CheckoutReport:
    """Measure; `tell` is called with a line of progress before each step. Raises BenchUnavailable."""
    plan = plan or BenchPlan()
    benchmarks_folder()
    scenario = Scenario(RESOURCES, NIGHTS, datetime.now(UTC).date() + timedelta(days=1))
    with throw_away_folder() as folder:
        tell("starting onebook")
        data = folder / "onebook"
        async with onebook_server(data, workers=plan.workers, resources=RESOURCES) as server:
            await _charge(server)
            rounds = Rounds(plan, scenario, [server])
            return await _Checkouts(rounds, server, DataFolder(data), folder, tell).run()


async def _charge(server: Server) -> None:
    """Give everything a price. Raises BenchUnavailable."""
    try:
        async with Client(server.url) as client:
            path = "/v1/venues/bench/rates/flex"
            answer = await client.request("PUT", path, json=PRICE, token=server.admin_token)
    except ConnectionFailed as error:
        raise BenchUnavailable(f"PUT {path} was not answered: {error}") from error
    if answer.status >= 300:
        raise BenchUnavailable(f"PUT {path} was answered with {answer.status}: {answer.body[:500]!r}")


class _Status(msgspec.Struct, frozen=True):
    """Of what a server says of itself."""

    simulator: int


@dataclass(slots=True)
class _Checkouts:
    """One run, while the server lives."""

    rounds: Rounds
    server: Server
    data: DataFolder
    folder: Path
    tell: Callable[[str], None]
    gateway: Gateway = field(init=False)
    told: int = 0

    async def run(self) -> CheckoutReport:
        """All parts, and whether what they were told is true."""
        plan = self.rounds.plan
        self.gateway = Gateway(self.data)
        full = [await self._full(number) for number in range(1, plan.rounds + 1)]
        paced = await self._paced()
        turns = [await self._turn(number, hangs) for number in range(1, plan.rounds + 1) for hangs in (False, True)]
        proof = await self._proof()
        return CheckoutReport(
            seconds=plan.seconds,
            workers=plan.workers,
            clients=self._clients,
            full=full,
            paced=paced,
            holds_rate=HOLDS_RATE,
            checkouts_rate=CHECKOUTS_RATE,
            turns=turns,
            held_up=held_up(turns),
            proof=proof,
            targets=checkout_targets(full, paced, turns, proof),
            hardware=await asyncio.to_thread(
                hardware, self.folder, await execute(self.server.database, "SHOW server_version"), paced.load.driver
            ),
        )

    @property
    def _clients(self) -> int:
        return min(self.rounds.plan.connections, MAX_CLIENTS)

    async def _full(self, number: int) -> FullSpeed:
        """Checkouts as fast as they are answered, warmed up."""
        plan = self.rounds.plan
        self.tell(f"{self._clients} clients, round {number} of {plan.rounds}")
        await execute(self.server.database, "CHECKPOINT")
        if plan.warm_up_seconds:
            await self._pay(self._clients, plan.warm_up_seconds, plan.seed + 1000 + number)
        before = self._cpu_seconds()
        load = await self._pay(self._clients, plan.seconds, plan.seed + number)
        used = [after - earlier for earlier, after in zip(before, self._cpu_seconds(), strict=True)]
        each = [1000 * seconds / load.placed if load.placed else 0.0 for seconds in used]
        return FullSpeed(load, load.placed / load.seconds, Processors(*each))

    async def _paced(self) -> PacedCheckouts:
        """Checkouts at a rate, warmed up."""
        plan = self.rounds.plan
        self.tell(f"{RATE} checkouts a second")
        await execute(self.server.database, "CHECKPOINT")
        if plan.warm_up_seconds:
            await self._pay(CONNECTIONS, plan.warm_up_seconds, plan.seed + 2000, RATE)
        return PacedCheckouts(RATE, await self._pay(CONNECTIONS, plan.seconds, plan.seed + 2001, RATE))

    async def _turn(self, number: int, hangs: bool) -> Turn:
        """Holds at a rate, and other bookings' checkouts at theirs, which all end before the next turn begins."""
        plan = self.rounds.plan
        self.tell(f"holds beside a gateway that {'hangs' if hangs else 'answers'}, round {number} of {plan.rounds}")
        await self.gateway.put_faults(HANG if hangs else {})
        try:
            seed = plan.seed + 3000 + 10 * number + hangs
            holds, checkouts = await asyncio.gather(
                self.rounds.drive(self.server, CONNECTIONS, plan.seconds, seed, rate=HOLDS_RATE),
                self._pay(HANGING_CONNECTIONS, plan.seconds, seed + 500, CHECKOUTS_RATE),
            )
        finally:
            await self.gateway.put_faults({})
        await self._until_ended()
        return Turn(hangs, holds, checkouts)

    async def _pay(self, connections: int, seconds: int, seed: int, rate: int | None = None) -> LoadReport:
        load = await self.rounds.drive(self.server, connections, seconds, seed, rate=rate, pays=True)
        self.told += load.placed
        return load

    async def _until_ended(self) -> int:
        """Wait until no checkout is under way; how many still are when the time for it is over."""
        for _ in range(END_POLLS):
            if int(await execute(self.server.database, SQL["under_way"])) == 0:
                return 0
            await asyncio.sleep(POLL_SECONDS)
        return int(await execute(self.server.database, SQL["under_way"]))

    async def _proof(self) -> Proof:
        """What the database and the gateway say of everything that was asked."""
        self.tell("looking for every checkout in the database and in the gateway's list")
        under_way = await self._until_ended()
        captured = await self.gateway.captured_minor()
        connection = await asyncpg.connect(self.server.database)
        try:
            rows = await connection.fetch(SQL["completed"])
            confirmed, balance_minor, taken_minor = [
                int(await connection.fetchval(SQL[name])) for name in ("confirmed", "balance", "taken")
            ]
        finally:
            await connection.close()
        completed = {row["id"]: row["amount_minor"] for row in rows}
        unconfirmed = sum(not row["is_confirmed"] for row in rows)
        unmatched = len(completed.items() ^ captured.items())
        return Proof(
            told=self.told,
            completed=len(completed),
            confirmed=confirmed,
            captured=len(captured),
            astray=unmatched + unconfirmed + abs(confirmed - len(completed)),
            under_way=under_way,
            balance_minor=balance_minor,
            unposted_minor=sum(captured.values()) - taken_minor,
        )

    def _cpu_seconds(self) -> tuple[float, float, float, float]:
        """Of the workers, the gateway, PostgreSQL, and everything else of the server's, so far."""
        status = msgspec.json.decode(self.data.status_file.read_bytes(), type=_Status)
        workers = sum(map(tree_cpu_seconds, self.server.worker_pids))
        gateway = tree_cpu_seconds(status.simulator)
        postgresql = tree_cpu_seconds(self.server.roots[1])
        return workers, gateway, postgresql, self.server.cpu_seconds() - workers - gateway - postgresql
