"""What checkouts begin with, read for many at once: while one query is in flight bookings queue, and the next takes all.

Who calls me: the store. What I own: the queue, and one task while there is something in it. What survives a crash: nothing, a
read has no effect. What bounds me: MAX_BATCH bookings a query, MAX_WAITING in the queue, READ_SECONDS a query.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import asyncpg
import msgspec

from onebook.checkout.record import Checkout
from onebook.ledger.failures import LedgerUnavailable, Overloaded
from onebook.ledger.rows import booking_of
from onebook.model.booking import Booking, BookingId
from onebook.sql import statements

SQL = statements("onebook.checkout")
MAX_BATCH = 64
MAX_WAITING = 5_000
READ_SECONDS = 4.0

_decode_all = msgspec.json.Decoder(tuple[Checkout, ...]).decode


class Opening(NamedTuple):
    """A booking, the ledger's clock, and the booking's checkouts so far, the latest last."""

    booking: Booking
    now: datetime
    earlier: tuple[Checkout, ...]


_Asked = tuple[BookingId, "asyncio.Future[Opening | None]"]


class Openings:
    """Reads them."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._queue: deque[_Asked] = deque()
        self._reading: asyncio.Task[None] | None = None

    def read(self, booking: BookingId) -> "asyncio.Future[Opening | None]":
        """None where there is no such booking. Raises LedgerUnavailable; and Overloaded, at once."""
        if len(self._queue) >= MAX_WAITING:
            raise Overloaded("more checkouts are waiting than are taken on")
        answer: asyncio.Future[Opening | None] = asyncio.get_running_loop().create_future()
        self._queue.append((booking, answer))
        if self._reading is None:
            self._reading = asyncio.create_task(self._read_all(), name="openings of checkouts")
        return answer

    async def _read_all(self) -> None:
        """Read batch after batch until nobody waits."""
        try:
            while self._queue:
                await asyncio.sleep(0)  # let what is ready in this turn of the loop come along
                await self._answer([self._queue.popleft() for _ in range(min(len(self._queue), MAX_BATCH))])
        finally:
            self._reading = None

    async def _answer(self, batch: Sequence[_Asked]) -> None:
        try:
            found = await self._found({booking for booking, _ in batch})
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            unavailable = LedgerUnavailable("the database does not answer; send it again")
            unavailable.__cause__ = error
            for _, answer in batch:
                if not answer.done():
                    answer.set_exception(unavailable)
            return
        for booking, answer in batch:
            if answer.done():
                continue
            try:
                answer.set_result(_opening(found[booking]) if booking in found else None)
            except msgspec.ValidationError as error:  # one that cannot be read harms nobody else
                answer.set_exception(error)

    async def _found(self, bookings: set[BookingId]) -> dict[BookingId, asyncpg.Record]:
        async with asyncio.timeout(READ_SECONDS), self._pool.acquire(timeout=2) as connection:
            rows = await connection.fetch(SQL["openings"], list(bookings))
        return {row["id"]: row for row in rows}


def _opening(row: asyncpg.Record) -> Opening:
    earlier = () if row["checkouts"] is None else _decode_all(row["checkouts"])
    return Opening(booking_of(row), row["now"], earlier)
