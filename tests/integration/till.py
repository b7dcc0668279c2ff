"""A till on a ledger: quotes, checkouts and a simulated gateway of its own, in this process, and hands to interfere with it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
from msgspec.structs import replace
from tests.conftest import Bench, open_bench

from onebook.checkout.checkouts import Checkouts, Found, Paying
from onebook.checkout.driver import Driver
from onebook.checkout.gateways.breaker import Guarded
from onebook.checkout.gateways.protocol import Gateway
from onebook.checkout.gateways.simulator import SimulatorGateway
from onebook.checkout.prices.offers import Offers
from onebook.checkout.prices.quotes import Quotes
from onebook.checkout.prices.seal import Seal
from onebook.checkout.record import FINAL, Checkout
from onebook.checkout.resume import Resumer
from onebook.checkout.saga import Limits
from onebook.checkout.store import Store
from onebook.config import PaymentSettings, load
from onebook.ledger.database import open_reader, open_writer
from onebook.ledger.ledger import Placing
from onebook.model.booking import BookingId, Status
from onebook.model.commands import Wanted
from onebook.model.offers.plan import RatePlan
from onebook.simulator.job import SimulatorJob
from onebook.simulator.server import open_simulator

SECRET = "sesame"  # noqa: S105 (of a simulator that lives for one test)
ROOM = "alfama/double"
PRICE_MINOR = 10_000
NIGHTS = 3
TOTAL_MINOR = PRICE_MINOR * NIGHTS
SETTLE_SECONDS = 30


@dataclass
class Till:
    """One worker's part in checkouts; several on one database are what several workers are."""

    bench: Bench
    offers: Offers
    quotes: Quotes
    store: Store
    driver: Driver
    resumer: Resumer
    checkouts: Checkouts
    gateway: Guarded
    payments: "asyncpg.Pool[Any]"
    simulator_url: str

    async def hold(
        self, key: str, *, ttl_seconds: int = 600, room: str = ROOM, customer: str | None = None
    ) -> BookingId:
        """A hold of three nights."""
        placing = Placing("website", key, key.encode(), ttl_seconds, customer=customer)
        settled = await self.bench.ledger.place([Wanted(room, starts="2027-03-01", ends="2027-03-04")], placing)
        return BookingId(settled.verdict.booking.id)  # type: ignore[union-attr]

    async def pay(self, booking: BookingId, token: str | None = "tok_ok", key: str = "pay", **given: Any) -> Found:
        """Pay for it."""
        return await self.checkouts.pay(booking, Paying(key, token, **given), only_channel=None)

    async def status(self, booking: BookingId) -> Status:
        """Where the booking is."""
        found = await self.store.booking(booking)
        assert found is not None
        return found.status

    async def ended(self, checkout: Checkout) -> Checkout:
        """The checkout at its end, whoever brings it there."""
        async with asyncio.timeout(SETTLE_SECONDS):
            while checkout.state not in FINAL:
                await asyncio.sleep(0.02)
                checkout = await self.store.read(checkout.id) or checkout
        return checkout

    async def run_out(self, booking: BookingId) -> None:
        """Wait until a hold's deadline has passed."""

        async def is_over() -> bool:
            found = await self.payments.fetchval(
                "SELECT clock_timestamp() > expires_at FROM booking WHERE id = $1", booking
            )
            return bool(found)

        await until(is_over)

    async def faults(self, **faults: Any) -> None:
        """Have the gateway fail."""
        async with self._asked("PUT", "/faults", faults) as answer:
            assert answer.status == 200, await answer.text()

    async def at_gateway(self) -> dict[str, dict[str, Any]]:
        """The gateway's own ledger, by key."""
        async with self._asked("GET", "/payments?limit=1000") as answer:
            listed = await answer.json()
        return {payment["key"]: payment for payment in listed["payments"]}

    async def balances(self) -> Mapping[str, int]:
        """What stands on each account."""
        rows = await self.payments.fetch(
            "SELECT account, sum(amount_minor)::bigint FROM payment.posting GROUP BY account"
        )
        return {row[0]: row[1] for row in rows if row[1]}

    @asynccontextmanager
    async def _asked(self, method: str, path: str, body: Any = None) -> AsyncIterator[aiohttp.ClientResponse]:
        headers = {"authorization": f"Bearer {SECRET}"}
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, self.simulator_url + path, json=body, headers=headers) as answer,
        ):
            yield answer


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Ask until it is so."""
    async with asyncio.timeout(SETTLE_SECONDS):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.02)


@asynccontextmanager
async def simulating(folder: Path) -> AsyncIterator[str]:
    """A simulated gateway; its URL."""
    job = SimulatorJob("127.0.0.1", 0, str(folder), SECRET, notify_url=None, log=load(environment={}).log)
    async with open_simulator(job) as url:
        yield url


@asynccontextmanager
async def open_till(
    database_url: str,
    simulator_url: str,
    *,
    gateway: Gateway | None = None,
    resumes: bool = True,
    challenge_seconds: float = 600,
    answer_seconds: float = 4,
    lease_seconds: float = 15,
    **payments: Any,
) -> AsyncIterator[Till]:
    """A worker's till. With `resumes` its resumer runs; `gateway` stands in place of the simulator's client."""
    settings: PaymentSettings = replace(load(environment={}).payments, **payments)
    client = gateway or SimulatorGateway(
        simulator_url, SECRET, timeout_seconds=settings.timeout_seconds, connections=64
    )
    guarded = Guarded(client, settings)
    saga, pool = await open_writer(database_url, 3), await open_reader(database_url, 3)
    async with open_bench(database_url) as bench:
        offers = Offers(pool, pool, pool, bench.catalog, fresh_seconds=0.05)
        quotes = Quotes(offers, bench.catalog, Seal(b"k" * 32), quote_seconds=1800)
        store = Store(saga)
        driver = Driver(store, bench.ledger, guarded, Limits(challenge_seconds, lease_seconds), max_under_way=500)
        resumer = Resumer(store, driver, lease_seconds=lease_seconds)
        checkouts = Checkouts(
            store, driver, quotes, guarded, answer_seconds=answer_seconds, resume_seconds=lease_seconds
        )
        loops = [asyncio.create_task(store.run()), *([asyncio.create_task(resumer.run())] if resumes else [])]
        try:
            yield Till(bench, offers, quotes, store, driver, resumer, checkouts, guarded, pool, simulator_url)
        finally:
            resumer.stop()
            await asyncio.gather(*loops[1:])
            await driver.close()
            store.stop()
            await loops[0]
            await guarded.close()
            await saga.close()
            await pool.close()


async def furnish(till: Till, *, capacity: int = 10) -> None:
    """A room with a price."""
    await till.bench.room(ROOM, capacity=capacity)
    await till.offers.put("alfama", "flex", RatePlan(name="Flexible", currency="EUR", price_minor=PRICE_MINOR))
