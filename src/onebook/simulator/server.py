"""A simulator that serves: journal, ledger, API, connections and notifications, put together."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path

from onebook.simulator.api import Api
from onebook.simulator.connection import Connection
from onebook.simulator.faults import Chance
from onebook.simulator.job import SimulatorJob
from onebook.simulator.journal import Journal
from onebook.simulator.ledger import Ledger, Surroundings
from onebook.simulator.notifier import Notifier

BACKLOG = 1_024
IDLE_SECONDS = 120.0
SWEEP_SECONDS = 30.0
ENDING_TURNS = 100


@asynccontextmanager
async def open_simulator(job: SimulatorJob) -> AsyncIterator[str]:
    """Serves while it is entered; the value is its URL. Raises JournalTaken, and OSError when the port is taken."""
    async with AsyncExitStack() as stack:
        loop = asyncio.get_running_loop()
        journal = stack.enter_context(closing(Journal(Path(job.folder))))
        listener = stack.enter_context(socket.create_server((job.host, job.port), backlog=BACKLOG))
        url = f"http://{job.host}:{listener.getsockname()[1]}"
        chance = Chance()
        tell: Callable[[str, str], None] = _tell_nobody
        if job.notify_url is not None:
            notifier = await stack.enter_async_context(Notifier(job.notify_url, job.secret, chance))
            tell = notifier.tell
        around = Surroundings(time.time, loop.call_later, tell, f"{url}/challenges", tells_all=job.notify_all)
        ledger = Ledger(journal, chance, around)
        api = Api(ledger, chance, job.secret)
        connections: set[Connection] = set()
        server = await loop.create_server(lambda: Connection(api, connections), sock=listener, backlog=BACKLOG)
        sweeping = asyncio.create_task(_close_quiet(connections))
        try:
            yield url
        finally:
            sweeping.cancel()
            server.close()
            for connection in list(connections):
                connection.close()
            await _ended(connections)


async def _ended(connections: set[Connection]) -> None:
    """A connection that is closed ends in one of the loop's next turns; who stops the loop before that leaves it open."""
    for _ in range(ENDING_TURNS):
        if not connections:
            return
        await asyncio.sleep(0)


def _tell_nobody(_kind: str, _key: str) -> None:
    """Nobody wants to know."""


async def _close_quiet(connections: set[Connection]) -> None:
    """One timer for all connections: one for each would cost at every request."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        for connection in list(connections):
            if connection.quiet_since < loop.time() - IDLE_SECONDS:
                connection.close()
