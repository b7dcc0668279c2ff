"""The availability view: what is on sale, held in memory by every worker and kept by the stream.

Who calls me: the consumer, which hands over events (broker/handler.py); the readers, who take `stock` and answer from it. What I
own: one Stock. What survives a crash: nothing, it is loaded again. What bounds me: stock.py; a gap is read again READ_AGAIN
times. Never a source for decisions: a stale answer costs a refused hold.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import asyncpg
import msgspec

from onebook.ledger.failures import LedgerUnavailable
from onebook.log.stream import StreamEvent
from onebook.views.entries import Wanted, take_entry, take_touched
from onebook.views.snapshot import LOAD_SECONDS, load, load_again
from onebook.views.stock import Stock

READ_AGAIN = 12
FIRST_PAUSE_SECONDS = 0.002
LONGEST_PAUSE_SECONDS = 0.25
PLACES = frozenset({"onebook.venue.defined.v1", "onebook.session.defined.v1"})
"""What tells of something that has no versions. Whatever else touches no resource, such as an offer, is nothing to us."""


class _Body(msgspec.Struct, frozen=True):
    """A CloudEvent, of which only the data is wanted."""

    data: msgspec.Raw


class AvailabilityView:
    """The stock, and its place in the stream."""

    name = "view"

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self._pool = pool
        self._stock: Stock | None = None
        self._turned: asyncio.Future[None] | None = None
        self._told: dict[str, tuple[int, int]] = {}

    @property
    def stock(self) -> Stock:
        """What is on sale, as far as is known here. Raises LedgerUnavailable before the first load."""
        if self._stock is None:
            raise LedgerUnavailable("availability is being loaded; ask again")
        return self._stock

    async def start(self) -> int:
        """Load everything; until that is done, readers go on with what was there."""
        async with self._pool.acquire(timeout=2) as connection:
            stock, horizon = await asyncio.wait_for(load(connection), LOAD_SECONDS)
        self._stock = stock
        self._turn()
        return horizon

    async def handle(self, events: Sequence[StreamEvent]) -> None:
        """Take events in; resources that show a gap are read from the database, all in one go."""
        stock = self.stock
        wanted: Wanted = {}
        for event in events:
            self._take(stock, event, wanted)
        if wanted:
            await self._read_again(stock, wanted)
        self._turn()

    async def checkpoint(self, horizon: int) -> None:
        """Nothing here outlives the process."""

    async def rebuild(self) -> None:
        """Load everything anew. What is handled after it may be older than the snapshot, which does no harm."""
        await self.start()

    async def loaded(self, timeout_seconds: float) -> bool:
        """Wait until there is anything to answer from, or until it is too late; whether there is."""
        return await self._until(lambda: self._stock is not None, timeout_seconds)

    async def reached(self, condition: Callable[[Stock], bool], timeout_seconds: float) -> bool:
        """Wait until the stock meets a condition, or until it is too late; whether it does."""
        return await self._until(lambda: condition(self.stock), timeout_seconds)

    async def _until(self, is_so: Callable[[], bool], timeout_seconds: float) -> bool:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_seconds
        while not is_so():
            if self._turned is None:
                self._turned = loop.create_future()
            remaining_seconds = deadline - loop.time()
            if remaining_seconds <= 0:
                return False
            await asyncio.wait([self._turned], timeout=remaining_seconds)
        return True

    async def wait_for(self, resource: str, version: int, timeout_seconds: float) -> bool:
        """Wait until a resource has reached a version; whether it has."""

        def reached(stock: Stock) -> bool:
            listing = stock.listings.get(resource)
            return listing is not None and listing.version >= version

        return await self.reached(reached, timeout_seconds)

    def _take(self, stock: Stock, event: StreamEvent, wanted: Wanted) -> None:
        if event.is_private:
            take_touched(stock, event.resources, wanted)  # nearly all events, and their data has been read already
        elif event.resources or (event.type in PLACES and self._is_latest(event)):
            kind = event.type.removeprefix("onebook.").removesuffix(".v1")
            take_entry(stock, kind, msgspec.json.decode(event.body, type=_Body).data, wanted)

    def _is_latest(self, event: StreamEvent) -> bool:
        """Whether nothing later was told of the same venue or session: an event may come again, long afterwards."""
        at = (event.txn, event.position)
        if at < self._told.get(event.subject, at):
            return False
        self._told[event.subject] = at
        return True

    async def _read_again(self, stock: Stock, wanted: Wanted) -> None:
        """Raises TimeoutError, a fault that the consumer repeats, where the database does not show what was committed."""
        pause_seconds = FIRST_PAUSE_SECONDS
        for _ in range(READ_AGAIN):
            async with self._pool.acquire(timeout=2) as connection:
                await load_again(connection, stock, wanted)
            missing = [key for key, version in wanted.items() if _version(stock, key) < version]
            if not missing:
                return
            # The WAL tells of a commit a moment before the database shows it.
            await asyncio.sleep(pause_seconds)
            pause_seconds = min(2 * pause_seconds, LONGEST_PAUSE_SECONDS)
        raise TimeoutError(f"the database does not show what the log tells of {', '.join(sorted(missing)[:5])}")

    def _turn(self) -> None:
        """Wake those who wait for something new."""
        if self._turned is not None:
            self._turned.set_result(None)
            self._turned = None


def _version(stock: Stock, key: str) -> int:
    listing = stock.listings.get(key)
    return 0 if listing is None else listing.version
