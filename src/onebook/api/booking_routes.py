"""Bookings: placed, found and moved on."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from litestar.handlers import HTTPRouteHandler
from msgspec import UNSET

from onebook.api.answer import Answer, answer
from onebook.api.engine import Engine
from onebook.api.headers import idempotency_key, matches
from onebook.api.operation import Call, operation
from onebook.api.paid_bookings import amend_paid, cancel_paid
from onebook.api.placing import booking_etag, place, placing_of, refused
from onebook.api.problems import refusal_problem
from onebook.api.roles import Scope
from onebook.api.wire import (
    Amendment,
    BookingAnswer,
    BookingList,
    BookingRequest,
    BookingsQuery,
    Extension,
    Nothing,
    Reason,
    booking_answer,
)
from onebook.api.wire_checkout import CheckoutAnswer
from onebook.ledger.page import Settled
from onebook.model.booking import BookingId
from onebook.model.commands import BookingMove, CancelBooking, ConfirmBooking, ExtendHold, ReleaseHold, Wanted
from onebook.model.decision import Decision, Unchanged
from onebook.model.refusals import UnknownBooking

TAG = "Bookings"
CREATE_PATH = "/v1/bookings"


@operation(
    method="POST",
    path=CREATE_PATH,
    summary="Hold a basket, or with `confirm` book it: all items or none",
    tag=TAG,
    scope=Scope.BOOKINGS_WRITE,
    body=BookingRequest,
    headers=("Idempotency-Key", "traceparent"),
    answers={201: BookingAnswer, 200: BookingAnswer},
    problems=(404, 409),
)
async def create_booking(call: Call[BookingRequest, None]) -> Answer:
    """201 once, then 200 with the same bytes for every repeat of the key."""
    placing = placing_of(
        call.body,
        channel=call.principal.channel,
        key=idempotency_key(call.headers.get("idempotency-key")),
        canonical=call.canonical,
        traceparent=call.traceparent,
    )
    return await place(call.engine, call.body, placing)


@operation(
    method="GET",
    path="/v1/bookings",
    summary="Bookings, page by page",
    tag=TAG,
    scope=Scope.BOOKINGS_READ,
    query=BookingsQuery,
    answers={200: BookingList},
    problems=(404,),
)
async def list_bookings(call: Call[None, BookingsQuery]) -> Answer:
    """A channel finds only its own."""
    query = call.query
    page = await call.engine.reads.bookings(
        channel=call.principal.only_channel,
        venue=query.venue,
        starts=query.starts,
        ends=query.ends,
        status=query.status,
        cursor=query.cursor,
        limit=query.limit,
    )
    found = [booking_answer(booking, UNSET) for booking in page.bookings]
    return answer(200, BookingList(bookings=found, next_cursor=page.next_cursor))


@operation(
    method="GET",
    path="/v1/bookings/{id}",
    summary="One booking as it is now",
    tag=TAG,
    scope=Scope.BOOKINGS_READ,
    headers=("If-None-Match",),
    answers={200: BookingAnswer, 304: None},
    problems=(404,),
)
async def get_booking(call: Call[None, None]) -> Answer:
    """Another channel's booking is as good as none."""
    identity, only, _ = _asked(call)
    found = await call.engine.reads.booking(identity, only)
    if found is None:
        raise refusal_problem(UnknownBooking())
    booking, read_at = found
    etag = booking_etag(booking)
    if matches(call.headers.get("if-none-match"), etag[1]):
        return Answer(304, b"", (etag,))
    return answer(200, booking_answer(booking, read_at), etag)


@operation(
    method="POST",
    path="/v1/bookings/{id}/extend",
    summary="Give a living hold a new deadline, counted from now",
    tag=TAG,
    scope=Scope.BOOKINGS_WRITE,
    body=Extension,
    headers=("traceparent",),
    answers={200: BookingAnswer},
    problems=(404, 409, 410),
)
async def extend_booking(call: Call[Extension, None]) -> Answer:
    """Only while it is alive."""
    identity, only, trace = _asked(call)
    return await _move(call, ExtendHold(identity, only, call.body.ttl_seconds, trace))


@operation(
    method="POST",
    path="/v1/bookings/{id}/confirm",
    summary="Turn a living hold into a booking without a deadline",
    tag=TAG,
    scope=Scope.BOOKINGS_WRITE,
    body=Nothing,
    body_optional=True,
    headers=("traceparent",),
    answers={200: BookingAnswer},
    problems=(404, 409, 410),
)
async def confirm_booking(call: Call[Nothing, None]) -> Answer:
    """Confirming again finds it done. While it is being paid for, the checkout confirms it, and nobody else."""
    identity, only, trace = _asked(call)
    await call.engine.checkouts.refuse_while_paying(identity)
    return await _move(call, ConfirmBooking(identity, only, trace))


@operation(
    method="POST",
    path="/v1/bookings/{id}/release",
    summary="End a hold; ending it again finds it done",
    tag=TAG,
    scope=Scope.BOOKINGS_WRITE,
    body=Nothing,
    body_optional=True,
    headers=("traceparent",),
    answers={200: BookingAnswer},
    problems=(404, 409),
)
async def release_booking(call: Call[Nothing, None]) -> Answer:
    """A hold's end before its deadline."""
    return await _move(call, ReleaseHold(*_asked(call)))


@operation(
    method="POST",
    path="/v1/bookings/{id}/cancel",
    summary="End a confirmed booking; ending it again finds it done",
    tag=TAG,
    scope=Scope.BOOKINGS_WRITE,
    body=Reason,
    body_optional=True,
    headers=("traceparent",),
    answers={200: BookingAnswer},
    problems=(404, 409),
)
async def cancel_booking(call: Call[Reason, None]) -> Answer:
    """A confirmed booking's end. What was paid for it is given back, less its policy's fee."""
    identity, only, trace = _asked(call)
    if await call.engine.settlements.is_paid(identity):
        return await cancel_paid(call, identity)
    return await _move(call, CancelBooking(identity, only, call.body.reason, trace))


@operation(
    method="POST",
    path="/v1/bookings/{id}/amend",
    summary="Give a living booking other items, taking the new before giving up the old, in one step",
    tag=TAG,
    scope=Scope.BOOKINGS_WRITE,
    body=Amendment,
    headers=("traceparent",),
    answers={200: BookingAnswer, 202: CheckoutAnswer},
    problems=(402, 404, 409, 410),
)
async def amend_booking(call: Call[Amendment, None]) -> Answer:
    """Refused like a new basket, or for want of money, and then the booking stays as it was."""
    identity, only, trace = _asked(call)
    if await call.engine.settlements.is_paid(identity):
        return await amend_paid(call, identity)
    settled = await call.engine.ledger.amend(identity, call.body.items, channel=only, traceparent=trace)
    return await _moved(call.engine, settled, call.body.items)


ROUTES: tuple[HTTPRouteHandler, ...] = (
    create_booking,
    list_bookings,
    get_booking,
    extend_booking,
    confirm_booking,
    release_booking,
    cancel_booking,
    amend_booking,
)


def _asked(call: Call[Any, Any]) -> tuple[BookingId, str | None, str | None]:
    """Which booking is meant, the only channel whose it may be, and the trace. Raises Problem 404 for what is no id."""
    try:
        identity = BookingId(str(UUID(call.path["id"])))
    except ValueError:
        raise refusal_problem(UnknownBooking()) from None
    return identity, call.principal.only_channel, call.traceparent


async def _move(call: Call[Any, Any], move: BookingMove) -> Answer:
    return await _moved(call.engine, await call.engine.ledger.move(move))


async def _moved(engine: Engine, settled: Settled, wanted: Sequence[Wanted] = ()) -> Answer:
    """The booking as it is now. Raises the refusal."""
    verdict = settled.verdict
    if isinstance(verdict, Decision | Unchanged) and verdict.booking is not None:
        told = booking_answer(verdict.booking, settled.at)
        return answer(200, told, booking_etag(verdict.booking))
    raise await refused(engine, verdict, wanted)
