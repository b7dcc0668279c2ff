"""What supervisors and Prometheus ask: alive, ready, metrics. None needs a token, none tells of a booking."""

import asyncio
import os

import msgspec
from litestar.handlers import HTTPRouteHandler
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from onebook.api.answer import Answer, answer
from onebook.api.engine import HealthCheck
from onebook.api.operation import Call, operation
from onebook.api.problems import Problem

TAG = "Probes"
PING_SECONDS = 2.0


class Alive(msgspec.Struct, frozen=True):
    """The process answers."""

    status: str = "alive"


class Ready(msgspec.Struct, frozen=True):
    """Everything that is watched, and that it moves."""

    status: str
    checks: dict[str, str]


@operation(
    method="GET",
    path="/healthz",
    summary="Whether the process answers",
    tag=TAG,
    scope=None,
    answers={200: Alive},
)
async def healthz(_call: Call[None, None]) -> Answer:
    """Asks nobody else."""
    return answer(200, Alive())


@operation(
    method="GET",
    path="/readyz",
    summary="Whether the loops move; 503 names the one that does not",
    tag=TAG,
    scope=None,
    answers={200: Ready},
    problems=(503,),
)
async def readyz(call: Call[None, None]) -> Answer:
    """The database, every loop of the worker that answers, and the processes it hears of."""
    health = call.engine.health
    found = dict(zip(health, await asyncio.gather(*map(_reason, health.values())), strict=True))
    checks = {name: reason or "ok" for name, reason in found.items()}
    stuck = [name for name, reason in found.items() if reason is not None]
    if stuck:
        raise Problem(
            503,
            "not-ready",
            "Not ready",
            headers=(("retry-after", "1"),),
            detail=f"does not move: {', '.join(stuck)}",
            checks=checks,
        )
    return answer(200, Ready("ready", checks))


@operation(
    method="GET",
    path="/metrics",
    summary="Metrics of all workers, for Prometheus",
    tag=TAG,
    scope=None,
    answers={200: str},
    media_type="text/plain",
)
async def metrics(_call: Call[None, None]) -> Answer:
    """Text in Prometheus' exposition format."""
    return Answer(200, generate_latest(_registry()), (), CONTENT_TYPE_LATEST)


def _registry() -> CollectorRegistry:
    """The sums over all workers, which share a folder where the supervisor has given them one."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return REGISTRY
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return registry


ROUTES: tuple[HTTPRouteHandler, ...] = (healthz, readyz, metrics)


async def _reason(check: HealthCheck) -> str | None:
    try:
        async with asyncio.timeout(PING_SECONDS):
            return await check()
    except Exception as error:  # whatever it is, it is the reason that is told
        return f"does not answer ({type(error).__name__})"
