"""The rules of a payment, pure: each takes it as it is and returns what it becomes, or raises Refused.

A rule that returns the very record it was given says that nothing changes: the call is a repetition.
"""

import msgspec

from onebook.simulator.documents import (
    NO_CURRENCY,
    NewPayment,
    NewRefund,
    Payment,
    Pending,
    Record,
    Refund,
    RefundState,
    Refused,
    State,
)
from onebook.simulator.faults import Fate

DECLINES = {
    Fate.DECLINED: "card_declined",
    Fate.INSUFFICIENT_FUNDS: "insufficient_funds",
}
WRONG_BY_MINOR = 100
MAX_REFUNDS = 100


def opened(order: NewPayment, fate: Fate, identity: str, now: float, due: float) -> Record:
    """A payment heard of for the first time. `due` is when a late one is authorized."""
    state, pending = State.AUTHORIZED, None
    if fate in DECLINES:
        state = State.DECLINED
    elif fate is Fate.CHALLENGED:
        state = State.CHALLENGED
    elif fate is Fate.LATE:
        state, pending = State.PROCESSING, Pending(State.AUTHORIZED, due)
    payment = Payment(
        key=order.key,
        id=identity,
        state=state,
        amount_minor=order.amount_minor + (WRONG_BY_MINOR if fate is Fate.WRONG_AMOUNT else 0),
        currency=order.currency,
        created=now,
        code=DECLINES.get(fate),
        booking=order.booking,
        description=order.description,
    )
    return Record(payment, token=order.token, asked_minor=order.amount_minor, pending=pending)


def challenged(record: Record, challenge: str, challenges_url: str) -> Record:
    """The payer is asked something at a page of their own."""
    payment = msgspec.structs.replace(record.payment, challenge_url=f"{challenges_url}/{challenge}")
    return msgspec.structs.replace(record, payment=payment, challenge=challenge)


def tombstone(key: str, identity: str, now: float) -> Record:
    """A payment voided before it was heard of: an order that comes later finds it ended."""
    return Record(Payment(key, identity, State.VOIDED, 0, NO_CURRENCY, now))


def same_order(record: Record, order: NewPayment) -> None:
    """Refuse another order under a key that is taken."""
    payment = record.payment
    asked = (order.amount_minor, order.currency, order.booking, order.token)
    if payment.currency != NO_CURRENCY and asked != (
        record.asked_minor,
        payment.currency,
        payment.booking,
        record.token,
    ):
        raise Refused(409, "key_reused")


def captured(record: Record, amount_minor: int, late_until: float | None) -> Record:
    """The money is taken: now, or at `late_until`."""
    payment, pending = record.payment, record.pending
    taken_minor = pending.captured_minor if pending is not None else payment.captured_minor
    if taken_minor:
        if taken_minor != amount_minor:
            raise Refused(409, "already_captured")
        return record
    if payment.state is not State.AUTHORIZED:
        raise Refused(409, payment.code or f"payment_{payment.state}")
    if amount_minor > payment.amount_minor:
        raise Refused(409, "amount_too_large")
    if late_until is not None:
        waiting = Pending(State.CAPTURED, late_until, captured_minor=amount_minor)
        return _with(record, pending=waiting, state=State.PROCESSING)
    return _with(record, state=State.CAPTURED, captured_minor=amount_minor)


def expired(record: Record) -> Record:
    """The authorization has run out, as those of card issuers do."""
    if record.payment.state is not State.AUTHORIZED:
        return record
    return _with(record, state=State.VOIDED, code="authorization_expired")


def voided(record: Record) -> Record:
    """The money is set free, unless it is taken; a capture under way is finished rather than stopped."""
    if record.pending is not None and record.pending.captured_minor:
        return settled(record)
    if record.payment.state in (State.CAPTURED, State.DECLINED, State.VOIDED):
        return record
    return _with(record, state=State.VOIDED, challenge_url=None)


def settled(record: Record) -> Record:
    """What was pending has happened."""
    pending = record.pending
    if pending is None:
        return record
    return _with(record, state=pending.state, captured_minor=pending.captured_minor)


def answered(record: Record, passed: bool) -> Record:
    """The payer has passed the challenge, or failed it."""
    if record.payment.state is not State.CHALLENGED:
        raise Refused(409, f"payment_{record.payment.state}")
    if passed:
        return _with(record, state=State.AUTHORIZED, challenge_url=None)
    return _with(record, state=State.DECLINED, code="authentication_failed", challenge_url=None)


def refunded(record: Record, order: NewRefund, fails: bool, identity: str, now: float) -> tuple[Record, Refund]:
    """Money is given back, once per key of the refund."""
    payment = record.payment
    for refund in payment.refunds:
        if refund.key == order.key:
            if refund.amount_minor != order.amount_minor:
                raise Refused(409, "key_reused")
            return record, refund
    if payment.state is not State.CAPTURED:
        raise Refused(409, f"payment_{payment.state}")
    if payment.refunded_minor + order.amount_minor > payment.captured_minor:
        raise Refused(409, "refund_too_large")
    if len(payment.refunds) >= MAX_REFUNDS:
        raise Refused(409, "too_many_refunds")
    state = RefundState.FAILED if fails else RefundState.SUCCEEDED
    refund = Refund(order.key, identity, state, order.amount_minor, now)
    given_minor = 0 if fails else order.amount_minor
    changed = _with(record, refunded_minor=payment.refunded_minor + given_minor, refunds=(*payment.refunds, refund))
    return changed, refund


def _with(record: Record, *, pending: Pending | None = None, **changes: object) -> Record:
    payment = msgspec.structs.replace(record.payment, **changes)
    return msgspec.structs.replace(record, payment=payment, pending=pending)
