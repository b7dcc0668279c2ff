"""The rows of settlements: what each step writes, all or nothing.

Who calls me: Settlements. What survives a crash: everything that was written; a step that was not is done again. What bounds me:
a transaction touches one settlement and the payments of its booking, whose rows it locks in the order of their ids.
"""

from collections.abc import Sequence
from datetime import datetime

import asyncpg
import msgspec

from onebook.checkout.books.journal import Entry, entry_of
from onebook.checkout.books.postings import of_refund_paid
from onebook.checkout.gateways.protocol import RefundState
from onebook.checkout.record import Checkout
from onebook.checkout.settling.settlement import (
    FINAL,
    Captured,
    RefundRow,
    Settlement,
    State,
    ended,
    moved,
    planned,
    refunded,
    told,
)
from onebook.ledger.database import Connection
from onebook.ledger.failures import LedgerUnavailable
from onebook.ledger.identity import new_id
from onebook.model.booking import BookingId, Status
from onebook.sql import statements

SQL = statements("onebook.checkout.settling")

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Settlement).decode
_decode_all = msgspec.json.Decoder(tuple[Settlement, ...]).decode
_decode_checkout = msgspec.json.Decoder(Checkout).decode


class Opening(msgspec.Struct, frozen=True):
    """What a settlement begins with. `now` is the database's clock; refused settlements are left out."""

    status: Status
    channel: str
    now: datetime
    checkout: Checkout | None
    """The last one that was completed."""
    under_way: str | None
    """A checkout that is not at its end yet."""
    settlements: tuple[Settlement, ...]


class Due(msgspec.Struct, frozen=True):
    """A refund with the checkout whose payment it takes."""

    refund: RefundRow
    checkout: Checkout


class SettlementStore:
    """The rows of payment.settlement and payment.refund, with what is posted and told of them."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def is_paid(self, booking: BookingId) -> bool:
        """Whether money has been taken for a booking, or is being taken."""
        return bool(await self._pool.fetchval(SQL["is_paid"], booking))

    async def opening(self, booking: BookingId) -> Opening | None:
        """The booking and what was paid for it; None where there is no such booking."""
        row = await self._pool.fetchrow(SQL["opening"], booking)
        if row is None:
            return None
        return Opening(
            status=Status(row["status"]),
            channel=row["channel"],
            now=row["now"],
            checkout=None if row["checkout"] is None else _decode_checkout(row["checkout"]),
            under_way=row["under_way"],
            settlements=() if row["settlements"] is None else _decode_all(row["settlements"]),
        )

    async def begin(self, settlement: Settlement) -> bool:
        """Write the first row. False where another settlement stands in its way."""
        return await self._pool.fetchval(SQL["begin"], _text(settlement)) is not None

    async def read(self, identity: str) -> Settlement | None:
        """A settlement as it is now."""
        row = await self._pool.fetchval(SQL["settlement"], identity)
        return None if row is None else _decode(row)

    async def claim(self, limit: int, lease_seconds: float) -> list[Settlement]:
        """Those that are due, which nobody else takes before the lease ends."""
        return [_decode(row[0]) for row in await self._pool.fetch(SQL["claim"], limit, lease_seconds)]

    async def revive(self, booking: BookingId, lease_seconds: float) -> list[Settlement]:
        """A booking's settlements that failed, on their way again."""
        return [_decode(row[0]) for row in await self._pool.fetch(SQL["revive"], booking, lease_seconds)]

    async def write(self, settlement: Settlement) -> bool:
        """A step that posts nothing. False where somebody else has moved it meanwhile."""
        return await _moved(self._pool, settlement)

    async def decide(self, settlement: Settlement, now: datetime) -> Settlement | None:
        """Once the booking has moved: decide what is kept and what goes back, and post it. None where somebody else has.

        Raises LedgerUnavailable while a checkout is under way: what it takes, or not, is divided as well.
        """
        async with self._pool.acquire(timeout=2) as connection, connection.transaction():
            await connection.execute(SQL["lock_payments"], settlement.booking)
            if await connection.fetchval(SQL["is_being_paid"], settlement.booking):
                raise LedgerUnavailable("money is being taken for this booking")
            payments = await connection.fetch(SQL["left_of_payments"], settlement.booking)
            books = [entry_of(row) for row in await connection.fetch(SQL["books"], settlement.booking)]
            left = [(_decode_checkout(row["checkout"]), row["left_minor"]) for row in payments]
            latest = left[0][0]
            plan = planned(settlement, latest, books, [Captured(checkout.id, minor) for checkout, minor in left])
            if isinstance(plan, str):
                refused = ended(settlement, State.REFUSED, now, plan)
                return refused if await _moved(connection, refused) else None
            after = moved(settlement, plan, now)
            if not await _moved(connection, after):
                return None
            for entry in plan.entries:
                await _post(connection, entry)
            for checkout, amount_minor in plan.refunds:
                await connection.execute(SQL["promise"], new_id(), settlement.id, checkout, amount_minor)
            if settlement.quote is not None:
                await connection.execute(SQL["reprice"], latest.id, _encode(settlement.quote).decode())
            await _tell(connection, after, latest.venues)
            return after

    async def refunds(self, settlement: Settlement) -> list[Due]:
        """What a settlement gives back, in the order of the promise."""
        return await _refunds(self._pool, settlement)

    async def answered(self, settlement: Settlement, answers: Sequence[RefundRow], now: datetime) -> Settlement | None:
        """Write down what the gateway has said of refunds, and post what it has given back. None where somebody else has."""
        told_now = {answer.id: answer for answer in answers}
        async with self._pool.acquire(timeout=2) as connection, connection.transaction():
            due = await _refunds(connection, settlement)
            after = refunded(settlement, [told_now.get(each.refund.id, each.refund) for each in due], now)
            if not await _moved(connection, after):
                return None
            books = await connection.fetch(SQL["books"], settlement.booking)
            promise = next(entry_of(row) for row in books if row["effect"] == f"settle:{settlement.id}")
            given_minor = 0
            for each in due:
                answer = told_now.get(each.refund.id)
                if answer is not None and answer.state is not each.refund.state:
                    await connection.execute(SQL["answered"], answer.id, answer.state, answer.reference)
                    if answer.state is RefundState.SUCCEEDED:
                        entry = of_refund_paid(answer.id, answer.amount_minor, promise, given_minor)
                        await _post(connection, entry)
                given_minor += each.refund.amount_minor
            await _tell(connection, after, due[0].checkout.venues)
            return after


async def _moved(connection: Connection | asyncpg.Pool, settlement: Settlement) -> bool:
    return await connection.fetchval(SQL["move"], _text(settlement)) is not None


async def _refunds(connection: Connection | asyncpg.Pool, settlement: Settlement) -> list[Due]:
    rows = await connection.fetch(SQL["refunds"], settlement.id)
    return [
        Due(
            RefundRow(row["id"], row["checkout"], row["amount_minor"], RefundState(row["state"]), row["reference"]),
            _decode_checkout(row["payment"]),
        )
        for row in rows
    ]


async def _post(connection: Connection, entry: Entry) -> None:
    columns = zip(*((p.account, p.venue, p.amount_minor) for p in entry.postings), strict=True)
    await connection.execute(
        SQL["post"], entry.effect, entry.kind, entry.booking, entry.channel, entry.currency, *map(list, columns)
    )


async def _tell(connection: Connection, settlement: Settlement, venues: tuple[str, ...]) -> None:
    """The end of a settlement goes into the log."""
    if settlement.state in FINAL:
        facts = _encode(told(settlement, venues)).decode()
        subject = f"checkouts/{settlement.checkout}"
        await connection.execute(SQL["tell"], "checkout.settled", subject, list(venues), settlement.traceparent, facts)


def _text(settlement: Settlement) -> str:
    return _encode(settlement).decode()
