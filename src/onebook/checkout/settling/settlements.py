"""Settlements: what becomes of the money when a booking that was paid is cancelled, not shown up for, or made cheaper.

Who calls me: the routes, instead of the ledger, for bookings that were paid; every worker runs the loop, which goes on with what
another one has left. What I own: the settlements under way in this process. What survives a crash: the rows; each step finds what
it did before, and the gateway gives back once per refund. What bounds me: `max_under_way` settlements, CLAIM_LIMIT a round,
MAX_STEPS a drive, LONGEST_WAIT_SECONDS between two tries; the gateway's calls have bounds of their own (gateways/breaker.py).

A request waits for the end of its settlement, but not for ever; the settlement goes on without it. What is refused is raised as
CheckoutRefused; also raised is LedgerUnavailable.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import asyncpg
import structlog
from msgspec.structs import replace

from onebook.checkout.driver import order_of
from onebook.checkout.failures import CheckoutRefused, CheckoutUnderWay
from onebook.checkout.gateways.protocol import Gateway, GatewayAway, GatewayRefused, OutcomeUnknown, RefundState
from onebook.checkout.record import Checkout
from onebook.checkout.settling.settlement import (
    ENDS,
    FINAL,
    AlreadySettled,
    Kind,
    NothingFailed,
    NotPaid,
    NotSettled,
    NotYetArrived,
    RefundRow,
    Settlement,
    State,
    ended,
    waiting,
)
from onebook.checkout.settling.store import Due, Opening, SettlementStore
from onebook.ledger.failures import DATABASE_FAULTS, LedgerUnavailable, Overloaded, UnknownName, Unprocessable
from onebook.ledger.identity import new_id
from onebook.ledger.ledger import Ledger
from onebook.model.booking import BookingId, Status
from onebook.model.commands import CancelBooking, Wanted
from onebook.model.items import keys_of
from onebook.model.offers.quote import Quote
from onebook.model.refusals import KeyReused, Refusal, UnknownBooking, WrongState

MAX_STEPS = 10
CLAIM_LIMIT = 50
INTERVAL_SECONDS = 0.25
LOOK_SECONDS = 0.1
STOP_SECONDS = 4.0

log = structlog.get_logger()


class Settlements:
    """Settles bookings that were paid."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        ledger: Ledger,
        gateway: Gateway,
        *,
        answer_seconds: float,
        resume_seconds: float,
        max_under_way: int,
    ) -> None:
        self._store = SettlementStore(pool)
        self._ledger = ledger
        self._gateway = gateway
        self._answer_seconds = answer_seconds
        self._lease_seconds = resume_seconds
        self._max_under_way = max_under_way
        self._tasks: dict[str, asyncio.Task[Settlement]] = {}
        self._stopping = asyncio.Event()
        self.turned_at = asyncio.get_running_loop().time()

    async def is_paid(self, booking: BookingId) -> bool:
        """Whether money has been taken for a booking, or is being taken: then it is cancelled here."""
        return await self._store.is_paid(booking)

    async def cancel(
        self,
        booking: BookingId,
        *,
        only_channel: str | None = None,
        reason: str | None = None,
        traceparent: str | None = None,
    ) -> Settlement:
        """Cancel a booking that was paid: the policy's fee is kept, the rest goes back. Cancelling again finds it done."""
        opening, checkout = await self._opening(booking, only_channel)
        row = _first_row(opening, checkout, Kind.CANCELLATION)
        return await self._settle(replace(row, reason=reason, traceparent=traceparent), opening, checkout)

    async def no_show(
        self,
        booking: BookingId,
        *,
        identity: str | None = None,
        only_channel: str | None = None,
        traceparent: str | None = None,
    ) -> Settlement:
        """Nobody came: what the policy keeps then is kept, the rest goes back. The booking stays as it is."""
        opening, checkout = await self._opening(booking, only_channel)
        row = _first_row(opening, checkout, Kind.NO_SHOW, identity)
        return await self._settle(replace(row, traceparent=traceparent), opening, checkout)

    async def refund(
        self,
        booking: BookingId,
        amount_minor: int,
        *,
        identity: str | None = None,
        idempotency_key: str,
        reason: str | None = None,
        traceparent: str | None = None,
    ) -> Settlement:
        """Give back money because somebody wants to, up to what was paid. Once per key.

        It is under `identity` if this call has begun it, and under another one if an earlier one has.
        """
        opening, checkout = await self._opening(booking, None)
        row = replace(
            _first_row(opening, checkout, Kind.GOODWILL, identity),
            refund_minor=amount_minor,
            reason=reason,
            idempotency_key=idempotency_key,
            traceparent=traceparent,
        )
        return await self._settle(row, opening, checkout)

    async def retry(self, booking: BookingId) -> list[Settlement]:
        """Ask once more for what the gateway has refused to give back of a booking; the settlements that were begun again."""
        await self._opening(booking, None)
        revived = await self._store.revive(booking, self._lease_seconds)
        if not revived:
            raise CheckoutRefused(NothingFailed())
        return [await self._waited(settlement, self._start(settlement)) for settlement in revived]

    async def amend_down(
        self,
        booking: BookingId,
        wanted: Sequence[Wanted],
        quote: Quote,
        *,
        only_channel: str | None = None,
        traceparent: str | None = None,
    ) -> Settlement:
        """Give a booking that was paid for other items that cost no more: of what is given up the policy's fee is kept."""
        opening, checkout = await self._opening(booking, only_channel)
        row = _first_row(opening, checkout, Kind.AMENDMENT)
        row = replace(row, quote=quote, amended=tuple(wanted), traceparent=traceparent)
        return await self._settle(row, opening, checkout)

    async def run_once(self) -> int:
        """Take over what is due; returns how many. They go on by themselves: a gateway that is silent holds up no round."""
        limit = min(CLAIM_LIMIT, self._max_under_way - len(self._tasks))
        if limit <= 0:
            return 0
        claimed = await self._store.claim(limit, self._lease_seconds)
        for settlement in claimed:
            self._start(settlement)
        return len(claimed)

    async def run(self) -> None:
        """Look for what is due until `stop`."""
        fault: str | None = None
        while not self._stopping.is_set():
            claimed = 0
            try:
                claimed = await self.run_once()
            except (*DATABASE_FAULTS, LedgerUnavailable) as error:
                if repr(error) != fault:  # the same one is told once, not with every round
                    log.warning("cannot_resume_settlements", reason=repr(error))
                fault = repr(error)
            else:
                fault = None
                self.turned_at = asyncio.get_running_loop().time()
            if claimed < CLAIM_LIMIT:
                await self._pause()
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=STOP_SECONDS)
        for task in self._tasks.values():
            task.cancel()

    def stop(self) -> None:
        """End after the present round; what is under way is gone on with by others."""
        self._stopping.set()

    async def _opening(self, booking: BookingId, only_channel: str | None) -> tuple[Opening, Checkout]:
        opening = await self._store.opening(booking)
        if opening is None or only_channel not in {None, opening.channel}:
            raise CheckoutRefused(UnknownBooking())
        if opening.checkout is None:
            raise CheckoutRefused(NotPaid() if opening.under_way is None else CheckoutUnderWay(opening.under_way))
        return opening, opening.checkout

    async def _settle(self, row: Settlement, opening: Opening, checkout: Checkout) -> Settlement:
        """Begin a settlement and wait for it, or for the one that the same request has begun before."""
        earlier = _earlier(row, opening)
        if earlier is None:
            if (refusal := _refusal(row, opening, checkout)) is not None:
                raise CheckoutRefused(refusal)
            if len(self._tasks) >= self._max_under_way:
                raise Overloaded("more settlements are under way than are taken on")
            row = replace(row, due_at=row.begun_at + timedelta(seconds=self._lease_seconds))
            if await self._store.begin(row):
                return await self._waited(row, self._start(row))
            # Somebody was faster.
            opening, _ = await self._opening(row.booking, None)
            earlier = _earlier(row, opening)
        if earlier is None:
            raise LedgerUnavailable("another change of this booking is under way; send it again")
        return await self._waited(earlier)

    def _start(self, settlement: Settlement) -> "asyncio.Task[Settlement]":
        task = asyncio.create_task(self._drive(settlement), name=f"settlement {settlement.id}")
        self._tasks[settlement.id] = task
        task.add_done_callback(lambda task: self._left(settlement.id, task))
        return task

    def _left(self, identity: str, task: "asyncio.Task[Settlement]") -> None:
        self._tasks.pop(identity, None)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, (LedgerUnavailable, *DATABASE_FAULTS)):
            log.warning("settlement_left", settlement=identity, reason=repr(error))
        elif error is not None and not isinstance(error, CheckoutRefused):
            log.error("settlement_left", settlement=identity, exc_info=error)

    async def _waited(self, settlement: Settlement, driving: "asyncio.Task[Settlement] | None" = None) -> Settlement:
        """The settlement at its end, or where it is when the time for an answer is over. Raises the ledger's refusal."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._answer_seconds
        if driving is not None:
            await asyncio.wait({driving}, timeout=self._answer_seconds)
            settlement = driving.result() if driving.done() else settlement
        while settlement.state not in FINAL and loop.time() < deadline:
            await asyncio.sleep(LOOK_SECONDS)
            settlement = await self._store.read(settlement.id) or settlement
        if settlement.state is State.REFUSED:
            raise CheckoutRefused(NotSettled(settlement.code or "refused"))
        return settlement

    async def _drive(self, settlement: Settlement) -> Settlement:
        for _ in range(MAX_STEPS):
            if settlement.state in FINAL:
                break
            after = await self._step(settlement)
            if after is None:
                # Somebody else has taken it over, so that it is theirs to go on with.
                return await self._store.read(settlement.id) or settlement
            rests = after.attempts > 0
            settlement = after
            if rests:
                break
        return settlement

    async def _step(self, settlement: Settlement) -> Settlement | None:
        """The settlement after its next step, as it is written; None where somebody else has moved it."""
        try:
            if settlement.state is State.REFUNDING:
                return await self._give_back(settlement)
            refusal = await self._move(settlement)
            if refusal is None:
                return await self._store.decide(settlement, datetime.now(UTC))
        except GatewayAway as error:
            return await self._later(settlement, error.retry_after_seconds)
        except (OutcomeUnknown, LedgerUnavailable) as error:
            log.info("settlement_unanswered", settlement=settlement.id, state=settlement.state, reason=repr(error))
            return await self._later(settlement)
        if not await self._store.write(ended(settlement, State.REFUSED, datetime.now(UTC), refusal.code)):
            return None
        raise CheckoutRefused(refusal)

    async def _later(self, settlement: Settlement, retry_after_seconds: float = 0.0) -> Settlement | None:
        waits = waiting(settlement, datetime.now(UTC), retry_after_seconds)
        return waits if await self._store.write(waits) else None

    async def _move(self, settlement: Settlement) -> Refusal | None:
        """Have the ledger move the booking, where it has to be moved; why it will not."""
        try:
            match settlement.kind:
                case Kind.CANCELLATION:
                    move = CancelBooking(settlement.booking, None, settlement.reason, settlement.traceparent)
                    verdict = (await self._ledger.move(move)).verdict
                case Kind.AMENDMENT:
                    return await self._amend(settlement)
                case Kind.NO_SHOW | Kind.GOODWILL:
                    return None
        except asyncpg.CheckViolationError as error:
            # A checkout has begun meanwhile: it ends, and then the booking can be moved.
            raise LedgerUnavailable(str(error)) from error
        return verdict if isinstance(verdict, Refusal) else None

    async def _amend(self, settlement: Settlement) -> Refusal | None:
        _, checkout = await self._opening(settlement.booking, None)
        try:
            settled = await self._ledger.amend(
                settlement.booking,
                settlement.amended or (),
                channel=None,
                traceparent=settlement.traceparent,
                paid_for=keys_of(checkout.quote.items),
            )
        except (UnknownName, Unprocessable) as error:
            return NotSettled(getattr(error, "code", "not-found"))
        return settled.verdict if isinstance(settled.verdict, Refusal) else None

    async def _give_back(self, settlement: Settlement) -> Settlement | None:
        """Ask the gateway for each refund that it has not answered yet; the same key gives the same answer."""
        pending = [each for each in await self._store.refunds(settlement) if each.refund.state is RefundState.PENDING]
        answers = [await self._ask(each) for each in pending]
        return await self._store.answered(settlement, answers, datetime.now(UTC))

    async def _ask(self, due: Due) -> RefundRow:
        refund, checkout = due.refund, due.checkout
        order = order_of(checkout)
        try:
            answer = await self._gateway.refund(order, checkout.reference or "", refund.id, refund.amount_minor)
        except GatewayRefused as error:
            log.error("refund_refused", checkout=checkout.id, refund=refund.id, code=error.code)
            return replace(refund, state=RefundState.FAILED)
        return replace(refund, state=answer.state, reference=answer.reference)

    async def _pause(self) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), timeout=INTERVAL_SECONDS)
        except TimeoutError:
            return


def _first_row(opening: Opening, checkout: Checkout, kind: Kind, identity: str | None = None) -> Settlement:
    return Settlement(
        id=identity or new_id(),
        revision=1,
        checkout=checkout.id,
        booking=checkout.confirmed_booking or checkout.booking,
        kind=kind,
        state=State.MOVING,
        channel=opening.channel,
        currency=checkout.currency,
        begun_at=opening.now,
    )


def _earlier(row: Settlement, opening: Opening) -> Settlement | None:
    """What the same request has begun before. Raises CheckoutRefused where something else stands in its place."""
    for one in opening.settlements:
        if row.kind in ENDS and one.kind in ENDS:
            if one.kind is not row.kind:
                raise CheckoutRefused(AlreadySettled(one.id))
            return one
        if row.idempotency_key is not None and one.idempotency_key == row.idempotency_key:
            if (one.refund_minor, one.reason) != (row.refund_minor, row.reason):
                raise CheckoutRefused(KeyReused())
            return one
        if row.kind is one.kind is Kind.AMENDMENT and one.state is State.MOVING and one.amended == row.amended:
            return one
    return None


def _refusal(row: Settlement, opening: Opening, checkout: Checkout) -> Refusal | None:
    """Why a settlement does not begin."""
    if opening.under_way is not None:
        return CheckoutUnderWay(opening.under_way)
    if row.kind is not Kind.GOODWILL and opening.status is not Status.CONFIRMED:
        return WrongState(state=opening.status)
    if row.kind is Kind.AMENDMENT and any(one.kind in ENDS for one in opening.settlements):
        return WrongState(state=opening.status)
    arrives_at = min(item.arrives_at for item in checkout.quote.items)
    if row.kind is Kind.NO_SHOW and opening.now < arrives_at:
        return NotYetArrived(arrives_at)
    return None
