"""What a process is told by its supervisor, and how it learns that the supervisor is gone.

The job comes as a line of JSON on standard input, which then stays open as the life-line: however the supervisor ends, it closes.
"""

import asyncio
import sys
from collections.abc import Callable

import msgspec

from onebook.config import Settings

READY = "ready"
"""What a process prints on standard output, as a line, when it does its work."""


class Job(msgspec.Struct, frozen=True):
    """What a process has to know. `broker_url` carries the credentials of this process; empty: there is no pipeline."""

    settings: Settings
    database_url: str
    broker_url: str
    keys: str
    port: int


def read_job() -> Job:
    """The job; called once, before anything else reads standard input."""
    return msgspec.json.decode(sys.stdin.buffer.readline(), type=Job)


def when_supervisor_is_gone(stop: Callable[[], None]) -> None:
    """Call `stop`, once, in the running loop, when standard input has closed."""
    loop = asyncio.get_running_loop()

    def gone() -> None:
        loop.remove_reader(sys.stdin.fileno())
        stop()

    loop.add_reader(sys.stdin.fileno(), gone)
