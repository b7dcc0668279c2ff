"""The saga against a world of its own: a ledger and a gateway in memory, where every step may fail before or after its effect."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from onebook.checkout.gateways.protocol import Payment, PaymentState
from onebook.checkout.record import FINAL, Checkout, Purpose, State
from onebook.checkout.saga import (
    GIVE_UP_SECONDS,
    BrokenSaga,
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
from onebook.model.booking import BookingId
from onebook.model.offers.quote import Quote

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
LIMITS = Limits(challenge_seconds=600, resume_seconds=15)
QUOTE = Quote(
    id="q",
    made_at=NOW,
    valid_until=NOW,
    currency="EUR",
    items=(),
    lines=(),
    policies=(),
    total_minor=100,
    due_now_minor=100,
)
MAX_TURNS = 400


def checkout(**changed: object) -> Checkout:
    """A checkout at its beginning."""
    row = Checkout(
        id="c",
        revision=1,
        booking=BookingId("b"),
        purpose=Purpose.BOOKING,
        confirms=True,
        channel="website",
        venues=("alfama",),
        idempotency_key="k",
        request_hash="h",
        state=State.AUTHORIZING,
        attempts=0,
        due_at=NOW + timedelta(seconds=15),
        gateway="simulator",
        token="tok_ok",
        amount_minor=100,
        currency="EUR",
        on_decline="release",
        quote=QUOTE,
        begun_at=NOW,
    )
    return replace(row, **changed)


class World:
    """A ledger and a gateway that keep their word, and a row that two workers share."""

    def __init__(self, *, temper: str, expires: bool, sold: bool) -> None:
        self.row = checkout()
        self.booking = "held"
        self.successor: str | None = None
        self.payment: PaymentState | None = None
        self.tombstone = False
        self.charges = self.refunds = 0
        self.temper = temper
        self.expires = expires
        self.sold = sold

    def do(self, step: Step, mine: Checkout | None = None) -> Outcome:
        """Carry out a step, as ledger and gateway do: once, however often it is asked for."""
        match step:
            case Step.AUTHORIZE | Step.LOOK:
                return self._authorize()
            case Step.COMMIT if mine is not None and mine.confirmed_booking is not None:
                return Confirmed(BookingId("b2")) if self.successor == "confirmed" else LedgerRefused("wrong-state")
            case Step.COMMIT:
                if self.booking == "held" and self.expires:
                    self.booking = "expired"
                if self.booking == "expired":
                    return HoldGone()
                if self.booking in {"released", "cancelled"}:
                    return LedgerRefused("wrong-state")
                self.booking = "confirmed"
                return Confirmed(BookingId("b"))
            case Step.REACQUIRE:
                if self.successor is None and self.sold:
                    return LedgerRefused("sold-out")
                self.successor = self.successor or "confirmed"
                return Confirmed(BookingId("b2"))
            case Step.CAPTURE:
                return self._capture()
            case Step.RELEASE:
                if self.booking == "held":
                    self.booking = "released"
                return Undone()
            case Step.REVOKE:
                if self.successor is not None:
                    self.successor = "cancelled"
                else:
                    self.booking = "cancelled"
                return Undone()
            case Step.VOID:
                self.tombstone = True
                if self.payment is PaymentState.CAPTURED:
                    self.refunds = self.charges
                elif self.payment is not PaymentState.DECLINED:
                    self.payment = PaymentState.VOIDED
                return Undone()

    def _authorize(self) -> Payment:
        if self.payment is None:
            self.payment = PaymentState.DECLINED if self.temper == "declines" else PaymentState.AUTHORIZED
            if self.tombstone:
                self.payment = PaymentState.VOIDED
        amount_minor = 90 if self.temper == "wrong-amount" else 100
        return Payment(key="c", reference="r", state=self.payment, amount_minor=amount_minor, currency="EUR")

    def _capture(self) -> Outcome:
        if self.temper == "refuses-capture" or self.payment is PaymentState.VOIDED:
            return Refused("expired")
        if self.payment is PaymentState.AUTHORIZED:
            self.payment = PaymentState.CAPTURED
            self.charges += 1
        captured = Payment(key="c", reference="r", state=PaymentState.CAPTURED, amount_minor=100, currency="EUR")
        return replace(captured, captured_minor=100)

    def write(self, row: Checkout) -> bool:
        """Compare and swap, as the table does."""
        if row.revision != self.row.revision + 1:
            return False
        self.row = row
        return True

    def cancel_successor(self) -> None:
        """Somebody who has found the new booking cancels it, unless the row that is written names it already."""
        guarded = self.row.confirmed_booking is not None and self.row.state not in FINAL | {State.REVOKING}
        if self.successor == "confirmed" and not guarded and self.row.state is not State.COMPLETED:
            self.successor = "cancelled"

    @property
    def is_sold(self) -> bool:
        """Whether the customer has the booking."""
        return self.booking == "confirmed" or self.successor == "confirmed"


class Worker:
    """Drives the row one step a turn, and may be killed or overtaken between any two."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.mine: Checkout | None = None
        self.step: Step | None = None

    def turn(self, fault: str, now: datetime) -> None:
        """Half a step: decide what to do; then, in another turn, do it and write what came of it."""
        if self.mine is None:
            row = self.world.row
            if row.state in FINAL:
                return
            claimed = replace(row, revision=row.revision + 1)
            if self.world.write(claimed):
                self.mine = claimed
        elif self.step is None:
            self.step = step_of(self.mine)
        else:
            self._carry_out(fault, now)

    def _carry_out(self, fault: str, now: datetime) -> None:
        mine, step, self.step = self.mine, self.step, None
        assert mine is not None and step is not None
        outcome: Outcome = Unanswered() if fault == "before" else self.world.do(step, mine)
        if fault in {"after", "kill"}:
            outcome = Unanswered()
        if fault == "kill":
            self.mine = None
            return
        moved = after(mine, outcome, now, LIMITS)
        if moved.written and not self.world.write(moved.checkout):
            self.mine = None
            return
        self.mine = None if moved.rests or moved.checkout.state in FINAL else moved.checkout


TEMPERS = st.sampled_from(["ok", "declines", "wrong-amount", "refuses-capture"])
FAULTS = st.sampled_from(["none", "none", "before", "after", "kill"])


@settings(max_examples=400, deadline=None)
@given(
    temper=TEMPERS,
    expires=st.booleans(),
    sold=st.booleans(),
    cancels=st.booleans(),
    turns=st.lists(st.tuples(st.integers(0, 2), FAULTS, st.integers(0, 40)), max_size=60),
)
def test_it_ends_paid_and_confirmed_or_neither(
    temper: str, expires: bool, sold: bool, cancels: bool, turns: list[tuple[int, str, int]]
) -> None:
    """Whatever fails, and however three workers get in each other's way: charged once and sold, or not charged and not sold."""
    world = World(temper=temper, expires=expires, sold=sold)
    workers = [Worker(world) for _ in range(3)]
    now = NOW
    for number, fault, seconds in turns:
        now += timedelta(seconds=seconds)
        workers[number].turn(fault, now)
        if cancels:
            world.cancel_successor()
    for worker in workers[1:]:
        worker.mine = worker.step = None  # gone; what they were doing has been done or not
    for _ in range(MAX_TURNS):
        now += timedelta(seconds=1)
        workers[0].turn("none", now)
        if world.row.state in FINAL:
            break
    assert world.row.state in FINAL
    assert world.charges <= 1
    assert world.is_sold == (world.charges - world.refunds == 1)
    assert world.is_sold == (world.row.state is State.COMPLETED)
    assert world.booking != "held"
    if world.row.state is State.FAILED:
        assert world.payment in {PaymentState.VOIDED, PaymentState.DECLINED, PaymentState.CAPTURED}


@pytest.mark.parametrize("step", [Step.RELEASE, Step.VOID])
def test_the_order_of_undoing_matters(step: Step) -> None:
    """Control: were the money set free before the ledger is asked, two workers could sell what is not paid for."""
    world = World(temper="ok", expires=False, sold=False)
    world.do(Step.AUTHORIZE)
    world.do(step)  # worker A goes back …
    committed = world.do(Step.COMMIT)  # … while worker B, which A has overtaken, is still at it
    sells_unpaid = isinstance(committed, Confirmed) and world.payment is PaymentState.VOIDED
    assert sells_unpaid == (step is Step.VOID)


def test_a_challenge_is_waited_for_and_not_for_ever() -> None:
    """A payer who does nothing loses the hold when the challenge's time is over, counted from its beginning."""
    payment = Payment(
        key="c", reference="r", state=PaymentState.CHALLENGED, amount_minor=100, currency="EUR", challenge_url="u"
    )
    waiting = after(checkout(), payment, NOW, LIMITS)
    assert waiting.rests and waiting.checkout.state is State.CHALLENGED and waiting.checkout.challenge_url == "u"
    later = after(waiting.checkout, payment, NOW + timedelta(seconds=599), LIMITS).checkout
    assert later.challenged_until == NOW + timedelta(seconds=600)
    ended = after(later, payment, NOW + timedelta(seconds=600), LIMITS).checkout
    assert (ended.state, ended.code) == (State.RELEASING, "challenge-timeout")


def test_a_silent_gateway_is_given_up_only_before_the_commit() -> None:
    """An authorization is given up for want of an answer; a capture is asked for until it is told."""
    late = NOW + timedelta(seconds=GIVE_UP_SECONDS)
    assert after(checkout(attempts=9), Unanswered(), late, LIMITS).checkout.state is State.RELEASING
    capturing = checkout(state=State.CAPTURING, attempts=9, confirmed_booking=BookingId("b"))
    asked_again = after(capturing, Unanswered(), late + timedelta(days=1), LIMITS)
    assert asked_again.rests and asked_again.checkout.state is State.CAPTURING


def test_a_declined_payer_may_keep_the_hold() -> None:
    """With `keep`, and where the booking stood before, nothing is released; the payment is made sure to be dead."""
    declined = Payment(
        key="c", reference="r", state=PaymentState.DECLINED, amount_minor=100, currency="EUR", code="no_funds"
    )
    for row in (checkout(on_decline="keep"), checkout(confirms=False)):
        moved = after(row, declined, NOW, LIMITS).checkout
        assert (moved.state, moved.code) == (State.VOIDING, "no_funds")


def test_waits_grow_to_a_bound() -> None:
    """Each try waits longer than the one before, five seconds at the most."""
    row, waits = checkout(state=State.VOIDING), []
    for _ in range(12):
        row = after(row, Unanswered(), NOW, LIMITS).checkout
        assert row.due_at is not None
        waits.append((row.due_at - NOW).total_seconds())
    assert waits == sorted(waits) and waits[0] == 0.25 and waits[-1] == 5.0


def test_an_outcome_that_cannot_be_is_loud() -> None:
    """A step answered with another step's outcome breaks the saga instead of moving it."""
    with pytest.raises(BrokenSaga):
        after(checkout(), Confirmed(BookingId("b")), NOW, LIMITS)
    with pytest.raises(BrokenSaga):
        after(checkout(state=State.COMPLETED), Undone(), NOW, LIMITS)


def test_a_void_that_is_refused_is_tried_again() -> None:
    """Money that may still be set aside, or taken, is not left at that."""
    moved = after(checkout(state=State.VOIDING), Refused("not now"), NOW, LIMITS)
    assert moved.rests and (moved.checkout.state, moved.checkout.attempts) == (State.VOIDING, 1)


def test_whoever_takes_over_looks_before_paying() -> None:
    """A gateway forgets its keys after a day: only the one who wrote the first row may authorize without looking."""
    assert step_of(checkout()) is Step.AUTHORIZE
    assert step_of(checkout(revision=2)) is Step.LOOK
