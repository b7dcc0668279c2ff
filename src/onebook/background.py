"""A process that answers no requests: the relay, or the sender of webhooks and alerts.

Who calls me: the supervisor (see job.py), with the part to be on the command line. What I own: one event loop and the loops that
wiring builds in it. What survives my crash: everything, for I keep nothing that is not in the database. One of my loops ending
by itself is a fault: I end too, and am started again.
"""

import asyncio
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

import uvloop

from onebook.job import READY, Job, read_job, when_supervisor_is_gone
from onebook.logs import configure_logs
from onebook.wiring import open_relay, open_sender

Loops = Sequence[asyncio.Task[None]]

PARTS: dict[str, Callable[[Job], AbstractAsyncContextManager[Loops]]] = {"relay": open_relay, "sender": open_sender}


def main() -> None:
    """Run the part that is named until SIGTERM, or until the supervisor is gone."""
    part = PARTS[sys.argv[1]]
    job = read_job()
    configure_logs(job.settings.log)
    uvloop.run(_run(part, job))


async def _run(part: Callable[[Job], AbstractAsyncContextManager[Loops]], job: Job) -> None:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    when_supervisor_is_gone(stopped.set)
    async with part(job) as loops:
        print(READY, flush=True)
        asked = asyncio.create_task(stopped.wait())
        ended, _ = await asyncio.wait({asked, *loops}, return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        for loop in ended - {asked}:
            loop.result()
            raise RuntimeError("a loop has ended that should go on")


if __name__ == "__main__":
    main()
