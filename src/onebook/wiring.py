"""The only place that constructs things: one worker's engine, built inside its event loop and taken down again."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from onebook.api.engine import Engine
from onebook.api.tokens import Keys
from onebook.config import Settings
from onebook.ledger.catalog import Catalog
from onebook.ledger.committer import Committer
from onebook.ledger.database import open_reader, open_writer
from onebook.ledger.definitions import Definitions
from onebook.ledger.expiry import Sweeper
from onebook.ledger.ledger import Ledger
from onebook.views.reads import Reads

WRITER_CONNECTIONS = 2  # one in use, one to go on with when the first has broken
STUCK_AFTER_SECONDS = 3.0
STOP_SECONDS = 5.0


@asynccontextmanager
async def open_engine(settings: Settings, database_url: str, keys: Path) -> AsyncIterator[Engine]:
    """The ledger with its loops running, and all that answers requests."""
    limits = settings.ledger
    writer = await open_writer(database_url, WRITER_CONNECTIONS)
    reader = await open_reader(database_url, settings.database.reader_connections)
    catalog = Catalog(reader)
    committer = Committer(
        writer,
        catalog,
        max_batch=limits.max_batch,
        max_waiting=limits.max_waiting,
        command_timeout_seconds=limits.command_timeout_seconds,
    )
    sweeper = Sweeper(reader, committer, interval_seconds=limits.sweep_interval_seconds)
    loops = [asyncio.create_task(committer.run()), asyncio.create_task(sweeper.run())]
    try:
        yield Engine(
            ledger=Ledger(catalog, committer),
            definitions=Definitions(reader, catalog),
            reads=Reads(reader, catalog),
            keys=Keys.open(keys),
            health={
                "committer": _moves(lambda: committer.turned_at),
                "sweeper": _moves(lambda: sweeper.turned_at),
            },
        )
    finally:
        sweeper.stop()
        committer.stop()
        _, stuck = await asyncio.wait(loops, timeout=STOP_SECONDS)
        for loop in stuck:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        writer.terminate()
        reader.terminate()


def _moves(turned_at: Callable[[], float]) -> Callable[[], str | None]:
    """A check that a loop has lately done its work."""

    def check() -> str | None:
        idle_seconds = asyncio.get_running_loop().time() - turned_at()
        return None if idle_seconds < STUCK_AFTER_SECONDS else f"has done nothing for {idle_seconds:.0f} s"

    return check
