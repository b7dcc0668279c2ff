"""Why a checkout does not begin, or has come to nothing. Refusals are answers; what is raised is said of each."""

from onebook.ledger.failures import LedgerUnavailable
from onebook.model.refusals import Refusal

"""The database is away or does not answer in time: a loop outlives it, and what was under way is taken over when it is due."""


class GatewayClosed(LedgerUnavailable):
    """The gateway has not been answering, and is left alone for a while: nothing is begun."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"the payment gateway does not answer; retry in {seconds} seconds", seconds)


class CouponSpent(Exception):
    """A coupon has been used as often as it may be."""


class CheckoutRefused(Exception):
    """Carries the refusal out of where a checkout is begun."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.code)
        self.refusal = refusal


class SpentCoupon(Refusal, frozen=True):
    """A coupon has been used as often as it may be."""

    code = "coupon-spent"
    title = "A coupon has been used as often as it may be"


class CheckoutUnderWay(Refusal, frozen=True):
    """Somebody is paying for this booking already."""

    checkout: str

    code = "checkout-under-way"
    title = "Another checkout of this booking is under way"


class TooManyCheckouts(Refusal, frozen=True):
    """It was tried too often to pay for this booking: somebody tries cards, or a program has gone wild."""

    limit: int

    code = "too-many-checkouts"
    title = "This booking has had as many checkouts as it may have"


class AlreadyPaid(Refusal, frozen=True):
    """Nothing is left to pay."""

    code = "already-paid"
    title = "This booking is paid for"


class TokenNeeded(Refusal, frozen=True):
    """There is something to pay, and nothing to pay it with."""

    amount_minor: int
    currency: str
    pointer: str = "/payment"

    code = "payment-needed"
    status = 422
    title = "This costs something: send payment.token"


class PaymentDeclined(Refusal, frozen=True):
    """The payment was declined, or its payer did not finish the challenge: nothing is charged."""

    decline_code: str
    checkout: str

    code = "payment-declined"
    status = 402
    title = "The payment was declined; nothing is charged"


class PaymentFailed(Refusal, frozen=True):
    """The checkout has come to nothing, for another reason than the payer's: nothing is charged."""

    reason: str
    checkout: str

    code = "payment-failed"
    title = "The checkout has failed; nothing is charged"


class HoldLost(Refusal, frozen=True):
    """The hold had expired and its units are sold: nothing is charged."""

    checkout: str

    code = "hold-expired"
    status = 410
    title = "The hold has expired and its units are gone; nothing is charged"
