"""A process that answers no requests: the relay, or the sender of webhooks and alerts.

Who calls me: the supervisor (see job.py), with the part to be on the command line. What I own: one event loop and the loops that
wiring builds in it. What survives my crash: everything, for I keep nothing that is not in the database. One of my loops ending
by itself is a fault: I end too, and am started again.
"""

import asyncio
import gc
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

import uvloop

from onebook.job import READY, Job, read_job, when_supervisor_is_gone
from onebook.logs import configure_logs

Part = Callable[[Job], AbstractAsyncContextManager[Sequence[asyncio.Task[None]]]]


def main() -> None:
    """Run the part that is named until SIGTERM, or until the supervisor is gone."""
    part = _part(sys.argv[1])
    job = read_job()
    # Events leave no cycles behind: looking for them seldom is a good part of the processor time.
    gc.set_threshold(20_000, 20, 50)
    configure_logs(job.settings.log, sys.argv[1])
    uvloop.run(_run(part, job))


def _part(name: str) -> Part:
    """What a process is to be; only that is imported, since everything together takes a second to load."""
    if name == "relay":
        from onebook.wiring.relay import open_relay

        return open_relay
    if name == "sender":
        from onebook.wiring.sender import open_sender

        return open_sender
    raise ValueError(f"there is no part {name}")


async def _run(part: Part, job: Job) -> None:
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
