"""The simulator's own ledger: every payment in memory, and each change in the journal before it is told.

Who calls me: the API. What I own: the payments and the journal. What survives a crash: every change. What bounds me:
MAX_PAYMENTS.
"""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from uuid import uuid4

from onebook.simulator import rules
from onebook.simulator.documents import (
    NewPayment,
    NewRefund,
    Payment,
    PaymentList,
    Record,
    Refund,
    RefundState,
    Refused,
    State,
)
from onebook.simulator.faults import Chance, Fate
from onebook.simulator.journal import Journal

MAX_PAYMENTS = 1_000_000


class BrokenInvariant(Exception):
    """A payment came out as none may be: the simulator is wrong."""


@dataclass(frozen=True)
class Surroundings:
    """What the ledger needs of the world."""

    clock: Callable[[], float]
    """Seconds of the epoch."""
    later: Callable[[float, Callable[[], None]], object]
    """Calls back in so many seconds."""
    tell: Callable[[str, str], None]
    """Hands on what type of thing has happened to which key."""
    challenges_url: str
    tells_all: bool = True
    """Whether what a call has made is told as well: its answer says so already."""


class Ledger:
    """All payments."""

    def __init__(self, journal: Journal, chance: Chance, surroundings: Surroundings) -> None:
        """Replays the journal; what was to come late still comes. Raises BrokenInvariant."""
        self._journal = journal
        self._chance = chance
        self._around = surroundings
        self._records: dict[str, Record] = {}
        self._in_order: list[str] = []
        self._key_of_challenge: dict[str, str] = {}
        for record in journal.replay():
            _check(record.payment)
            self._keep(record)
        for record in list(self._records.values()):
            self._await_pending(record)

    def find(self, key: str) -> Record:
        """Raises Refused when it has never been heard of."""
        record = self._records.get(key)
        if record is None:
            raise Refused(404, "unknown_payment")
        return record

    def token_of(self, key: str) -> str:
        """What a payment is paid with; empty when it has never been heard of."""
        record = self._records.get(key)
        return "" if record is None else record.token

    def authorize(self, order: NewPayment) -> Payment:
        """The payment of an order; made if there is none of its key."""
        record = self._records.get(order.key)
        if record is not None:
            rules.same_order(record, order)
            return record.payment
        now = self._created_now()
        fate = self._chance.fate_of_payment(order.token)
        record = rules.opened(order, fate, f"pay_{uuid4().hex}", now, self._late_until(now))
        if fate is Fate.CHALLENGED:
            record = rules.challenged(record, uuid4().hex, self._around.challenges_url)
        return self._commit(record, record.payment.state)

    def capture(self, key: str, amount_minor: int) -> Payment:
        """The money is taken."""
        record = self.find(key)
        fate = self._chance.fate_of_capture(record.token)
        if fate is Fate.REFUSED and (gone := rules.expired(record)) is not record:
            record = gone
            self._commit(record, State.VOIDED)
        late_until = self._late_until(self._around.clock()) if fate is Fate.LATE else None
        changed = rules.captured(record, amount_minor, late_until)
        return self._commit(changed, changed.payment.state, instead_of=record)

    def void(self, key: str) -> Payment:
        """The money is set free; a key never heard of is closed for ever."""
        record = self._records.get(key)
        if record is None:
            return self._commit(rules.tombstone(key, f"pay_{uuid4().hex}", self._created_now()), State.VOIDED)
        changed = rules.voided(record)
        return self._commit(changed, changed.payment.state, instead_of=record)

    def refund(self, key: str, order: NewRefund) -> Refund:
        """Money is given back."""
        record = self.find(key)
        fails = self._chance.fate_of_refund(record.token, len(record.payment.refunds)) is Fate.FAILS
        changed, refund = rules.refunded(record, order, fails, f"re_{uuid4().hex}", self._around.clock())
        happened = "refunded" if refund.state is RefundState.SUCCEEDED else "refund_failed"
        self._commit(changed, happened, instead_of=record)
        return refund

    def challenged(self, identity: str) -> Record:
        """The payment of a challenge. Raises Refused."""
        return self.find(self._key_of_challenge.get(identity, ""))

    def answer(self, identity: str, passed: bool) -> Payment:
        """The payer has passed the challenge, or failed it."""
        changed = rules.answered(self.challenged(identity), passed)
        return self._commit(changed, changed.payment.state, called=False)

    def page(self, since: float, after: int, limit: int) -> PaymentList:
        """Payments made since a time, in order; `after` is where the page before ended."""
        first = max(after, bisect_left(self._in_order, since, key=lambda key: self._records[key].payment.created))
        keys = self._in_order[first : first + limit]
        following = first + len(keys)
        return PaymentList(
            payments=[self._records[key].payment for key in keys],
            next=following if following < len(self._in_order) else None,
        )

    def _commit(
        self, record: Record, happened: str, *, instead_of: Record | None = None, called: bool = True
    ) -> Payment:
        """Journal first: what is told has been written. A repetition (`record` is what it was) writes and tells nothing."""
        if record is not instead_of:
            _check(record.payment)
            self._journal.append(record)
            self._keep(record)
            self._await_pending(record)
            if self._around.tells_all or not called:
                self._around.tell(f"payment.{happened}", record.payment.key)
        return record.payment

    def _keep(self, record: Record) -> None:
        key = record.payment.key
        if key not in self._records:
            self._in_order.append(key)
            if record.challenge is not None:
                self._key_of_challenge[record.challenge] = key
        self._records[key] = record

    def _await_pending(self, record: Record) -> None:
        if record.pending is not None:
            delay_seconds = max(0.0, record.pending.due - self._around.clock())
            self._around.later(delay_seconds, lambda: self._settle(record))

    def _settle(self, waiting: Record) -> None:
        """Only what still waits: a void may have come before."""
        record = self._records[waiting.payment.key]
        if record is waiting:
            changed = rules.settled(record)
            self._commit(changed, changed.payment.state, called=False)

    def _late_until(self, now: float) -> float:
        return now + self._chance.faults.late_ms / 1000

    def _created_now(self) -> float:
        """The time of a new payment: never before that of another, though the clock may be set back, as pages are cut by it."""
        if len(self._records) >= MAX_PAYMENTS:
            raise Refused(507, "full", f"{MAX_PAYMENTS} payments are all that this simulator keeps")
        latest = self._records[self._in_order[-1]].payment.created if self._in_order else 0.0
        return max(latest, self._around.clock())


def _check(payment: Payment) -> None:
    given_minor = sum(refund.amount_minor for refund in payment.refunds if refund.state is RefundState.SUCCEEDED)
    if not 0 <= given_minor == payment.refunded_minor <= payment.captured_minor <= payment.amount_minor:
        raise BrokenInvariant(f"payment {payment.key}: its amounts contradict each other")
