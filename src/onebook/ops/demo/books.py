"""The books of a running demo: read now and then for the screen, and at the end held against the gateway's own list.

Called by `run_demo`. Waiting for the last checkouts is bounded by ENDS_SECONDS; what has not ended by then is
counted, and not judged.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import asyncpg
import msgspec

from onebook.checkout.books.money import MoneyBook
from onebook.checkout.books.reconcile import Difference, Kind, reconcile
from onebook.checkout.gateways.protocol import Payment
from onebook.checkout.gateways.simulator import SimulatorGateway
from onebook.ops.demo.board import Board
from onebook.ops.demo.follower import until
from onebook.ops.demo.gateway import GatewayPages
from onebook.ops.demo.prices import COUPON, COUPON_VENUE
from onebook.ops.demo.till import Books, Till
from onebook.sql import statements

INTERVAL_SECONDS = 0.5
ENDS_SECONDS = 60.0
CONNECT_SECONDS = 10.0

SQL = statements("onebook.ops.demo")


class MoneyProof(msgspec.Struct, frozen=True):
    """What the books, the gateway's list and the crowd's receipts say of each other."""

    books: Books
    payments: int
    """In the gateway's list."""
    differences: tuple[Difference, ...]
    imbalances: Mapping[str, int]
    """By currency, what the trial balance is off by; of a currency that is in balance, nothing."""
    sold_unpaid: int
    """Bookings that stand in a channel that charges, without a payment."""
    receipts_wrong: int
    """Answers to the crowd that the gateway's list contradicts."""

    def count(self, kind: Kind) -> int:
        """How many differences of a kind there are."""
        return sum(difference.kind is kind for difference in self.differences)


async def watch_books(board: Board, database_url: str) -> None:
    """Keep the board's books fresh, until cancelled."""
    connection = await asyncpg.connect(database_url, timeout=CONNECT_SECONDS)
    try:
        while True:
            board.till.books = await read_books(connection)
            await asyncio.sleep(INTERVAL_SECONDS)
    finally:
        await connection.close()


async def checkouts_ended(board: Board) -> None:
    """Returns when nothing is under way any more, or when the time for that is over. Nobody begins anything meanwhile."""
    now = datetime.now(UTC)
    with suppress(TimeoutError):
        async with asyncio.timeout(ENDS_SECONDS):
            await until(lambda: board.till.books.has_ended_since(now))


async def prove_money(database_url: str, gateway: GatewayPages, till: Till, charging: Sequence[str]) -> MoneyProof:
    """Join our books with the gateway's list. `charging` are the channels that sell by checkout."""
    async with asyncpg.create_pool(database_url, min_size=0, max_size=1, timeout=CONNECT_SECONDS) as pool:
        book = MoneyBook(pool)
        # Theirs is read first: what they have taken by then was written down here before.
        theirs = await gateway.payments()
        differences = reconcile(await book.ours(SimulatorGateway.name), theirs)
        balance = await book.trial_balance()
        return MoneyProof(
            books=await read_books(pool),
            payments=len(theirs),
            differences=tuple(differences),
            imbalances={off.currency: off.amount_minor for off in balance.imbalances},
            sold_unpaid=await pool.fetchval(SQL["sold_unpaid"], list(charging)),
            receipts_wrong=wrong_receipts(till, theirs),
        )


def wrong_receipts(till: Till, theirs: Sequence[Payment]) -> int:
    """Answers that the gateway's list contradicts: paid, and not taken as it was told; declined, and money kept all the same."""
    payments = {payment.key: payment for payment in theirs}
    taken = {key: payment.captured_minor for key, payment in payments.items()}
    wrong = sum(taken.get(checkout, 0) != amount for checkout, amount in till.receipts.items())
    kept = (payments[checkout] for checkout in till.declined if checkout in payments)
    return wrong + sum(payment.captured_minor > payment.refunded_minor for payment in kept)


async def read_books(database: Any) -> Books:
    """As they are now. `database` is a connection or a pool."""
    rows = await database.fetch(SQL["books"])
    now = await database.fetchrow(SQL["under_way"], COUPON_VENUE, COUPON)
    return Books(
        taken_minor={row["currency"]: row["taken"] for row in rows},
        given_back_minor={row["currency"]: row["given_back"] for row in rows},
        kept_minor={row["currency"]: row["kept"] for row in rows},
        **now,
    )
