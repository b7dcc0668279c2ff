"""Running the loops of a process for as long as it lives, and opening what several processes need."""

import asyncio
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import structlog

from onebook.broker.nats import open_nats
from onebook.broker.protocol import Broker
from onebook.broker.signing import StreamKeys
from onebook.job import Job

FOLLOWER_CONNECTIONS = 2  # what follows the log: one that reads on, one for what it meets
STOP_SECONDS = 5.0
LAST_SECONDS = 0.2  # for each of those that come after the time is over: enough to write down what is in the queue

log = structlog.get_logger()


class Loop(Protocol):
    """What goes on until it is stopped."""

    async def run(self) -> None:
        """Go on."""

    def stop(self) -> None:
        """Have `run` return soon."""


@asynccontextmanager
async def running(loops: Sequence[Loop]) -> AsyncIterator[Sequence[asyncio.Task[None]]]:
    """The loops, going on for as long as the block runs; the last one started is the first to stop.

    Each stops when those after it have: what they still ask for at their end is done. In all they have STOP_SECONDS.
    """
    tasks = [asyncio.create_task(loop.run()) for loop in loops]
    try:
        yield tasks
    finally:
        deadline = asyncio.get_running_loop().time() + STOP_SECONDS
        for loop, task in zip(reversed(loops), reversed(tasks), strict=True):
            loop.stop()
            left_seconds = deadline - asyncio.get_running_loop().time()
            await asyncio.wait({task}, timeout=max(left_seconds, LAST_SECONDS))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def end_process_when_one_fails(tasks: Sequence[asyncio.Task[None]]) -> None:
    """A loop that raises has met what must not be: the process says so, stops as by SIGTERM, and is started again."""

    def look(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("loop_failed", exc_info=error)
            signal.raise_signal(signal.SIGTERM)

    for task in tasks:
        task.add_done_callback(look)


def stream_keys(job: Job) -> StreamKeys:
    """What the stream's messages are signed and verified with."""
    return StreamKeys.open(Path(job.keys))


async def open_broker(job: Job) -> Broker:
    """The broker with this process's credentials."""
    bounds = job.settings.broker
    return await open_nats(job.broker_url, max_store_mib=bounds.max_store_mib, max_age_minutes=bounds.max_age_minutes)
