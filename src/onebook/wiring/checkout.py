"""The parts of a worker that money goes through."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from onebook.checkout.gateways.breaker import Guarded
from onebook.checkout.gateways.protocol import Gateway
from onebook.checkout.gateways.simulator import SimulatorGateway
from onebook.checkout.gateways.stripe import StripeGateway
from onebook.config import PaymentSettings


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
