"""Carries out the saga's steps, one after the other, until it ends or has to wait.

Who calls me: whoever begins a checkout, and the resumer. What I own: the checkouts under way in this process. What survives a
crash: the rows; another worker goes on from the last one written, and every step finds what it did before. What bounds me:
`max_under_way` checkouts, MAX_STEPS a drive; the gateway's calls have bounds of their own (gateways/breaker.py).
"""

import asyncio
import hashlib
from datetime import UTC, datetime, timedelta

import structlog

from onebook.checkout.change import step
from onebook.checkout.gateways.protocol import (
    Gateway,
    GatewayAway,
    GatewayRefused,
    Order,
    OutcomeUnknown,
    Payment,
    PaymentState,
    RefundState,
)
from onebook.checkout.metrics import CHECKOUT_SECONDS, CHECKOUTS, UNDER_WAY
from onebook.checkout.record import FINAL, Checkout, Purpose, State
from onebook.checkout.saga import (
    Confirmed,
    HoldGone,
    LedgerRefused,
    Limits,
    Outcome,
    Refused,
    Step,
    Unanswered,
    Undone,
    after,
    step_of,
)
from onebook.checkout.store import Store
from onebook.ledger.failures import DATABASE_FAULTS, LedgerUnavailable, Overloaded, UnknownName, Unprocessable
from onebook.ledger.ledger import Ledger, Placing
from onebook.ledger.page import Settled
from onebook.model.booking import BookingId, ItemKey
from onebook.model.commands import CancelBooking, ConfirmBooking, ExpireHold, ExtendHold, ReleaseHold, Wanted
from onebook.model.decision import Decision, Unchanged
from onebook.model.items import keys_of
from onebook.model.offers.quote import QuotedItem
from onebook.model.refusals import HoldExpired, Refusal

MAX_STEPS = 20
STOP_SECONDS = 4.0
CHALLENGE_MARGIN_SECONDS = 60
"""A hold outlives its payer's challenge by so much, so that what was paid in the last moment finds it."""

log = structlog.get_logger()


class Driver:
    """Drives checkouts, many at the same time."""

    def __init__(self, store: Store, ledger: Ledger, gateway: Gateway, limits: Limits, *, max_under_way: int) -> None:
        self._store = store
        self._ledger = ledger
        self._gateway = gateway
        self._limits = limits
        self._max_under_way = max_under_way
        self._tasks: dict[str, asyncio.Task[Checkout]] = {}

    @property
    def room(self) -> int:
        """How many more may be under way."""
        return self._max_under_way - len(self._tasks)

    def start(self, checkout: Checkout) -> "asyncio.Task[Checkout]":
        """Drive a checkout whose row was just written by us. The task ends with the row as it is when it ends or waits.

        Raises Overloaded when too many are under way; somebody will find the row when it is due.
        """
        if self.room <= 0:
            raise Overloaded("more checkouts are under way than are taken on")
        task = asyncio.create_task(self._drive(checkout), name=f"checkout {checkout.id}")
        self._tasks[checkout.id] = task
        UNDER_WAY.inc()
        task.add_done_callback(lambda task: self._ended(checkout.id, task))
        return task

    async def close(self) -> None:
        """Let what is under way come to its next rest, not for ever: what does not is resumed by others."""
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=STOP_SECONDS)
        for task in self._tasks.values():
            task.cancel()

    def _ended(self, identity: str, task: "asyncio.Task[Checkout]") -> None:
        UNDER_WAY.dec()
        if self._tasks.get(identity) is task:
            del self._tasks[identity]
        if task.cancelled():
            return
        if (error := task.exception()) is None:
            return
        if isinstance(error, (LedgerUnavailable, *DATABASE_FAULTS)):
            log.warning("checkout_left", checkout=identity, reason=str(error))
        else:
            log.error("checkout_failed", checkout=identity, exc_info=error)

    async def _drive(self, checkout: Checkout) -> Checkout:
        for _ in range(MAX_STEPS):
            if checkout.state in FINAL:
                return checkout
            before = checkout.state
            moved = after(checkout, await self._outcome(checkout), datetime.now(UTC), self._limits)
            checkout = moved.checkout
            if moved.written and not await self._write(before, checkout):
                # Somebody else has taken it over, so that it is theirs to go on with.
                return await self._store.read(checkout.id) or checkout
            if moved.rests:
                break
        return checkout

    async def _write(self, before: State, checkout: Checkout) -> bool:
        adds_to_books = checkout.state is State.COMPLETED and checkout.purpose is not Purpose.BOOKING
        books = await self._store.entries(checkout.booking) if adds_to_books else ()
        change = step(before, checkout, books)
        if checkout.state is State.FAILED and checkout.quote.coupons:
            written = await self._store.fail_with_coupons(change)
        else:
            written = await self._store.write(change)
        if written and checkout.state in FINAL and checkout.finished_at is not None:
            CHECKOUTS.labels(checkout.state, checkout.code or "").inc()
            CHECKOUT_SECONDS.observe((checkout.finished_at - checkout.begun_at).total_seconds())
        return written

    async def _outcome(self, checkout: Checkout) -> Outcome:
        """Do the next step. What it comes to is told, not raised."""
        try:
            return await self._do(step_of(checkout), checkout)
        except GatewayRefused as error:
            return Refused(error.code)
        except GatewayAway as error:
            return Unanswered(error.retry_after_seconds)
        except (OutcomeUnknown, LedgerUnavailable) as error:
            log.info("checkout_unanswered", checkout=checkout.id, state=checkout.state, reason=repr(error))
            return Unanswered()

    async def _do(self, todo: Step, checkout: Checkout) -> Outcome:
        match todo:
            case Step.AUTHORIZE | Step.LOOK:
                return await self._authorize(checkout, looks=todo is Step.LOOK)
            case Step.COMMIT:
                return await self._commit(checkout)
            case Step.REACQUIRE:
                return await self._reacquire(checkout)
            case Step.CAPTURE:
                return await self._gateway.capture(order_of(checkout), checkout.reference or "", checkout.amount_minor)
            case Step.RELEASE:
                await self._ledger.move(ReleaseHold(checkout.booking, None, checkout.traceparent))
                return Undone()
            case Step.REVOKE:
                return await self._revoke(checkout)
            case Step.VOID:
                return await self._void(checkout)

    async def _authorize(self, checkout: Checkout, *, looks: bool) -> Outcome:
        # Settlements wait for checkouts that are under way, and checkouts give way. Each looks once its own row is written.
        if checkout.purpose is not Purpose.BOOKING and await self._store.is_settled(checkout.booking):
            return Refused("already-settled")
        order = order_of(checkout)
        payment = await self._gateway.find(order, checkout.reference) if looks else None
        if payment is None:
            payment = await self._gateway.authorize(order)
        if payment.state is PaymentState.CHALLENGED and checkout.challenged_until is None and checkout.confirms:
            await self._wait_for_payer(checkout)
        return payment

    async def _wait_for_payer(self, checkout: Checkout) -> None:
        """Have the hold live as long as its payer's challenge; once, and one that lives longer is left as it is."""
        booking = await self._store.booking(checkout.booking)
        lives_until = datetime.now(UTC) + timedelta(seconds=self._limits.challenge_seconds)
        if booking is not None and booking.expires_at is not None and booking.expires_at < lives_until:
            ttl_seconds = int(self._limits.challenge_seconds) + CHALLENGE_MARGIN_SECONDS
            await self._ledger.move(ExtendHold(checkout.booking, None, ttl_seconds, checkout.traceparent))

    async def _commit(self, checkout: Checkout) -> Outcome:
        if checkout.amended is not None and checkout.former is not None:
            return await self._amend(checkout, checkout.amended, keys_of(checkout.former.items))
        booking, paid_for = checkout.confirmed_booking or checkout.booking, keys_of(checkout.quote.items)
        settled = await self._ledger.move(ConfirmBooking(booking, None, checkout.traceparent, paid_for))
        if isinstance(settled.verdict, HoldExpired):
            return HoldGone()
        return _decided(settled)

    async def _reacquire(self, checkout: Checkout) -> Outcome:
        """The same units once more, as a booking of its own: what has expired stays expired."""
        # Nobody may have swept it yet, and then it would be refused because of its own hold.
        await self._ledger.move(ExpireHold(checkout.booking, checkout.traceparent))
        former = await self._store.booking(checkout.booking)
        placing = Placing(
            channel=checkout.channel,
            idempotency_key=f"checkout-{checkout.id}",
            request_hash=hashlib.blake2b(checkout.id.encode(), digest_size=16).digest(),
            ttl_seconds=1,
            confirm=True,
            reference=None if former is None else former.reference,
            customer=None if former is None else former.customer,
            traceparent=checkout.traceparent,
            is_paid=True,
        )
        try:
            return _decided(await self._ledger.place(wanted_of(checkout.quote.items), placing))
        except (UnknownName, Unprocessable) as error:
            return LedgerRefused(getattr(error, "code", "not-found"))

    async def _revoke(self, checkout: Checkout) -> Outcome:
        """Take back what this checkout has confirmed, and nothing else."""
        booking = checkout.confirmed_booking or checkout.booking
        if checkout.purpose is Purpose.AMENDMENT and checkout.former is not None:
            undone = await self._amend(checkout, wanted_of(checkout.former.items), keys_of(checkout.quote.items))
            if not isinstance(undone, Confirmed):
                log.error("amendment_stands_unpaid", checkout=checkout.id, booking=booking)
        elif checkout.confirms:
            await self._ledger.move(CancelBooking(booking, None, "payment-failed", checkout.traceparent))
        return Undone()

    async def _amend(self, checkout: Checkout, wanted: tuple[Wanted, ...], paid_for: frozenset[ItemKey]) -> Outcome:
        try:
            return _decided(
                await self._ledger.amend(
                    checkout.booking, wanted, channel=None, traceparent=checkout.traceparent, paid_for=paid_for
                )
            )
        except (UnknownName, Unprocessable) as error:
            return LedgerRefused(getattr(error, "code", "not-found"))

    async def _void(self, checkout: Checkout) -> Outcome:
        """Set the money free; what was taken after all is given back."""
        if checkout.amount_minor == 0:
            return Undone()
        order = order_of(checkout)
        payment = await self._gateway.void(order, checkout.reference)
        if payment.state is PaymentState.CAPTURED:
            return await self._give_back(checkout, order, payment)
        if payment.state in {PaymentState.VOIDED, PaymentState.DECLINED}:
            return Undone()
        return Unanswered()

    async def _give_back(self, checkout: Checkout, order: Order, payment: Payment) -> Outcome:
        left_minor = payment.captured_minor - payment.refunded_minor
        if left_minor == 0:
            return Undone()
        # One that has failed stays failed under its key. Of all of them only one can succeed: each asks for all that is left.
        key = f"{checkout.id}:undo:{checkout.attempts}"
        refund = await self._gateway.refund(order, payment.reference, key, left_minor)
        if refund.state is RefundState.FAILED:
            log.error("cannot_give_back", checkout=checkout.id, reference=payment.reference)
            return Unanswered()
        return Undone()


def order_of(checkout: Checkout) -> Order:
    """What the gateway is asked for: always the same for one checkout."""
    return Order(
        key=checkout.id,
        amount_minor=checkout.amount_minor,
        currency=checkout.currency,
        token=checkout.token,
        booking=checkout.booking,
        description=f"Booking {checkout.booking}",
    )


def wanted_of(items: tuple[QuotedItem, ...]) -> tuple[Wanted, ...]:
    """Items as they are asked for."""
    return tuple(
        Wanted(resource=item.resource, session=item.session, quantity=item.quantity)
        if item.session is not None
        else Wanted(resource=item.resource, starts=item.starts, ends=item.ends, quantity=item.quantity)
        for item in items
    )


def _decided(settled: Settled) -> Outcome:
    verdict = settled.verdict
    if isinstance(verdict, Decision | Unchanged) and verdict.booking is not None:
        return Confirmed(BookingId(verdict.booking.id))
    if isinstance(verdict, Refusal):
        return LedgerRefused(verdict.code)
    raise TypeError(f"the ledger answered with a verdict that nobody asked for: {type(verdict).__name__}")
