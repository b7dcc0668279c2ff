"""A process's loops, and what their end means."""

import asyncio
import signal

from structlog.testing import capture_logs

from onebook.wiring.loops import end_process_when_one_fails, running


class Faulty:
    """A loop that meets what it should never meet, once it is told to."""

    def __init__(self) -> None:
        self.meets = asyncio.Event()
        self.is_stopped = False

    async def run(self) -> None:
        """Raise, unless it is stopped before."""
        await self.meets.wait()
        if not self.is_stopped:
            raise ZeroDivisionError("what must not be")

    def stop(self) -> None:
        """End."""
        self.is_stopped = True
        self.meets.set()


async def test_a_loop_that_fails_ends_its_process_and_says_why() -> None:
    """No worker goes on with a loop that has died; one that was stopped is no failure."""
    asked = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked.set)
    try:
        with capture_logs() as lines:
            async with running([Faulty()]) as tasks:
                end_process_when_one_fails(tasks)
            assert not lines
            faulty = Faulty()
            async with running([faulty]) as tasks:
                end_process_when_one_fails(tasks)
                faulty.meets.set()
                await asyncio.wait_for(asked.wait(), 5)
    finally:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
    assert [type(line["exc_info"]) for line in lines] == [ZeroDivisionError]


class Asking:
    """A loop that asks something of the loop before it when it is stopped."""

    def __init__(self, other: Faulty) -> None:
        self.other = other
        self.stopping = asyncio.Event()
        self.was_answered = False

    async def run(self) -> None:
        """Ask at the end, after a turn of the loop."""
        await self.stopping.wait()
        await asyncio.sleep(0)
        self.was_answered = not self.other.is_stopped

    def stop(self) -> None:
        """End."""
        self.stopping.set()


async def test_a_loop_stops_after_those_that_need_it() -> None:
    """What a later loop asks for at its end is still answered: a checkout under way can be written down."""
    writer = Faulty()
    driver = Asking(writer)
    async with running([writer, driver]):
        await asyncio.sleep(0)
    assert driver.was_answered and writer.is_stopped
