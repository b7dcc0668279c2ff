"""What a consumer does with the events it gets."""

from collections.abc import Sequence
from typing import Protocol

from onebook.log.stream import StreamEvent


class Handler(Protocol):
    """One use of the stream. The consumer calls one method at a time."""

    name: str
    """The consumer's name in metrics, dead letters and `onebook status`."""

    async def start(self) -> int:
        """Load what there is. Returns the horizon: every transaction of the log below it is already included.

        Called while the subscription listens already, and again after a failure.
        """

    async def handle(self, events: Sequence[StreamEvent]) -> None:
        """Take these in, per resource in the order of versions. An event may come again: it must then have no further effect.

        A fault (the database is away) is raised as it is, and the same events come again. Any other error has the events tried
        one by one, and those that fail are parked with their reason while the others go on.
        """

    async def checkpoint(self, horizon: int) -> None:
        """Every transaction below the horizon has been handled: a durable handler writes it down and starts from there."""

    async def rebuild(self) -> None:
        """Make everything derived anew, from what the database has."""
