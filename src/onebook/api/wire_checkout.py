"""What requests and answers about checkouts look like."""

from datetime import datetime
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from onebook.api.wire import PaymentMethod, QuoteToken
from onebook.checkout.record import Checkout, Purpose, State


class CheckoutRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a booking is paid. Without a `quote` the price is today's.

    `pay`: what is `due` now, which may be a deposit, or `all`. `on_decline`: a declined payment may `release` the hold, or `keep`
    it until its deadline for another try.
    """

    payment: PaymentMethod | None = None
    quote: QuoteToken | None = None
    pay: Literal["due", "all"] = "due"
    on_decline: Literal["release", "keep"] = "release"


class NextAction(msgspec.Struct, frozen=True):
    """What the payer has to do before it goes on."""

    type: Literal["redirect"]
    url: str


class CheckoutAnswer(msgspec.Struct, frozen=True):
    """A checkout. `status` says in one word what to tell the payer: `paid`, `pending`, `action-needed` or `not-charged`.

    `confirmed_booking` is the booking that was confirmed: another one than `booking` where the hold had expired and the same
    units were taken again. `total_minor` is what the booking costs, `amount_minor` what this checkout charges of it.
    """

    id: str
    booking: str
    status: Literal["paid", "pending", "action-needed", "not-charged"]
    state: State
    purpose: Purpose
    amount_minor: int
    total_minor: int
    currency: str
    gateway: str
    begun_at: datetime
    finished_at: datetime | None
    confirmed_booking: str | None
    code: str | None
    next_action: NextAction | UnsetType = UNSET


class CheckoutList(msgspec.Struct, frozen=True):
    """The checkouts of a booking, the latest last; `current` is that one."""

    current: CheckoutAnswer
    checkouts: list[CheckoutAnswer]


def checkout_answer(checkout: Checkout, *, to_payer: bool = True) -> CheckoutAnswer:
    """A checkout as it is told: nothing of what it is paid with; and where the payer has to go only `to_payer`'s side."""
    url = checkout.challenge_url if to_payer else None
    return CheckoutAnswer(
        id=checkout.id,
        booking=checkout.booking,
        status=_status(checkout),
        state=checkout.state,
        purpose=checkout.purpose,
        amount_minor=checkout.amount_minor,
        total_minor=checkout.quote.total_minor,
        currency=checkout.currency,
        gateway=checkout.gateway,
        begun_at=checkout.begun_at,
        finished_at=checkout.finished_at,
        confirmed_booking=checkout.confirmed_booking,
        code=checkout.code,
        next_action=UNSET if url is None or checkout.state is not State.CHALLENGED else NextAction("redirect", url),
    )


def _status(checkout: Checkout) -> Literal["paid", "pending", "action-needed", "not-charged"]:
    if checkout.state is State.COMPLETED:
        return "paid"
    if checkout.state is State.FAILED:
        return "not-charged"
    if checkout.state is State.CHALLENGED:
        return "action-needed"
    return "pending"
