"""Measuring processes: each beside what it measures, told what to do a line at a time.

`onebook bench` starts them from the folder `benchmarks`. Such a process says `ready ...` when it can measure, and then obeys
lines: `begin` forgets what came so far; `report N SECONDS` waits until N events have come (to each client), at the longest
so many seconds, and prints what it saw as one JSON line; others are its own. It ends when its input does. Every wait is bounded.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

import msgspec

from onebook.ops.bench.servers import BenchUnavailable, benchmarks_folder

READY_SECONDS = 60
ANSWER_GRACE_SECONDS = 30
STOP_SECONDS = 5
MAX_LINE_BYTES = 1 << 20

T = TypeVar("T")


class Instrument:
    """One such process."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.ready = ""
        """What it said behind `ready`."""
        self._name = name
        self._process = process

    async def tell(self, line: str) -> None:
        """Have it obey a line."""
        if self._process.stdin is not None:
            self._process.stdin.write(line.encode() + b"\n")
            with suppress(ConnectionError):  # it is gone: the next `report` says so
                await self._process.stdin.drain()

    async def report(self, of: type[T], expected: int, seconds: float) -> T:
        """What it has seen since `begin`, once so many events have come or so many seconds have passed."""
        await self.tell(f"report {expected} {seconds}")
        return msgspec.json.decode(await self._line(seconds + ANSWER_GRACE_SECONDS), type=of)

    async def until_ready(self) -> None:
        """Wait until it can measure."""
        line = await self._line(READY_SECONDS)
        word, _, self.ready = line.strip().partition(" ")
        if word != "ready":
            raise BenchUnavailable(f"{self._name} said {line[:200]!r} instead of `ready`.")

    async def _line(self, seconds: float) -> str:
        line = b""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                line = await self._process.stdout.readline() if self._process.stdout is not None else b""
        if not line:
            raise BenchUnavailable(f"{self._name} has ended or says nothing; its last words are above.")
        return line.decode()


@asynccontextmanager
async def instrument(script: str, **options: object) -> AsyncIterator[Instrument]:
    """benchmarks/SCRIPT, ready, with `--option value` for each; what it writes to stderr goes to ours."""
    words = [str(word) for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(benchmarks_folder() / script),
        *words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=MAX_LINE_BYTES,
        start_new_session=True,  # Ctrl-C is for us; it ends when its input does
    )
    measuring = Instrument(script, process)
    try:
        await measuring.until_ready()
        yield measuring
    finally:
        if process.stdin is not None:
            process.stdin.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
        if process.returncode is None:
            process.kill()
            await process.wait()
