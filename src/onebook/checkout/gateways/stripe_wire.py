"""How Stripe writes things down, and what they mean here: amounts, payments, refunds, errors, signatures. Pure.

Stripe counts in units of its own for some currencies (docs.stripe.com/currencies). What cannot be said in them is refused, never
rounded: an amount that has been changed on the way would not be the one that was quoted.
"""

import hmac
from collections.abc import Iterable

import msgspec

from onebook.checkout.gateways.protocol import (
    BadNotification,
    GatewayRefused,
    Notification,
    Payment,
    PaymentState,
    Refund,
    RefundState,
)

KEY = "onebook_key"
REFUND_KEY = "onebook_refund"
TOLERANCE_SECONDS = 300

# ISO 4217 has no minor unit for these, but Stripe wants two decimals, which must be zero.
_HUNDREDFOLD = frozenset({"ISK", "UGX"})
# ISO 4217 has a minor unit, which Stripe does not know.
_WHOLE = {"MGA": 100}
# Three decimals, the last of which must be zero.
_TENS = frozenset({"BHD", "JOD", "KWD", "OMR", "TND"})

_REFUND_STATES = {
    "succeeded": RefundState.SUCCEEDED,
    "failed": RefundState.FAILED,
    "canceled": RefundState.FAILED,
}


class Redirect(msgspec.Struct, frozen=True):
    """Where the payer goes for 3-D Secure."""

    url: str | None = None


class NextAction(msgspec.Struct, frozen=True):
    """What the payer has to do. Other kinds need Stripe's script in the page, and none of ours."""

    redirect_to_url: Redirect | None = None


class PaymentError(msgspec.Struct, frozen=True):
    """Why the last attempt at a payment failed."""

    code: str | None = None
    decline_code: str | None = None


class Charge(msgspec.Struct, frozen=True):
    """An attempt that has moved money, or set it aside."""

    amount_refunded: int = 0
    """With the part of an authorization that was not captured, which Stripe gives back as a refund."""


class Intent(msgspec.Struct, frozen=True):
    """A PaymentIntent, with its latest charge expanded."""

    id: str
    status: str
    amount: int
    currency: str
    metadata: dict[str, str]
    amount_received: int = 0
    latest_charge: Charge | str | None = None
    next_action: NextAction | None = None
    last_payment_error: PaymentError | None = None


class StripeRefund(msgspec.Struct, frozen=True):
    """A refund."""

    id: str
    status: str
    amount: int
    metadata: dict[str, str] | None = None


class Failure(msgspec.Struct, frozen=True):
    """The `error` of an answer that is one."""

    type: str = ""
    code: str | None = None
    decline_code: str | None = None
    message: str = ""


class FailureBody(msgspec.Struct, frozen=True):
    """An answer that is an error."""

    error: Failure


class _EventObject(msgspec.Struct, frozen=True):
    metadata: dict[str, str] | None = None


class _EventData(msgspec.Struct, frozen=True):
    object: _EventObject


class _Event(msgspec.Struct, frozen=True):
    id: str
    data: _EventData


def stripe_amount(amount_minor: int, currency: str) -> int:
    """An amount in Stripe's units. Raises GatewayRefused for one that has none."""
    if currency in _HUNDREDFOLD:
        return amount_minor * 100
    divisor = _WHOLE.get(currency, 1)
    if amount_minor % divisor or (currency in _TENS and amount_minor % 10):
        raise GatewayRefused("amount-not-representable", f"{amount_minor} minor units of {currency} cannot be charged")
    return amount_minor // divisor


def minor_amount(amount: int, currency: str) -> int:
    """An amount of Stripe's in minor units of ISO 4217."""
    return amount // 100 if currency in _HUNDREDFOLD else amount * _WHOLE.get(currency, 1)


def payment_of(intent: Intent) -> Payment | None:
    """The payment that an intent is; None for one of somebody else, and for one that was made, but never confirmed."""
    state = _state_of(intent)
    key = intent.metadata.get(KEY)
    if state is None or key is None:
        return None
    currency = intent.currency.upper()
    error = intent.last_payment_error if state is PaymentState.DECLINED else None
    return Payment(
        key=key,
        reference=intent.id,
        state=state,
        amount_minor=minor_amount(intent.amount, currency),
        currency=currency,
        captured_minor=minor_amount(intent.amount_received, currency),
        refunded_minor=minor_amount(_refunded(intent), currency),
        code=None if error is None else error.decline_code or error.code or "declined",
        challenge_url=_challenge_url(intent) if state is PaymentState.CHALLENGED else None,
    )


def refund_of(refund: StripeRefund, key: str, currency: str) -> Refund:
    """A refund under our key."""
    return Refund(
        key=key,
        reference=refund.id,
        state=_REFUND_STATES.get(refund.status, RefundState.PENDING),
        amount_minor=minor_amount(refund.amount, currency),
    )


def notification_of(header: str | None, body: bytes, secret: str, now_epoch_seconds: float) -> Notification:
    """The notification in a body that Stripe has signed lately (docs.stripe.com/webhooks#verify-manually).

    While a secret is being rolled, there is a signature for each. Raises BadNotification.
    """
    timestamp, signatures = _signatures(header or "")
    if not secret:
        raise BadNotification("there is no secret to check Stripe's signature with: set payments.stripe_webhook_secret")
    expected = hmac.digest(secret.encode(), timestamp.encode() + b"." + body, "sha256").hex().encode()
    if not any(hmac.compare_digest(expected, signature) for signature in signatures):
        raise BadNotification("Stripe has not signed this")
    if abs(now_epoch_seconds - int(timestamp)) > TOLERANCE_SECONDS:
        raise BadNotification("Stripe has not signed this lately")
    try:
        event = msgspec.json.decode(body, type=_Event)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadNotification("this is no event of Stripe's") from error
    return Notification(event.id, (event.data.object.metadata or {}).get(KEY))


def _state_of(intent: Intent) -> PaymentState | None:
    match intent.status:
        case "requires_capture":
            return PaymentState.AUTHORIZED
        case "succeeded":
            return PaymentState.CAPTURED
        case "canceled":
            return PaymentState.VOIDED
        case "requires_action":
            return PaymentState.CHALLENGED
        case "requires_payment_method" | "requires_confirmation":
            return None if intent.last_payment_error is None else PaymentState.DECLINED
        case _:
            return PaymentState.PROCESSING


def _refunded(intent: Intent) -> int:
    """What was given back of what was captured; what was set aside and not captured counts as refunded with Stripe."""
    if not isinstance(intent.latest_charge, Charge) or not intent.amount_received:
        return 0
    return max(0, intent.latest_charge.amount_refunded - (intent.amount - intent.amount_received))


def _challenge_url(intent: Intent) -> str | None:
    action = intent.next_action
    return None if action is None or action.redirect_to_url is None else action.redirect_to_url.url


def _signatures(header: str) -> tuple[str, Iterable[bytes]]:
    """The timestamp and the signatures of scheme v1, as in `t=1492774577,v1=5257a8…,v1=…,v0=…`."""
    parts = [part.strip().partition("=") for part in header.split(",")]
    timestamps = [value for name, _, value in parts if name == "t"]
    if len(timestamps) != 1 or not (timestamps[0].isascii() and timestamps[0].isdecimal() and len(timestamps[0]) <= 12):
        raise BadNotification("there is no signature of Stripe's")
    return timestamps[0], [value.encode() for name, _, value in parts if name == "v1"]
