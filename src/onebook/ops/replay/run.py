"""`onebook replay`: real bookings go through the HTTP API in the order in which they were made.

A simulated calendar moves from day to day; wall time does not matter. On each day first the cancellations of
that day are sent, then its bookings, concurrently and each under its own channel, then the cancellations of
what was booked the same day; a day begins when the one before it has been answered.
"""

import random
import secrets
from pathlib import Path
from time import perf_counter

from onebook.ops.http_client import Client
from onebook.ops.replay.calendar import calendar, capacities
from onebook.ops.replay.desk import Desk, Tokens
from onebook.ops.replay.market import Market
from onebook.ops.replay.report import ReplayReport, exit_code, report_on
from onebook.ops.replay.rows import read_bookings
from onebook.ops.replay.screen import ShowProgress, progress_on, render

__all__ = ["ReplayReport", "exit_code", "new_run", "progress_on", "render", "replay"]

DEFAULT_CONCURRENCY = 32


def new_run() -> str:
    """A name that no other replay has."""
    return secrets.token_hex(4)


async def replay(
    file: Path,
    *,
    base_url: str,
    tokens: Tokens,
    run: str,
    progress: ShowProgress,
    concurrency: int = DEFAULT_CONCURRENCY,
) -> ReplayReport:
    """Replay a bookings file against the server at `base_url`, in venues of its own named after `run`.

    `run` must be new to that server (see `new_run`): an earlier replay has left its bookings in its venues.
    Raises `FileUnusable`, and `MarketRefused` when the venues cannot be set up. A booking or cancellation that
    fails for good is in the report, and never ends the replay.
    """
    stays, rejected = read_bookings(file)
    capacity = capacities(stays)
    jitter = random.Random(run)  # noqa: S311 - spreads retries, guards nothing
    began = perf_counter()
    async with Client(base_url, connections=concurrency) as client:
        desk = Desk(client, tokens, Market(run, capacity), concurrency=concurrency, chance=jitter)
        await desk.open_market()
        for day in calendar(stays):
            await desk.work(day)
            progress(len(desk.sales), len(stays), day.on)
    return report_on(
        list(desk.sales.values()),
        rejected,
        capacity,
        file=file.name,
        run=run,
        retries=desk.retries,
        seconds=perf_counter() - began,
    )
