"""Crowds for races: several ledgers on one database, as several workers are, and clients spread over them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count

import asyncpg
from tests.conftest import Bench, open_bench

from onebook.ledger.failures import LedgerUnavailable
from onebook.ledger.ledger import Placing
from onebook.model.booking import Booking
from onebook.model.commands import Wanted
from onebook.model.decide import Verdict
from onebook.model.decision import Decision
from onebook.ops.verify.audit import verify

WORKERS = 3
CLIENTS = 64
MAX_ATTEMPTS = 12

_keys = count()


@asynccontextmanager
async def workers(url: str, number: int = WORKERS) -> AsyncIterator[list[Bench]]:
    """Ledgers that share a database."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(open_bench(url)) for _ in range(number)]


def stay(resource: str, first: int, end: int, quantity: int = 1) -> Wanted:
    """Nights of December 2026, by their day of the month."""
    return Wanted(resource=resource, starts=f"2026-12-{first:02}", ends=f"2026-12-{end:02}", quantity=quantity)


async def place(
    bench: Bench, *wanted: Wanted, key: str | None = None, request_hash: bytes = bytes(16), ttl_seconds: int = 600
) -> Verdict:
    """The verdict on a hold; sent again, as clients do, while the ledger says that it cannot tell."""
    key = key or f"key-{next(_keys)}"
    placing = Placing(channel="web", idempotency_key=key, request_hash=request_hash, ttl_seconds=ttl_seconds)
    for _ in range(MAX_ATTEMPTS):
        try:
            return (await bench.ledger.place(wanted, placing)).verdict
        except (LedgerUnavailable, asyncpg.CheckViolationError):
            continue
    raise AssertionError(f"no verdict on {wanted} in {MAX_ATTEMPTS} attempts")


async def hold(bench: Bench, *wanted: Wanted, ttl_seconds: int = 600) -> Booking:
    """A hold that must succeed."""
    verdict = await place(bench, *wanted, ttl_seconds=ttl_seconds)
    assert isinstance(verdict, Decision) and verdict.booking is not None, verdict
    return verdict.booking


def sold(verdicts: Sequence[Verdict]) -> list[Booking]:
    """The bookings that came of a race."""
    return [v.booking for v in verdicts if isinstance(v, Decision) and v.booking is not None]


async def assert_sound(url: str) -> None:
    """The auditor finds nothing."""
    report = await verify(url)
    assert report.ok, [finding for check in report.checks for finding in check.findings]


async def is_oversold(url: str) -> bool:
    """Whether the auditor finds more sold than there is, or cells that are not the sum of what is sold."""
    report = await verify(url)
    return any(check.total for check in report.checks if check.name in ("counters", "cells"))
