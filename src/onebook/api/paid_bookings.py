"""Cancelling and amending what was paid for: the booking and its money move together, or neither does."""

from typing import Any

from msgspec.structs import replace

from onebook.api.answer import Answer, answer
from onebook.api.checkout_routes import found_answer
from onebook.api.json_body import request_hash
from onebook.api.operation import Call
from onebook.api.placing import booking_etag
from onebook.api.problems import refusal_problem
from onebook.api.wire import Amendment, Reason, booking_answer
from onebook.api.wire_money import settlement_answer
from onebook.checkout.checkouts import Paying
from onebook.checkout.record import State
from onebook.checkout.settling.settlement import Settlement
from onebook.model.booking import BookingId
from onebook.model.refusals import UnknownBooking


async def cancel_paid(call: Call[Reason, None], identity: BookingId) -> Answer:
    """The policy's fee is kept, the rest is given back."""
    settlement = await call.engine.settlements.cancel(
        identity, only_channel=call.principal.only_channel, reason=call.body.reason, traceparent=call.traceparent
    )
    return await _booking_answer(call, identity, settlement)


async def amend_paid(call: Call[Amendment, None], identity: BookingId) -> Answer:
    """The difference is charged before, or given back after, less the policy's fee; 202 while a payer has to act."""
    wanted, only = call.body.items, call.principal.only_channel
    amending = await call.engine.checkouts.quote_instead(identity, wanted, call.body.quote, only_channel=only)
    if amending is None:
        return await _booking_answer(call, identity, None)
    if amending.difference_minor <= 0:
        settlement = await call.engine.settlements.amend_down(
            identity, wanted, amending.quote, only_channel=only, traceparent=call.traceparent
        )
        return await _booking_answer(call, identity, settlement)
    paying = Paying(
        idempotency_key=request_hash(call.canonical).hex(),
        token=None if call.body.payment is None else call.body.payment.token,
        quote=call.body.quote,
        traceparent=call.traceparent,
    )
    found = await call.engine.checkouts.pay_difference(amending, wanted, paying)
    if found.checkout.state is State.COMPLETED:
        return await _booking_answer(call, identity, None)
    return found_answer(found)


async def _booking_answer(call: Call[Any, Any], identity: BookingId, settlement: Settlement | None) -> Answer:
    found = await call.engine.reads.booking(identity, call.principal.only_channel)
    if found is None:
        raise refusal_problem(UnknownBooking())
    booking, read_at = found
    told = booking_answer(booking, read_at)
    if settlement is not None:
        told = replace(told, settlement=settlement_answer(settlement))
    return answer(200, told, booking_etag(booking))
