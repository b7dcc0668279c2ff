"""Group commit for checkouts: while one transaction is in flight changes queue, and the next one takes all of them.

Who calls me: whoever begins a checkout, and the driver, once a step. What I own: the queue. What survives a crash: what was
answered, since answers follow the commit; a change whose outcome is unknown is found out by reading the row. What bounds me:
MAX_BATCH changes a transaction, MAX_WAITING in the queue, WRITE_SECONDS a transaction.

Checkouts with coupons do not queue: their rows are locked together with the coupons', in a transaction of their own.
"""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import structlog

from onebook.checkout.books.journal import Entry, entry_of
from onebook.checkout.change import Change
from onebook.checkout.failures import CouponSpent
from onebook.checkout.gateways.protocol import Notification
from onebook.checkout.openings import Opening, Openings
from onebook.checkout.record import Checkout, State
from onebook.ledger.failures import DATABASE_FAULTS, LedgerUnavailable, Overloaded
from onebook.ledger.rows import booking_of
from onebook.model.booking import Booking, BookingId
from onebook.sql import statements

SQL = statements("onebook.checkout")
MAX_BATCH = 64
MAX_WAITING = 5_000
WRITE_SECONDS = 4.0

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Checkout).decode

log = structlog.get_logger()


class _Row(msgspec.Struct, frozen=True):
    """The columns that a step may change."""

    id: str
    revision: int
    state: State
    attempts: int
    due_at: datetime | None
    reference: str | None
    challenge_url: str | None
    challenged_until: datetime | None
    code: str | None
    confirmed_booking: str | None
    finished_at: datetime | None


class _Posted(msgspec.Struct, frozen=True):
    """An entry of the journal, for its checkout."""

    checkout: str
    effect: str
    kind: str
    booking: str
    channel: str
    currency: str
    accounts: tuple[str, ...]
    venues: tuple[str, ...]
    amounts_minor: tuple[int, ...]


class _NotBegun(Exception):
    """Its coupons are not taken either."""


class Store:
    """The rows of payment.checkout, with what is posted and told of them."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._openings = Openings(pool)
        self._queue: deque[tuple[Change, asyncio.Future[bool]]] = deque()
        self._wake = asyncio.Event()
        self._stopping = False

    def write(self, change: Change) -> "asyncio.Future[bool]":
        """Whether it is written: not if somebody else has moved the checkout, or another one is under way for its booking.

        Raises what the database raises; then the change may be written or not, and may be sent again: its own revision tells.
        """
        if self._stopping or len(self._queue) >= MAX_WAITING:
            raise Overloaded("more checkouts are waiting than are taken on")
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._queue.append((change, answer))
        self._wake.set()
        return answer

    async def begin_with_coupons(self, change: Change) -> bool:
        """The same for a first row whose coupons are taken with it. Raises CouponSpent."""
        quote = change.checkout.quote
        names = sorted({(coupon.partition("/")[0], coupon.partition("/")[2]) for coupon in quote.coupons})
        venues, codes = [name[0] for name in names], [name[1] for name in names]
        try:
            async with self._pool.acquire(timeout=2) as connection, connection.transaction():
                taken = await connection.fetch(SQL["take_coupons"], venues, codes)
                if len(taken) < len(names):
                    raise CouponSpent
                if await connection.fetchval(SQL["is_used_up_by_customer"], venues, codes, quote.customer):
                    raise CouponSpent
                await connection.execute(SQL["use_coupons"], change.checkout.id, venues, codes, quote.customer)
                if not await _write(connection, [change]):
                    raise _NotBegun
        except _NotBegun:
            return False
        return True

    async def fail_with_coupons(self, change: Change) -> bool:
        """The same for a last row that gives its coupons back."""
        async with self._pool.acquire(timeout=2) as connection, connection.transaction():
            written = await _write(connection, [change])
            if written:
                await connection.execute(SQL["give_back_coupons"], change.checkout.id)
        return bool(written)

    async def read(self, identity: str) -> Checkout | None:
        """A checkout as it is now."""
        row = await self._pool.fetchval(SQL["checkout"], identity)
        return None if row is None else _decode(row)

    async def booking(self, identity: BookingId) -> Booking | None:
        """A booking as it is now."""
        row = await self._pool.fetchrow(SQL["booking"], identity)
        return None if row is None else booking_of(row)

    def opening(self, identity: BookingId) -> "asyncio.Future[Opening | None]":
        """What a checkout begins with; None where there is no such booking. Raises LedgerUnavailable and Overloaded."""
        return self._openings.read(identity)

    async def under_way(self, booking: BookingId) -> str | None:
        """The checkout of a booking that is under way, if one is."""
        found: str | None = await self._pool.fetchval(SQL["under_way"], booking)
        return found

    async def is_settled(self, booking: BookingId) -> bool:
        """Whether a booking's money has been divided at its end, or is being."""
        return bool(await self._pool.fetchval(SQL["is_settled"], booking))

    async def claim(self, limit: int, lease_seconds: float) -> list[Checkout]:
        """Take over those that are due."""
        return list(_readable(await self._pool.fetch(SQL["claim_due"], limit, lease_seconds)))

    async def hear(self, notification: Notification, gateway: str) -> bool:
        """Whether a notification is new; then its checkout is due now."""
        key = notification.key
        checkout = key if key is not None and is_uuid(key) else None
        return bool(await self._pool.fetchval(SQL["hear"], gateway, notification.id, key, checkout))

    async def standing(self) -> tuple[float, int]:
        """How old the oldest checkout is that waits for no payer, in seconds, and how many refunds have failed."""
        row = await self._pool.fetchrow(SQL["standing"])
        return (0.0, 0) if row is None else (row["oldest_seconds"], row["refunds_failed"])

    async def forget_notifications(self) -> None:
        """Drop what no gateway repeats any more."""
        await self._pool.execute(SQL["forget_notifications"])

    async def entries(self, booking: BookingId) -> tuple[Entry, ...]:
        """What is in the books of a booking, the latest last."""
        return tuple(entry_of(row) for row in await self._pool.fetch(SQL["entries"], booking))

    async def of_booking(self, booking: str) -> tuple[Checkout, ...]:
        """The checkouts of a booking, the latest last."""
        return tuple(_decode(row["checkout"]) for row in await self._pool.fetch(SQL["of_booking"], booking))

    async def run(self) -> None:
        """Write batch after batch until `stop`, then what is still in the queue."""
        while self._queue or not self._stopping:
            if not self._queue:
                self._wake.clear()
                await self._wake.wait()
                continue
            await asyncio.sleep(0)  # let what is ready in this turn of the loop come along
            await self._settle(self._take())

    def stop(self) -> None:
        """Take no more; `run` ends when the queue is empty."""
        self._stopping = True
        self._wake.set()

    def _take(self) -> list[tuple[Change, "asyncio.Future[bool]"]]:
        """The next batch. Of one checkout it has one change: the statement could not tell which of two it has written."""
        batch: list[tuple[Change, asyncio.Future[bool]]] = []
        moved: set[str] = set()
        while self._queue and len(batch) < MAX_BATCH and self._queue[0][0].checkout.id not in moved:
            batch.append(self._queue.popleft())
            moved.add(batch[-1][0].checkout.id)
        return batch

    async def _settle(self, batch: Sequence[tuple[Change, "asyncio.Future[bool]"]]) -> None:
        """Answer every change; one that cannot be written does not harm the others."""
        try:
            async with asyncio.timeout(WRITE_SECONDS), self._pool.acquire(timeout=2) as connection:
                written = await _write(connection, [change for change, _ in batch])
        except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as error:
            await self._isolate(batch, error)
        except DATABASE_FAULTS as error:
            log.warning("checkouts_not_written", reason=repr(error), changes=len(batch))
            unavailable = LedgerUnavailable("the database does not answer; send it again")
            for _, answer in batch:
                if not answer.done():
                    answer.set_exception(unavailable)
        else:
            for change, answer in batch:
                if not answer.done():
                    answer.set_result(change.checkout.id in written)

    async def _isolate(self, batch: Sequence[tuple[Change, "asyncio.Future[bool]"]], error: Exception) -> None:
        """Find the change that cannot be written by writing each alone."""
        if len(batch) > 1:
            for one in batch:
                await self._settle([one])
            return
        [(change, answer)] = batch
        log.error("checkout_refused", checkout=change.checkout.id, exc_info=error)
        if not answer.done():
            answer.set_exception(error)


async def _write(connection: Any, changes: Sequence[Change]) -> frozenset[str]:
    """The checkouts that were written. Joins the caller's transaction, or is one of its own: it is one statement."""
    row = await connection.fetchrow(
        SQL["write"],
        _encode([change.checkout for change in changes if change.checkout.revision == 1]).decode(),
        _encode([_row(change.checkout) for change in changes if change.checkout.revision > 1]).decode(),
        _encode([_posted(change.checkout, entry) for change in changes for entry in change.entries]).decode(),
        _encode([change.event for change in changes if change.event is not None]).decode(),
    )
    return frozenset(row["written"] or ())


def is_uuid(text: str) -> bool:
    """Whether a text can be the id of a checkout."""
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _row(checkout: Checkout) -> _Row:
    return _Row(**{name: getattr(checkout, name) for name in _Row.__struct_fields__})


def _readable(rows: Sequence[asyncpg.Record]) -> Iterator[Checkout]:
    """Those that this program understands: one that was written by another version is left to it, and stops nobody."""
    for row in rows:
        try:
            yield _decode(row["checkout"])
        except msgspec.ValidationError as error:
            log.error("checkout_not_understood", exc_info=error)


def _posted(checkout: Checkout, entry: Entry) -> _Posted:
    return _Posted(
        checkout=checkout.id,
        effect=entry.effect,
        kind=entry.kind,
        booking=entry.booking,
        channel=entry.channel,
        currency=entry.currency,
        accounts=tuple(posting.account for posting in entry.postings),
        venues=tuple(posting.venue for posting in entry.postings),
        amounts_minor=tuple(posting.amount_minor for posting in entry.postings),
    )
