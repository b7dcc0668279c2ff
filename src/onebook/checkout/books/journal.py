"""An entry of the money ledger: double entry, debits positive, credits negative, every entry sums to nothing.

The entry is one row (payment.journal) with all of its postings, so that the constraint sees it whole.
"""

from enum import StrEnum
from typing import Any

import msgspec

from onebook.model.booking import BookingId


class Account(StrEnum):
    """The chart of accounts."""

    RECEIVABLE = "receivable"
    """What customers owe us for what they have booked."""
    GATEWAY_CLEARING = "gateway-clearing"
    """What gateways have taken for us and not paid out yet."""
    DEPOSIT_LIABILITY = "deposit-liability"
    """What was paid in advance, before the whole was due."""
    REVENUE = "revenue"
    TAX = "tax"
    """What we owe the tax office."""
    REFUND = "refund"
    """What we have promised to give back and the gateway has not yet."""
    COUPON = "coupon"
    """What coupons have cost."""


class Posting(msgspec.Struct, frozen=True):
    """One amount on one account of one venue."""

    account: Account
    venue: str
    amount_minor: int


class Entry(msgspec.Struct, frozen=True):
    """One row of payment.journal. `effect` names what it tells of, such as "capture:CHECKOUT": it is posted once."""

    effect: str
    kind: str
    booking: BookingId
    channel: str
    currency: str
    postings: tuple[Posting, ...]


def entry_of(row: Any) -> Entry:
    """An entry from its row."""
    return Entry(
        effect=row["effect"],
        kind=row["kind"],
        booking=BookingId(row["booking"]),
        channel=row["channel"],
        currency=row["currency"],
        postings=tuple(
            Posting(Account(account), venue, amount_minor)
            for account, venue, amount_minor in zip(row["accounts"], row["venues"], row["amounts_minor"], strict=True)
        ),
    )
