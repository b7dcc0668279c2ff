"""Quotes: what a basket costs, line by line."""

from datetime import UTC, datetime

from litestar.handlers import HTTPRouteHandler

from onebook.api.answer import Answer, answer
from onebook.api.operation import Call, operation
from onebook.api.problems import refusal_problem
from onebook.api.roles import Scope
from onebook.api.wire_quotes import QuoteAnswer, QuoteRequest, quote_answer
from onebook.checkout.failures import CheckoutRefused
from onebook.checkout.prices.quotes import Wish
from onebook.ledger.failures import Unprocessable
from onebook.model.commands import Wanted
from onebook.model.offers.quote import Quote
from onebook.model.refusals import UnknownBooking

TAG = "Quotes"


@operation(
    method="POST",
    path="/v1/quotes",
    summary="What a basket or a booking costs, line by line, signed",
    tag=TAG,
    scope=Scope.INVENTORY_READ,
    body=QuoteRequest,
    answers={200: QuoteAnswer},
    problems=(404, 409),
)
async def create_quote(call: Call[QuoteRequest, None]) -> Answer:
    """It takes nothing, neither units nor coupons. Sent with a checkout, `quote` holds its price."""
    try:
        quote = await _quote(call)
    except CheckoutRefused as error:
        raise refusal_problem(error.refusal) from None
    told = quote_answer(quote, call.engine.quotes.token(quote))
    return answer(200, told, ("cache-control", "no-store"))


ROUTES: tuple[HTTPRouteHandler, ...] = (create_quote,)


async def _quote(call: Call[QuoteRequest, None]) -> Quote:
    asked, quotes = call.body, call.engine.quotes
    if (asked.items is None) == (asked.booking is None):
        raise Unprocessable("invalid", "name either `items` or a `booking`", "")
    if asked.booking is not None:
        found = await call.engine.reads.booking(str(asked.booking), call.principal.only_channel)
        if found is None:
            raise refusal_problem(UnknownBooking())
        return await quotes.of_booking(*found, coupons=asked.coupons, customer=asked.customer)
    wishes = [
        Wish(Wanted(item.resource, item.starts, item.ends, item.session, item.quantity), item.guests, item.rate_plan)
        for item in asked.items or ()
    ]
    return await quotes.of_items(wishes, datetime.now(UTC), coupons=asked.coupons, customer=asked.customer)
