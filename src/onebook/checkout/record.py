"""One checkout as it is written down: everything that a worker needs to go on with it where another one was killed."""

from datetime import datetime
from enum import StrEnum
from typing import Literal

import msgspec

from onebook.model.booking import BookingId
from onebook.model.commands import Wanted
from onebook.model.offers.quote import Quote


class State(StrEnum):
    """authorizing → (challenged →) committing → (reacquiring →) capturing → completed; what goes back ends in failed."""

    AUTHORIZING = "authorizing"
    """The gateway is asked to set the money aside."""
    CHALLENGED = "challenged"
    """The payer has to do something first."""
    COMMITTING = "committing"
    """The money is set aside: the ledger is asked to confirm."""
    REACQUIRING = "reacquiring"
    """The hold was gone: the same units are asked for again."""
    CAPTURING = "capturing"
    """Confirmed. From here it only goes forward: the money is taken."""
    RELEASING = "releasing"
    """No money: the hold is given back, before anything else is undone."""
    REVOKING = "revoking"
    """The money that was set aside cannot be taken: the confirmed booking is cancelled."""
    VOIDING = "voiding"
    """Whatever the gateway has set aside, or may yet, is set free."""
    COMPLETED = "completed"
    FAILED = "failed"


FINAL = frozenset({State.COMPLETED, State.FAILED})


class Purpose(StrEnum):
    """What is paid for."""

    BOOKING = "booking"
    """A hold, or a booking that was confirmed without being paid: the whole of the quote, or its deposit."""
    BALANCE = "balance"
    """What a deposit has left."""
    AMENDMENT = "amendment"
    """What other items cost more than those that were paid for: `quote` replaces `former`."""


class Checkout(msgspec.Struct, frozen=True, kw_only=True):
    """A row of payment.checkout. Each write raises `revision` by one and compares it: two workers cannot both move it.

    `id` is the key of its payment at the gateway as well. `amount_minor` is what is charged now: less than the quote's total
    where that is a deposit, a balance or a difference.
    """

    id: str
    revision: int
    booking: BookingId
    purpose: Purpose
    confirms: bool
    """Whether it is this checkout that confirms the booking; else it was confirmed before, and stands whatever comes of this."""
    channel: str
    venues: tuple[str, ...]
    idempotency_key: str
    request_hash: str
    state: State
    attempts: int
    """Since it came to this state."""
    due_at: datetime | None
    """When somebody has to look at it again, whoever is at it now."""
    gateway: str
    token: str
    amount_minor: int
    currency: str
    on_decline: Literal["release", "keep"]
    quote: Quote
    begun_at: datetime
    reference: str | None = None
    challenge_url: str | None = None
    challenged_until: datetime | None = None
    code: str | None = None
    """Why it failed."""
    amended: tuple[Wanted, ...] | None = None
    """The items that a confirmed booking shall have instead; only of an amendment."""
    former: Quote | None = None
    """What was paid for before; only of an amendment."""
    confirmed_booking: BookingId | None = None
    traceparent: str | None = None
    finished_at: datetime | None = None
