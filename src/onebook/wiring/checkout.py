"""The parts of a worker that money goes through."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from onebook.api.engine import HealthCheck
from onebook.checkout.books.money import MoneyBook
from onebook.checkout.checkouts import Checkouts
from onebook.checkout.driver import Driver
from onebook.checkout.gateways.breaker import Guarded
from onebook.checkout.gateways.protocol import Gateway
from onebook.checkout.gateways.simulator import SimulatorGateway
from onebook.checkout.gateways.stripe import StripeGateway
from onebook.checkout.prices.offers import Offers
from onebook.checkout.prices.quotes import Quotes
from onebook.checkout.prices.seal import Seal
from onebook.checkout.resume import Resumer
from onebook.checkout.saga import Limits
from onebook.checkout.settling.settlements import Settlements
from onebook.checkout.store import Store
from onebook.config import PaymentSettings
from onebook.job import Job
from onebook.ledger.catalog import Catalog
from onebook.ledger.ledger import Ledger
from onebook.wiring.health import moves
from onebook.wiring.loops import Loop
from onebook.wiring.pools import Pools


@dataclass(frozen=True, slots=True)
class Till:
    """What prices, charges and keeps the books."""

    offers: Offers
    quotes: Quotes
    checkouts: Checkouts
    settlements: Settlements
    money: MoneyBook
    loops: Sequence[Loop]
    """The first to start is the last to stop: rows are written until nobody moves any more."""
    health: HealthCheck


@asynccontextmanager
async def open_till(job: Job, pools: Pools, catalog: Catalog, ledger: Ledger) -> AsyncIterator[Till]:
    """The parts, on connections of their own; their loops are for the caller to run."""
    settings = job.settings.payments
    async with open_gateway(settings) as gateway:
        offers = Offers(pools.changes, pools.reader, pools.payments, catalog)
        quotes = Quotes(offers, catalog, Seal.open(Path(job.keys)), quote_seconds=settings.quote_seconds)
        store = Store(pools.saga)
        limits = Limits(settings.challenge_seconds, settings.resume_seconds)
        driver = Driver(store, ledger, gateway, limits, max_under_way=settings.max_waiting)
        resumer = Resumer(store, driver, lease_seconds=settings.resume_seconds)
        checkouts = Checkouts(
            store,
            driver,
            quotes,
            gateway,
            answer_seconds=settings.answer_seconds,
            resume_seconds=settings.resume_seconds,
        )
        settlements = Settlements(
            pools.payments,
            ledger,
            gateway,
            answer_seconds=settings.answer_seconds,
            resume_seconds=settings.resume_seconds,
            max_under_way=settings.max_waiting,
        )
        yield Till(
            offers=offers,
            quotes=quotes,
            checkouts=checkouts,
            settlements=settlements,
            money=MoneyBook(pools.payments),
            loops=(store, resumer, settlements),
            health=moves(lambda: min(resumer.turned_at, settlements.turned_at)),
        )


@asynccontextmanager
async def open_gateway(settings: PaymentSettings) -> AsyncIterator[Guarded]:
    """The gateway of the settings, behind its breaker."""
    gateway = Guarded(_gateway(settings), settings)
    try:
        yield gateway
    finally:
        await gateway.close()


def _gateway(settings: PaymentSettings) -> Gateway:
    if settings.gateway == "stripe":
        return StripeGateway(
            settings.stripe_url,
            settings.stripe_key,
            settings.stripe_webhook_secret,
            timeout_seconds=settings.timeout_seconds,
            return_url=settings.return_url,
        )
    return SimulatorGateway(
        settings.simulator_url,
        settings.simulator_secret,
        timeout_seconds=settings.timeout_seconds,
        connections=settings.concurrency,
    )
