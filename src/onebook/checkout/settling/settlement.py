"""One settlement, as a row and as a pure state machine: where the money of a paid booking goes when it ends or gets cheaper.

    moving ──► refunding ──► settled        the ledger has moved the booking; the gateway has given back what is not kept
       │           └───────► failed         the gateway will not: what was promised stays in the books; refunding, on request
       └───────────────────► refused        the ledger will not: nothing has happened

What is kept is decided once, by the time at which it was asked for (`begun_at`, the database's clock): our delays cost nobody.
Every step may be repeated.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec
from msgspec.structs import replace

from onebook.checkout.books.journal import Entry
from onebook.checkout.books.postings import kept_minor, of_end, of_goodwill, of_lesser, paid_minor, promised_minor
from onebook.checkout.gateways.protocol import RefundState
from onebook.checkout.record import Checkout
from onebook.checkout.saga import FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS
from onebook.ledger.failures import BrokenInvariant
from onebook.log.facts import Touched
from onebook.model.booking import BookingId
from onebook.model.commands import Wanted
from onebook.model.money import proportion, split
from onebook.model.offers.policy import cancellation_fees, item_totals, no_show_fees
from onebook.model.offers.quote import Quote
from onebook.model.refusals import Refusal


class Kind(StrEnum):
    """What is settled."""

    CANCELLATION = "cancellation"
    NO_SHOW = "no-show"
    AMENDMENT = "amendment"
    """To items that cost no more."""
    GOODWILL = "goodwill"
    """Given back because somebody wants to, and not by policy."""


ENDS = frozenset({Kind.CANCELLATION, Kind.NO_SHOW})


class State(StrEnum):
    """moving → refunding → settled | failed; moving → settled | refused."""

    MOVING = "moving"
    REFUNDING = "refunding"
    SETTLED = "settled"
    FAILED = "failed"
    REFUSED = "refused"


FINAL = frozenset({State.SETTLED, State.FAILED, State.REFUSED})


class NotPaid(Refusal, frozen=True):
    """No checkout of the booking was completed: there is no money to settle."""

    code = "not-paid"
    title = "This booking was not paid for"


class AlreadySettled(Refusal, frozen=True):
    """The booking's money was divided before, by a cancellation or because nobody came."""

    settlement: str

    code = "already-settled"
    title = "This booking is settled"


class NotYetArrived(Refusal, frozen=True):
    """Nobody can have stayed away yet."""

    arrives_at: datetime

    code = "not-yet-arrived"
    title = "The booking has not begun yet"


class NothingFailed(Refusal, frozen=True):
    """Every refund of the booking was given back, or is on its way."""

    code = "nothing-failed"
    title = "No refund of this booking has failed"


class NotSettled(Refusal, frozen=True):
    """The settlement was refused: nothing has happened."""

    reason: str

    code = "not-settled"
    title = "This cannot be settled"


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """A row of payment.settlement. Each write raises `revision` by one and compares it: two workers cannot both move it."""

    id: str
    revision: int
    checkout: str
    """The last one that was completed: its quote is what the booking costs."""
    booking: BookingId
    kind: Kind
    state: State
    channel: str
    currency: str
    begun_at: datetime
    idempotency_key: str | None = None
    fee_minor: int = 0
    refund_minor: int = 0
    quote: Quote | None = None
    """What the booking costs from now on; only of an amendment."""
    amended: tuple[Wanted, ...] | None = None
    reason: str | None = None
    code: str | None = None
    """Why it failed or was refused."""
    attempts: int = 0
    due_at: datetime | None = None
    traceparent: str | None = None
    finished_at: datetime | None = None


class RefundRow(msgspec.Struct, frozen=True):
    """A row of payment.refund: what is given back of one payment. `id` is its key at the gateway."""

    id: str
    checkout: str
    amount_minor: int
    state: RefundState = RefundState.PENDING
    reference: str | None = None


class Captured(msgspec.Struct, frozen=True):
    """A payment of the booking, and what is left of it to give back."""

    checkout: str
    left_minor: int


class Plan(msgspec.Struct, frozen=True):
    """What the settlement of a booking that has moved comes to; decided once, and written with its entries."""

    fee_minor: int
    refunds: tuple[tuple[str, int], ...]
    """How much is given back of which checkout's payment."""
    entries: tuple[Entry, ...]
    """The last one promises what goes back; none where the books stay as they are."""

    @property
    def refund_minor(self) -> int:
        """What is given back in all."""
        return sum(amount for _, amount in self.refunds)


def planned(
    settlement: Settlement, checkout: Checkout, books: Sequence[Entry], payments: Sequence[Captured]
) -> Plan | str:
    """What is kept and what goes back, or the code of why nothing can be.

    `checkout` is the last that was completed, `books` are all entries of the booking, `payments` the latest first.
    """
    if settlement.kind is Kind.GOODWILL and settlement.refund_minor > paid_minor(books):
        return "refund-exceeds-payment"
    # Whose booking has ended meanwhile has been given back everything already.
    if settlement.kind is Kind.AMENDMENT and any(entry.kind in ENDS for entry in books):
        return "wrong-state"
    entries = _entries(settlement, checkout, books)
    refund_minor = sum(map(promised_minor, entries))
    fee_minor = kept_minor(entries)
    if settlement.kind in ENDS:
        # What was kept of a part before is told by the settlement that has kept it.
        fee_minor = max(0, paid_minor(books) - refund_minor - kept_minor(books))
    return Plan(fee_minor, _given_back(refund_minor, payments), entries)


def _entries(settlement: Settlement, checkout: Checkout, books: Sequence[Entry]) -> tuple[Entry, ...]:
    quote = checkout.quote
    match settlement.kind:
        case Kind.CANCELLATION:
            fees = by_venue(quote, cancellation_fees(quote, settlement.begun_at))
            entry = of_end(settlement.id, settlement.kind, checkout, books, fees)
        case Kind.NO_SHOW:
            fees = by_venue(quote, no_show_fees(quote))
            entry = of_end(settlement.id, settlement.kind, checkout, books, fees)
        case Kind.GOODWILL:
            entry = of_goodwill(settlement.id, checkout, books, settlement.refund_minor)
        case Kind.AMENDMENT:
            instead = settlement.quote or quote
            fees = fees_of_part(quote, instead, settlement.begun_at)
            return of_lesser(settlement.id, checkout, books, instead, fees)
    return (entry,) if entry.postings else ()


def _given_back(refund_minor: int, payments: Sequence[Captured]) -> tuple[tuple[str, int], ...]:
    """A refund in parts, one for each payment that it takes. Raises BrokenInvariant where they do not suffice."""
    parts = []
    for payment in payments:
        part_minor = min(refund_minor, payment.left_minor)
        if part_minor > 0:
            parts.append((payment.checkout, part_minor))
            refund_minor -= part_minor
    if refund_minor:
        raise BrokenInvariant(f"the books promise {refund_minor} more than was ever taken")
    return tuple(parts)


def fees_of_part(former: Quote, quote: Quote, asked_at: datetime) -> dict[str, int]:
    """What is kept, by venue, of what a booking costs less: giving up a part is cancelling a part.

    Of what a venue's items cost less it is the share that cancelling all of them would cost; in all no more than what the booking
    costs less, so that who moves from one venue to another pays no fee on what the other one gets.
    """
    totals = by_venue(former, item_totals(former.lines, len(former.items)))
    instead = by_venue(quote, item_totals(quote.lines, len(quote.items)))
    whole_fees = by_venue(former, cancellation_fees(former, asked_at))
    fees = {
        venue: proportion(max(0, total - instead.get(venue, 0)), whole_fees[venue], total)
        for venue, total in totals.items()
        if total > 0
    }
    fee_minor = min(sum(fees.values()), max(0, former.total_minor - quote.total_minor))
    return dict(zip(fees, split(fee_minor, tuple(fees.values())), strict=False))  # what costs nothing has no parts


def by_venue(quote: Quote, amounts_minor: Sequence[int]) -> dict[str, int]:
    """Amounts of a quote's items, by the venue that sells them."""
    sums: dict[str, int] = {}
    for item, amount_minor in zip(quote.items, amounts_minor, strict=True):
        venue = item.resource.partition("/")[0]
        sums[venue] = sums.get(venue, 0) + amount_minor
    return sums


def moved(settlement: Settlement, plan: Plan, now: datetime) -> Settlement:
    """The booking has moved, and it is decided what goes back."""
    decided = replace(settlement, fee_minor=plan.fee_minor, refund_minor=plan.refund_minor, attempts=0, due_at=now)
    return _next(decided, State.REFUNDING) if plan.refunds else ended(decided, State.SETTLED, now)


def refunded(settlement: Settlement, refunds: Sequence[RefundRow], now: datetime) -> Settlement:
    """The gateway has been asked for all of them."""
    if any(refund.state is RefundState.PENDING for refund in refunds):
        return waiting(settlement, now)
    if any(refund.state is RefundState.FAILED for refund in refunds):
        return ended(settlement, State.FAILED, now, "refund-failed")
    return ended(settlement, State.SETTLED, now)


def waiting(settlement: Settlement, now: datetime, retry_after_seconds: float = 0.0) -> Settlement:
    """Nobody knows, or nobody was there: ask again later."""
    wait_seconds = min(FIRST_WAIT_SECONDS * 2 ** min(settlement.attempts, 10), LONGEST_WAIT_SECONDS)
    wait_seconds = max(wait_seconds, min(retry_after_seconds, LONGEST_WAIT_SECONDS))
    waits = replace(settlement, attempts=settlement.attempts + 1, due_at=now + timedelta(seconds=wait_seconds))
    return _next(waits, settlement.state)


def ended(settlement: Settlement, state: State, now: datetime, code: str | None = None) -> Settlement:
    """It is over."""
    return _next(replace(settlement, attempts=0, due_at=None, finished_at=now, code=code), state)


def _next(settlement: Settlement, state: State) -> Settlement:
    return replace(settlement, state=state, revision=settlement.revision + 1)


class SettlementFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the log tells of a settlement; `amount_minor` is what goes back."""

    checkout: str
    booking: str
    channel: str
    state: State
    amount_minor: int
    currency: str
    venues: tuple[str, ...]
    resources: tuple[Touched, ...]
    """None: the booking's own events tell what it has given up."""
    settlement: str
    kind: Kind
    fee_minor: int
    code: str | None = None


def told(settlement: Settlement, venues: tuple[str, ...]) -> SettlementFacts:
    """The facts of a settlement that is over."""
    return SettlementFacts(
        checkout=settlement.checkout,
        booking=settlement.booking,
        channel=settlement.channel,
        state=settlement.state,
        amount_minor=settlement.refund_minor,
        currency=settlement.currency,
        venues=venues,
        resources=(),
        settlement=settlement.id,
        kind=settlement.kind,
        fee_minor=settlement.fee_minor,
        code=settlement.code,
    )
