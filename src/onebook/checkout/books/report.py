"""What the ledger of money tells: folios, trial balances and reports, as values, and a report as CSV."""

import csv
import io
from collections.abc import Iterable
from datetime import date, datetime
from enum import StrEnum

import msgspec

from onebook.checkout.books.journal import Account, Entry, Posting

PERIOD = {"starts": "from", "ends": "to"}


class By(StrEnum):
    """What a report tells apart, besides currencies and accounts. Days are those of UTC."""

    DAY = "day"
    VENUE = "venue"
    CHANNEL = "channel"
    ACCOUNT = "account"


class Balance(msgspec.Struct, frozen=True):
    """An account in one currency: all its debits, all its credits."""

    currency: str
    account: Account
    debit_minor: int
    credit_minor: int


class Imbalance(msgspec.Struct, frozen=True):
    """By how much the debits of a currency exceed its credits."""

    currency: str
    amount_minor: int


class TrialBalance(msgspec.Struct, frozen=True):
    """Every account there is. `imbalances` has one for each currency in which debits and credits are not the same."""

    balances: tuple[Balance, ...]
    imbalances: tuple[Imbalance, ...]

    @classmethod
    def of(cls, balances: Iterable[Balance]) -> "TrialBalance":
        """Add the accounts up."""
        balances = tuple(balances)
        totals: dict[str, int] = {}
        for balance in balances:
            totals[balance.currency] = totals.get(balance.currency, 0) + balance.debit_minor - balance.credit_minor
        return cls(balances, tuple(Imbalance(*total) for total in totals.items() if total[1]))


class ReportLine(msgspec.Struct, frozen=True):
    """What came together on one account; `what` is the day, venue or channel. Debits are positive, credits negative."""

    currency: str
    what: str
    account: Account
    amount_minor: int


class Report(msgspec.Struct, frozen=True, rename=PERIOD):
    """What was posted in a half-open period of UTC days; null leaves an end open."""

    by: By
    starts: date | None
    ends: date | None
    lines: tuple[ReportLine, ...]
    is_cut: bool
    """There are more lines than these."""


class FolioEntry(msgspec.Struct, frozen=True):
    """What happened, and when."""

    effect: str
    kind: str
    posted_at: datetime
    postings: tuple[Posting, ...]


class Folio(msgspec.Struct, frozen=True):
    """A booking's account: charged = paid - refund_due + balance. `balance_minor` is what the customer still owes."""

    booking: str
    currency: str | None
    charged_minor: int
    paid_minor: int
    """Taken by gateways, less what they have given back."""
    refund_due_minor: int
    """Promised back, and not given back yet."""
    balance_minor: int
    entries: tuple[FolioEntry, ...]


def folio_of(booking: str, entries: Iterable[tuple[Entry, datetime]]) -> Folio:
    """The folio that a booking's entries make."""
    entries = tuple(entries)
    sums = dict.fromkeys(Account, 0)
    for entry, _ in entries:
        for posting in entry.postings:
            sums[posting.account] += posting.amount_minor
    return Folio(
        booking=booking,
        currency=entries[0][0].currency if entries else None,
        charged_minor=-(sums[Account.REVENUE] + sums[Account.TAX] + sums[Account.COUPON]),
        paid_minor=sums[Account.GATEWAY_CLEARING],
        refund_due_minor=-sums[Account.REFUND],
        balance_minor=sums[Account.RECEIVABLE] + sums[Account.DEPOSIT_LIABILITY],
        entries=tuple(FolioEntry(entry.effect, entry.kind, at, entry.postings) for entry, at in entries),
    )


def as_csv(report: Report) -> str:
    """A report as RFC 4180 has it, with a line of names; amounts in minor units."""
    written = io.StringIO()
    writer = csv.writer(written)
    writer.writerow(ReportLine.__struct_fields__)
    for line in report.lines:
        writer.writerow(msgspec.structs.astuple(line))
    return written.getvalue()
