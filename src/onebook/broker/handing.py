"""Giving events to handlers: faults are sat out, poison is parked with its reason, and the others go on."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import structlog

from onebook.broker.dead_letters import DeadLetters, WantedReplay
from onebook.broker.faults import Patience, is_fault
from onebook.broker.handler import Handler
from onebook.broker.metrics import PARKED
from onebook.log.stream import StreamEvent, event_of_row

REPLAYS_AT_ONCE = 500

log = structlog.get_logger()


class Unreadable(NamedTuple):
    """An entry of the log that is no event of ours."""

    txn: int
    position: int
    type: str
    subject: str


class Hands:
    """One consumer's handlers, in their order. Whatever is raised here outlasted the patience."""

    def __init__(self, handlers: Sequence[Handler], letters: DeadLetters, patience: Patience) -> None:
        self._handlers = handlers
        self._letters = letters
        self._patience = patience

    async def start(self) -> int:
        """Have all load what there is; the horizon below which every one has everything."""
        return min([await self._patience.with_faults(handler.start) for handler in self._handlers])

    async def checkpoint(self, horizon: int) -> None:
        """Tell all how far everything has been handled."""
        for handler in self._handlers:
            await self._patience.with_faults(partial(handler.checkpoint, horizon))

    async def rebuild(self) -> None:
        """Have all made anew."""
        for handler in self._handlers:
            await self._patience.with_faults(handler.rebuild)

    async def take(self, events: Sequence[StreamEvent]) -> int:
        """Give the events to one handler after the other; how many were parked."""
        parked = 0
        for handler in self._handlers:
            try:
                await self._give(handler, events)
            except Exception as error:
                if is_fault(error):
                    raise
                parked += await self._take_singly(handler, events)
        return parked

    async def park(self, entry: Unreadable, error: Exception) -> int:
        """No handler can have this entry. How many letters that makes."""
        for handler in self._handlers:
            await self._park(handler, entry, error)
        return len(self._handlers)

    async def replay(self) -> int:
        """Try again what operators have asked for; how many letters that took out."""
        handlers = {handler.name: handler for handler in self._handlers}
        wanted = await self._patience.with_faults(lambda: self._letters.wanted(list(handlers), REPLAYS_AT_ONCE))
        return sum([await self._replay(handlers[letter.consumer], letter) for letter in wanted])

    async def _replay(self, handler: Handler, letter: WantedReplay) -> int:
        row = await self._patience.with_faults(lambda: self._letters.entry(letter.txn, letter.position))
        try:
            await self._give(handler, [event_of_row(row)])
        except Exception as error:
            if is_fault(error):
                raise
            await self._park(handler, letter, error)
            return 0
        if letter.due:
            await self._patience.with_faults(lambda: self._letters.settle(letter.id))
        return int(letter.due)

    async def _give(self, handler: Handler, events: Sequence[StreamEvent]) -> None:
        await self._patience.with_faults(lambda: handler.handle(events))

    async def _take_singly(self, handler: Handler, events: Sequence[StreamEvent]) -> int:
        parked = 0
        for event in events:
            try:
                await self._give(handler, [event])
            except Exception as error:
                if is_fault(error):
                    raise
                await self._park(handler, event, error)
                parked += 1
        return parked

    async def _park(self, handler: Handler, entry: StreamEvent | WantedReplay | Unreadable, error: Exception) -> None:
        log.error("event_parked", consumer=handler.name, position=entry.position, type=entry.type, exc_info=error)
        reason = f"{type(error).__name__}: {error}"
        await self._patience.with_faults(
            lambda: self._letters.park(handler.name, entry.txn, entry.position, entry.type, entry.subject, reason)
        )
        PARKED.labels(handler.name).inc()
