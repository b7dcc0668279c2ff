"""What changed while a partner was away."""

from datetime import UTC, datetime, timedelta

from litestar.handlers import HTTPRouteHandler

from onebook.api.answer import Answer, answer
from onebook.api.operation import Call, operation
from onebook.api.roles import Scope
from onebook.api.wire_webhooks import MAX_MINUTES, DeltaQuery, check_instant
from onebook.channels.delta import Delta
from onebook.ledger.failures import Unprocessable

TAG = "Reading"


@operation(
    method="GET",
    path="/v1/bulk-delta",
    summary="Every cell of a venue that changed since a time, in its latest state",
    tag=TAG,
    scope=Scope.INVENTORY_READ,
    query=DeltaQuery,
    answers={200: Delta},
    problems=(404,),
)
async def get_bulk_delta(call: Call[None, DeltaQuery]) -> Answer:
    """At most a day back; `version` orders it among events that arrive late."""
    query = call.query
    if (query.since is None) == (query.minutes is None):
        raise Unprocessable("invalid", "name one of `since` and `minutes`", "since")
    now = datetime.now(UTC)
    since = query.since or now - timedelta(minutes=query.minutes or 0)
    check_instant(since, "since")
    if now - since > timedelta(minutes=MAX_MINUTES):
        raise Unprocessable("answer-too-large", "more than a day ago: read a snapshot from /v1/availability", "since")
    found = await call.engine.deltas.since(query.venue, since)
    return answer(200, found, ("cache-control", "no-store"))


ROUTES: tuple[HTTPRouteHandler, ...] = (get_bulk_delta,)
