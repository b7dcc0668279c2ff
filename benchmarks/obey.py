"""The instruments' common side: lines of commands in, a JSON line for each report out (onebook/ops/bench/instruments.py)."""

import asyncio
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

import msgspec


class Instrument(Protocol):
    """What measures."""

    changed: asyncio.Event
    """Set whenever something has come."""

    def begin(self) -> None:
        """Forget what came so far."""

    def fewest(self) -> int:
        """How many events have come; of several clients, to the one with the fewest."""

    async def report(self) -> msgspec.Struct:
        """What has come since `begin`."""


def say(*words: object) -> None:
    """A line for whoever started us."""
    print(*words, flush=True)


async def obey(measuring: Instrument, others: Callable[[list[str]], None] = lambda _: None) -> None:
    """Do what the lines of stdin say, until they end; `others` obeys those that are an instrument's own."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        match line.decode().split():
            case ["begin"]:
                measuring.begin()
            case ["report", expected, seconds]:
                await _until(measuring, int(expected), float(seconds))
                say(msgspec.json.encode(await measuring.report()).decode())
            case words:
                others(words)


async def _until(measuring: Instrument, expected: int, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while measuring.fewest() < expected:
                measuring.changed.clear()
                await measuring.changed.wait()
