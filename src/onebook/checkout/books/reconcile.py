"""What we have in our books, held against the gateway's own list. Pure: two lists in, what differs between them out.

A checkout that is still under way is not judged: where it ends, the next reconciliation sees.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from enum import StrEnum

import msgspec

from onebook.checkout.gateways.protocol import Payment
from onebook.checkout.record import FINAL, Purpose, State


class Ours(msgspec.Struct, frozen=True, kw_only=True):
    """What we know of one payment: its checkout, what the journal has of it, and what was given back."""

    checkout: str
    booking: str
    """The one that it has confirmed, else the one that it was for."""
    purpose: Purpose
    state: State
    amount_minor: int
    currency: str
    posted_minor: int
    """Captured, as the journal has it."""
    refunded_minor: int
    has_confirmed: bool = False
    """The booking stands because of it."""
    is_refunding: bool = False
    """The gateway has been asked to give something back, and has not answered yet."""


class Kind(StrEnum):
    """What can differ."""

    ORPHAN_CHARGE = "orphan-charge"
    """Money taken, and nothing here that it was taken for."""
    DOUBLE_CHARGE = "double-charge"
    """Money taken twice for the same dues of one booking."""
    CONFIRMED_UNPAID = "confirmed-unpaid"
    """Paid by our books, and not taken there."""
    NOT_POSTED = "not-posted"
    """Taken and completed, and not in the journal as it was."""
    AMOUNT_DIFFERS = "amount-differs"
    REFUND_DIFFERS = "refund-differs"


class Difference(msgspec.Struct, frozen=True):
    """One thing that does not agree. `checkout` is the payment's key."""

    kind: Kind
    checkout: str
    booking: str | None
    currency: str
    expected_minor: int
    found_minor: int


def reconcile(ours: Iterable[Ours], theirs: Iterable[Payment]) -> list[Difference]:
    """Everything that differs; nothing if all is well. Both lists have to go back equally far."""
    known = {one.checkout: one for one in ours}
    payments = {payment.key: payment for payment in theirs}
    paid_by: dict[str, list[str]] = defaultdict(list)
    for one in known.values():
        if one.state is State.COMPLETED and one.amount_minor and one.purpose is Purpose.BOOKING:
            paid_by[one.booking].append(one.checkout)
    found: list[Difference] = []
    for key, payment in payments.items():
        if key not in known:
            found += _of_no_checkout(payment, None, ())
    for key, one in known.items():
        if one.state in FINAL:
            found += _of_checkout(one, payments.get(key), paid_by[one.booking])
    return found


def _of_checkout(one: Ours, payment: Payment | None, paid_by: Sequence[str]) -> list[Difference]:
    if one.state is not State.COMPLETED:
        return _of_failed(one, payment, paid_by)
    taken_minor = 0 if payment is None else payment.captured_minor
    refunded_minor = 0 if payment is None else payment.refunded_minor
    currency = one.currency if payment is None else payment.currency
    if taken_minor == 0 and one.amount_minor > 0:
        return [_differs(Kind.CONFIRMED_UNPAID, one, one.amount_minor, 0)]
    found = []
    if (taken_minor, currency) != (one.amount_minor, one.currency):
        found.append(_differs(Kind.AMOUNT_DIFFERS, one, one.amount_minor, taken_minor))
    if one.posted_minor != taken_minor:
        found.append(_differs(Kind.NOT_POSTED, one, taken_minor, one.posted_minor))
    if refunded_minor != one.refunded_minor and not one.is_refunding:
        found.append(_differs(Kind.REFUND_DIFFERS, one, one.refunded_minor, refunded_minor))
    if one.checkout in paid_by[1:]:
        found.append(_differs(Kind.DOUBLE_CHARGE, one, 0, taken_minor))
    return found


def _of_failed(one: Ours, payment: Payment | None, paid_by: Sequence[str]) -> list[Difference]:
    found = [] if payment is None else _of_no_checkout(payment, one, paid_by)
    if one.has_confirmed and not paid_by:
        found.append(_differs(Kind.CONFIRMED_UNPAID, one, one.amount_minor, 0))
    return found


def _of_no_checkout(payment: Payment, failed: Ours | None, paid_by: Sequence[str]) -> list[Difference]:
    """Money of a payment that nothing stands on must have been given back, or never taken."""
    left_minor = payment.captured_minor - payment.refunded_minor
    if left_minor == 0:
        return []
    kind = Kind.DOUBLE_CHARGE if paid_by else Kind.ORPHAN_CHARGE
    booking = None if failed is None else failed.booking
    return [Difference(kind, payment.key, booking, payment.currency, 0, left_minor)]


def _differs(kind: Kind, one: Ours, expected_minor: int, found_minor: int) -> Difference:
    return Difference(kind, one.checkout, one.booking, one.currency, expected_minor, found_minor)
