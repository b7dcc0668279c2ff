"""One simulator process, which ends with whoever started it (see onebook.job)."""

import asyncio
import signal
import sys

import msgspec
import uvloop

from onebook.job import READY, when_supervisor_is_gone
from onebook.logs import configure_logs
from onebook.simulator.job import SimulatorJob
from onebook.simulator.journal import JournalTaken
from onebook.simulator.server import open_simulator


def main() -> None:
    """Serve until SIGTERM, or until standard input closes."""
    job = msgspec.json.decode(sys.stdin.buffer.readline(), type=SimulatorJob)
    configure_logs(job.log, "simulator")
    try:
        uvloop.run(_serve(job))
    except (JournalTaken, OSError) as error:
        sys.exit(f"the simulated gateway cannot start: {error}")


async def _serve(job: SimulatorJob) -> None:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    when_supervisor_is_gone(stopped.set)
    async with open_simulator(job):
        print(READY, flush=True)
        await stopped.wait()


if __name__ == "__main__":
    main()
