"""Trying again: what went wrong, and how long to wait (from 50 ms, doubling, with jitter, never long)."""

import asyncio
import random

FIRST_SECONDS = 0.05
LONGEST_SECONDS = 2.0


class Backoff:
    """The waits of one loop."""

    def __init__(self) -> None:
        self._seconds = FIRST_SECONDS

    def reset(self) -> None:
        """It worked: start from the beginning next time."""
        self._seconds = FIRST_SECONDS

    async def pause(self) -> None:
        """Wait. Several relays that lost the same server do not come back at the same moment."""
        await asyncio.sleep(self._seconds * random.uniform(0.5, 1.0))  # noqa: S311  # not a secret
        self._seconds = min(self._seconds * 2, LONGEST_SECONDS)


def first_fault(faults: BaseExceptionGroup[Exception]) -> BaseException:
    """The fault itself, out of the groups around it."""
    fault: BaseException = faults
    while isinstance(fault, BaseExceptionGroup):
        fault = fault.exceptions[0]
    return fault
