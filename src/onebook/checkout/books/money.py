"""The ledger of money, read: folios, the trial balance, reports, and our side of a reconciliation. Nothing is written here."""

from datetime import date

import asyncpg
import msgspec

from onebook.checkout.books.journal import entry_of
from onebook.checkout.books.reconcile import Ours
from onebook.checkout.books.report import Balance, By, Folio, Report, ReportLine, TrialBalance, folio_of
from onebook.model.booking import BookingId
from onebook.sql import statements

SQL = statements("onebook.checkout.books")
MAX_LINES = 10_000


class MoneyBook:
    """Answers from the journal. The pool is that of payments: others may not read it."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def folio(self, booking: BookingId, only_channel: str | None) -> Folio | None:
        """The account of a booking; None where there is none that this channel may see. A booking without entries has one."""
        rows = await self._pool.fetch(SQL["folio"], booking, only_channel)
        if not rows and not await self._pool.fetchval(SQL["seen"], booking, only_channel):
            return None
        return folio_of(booking, ((entry_of(row), row["posted_at"]) for row in rows))

    async def trial_balance(self) -> TrialBalance:
        """Every account in every currency, from the first entry on."""
        rows = await self._pool.fetch(SQL["trial_balance"])
        return TrialBalance.of(msgspec.convert(dict(row), Balance) for row in rows)

    async def report(self, by: By, starts: date | None = None, ends: date | None = None) -> Report:
        """What was posted in a period; at most MAX_LINES lines."""
        rows = await self._pool.fetch(SQL["report"], starts, ends, by, MAX_LINES + 1)
        lines = tuple(msgspec.convert(dict(row), ReportLine) for row in rows[:MAX_LINES])
        return Report(by=by, starts=starts, ends=ends, lines=lines, is_cut=len(rows) > MAX_LINES)

    async def ours(self, gateway: str) -> list[Ours]:
        """Every payment of a gateway as we know it."""
        return [msgspec.convert(dict(row), Ours) for row in await self._pool.fetch(SQL["ours"], gateway)]
