"""The checkout as a pure state machine: which step comes next, and what its outcome leads to. Nothing is awaited here.

    authorizing ──► committing ──► capturing ──► completed          the money is set aside, the hold confirmed, the money taken
         │  ▲         │  ▲             │ refused
         ▼  │    gone ▼  │             ▼
     challenged    reacquiring     revoking                         the payer asked; the units taken anew; the booking cancelled
         │              │              │
         ▼              ▼              ▼
     releasing ─────► voiding ◄────────┘──► failed                  the hold is given back, then the money set free

The confirmation in the ledger is the pivot: before it everything can be undone, after it the saga only goes forward. Who goes
back asks the ledger first (release) and the gateway second (void): so the ledger alone decides between two workers that drive one
saga at the same time, and money is never set free under a booking that stands. Every step may be repeated; a step whose outcome
is unknown is, until the gateway tells.
"""

from datetime import datetime, timedelta
from enum import StrEnum

import msgspec
from msgspec.structs import replace

from onebook.checkout.gateways.protocol import Payment, PaymentState
from onebook.checkout.record import FINAL, Checkout, State
from onebook.model.booking import BookingId

GIVE_UP_SECONDS = 120.0
"""A payment that the gateway cannot tell anything about for so long is given up: the hold is released, the payment voided."""
POLL_SECONDS = 1.0
"""How often a challenge, or a payment that is being processed, is looked at without being told."""
FIRST_WAIT_SECONDS = 0.25
LONGEST_WAIT_SECONDS = 5.0


class Step(StrEnum):
    """What is done next."""

    AUTHORIZE = "authorize"
    LOOK = "look"
    COMMIT = "commit"
    REACQUIRE = "reacquire"
    CAPTURE = "capture"
    RELEASE = "release"
    REVOKE = "revoke"
    VOID = "void"


class Confirmed(msgspec.Struct, frozen=True):
    """The ledger has confirmed (or amended) it: for good."""

    booking: BookingId


class HoldGone(msgspec.Struct, frozen=True):
    """The hold's deadline has passed."""


class LedgerRefused(msgspec.Struct, frozen=True):
    """The ledger will not: the code of its refusal."""

    code: str


class Undone(msgspec.Struct, frozen=True):
    """What had to be undone in the ledger is, or was never done; or the gateway holds and takes nothing any more."""


class Refused(msgspec.Struct, frozen=True):
    """The gateway will not: its code."""

    code: str


class Unanswered(msgspec.Struct, frozen=True):
    """Nobody knows, or nobody was there. `retry_after_seconds` is when it makes sense to ask again."""

    retry_after_seconds: float = 0.0


Outcome = Payment | Confirmed | HoldGone | LedgerRefused | Undone | Refused | Unanswered


class Limits(msgspec.Struct, frozen=True):
    """How long what may take, in seconds."""

    challenge_seconds: float
    resume_seconds: float


class Moved(msgspec.Struct, frozen=True):
    """Where an outcome leads. With `rests` somebody looks again when it is due, otherwise it goes on at once.

    What is not `written` need not be: repeating the step before finds its effect.
    """

    checkout: Checkout
    rests: bool = False
    written: bool = True


class BrokenSaga(Exception):
    """An outcome that the step cannot have."""


_STEPS = {
    State.AUTHORIZING: Step.AUTHORIZE,
    State.CHALLENGED: Step.LOOK,
    State.COMMITTING: Step.COMMIT,
    State.REACQUIRING: Step.REACQUIRE,
    State.CAPTURING: Step.CAPTURE,
    State.RELEASING: Step.RELEASE,
    State.REVOKING: Step.REVOKE,
    State.VOIDING: Step.VOID,
}


def step_of(checkout: Checkout) -> Step:
    """What is to be done. Who has just begun authorizes; whoever comes later looks whether that has happened."""
    step = _STEPS[checkout.state]
    return Step.LOOK if step is Step.AUTHORIZE and checkout.revision > 1 else step


def after(checkout: Checkout, outcome: Outcome, now: datetime, limits: Limits) -> Moved:
    """The checkout after its step came to this. `now` is the worker's clock: it spaces tries, the ledger decides deadlines."""
    if checkout.state in FINAL:
        raise BrokenSaga(f"{checkout.state} is an end")
    if isinstance(outcome, Unanswered):
        return _unanswered(checkout, outcome, now, limits)
    match checkout.state:
        case State.AUTHORIZING | State.CHALLENGED:
            return _paid(checkout, outcome, now, limits)
        case State.COMMITTING | State.REACQUIRING:
            return _committed(checkout, outcome, now, limits)
        case State.CAPTURING:
            return _captured(checkout, outcome, now, limits)
        case State.RELEASING | State.REVOKING if isinstance(outcome, Undone):
            return _to(checkout, State.VOIDING, now, limits)
        case State.VOIDING if isinstance(outcome, Undone):
            return Moved(_ended(checkout, State.FAILED, now))
        case State.VOIDING if isinstance(outcome, Refused):  # it is not free yet, so that it is never left at that
            return _unanswered(checkout, Unanswered(LONGEST_WAIT_SECONDS), now, limits)
    raise _cannot(checkout, outcome)


def _paid(checkout: Checkout, outcome: Outcome, now: datetime, limits: Limits) -> Moved:
    """The gateway has told of the authorization."""
    if isinstance(outcome, Refused):
        return _turn_back(checkout, outcome.code, now, limits)
    if not isinstance(outcome, Payment):
        raise _cannot(checkout, outcome)
    checkout = replace(checkout, reference=outcome.reference)
    match outcome.state:
        case PaymentState.AUTHORIZED | PaymentState.CAPTURED:
            if (outcome.amount_minor, outcome.currency) != (checkout.amount_minor, checkout.currency):
                return _turn_back(checkout, "amount-mismatch", now, limits)
            return _to(checkout, State.COMMITTING, now, limits)
        case PaymentState.CHALLENGED:
            return _challenged(checkout, outcome, now, limits)
        case PaymentState.PROCESSING:
            return _unanswered(checkout, Unanswered(POLL_SECONDS), now, limits)
        case PaymentState.DECLINED:
            return _turn_back(checkout, outcome.code or "declined", now, limits)
        case PaymentState.VOIDED:
            return _turn_back(checkout, "voided", now, limits)
    raise _cannot(checkout, outcome)


def _challenged(checkout: Checkout, payment: Payment, now: datetime, limits: Limits) -> Moved:
    """Wait for the payer, not for ever."""
    until = checkout.challenged_until or now + timedelta(seconds=limits.challenge_seconds)
    if now >= until:
        return _turn_back(checkout, "challenge-timeout", now, limits)
    waiting = replace(
        checkout,
        state=State.CHALLENGED,
        attempts=checkout.attempts + 1 if checkout.state is State.CHALLENGED else 0,
        challenge_url=payment.challenge_url,
        challenged_until=until,
        due_at=now + timedelta(seconds=POLL_SECONDS),
    )
    return Moved(_next(waiting), rests=True)


def _committed(checkout: Checkout, outcome: Outcome, now: datetime, limits: Limits) -> Moved:
    """The ledger has decided."""
    match outcome:
        case Confirmed(booking):
            confirmed = replace(checkout, confirmed_booking=booking)
            if checkout.state is State.REACQUIRING:
                # Before this is written anybody may cancel what was taken anew, and nobody after: the ledger is asked once more.
                return _to(confirmed, State.COMMITTING, now, limits)
            if confirmed.amount_minor == 0:
                return Moved(_ended(confirmed, State.COMPLETED, now))
            # A confirmation that is repeated finds itself.
            moved = _to(confirmed, State.CAPTURING, now, limits)
            return Moved(replace(moved.checkout, revision=checkout.revision), written=False)
        case HoldGone() if checkout.state is State.COMMITTING:
            return _to(checkout, State.REACQUIRING, now, limits)
        case LedgerRefused(code):
            lost = "hold-expired" if checkout.state is State.REACQUIRING else code
            back = State.VOIDING if checkout.confirmed_booking is None else State.REVOKING
            return _to(replace(checkout, code=lost), back, now, limits)
    raise _cannot(checkout, outcome)


def _captured(checkout: Checkout, outcome: Outcome, now: datetime, limits: Limits) -> Moved:
    """The gateway has told of the capture. It can no longer fail for want of an answer."""
    if isinstance(outcome, Refused):
        return _to(replace(checkout, code="capture-refused"), State.REVOKING, now, limits)
    if not isinstance(outcome, Payment):
        raise _cannot(checkout, outcome)
    match outcome.state:
        case PaymentState.CAPTURED if outcome.captured_minor == checkout.amount_minor:
            return Moved(_ended(checkout, State.COMPLETED, now))
        case PaymentState.CAPTURED:
            return _to(replace(checkout, code="amount-mismatch"), State.REVOKING, now, limits)
        case PaymentState.PROCESSING | PaymentState.AUTHORIZED:
            return _unanswered(checkout, Unanswered(FIRST_WAIT_SECONDS), now, limits)
        case PaymentState.VOIDED | PaymentState.DECLINED:
            return _to(replace(checkout, code="capture-refused"), State.REVOKING, now, limits)
    raise _cannot(checkout, outcome)


def _turn_back(checkout: Checkout, code: str, now: datetime, limits: Limits) -> Moved:
    """There is no money: give back the hold, or leave it to another try, and see to it that nothing is taken later."""
    keeps = checkout.on_decline == "keep" or not checkout.confirms
    return _to(replace(checkout, code=code), State.VOIDING if keeps else State.RELEASING, now, limits)


def _unanswered(checkout: Checkout, outcome: Unanswered, now: datetime, limits: Limits) -> Moved:
    """Ask again later. Only an authorization is given up for want of an answer, since nothing stands on it yet."""
    if checkout.state is State.AUTHORIZING and now - checkout.begun_at >= timedelta(seconds=GIVE_UP_SECONDS):
        return _turn_back(checkout, "gateway-timeout", now, limits)
    wait_seconds = min(FIRST_WAIT_SECONDS * 2 ** min(checkout.attempts, 10), LONGEST_WAIT_SECONDS)
    due_at = now + timedelta(seconds=max(wait_seconds, min(outcome.retry_after_seconds, LONGEST_WAIT_SECONDS)))
    return Moved(_next(replace(checkout, attempts=checkout.attempts + 1, due_at=due_at)), rests=True)


def _to(checkout: Checkout, state: State, now: datetime, limits: Limits) -> Moved:
    """Go on to a state at once, and keep others from taking it over meanwhile."""
    lease = timedelta(seconds=limits.resume_seconds)
    # Left as it is while there is enough of it: an unchanged column costs no index entry.
    due_at = checkout.due_at if checkout.due_at is not None and checkout.due_at - now > lease / 2 else now + lease
    return Moved(_next(replace(checkout, state=state, attempts=0, due_at=due_at)))


def _ended(checkout: Checkout, state: State, now: datetime) -> Checkout:
    return _next(replace(checkout, state=state, attempts=0, due_at=None, challenge_url=None, finished_at=now))


def _next(checkout: Checkout) -> Checkout:
    return replace(checkout, revision=checkout.revision + 1)


def _cannot(checkout: Checkout, outcome: Outcome) -> BrokenSaga:
    return BrokenSaga(f"{type(outcome).__name__} is no outcome of {checkout.state}")
