"""Our books joined with the gateway's, independently of the program: read by SQL as the owner, and from the gateway's own file.

Shares nothing with `onebook money reconcile` and `onebook verify`, so that neither can hide a mistake of the other.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

CHECKOUTS = """
    SELECT id::text, purpose, state, amount_minor, currency, coalesce(confirmed_booking, booking)::text AS booking
    FROM payment.checkout
"""
POSTED = """
    SELECT effect, journal.booking::text, journal.currency, account, amount_minor
    FROM payment.journal, unnest(accounts, amounts_minor) AS posted (account, amount_minor)
"""
REFUNDS = "SELECT id::text, checkout::text, amount_minor, state FROM payment.refund"
CONFIRMED = "SELECT id::text FROM booking WHERE status = 'confirmed' AND id = ANY ($1::uuid[])"


@dataclass
class Joined:
    """What differs, each in words; empty lists are what a test wants."""

    unended: list[str] = field(default_factory=list)
    orphan_charges: list[str] = field(default_factory=list)
    double_charges: list[str] = field(default_factory=list)
    confirmed_unpaid: list[str] = field(default_factory=list)
    amounts: list[str] = field(default_factory=list)
    imbalances: dict[str, int] = field(default_factory=dict)

    @property
    def differences(self) -> dict[str, Any]:
        """By kind, without those of which there are none."""
        return {kind: found for kind, found in vars(self).items() if found}


def journal_of(data: Path) -> dict[str, dict[str, Any]]:
    """The gateway's payments by key, from its file: the last whole line of each."""
    lines = (data / "simulator" / "payments.jsonl").read_bytes().split(b"\n")[:-1]
    return {(payment := json.loads(line)["payment"])["key"]: payment for line in lines}


async def joined(database: asyncpg.Connection, theirs: dict[str, dict[str, Any]], sold: Iterable[str]) -> Joined:
    """Everything that differs. `sold` are the bookings that nobody confirms but by paying."""
    checkouts = {row["id"]: row for row in await database.fetch(CHECKOUTS)}
    clearing: Counter[str] = Counter()
    by_booking: Counter[str] = Counter()
    balance: Counter[str] = Counter()
    for row in await database.fetch(POSTED):
        balance[row["currency"]] += row["amount_minor"]
        if row["account"] == "gateway-clearing":
            clearing[row["effect"]] += row["amount_minor"]
            by_booking[row["booking"]] += row["amount_minor"]
    found = Joined(imbalances={currency: minor for currency, minor in balance.items() if minor})
    given: Counter[str] = Counter()
    for row in await database.fetch(REFUNDS):
        given_minor = row["amount_minor"] if row["state"] == "succeeded" else 0
        given[row["checkout"]] += given_minor
        if clearing[f"refund:{row['id']}"] != -given_minor:
            found.amounts.append(f"refund {row['id']}: given back {given_minor}, posted otherwise")
    found.unended = [f"{row['state']} {key}" for key, row in checkouts.items() if row["state"] not in _ENDS]
    _of_charges(found, checkouts, theirs, clearing, given)
    _of_bookings(found, checkouts, theirs, by_booking)
    confirmed = {row["id"] for row in await database.fetch(CONFIRMED, list(sold))}
    completed = {row["booking"] for row in checkouts.values() if row["state"] == "completed"}
    found.confirmed_unpaid += [f"{booking} is confirmed, nothing was completed" for booking in confirmed - completed]
    return found


_ENDS = {"completed", "failed"}


def _of_charges(
    found: Joined,
    checkouts: dict[str, Any],
    theirs: dict[str, dict[str, Any]],
    clearing: Counter[str],
    given: Counter[str],
) -> None:
    """Payment by payment: what was taken is what was asked for and what was posted; what was asked for was taken."""
    for key, payment in theirs.items():
        left_minor = payment["captured_minor"] - payment["refunded_minor"]
        row = checkouts.get(key)
        if row is None or row["state"] == "failed":
            if left_minor:
                found.orphan_charges.append(f"{left_minor} of {key}, {'unknown' if row is None else 'failed'}")
        elif row["state"] == "completed":
            told = (payment["captured_minor"], payment["currency"], payment["refunded_minor"])
            ours = (row["amount_minor"], row["currency"], given[key])
            if told != ours or clearing[f"capture:{key}"] != payment["captured_minor"]:
                found.amounts.append(f"{key}: they say {told}, we {ours}, posted {clearing[f'capture:{key}']}")
    for key, row in checkouts.items():
        taken = theirs.get(key, {}).get("captured_minor", 0)
        if row["state"] == "completed" and row["amount_minor"] and not taken:
            found.confirmed_unpaid.append(f"{key} is completed, nothing was taken")


def _of_bookings(
    found: Joined, checkouts: dict[str, Any], theirs: dict[str, dict[str, Any]], by_booking: Counter[str]
) -> None:
    """Booking by booking: the gateway has of it what the books say, and none of it twice."""
    net: Counter[str] = Counter()
    first_payments: dict[str, list[str]] = defaultdict(list)
    for key, payment in theirs.items():
        row = checkouts.get(key)
        net[payment["booking"] if row is None else row["booking"]] += (
            payment["captured_minor"] - payment["refunded_minor"]
        )
        # Balances and amendments are charged beside the first payment; two of these would be for the same thing.
        is_first = row is None or row["purpose"] == "booking"
        if is_first and payment["captured_minor"] > payment["refunded_minor"]:
            first_payments[payment["booking"]].append(key)
    found.double_charges += [f"{booking}: {keys}" for booking, keys in first_payments.items() if len(keys) > 1]
    for booking in net.keys() | by_booking.keys():
        if net[booking] != by_booking[booking]:
            found.amounts.append(f"booking {booking}: they have {net[booking]}, the books {by_booking[booking]}")
