"""What all channels share in keeping their mirrors right, whichever way they are told: lag, gaps, and reading anew.

Called by `run_demo`; a channel's own way of being told is in listener.py and partner.py. Nothing outlives the run. A reading
that fails is repeated every PAUSE_SECONDS for as long as the demo runs.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from math import ceil
from time import perf_counter, time

import msgspec

from onebook.ops.demo.mirror import Event, Front, Mirror
from onebook.ops.demo.source import CannotRead, Source
from onebook.ops.demo.tally import Latencies

PAUSE_SECONDS = 0.25
RECENT_SECONDS = 3.0
MAX_RECENT = 4096
IN_STEP_SECONDS = 0.5
POLL_SECONDS = 0.005

_decode = msgspec.json.Decoder(Event).decode


class Lag:
    """From the commit of an event to its arrival: of the last seconds, and of the whole run in bounded memory."""

    def __init__(self) -> None:
        self.calm = Latencies()
        self.disturbed = Latencies()
        """While a process was dead, or an endpoint."""
        self.worst_seconds = 0.0
        self._recent: deque[tuple[float, float]] = deque(maxlen=MAX_RECENT)

    def add(self, seconds: float, now: float, *, calm: bool) -> None:
        """One event's."""
        (self.calm if calm else self.disturbed).add(seconds)
        self.worst_seconds = max(self.worst_seconds, seconds)
        self._recent.append((now, seconds))

    def recent_ms(self, percent: int, now: float) -> float | None:
        """The nearest-rank percentile of the last seconds; None when nothing was heard."""
        lags = sorted(seconds for at, seconds in self._recent if at > now - RECENT_SECONDS)
        return lags[max(1, ceil(len(lags) * percent / 100)) - 1] * 1000 if lags else None


class Follower:
    """One channel's mirror, and what became of it. `via` says how it is told."""

    via = ""

    def __init__(self, name: str, source: Source, front: Front) -> None:
        self.name = name
        self.mirror = Mirror(front)
        self.lag = Lag()
        self.heard = 0
        """Events about what is on sale. Those about a checkout reach only whose business it is."""
        self.older = 0
        """Events that told nothing new: repeated, or late."""
        self.older_at = 0.0
        self.readings = 0
        """Snapshots read: one at the beginning, further ones only where something was missing."""
        self.is_away = False
        self.disturbances = 0
        """How many things are wrong at the moment that are not its fault."""
        self.is_whole = asyncio.Event()
        """Set while nothing is known to be missing."""
        self.source = source
        self._unsure = asyncio.Event()
        self._in_step_at = 0.0

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """For as long as the block runs, the mirror is kept."""
        async with self._told():
            keeping = asyncio.create_task(self._keep_whole())
            try:
                yield
            finally:
                keeping.cancel()
                await asyncio.gather(keeping, return_exceptions=True)

    def is_in_step(self, now: float) -> bool:
        """Whether it knew within the last moment all that anybody knew: what is under way for milliseconds is no lag."""
        return self.mirror.behind == 0 or now - self._in_step_at < IN_STEP_SECONDS

    def hear(self, body: bytes) -> None:
        """An event has arrived. Raises msgspec.DecodeError where it is none."""
        now = perf_counter()
        event = _decode(body)
        if not event.data.resources:
            return  # of a checkout, say: nothing that a mirror keeps
        self.heard += 1
        if not self.mirror.hear(event):
            self.older += 1
            self.older_at = now
            return
        self.lag.add(max(0.0, time() - event.time.timestamp()), now, calm=self.disturbances == 0)
        if self.mirror.behind == 0:
            self._in_step_at = now
        if self.mirror.gaps:
            self.distrust()

    def distrust(self) -> None:
        """Something may be missing: read it all anew."""
        self.is_whole.clear()
        self._unsure.set()

    @asynccontextmanager
    async def _told(self) -> AsyncIterator[None]:
        """For as long as the block runs, events are heard. The mirror is to be distrusted once nothing can be missed."""
        raise NotImplementedError
        yield

    async def _keep_whole(self) -> None:
        while True:
            await self._unsure.wait()
            self._unsure.clear()
            try:
                self.mirror.read(await self.source.snapshot(self.mirror.gaps), is_whole=True)
                self.readings += 1
            except CannotRead:
                self._unsure.set()
            if self.mirror.gaps:
                self._unsure.set()
            if self._unsure.is_set():
                await asyncio.sleep(PAUSE_SECONDS)
            else:
                self.is_whole.set()


async def until(met: Callable[[], bool]) -> None:
    """Returns when it is so: looks every few milliseconds, for as long as its caller lets it."""
    while not met():  # noqa: ASYNC110  # what is looked at is of many parts, and none of them knows who waits
        await asyncio.sleep(POLL_SECONDS)
