"""A consumer of the stream: everything once and in order to its handlers, whatever the broker loses, repeats or delays.

Who calls me: the wiring, one for each process that derives something. What I own: a line to the broker and a place in the log,
in memory. What survives a crash: what durable handlers wrote at a checkpoint; from there the log is read again. What bounds me:
BATCH_EVENTS events given at once, refill.PAGE_ROWS rows read at once, place.MAX_SEEN positions remembered, and the patience with
faults; a fault that outlasts it costs the place, and the next turn begins anew.

Nothing is looked at before gate.py has found the relay's signature on it.

The broker is listened to first; then handlers load what they have, and the log is read from their horizon on. From there each
message names the one before it. Where one is missing, the log is read; where nothing comes for SILENT_SECONDS, because the
broker or the relay is away, it is read again each turn, so that consumers stay right without them. A heartbeat at the end of an
unbroken chain moves the horizon on.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
import msgspec
import structlog

from onebook.broker.dead_letters import DeadLetters
from onebook.broker.faults import PATIENCE_SECONDS, Patience, delays, is_fault
from onebook.broker.gate import Gate
from onebook.broker.handing import Hands, Unreadable
from onebook.broker.handler import Handler
from onebook.broker.line import Line
from onebook.broker.place import Place
from onebook.broker.progress import Progress
from onebook.broker.protocol import Broker, Message, MessageKind
from onebook.broker.refill import PAGE_ROWS, LogReader
from onebook.broker.signing import Verifier
from onebook.log.read import event_of
from onebook.log.stream import StreamEvent, event_of_row, events_of

TURN_SECONDS = 0.25
SILENT_SECONDS = 2.0
BATCH_EVENTS = 500

log = structlog.get_logger()


@dataclass(slots=True)
class Turn:
    """What one turn did."""

    events: int = 0
    duplicates: int = 0
    refills: int = 0
    parked: int = 0
    replayed: int = 0
    undecodable: int = 0


class Consumer:
    """One subscription, and the handlers that live on it, one after the other for each batch."""

    def __init__(
        self,
        name: str,
        open_broker: Callable[[], Awaitable[Broker]],
        pool: asyncpg.Pool,
        handlers: Sequence[Handler],
        *,
        keys: Verifier,
        patience_seconds: float = PATIENCE_SECONDS,
        page_rows: int = PAGE_ROWS,
    ) -> None:
        self.name = name
        self._stopping = asyncio.Event()
        self._patience = Patience(self._stopping, seconds=patience_seconds)
        self._line = Line(open_broker)
        self._gate = Gate(name, keys, pool)
        self._log = LogReader(pool, self._patience, page_rows=page_rows)
        self._hands = Hands(handlers, DeadLetters(pool), self._patience)
        self._progress = Progress([handler.name for handler in handlers])
        self._place: Place | None = None
        self._waiting: list[StreamEvent] = []
        self.turned_at = asyncio.get_running_loop().time()

    @property
    def lag_seconds(self) -> float:
        """How far behind the latest commit; grows while nothing comes."""
        return self._progress.lag_seconds

    @property
    def offset(self) -> int:
        """The WAL position up to which everything has been handled."""
        return 0 if self._place is None else self._place.lsn

    async def run(self) -> None:
        """Turn until `stop`. A turn that fails is told, and the next one begins anew, after a growing wait."""
        waits = delays()
        try:
            while not self._stopping.is_set():
                try:
                    await self.run_once()
                except Exception as error:  # whatever it is: the loop goes on, and readiness sees that it does not turn
                    log.error(
                        "consumer_failed",
                        consumer=self.name,
                        exc_info=None if is_fault(error) else error,
                        reason=repr(error),
                    )
                    await self._patience.pause(next(waits))
                else:
                    waits = delays()
        finally:
            await self.close()

    def stop(self) -> None:
        """End after the present turn."""
        self._stopping.set()

    async def close(self) -> None:
        """Leave the broker; for who turns by hand."""
        await self._line.close()

    async def run_once(self) -> Turn:
        """Take in what comes within TURN_SECONDS, and what follows from it. Whatever is raised has cost the place."""
        turn = Turn()
        try:
            heard = await self._line.hear(TURN_SECONDS)
            messages = await self._gate.admit(heard.messages)
            if self._place is None:
                await self._begin(turn)
            elif heard.is_fresh or (not messages and self._progress.silent_seconds > SILENT_SECONDS):
                self._progress.lose_place()
                await self._refill(self._place, turn)
            if self._place is not None and messages:
                await self._hear(self._place, messages, turn)
        except BaseException:
            self._place, self._waiting = None, []
            self._progress.lose_place()
            raise
        self._progress.tell(self.offset)
        self.turned_at = asyncio.get_running_loop().time()
        return turn

    async def _begin(self, turn: Turn) -> None:
        """Load, then read the log from there; the line must listen by now, unless the broker is away."""
        if self._line.is_open or self._line.has_failed:
            place = Place(await self._hands.start())
            await self._refill(place, turn)
            self._place = place

    async def _hear(self, place: Place, messages: Sequence[Message], turn: Turn) -> None:
        if place.open:
            # What these messages tell may follow, on the same resource, an entry that could not be read before.
            await self._settle(place, turn)
        for message in messages:
            is_repeated = place.is_repeated(message)
            if not is_repeated and (not place.follows(message) or message.kind is MessageKind.REFILL):
                self._progress.lose_place()
                await self._refill(place, turn)
            place.hear(message)
            match message.kind:
                case MessageKind.EVENTS:
                    await self._take(place, message, turn, is_repeated=is_repeated)
                case MessageKind.HEARTBEAT if not is_repeated:
                    await self._beat(place, message, turn)
                case MessageKind.REBUILD if not is_repeated:
                    await self._flush(turn)
                    await self._hands.rebuild()
        await self._flush(turn)
        self._progress.hear(messages[-1].committed_at)

    async def _take(self, place: Place, message: Message, turn: Turn, *, is_repeated: bool) -> None:
        try:
            events = events_of(message.body, message.committed_at, message.lsn)
        except msgspec.MsgspecError as error:
            log.error("message_undecodable", consumer=self.name, lsn=message.lsn, reason=str(error))
            turn.undecodable += 1
            if not is_repeated:
                await self._refill(place, turn)
            return
        await self._admit(place, events, turn)

    async def _beat(self, place: Place, message: Message, turn: Turn) -> None:
        """Everything below the message's horizon has been handled: say so, and look for replays."""
        await self._flush(turn)
        place.pass_horizon(message.horizon)
        await self._hands.checkpoint(place.horizon)
        self._progress.find_place()
        turn.replayed += await self._hands.replay()

    async def _refill(self, place: Place, turn: Turn) -> None:
        """Read from the log all that is not known to be handled; afterwards only what was open then is still to be read."""
        await self._flush(turn)
        turn.refills += 1
        self._progress.count_refill()
        mark = await self._log.mark()
        await self._read(place, self._log.entries_of(place.open), turn)
        place.settle(mark.snapshot.open)
        async for rows in self._log.entries_between(place.upto, mark.snapshot.upto):
            await self._admit_rows(place, rows, turn)
            await self._flush(turn)
            place.reach(rows[-1]["txn"], mark.snapshot)
            await self._hands.checkpoint(place.horizon)
            self.turned_at = asyncio.get_running_loop().time()
        place.refill(mark.snapshot, mark.lsn)
        await self._hands.checkpoint(place.horizon)

    async def _settle(self, place: Place, turn: Turn) -> None:
        """Read the entries of those open transactions that have ended."""
        now = await self._log.snapshot()
        await self._read(place, self._log.entries_of(place.open - now.open), turn)
        place.settle(now.open)

    async def _read(self, place: Place, pages: AsyncIterator[Sequence[Any]], turn: Turn) -> None:
        async for rows in pages:
            await self._admit_rows(place, rows, turn)
            await self._flush(turn)

    async def _admit_rows(self, place: Place, rows: Sequence[Any], turn: Turn) -> None:
        for start in range(0, len(rows), BATCH_EVENTS):
            events = []
            for row in rows[start : start + BATCH_EVENTS]:
                try:
                    events.append(event_of_row(row))
                except msgspec.MsgspecError as error:
                    unreadable = Unreadable(row["txn"], row["position"], event_of(row).type, row["subject"])
                    turn.parked += await self._hands.park(unreadable, error)
            await self._admit(place, events, turn)

    async def _admit(self, place: Place, events: Sequence[StreamEvent], turn: Turn) -> None:
        admitted = place.admit(events)
        turn.duplicates += len(events) - len(admitted)
        self._progress.count_duplicates(len(events) - len(admitted))
        self._waiting += admitted
        if len(self._waiting) >= BATCH_EVENTS:
            await self._flush(turn)

    async def _flush(self, turn: Turn) -> None:
        """Give the handlers what waits."""
        if not self._waiting:
            return
        events, self._waiting = self._waiting, []
        turn.parked += await self._hands.take(events)
        turn.events += len(events)
        self._progress.count_events(events, time.time())
        # Handlers that only compute never give way by themselves, and requests are answered in this loop.
        await asyncio.sleep(0)
