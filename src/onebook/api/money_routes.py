"""Folios, refunds and the report of the ledger of money."""

from typing import Any

from litestar.handlers import HTTPRouteHandler

from onebook.api.answer import Answer, answer
from onebook.api.checkout_routes import booking_of
from onebook.api.headers import idempotency_key
from onebook.api.operation import Call, operation
from onebook.api.problems import Problem, refusal_problem
from onebook.api.roles import Scope
from onebook.api.wire import Nothing, SettlementAnswer
from onebook.api.wire_money import MoneyQuery, RefundRequest, SettlementList, settlement_answer
from onebook.checkout.books.report import Folio, Report
from onebook.checkout.settling.settlement import FINAL, Settlement
from onebook.ledger.failures import Unprocessable
from onebook.ledger.identity import new_id
from onebook.model.booking import BookingId
from onebook.model.refusals import UnknownBooking

TAG = "Money"
NOT_KEPT = ("cache-control", "no-store")


@operation(
    method="GET",
    path="/v1/bookings/{id}/folio",
    summary="A booking's account: what was charged, paid and given back",
    tag=TAG,
    scope=Scope.PAYMENTS_WRITE,
    answers={200: Folio},
    problems=(404,),
)
async def get_folio(call: Call[None, None]) -> Answer:
    """Another channel's booking is as good as none."""
    folio = await call.engine.money.folio(booking_of(call), call.principal.only_channel)
    if folio is None:
        raise refusal_problem(UnknownBooking())
    return answer(200, folio, NOT_KEPT)


@operation(
    method="POST",
    path="/v1/bookings/{id}/refunds",
    summary="Give back money beyond what any policy asks for",
    tag=TAG,
    scope=Scope.PAYMENTS_WRITE,
    body=RefundRequest,
    headers=("Idempotency-Key", "traceparent"),
    answers={201: SettlementAnswer, 200: SettlementAnswer, 202: SettlementAnswer},
    problems=(404, 409),
)
async def create_refund(call: Call[RefundRequest, None]) -> Answer:
    """201 given back, 202 the gateway has not said so yet, 200 for a repeat of the key; a token of one channel may not."""
    key = idempotency_key(call.headers.get("idempotency-key"))
    booking, identity = await _whose_money(call), new_id()
    settlement = await call.engine.settlements.refund(
        booking,
        call.body.amount_minor,
        identity=identity,
        idempotency_key=key,
        reason=call.body.reason,
        traceparent=call.traceparent,
    )
    return settled_answer(settlement, is_replayed=settlement.id != identity)


@operation(
    method="POST",
    path="/v1/bookings/{id}/refunds/retry",
    summary="Ask the gateway again for refunds that it has refused",
    tag=TAG,
    scope=Scope.PAYMENTS_WRITE,
    body=Nothing,
    body_optional=True,
    answers={200: SettlementList},
    problems=(404, 409),
)
async def retry_refunds(call: Call[Nothing, None]) -> Answer:
    """What becomes of each; a token of one channel may not."""
    settlements = await call.engine.settlements.retry(await _whose_money(call))
    return answer(200, SettlementList([settlement_answer(settlement) for settlement in settlements]), NOT_KEPT)


@operation(
    method="POST",
    path="/v1/bookings/{id}/no-show",
    summary="Nobody came: the policy's share is kept, the rest is given back",
    tag=TAG,
    scope=Scope.PAYMENTS_WRITE,
    body=Nothing,
    body_optional=True,
    headers=("traceparent",),
    answers={201: SettlementAnswer, 200: SettlementAnswer, 202: SettlementAnswer},
    problems=(404, 409),
)
async def create_no_show(call: Call[Nothing, None]) -> Answer:
    """The booking stays confirmed, its units stay taken. Told again it is settled: 200. A token of one channel may not."""
    booking, identity = await _whose_money(call), new_id()
    settlement = await call.engine.settlements.no_show(booking, identity=identity, traceparent=call.traceparent)
    return settled_answer(settlement, is_replayed=settlement.id != identity)


@operation(
    method="GET",
    path="/v1/money/report",
    summary="What was posted in a period, by account and by day, venue or channel",
    tag=TAG,
    scope=Scope.PAYMENTS_READ,
    query=MoneyQuery,
    answers={200: Report},
)
async def get_money_report(call: Call[None, MoneyQuery]) -> Answer:
    """The lines of one currency sum to nothing, for each day, venue and channel too."""
    query = call.query
    if query.starts is not None and query.ends is not None and query.ends <= query.starts:
        raise Unprocessable("reversed-period", "`to` must come after `from`", "to")
    return answer(200, await call.engine.money.report(query.by, query.starts, query.ends), NOT_KEPT)


ROUTES: tuple[HTTPRouteHandler, ...] = (get_folio, create_refund, retry_refunds, create_no_show, get_money_report)


def settled_answer(settlement: Settlement, *, is_replayed: bool) -> Answer:
    """A settlement as it is now; one that an earlier request began is told as such."""
    replayed = (("idempotent-replayed", "true"),) if is_replayed else ()
    done = 200 if is_replayed else 201
    return answer(done if settlement.state in FINAL else 202, settlement_answer(settlement), NOT_KEPT, *replayed)


async def _whose_money(call: Call[Any, Any]) -> BookingId:
    """The booking whose money is to be moved beyond its policy. Raises Problem 403 for a token of one channel, which sees it."""
    booking, only_channel = booking_of(call), call.principal.only_channel
    if only_channel is None:
        return booking
    if await call.engine.reads.booking(booking, only_channel) is None:
        raise refusal_problem(UnknownBooking())
    raise Problem(403, "channel-forbidden", "A channel may not do this", detail="it needs a token of all channels")
