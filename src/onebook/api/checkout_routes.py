"""Checkouts: a hold is paid for, and ends in one of two ways: paid and confirmed, or not charged and released."""

from typing import Any
from uuid import UUID

from litestar.handlers import HTTPRouteHandler

from onebook.api.answer import Answer, answer
from onebook.api.headers import idempotency_key
from onebook.api.json_body import request_hash
from onebook.api.operation import Call, operation
from onebook.api.problems import Problem, refusal_problem
from onebook.api.roles import Scope
from onebook.api.wire_checkout import CheckoutAnswer, CheckoutList, CheckoutRequest, checkout_answer
from onebook.checkout.checkouts import Found, Paying
from onebook.checkout.failures import HoldLost, PaymentDeclined, PaymentFailed
from onebook.checkout.record import Checkout, State
from onebook.model.booking import BookingId
from onebook.model.refusals import NotBookable, Refusal, UnknownBooking

TAG = "Checkout"
PENDING_RETRY_SECONDS = 1

# What neither the payer nor the payer's bank has decided: told as what it is, and not as a declined payment.
_NOT_THE_PAYERS = frozenset(
    {
        "already-settled",
        "amount-mismatch",
        "booking-changed",
        "capture-refused",
        "gateway-timeout",
        "payment-required",
        "voided",
        "wrong-state",
        *(refusal.code for refusal in NotBookable.__subclasses__()),
    }
)


@operation(
    method="POST",
    path="/v1/bookings/{id}/checkout",
    summary="Pay for a held booking: it ends paid and confirmed, or not charged and released",
    tag=TAG,
    scope=Scope.PAYMENTS_WRITE,
    body=CheckoutRequest,
    headers=("Idempotency-Key", "traceparent"),
    key_optional=True,
    answers={201: CheckoutAnswer, 200: CheckoutAnswer, 202: CheckoutAnswer},
    problems=(402, 404, 409, 410),
)
async def create_checkout(call: Call[CheckoutRequest, None]) -> Answer:
    """201 paid; 202 pending, or the payer has to act (`next_action`); 402 declined. Sent again it finds the same checkout.

    Without an Idempotency-Key the same payload is the same checkout.
    """
    wanted, key = call.body, call.headers.get("idempotency-key")
    paying = Paying(
        idempotency_key=f"payload {request_hash(call.canonical).hex()}" if key is None else idempotency_key(key),
        token=None if wanted.payment is None else wanted.payment.token,
        quote=wanted.quote,
        pay=wanted.pay,
        on_decline=wanted.on_decline,
        traceparent=call.traceparent,
    )
    found = await call.engine.checkouts.pay(booking_of(call), paying, only_channel=call.principal.only_channel)
    return found_answer(found)


@operation(
    method="GET",
    path="/v1/bookings/{id}/checkout",
    summary="What has become of a booking's checkouts",
    tag=TAG,
    scope=Scope.BOOKINGS_READ,
    answers={200: CheckoutList},
    problems=(404,),
)
async def get_checkout(call: Call[None, None]) -> Answer:
    """Read from the tables: as it is now. Where the payer has to go is told to those who may check out, since it is a key."""
    found = await call.engine.checkouts.of_booking(booking_of(call), call.principal.only_channel)
    if not found:
        raise Problem(404, "not-found", "Not found", detail="this booking has no checkout")
    to_payer = Scope.PAYMENTS_WRITE in call.principal.scopes
    told = [checkout_answer(checkout, to_payer=to_payer) for checkout in found]
    return answer(200, CheckoutList(told[-1], told), ("cache-control", "no-store"))


ROUTES: tuple[HTTPRouteHandler, ...] = (create_checkout, get_checkout)


def booking_of(call: Call[Any, Any]) -> BookingId:
    """The booking that the path names. Raises Problem 404 for what is no id."""
    try:
        return BookingId(str(UUID(call.path["id"])))
    except ValueError:
        raise refusal_problem(UnknownBooking()) from None


def found_answer(found: Found) -> Answer:
    """A checkout as it is now. Raises Problem for one that has come to nothing."""
    checkout = found.checkout
    if checkout.state is State.FAILED:
        raise refusal_problem(_why(checkout))
    replayed = (("idempotent-replayed", "true"),) if found.is_replayed else ()
    place = ("location", f"/v1/bookings/{checkout.booking}/checkout")
    if checkout.state is State.COMPLETED:
        return answer(200 if found.is_replayed else 201, checkout_answer(checkout), place, *replayed)
    return answer(202, checkout_answer(checkout), place, ("retry-after", str(PENDING_RETRY_SECONDS)), *replayed)


def _why(checkout: Checkout) -> Refusal:
    code = checkout.code or "failed"
    if code == "hold-expired":
        return HoldLost(checkout.id)
    if code in _NOT_THE_PAYERS:
        return PaymentFailed(code, checkout.id)
    return PaymentDeclined(code, checkout.id)
