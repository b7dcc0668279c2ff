"""Reading what is on sale, and the log."""

from hashlib import blake2b

from litestar.handlers import HTTPRouteHandler

from onebook.api.answer import Answer, answer, encode_json
from onebook.api.headers import matches
from onebook.api.operation import Call, operation
from onebook.api.problems import Problem
from onebook.api.roles import Scope
from onebook.api.wire import AvailabilityQuery, EventsQuery, FoundList, SearchQuery
from onebook.views.availability import Availability
from onebook.views.reads import EventPage

TAG = "Reading"

# A client's own cache may answer for a second: a stale answer costs a refused hold, never a double booking.
_CACHE_CONTROL = ("cache-control", "private, max-age=1, stale-while-revalidate=5")


@operation(
    method="GET",
    path="/v1/availability",
    summary="What is on sale in a venue, cell by cell",
    tag=TAG,
    scope=Scope.INVENTORY_READ,
    query=AvailabilityQuery,
    headers=("If-None-Match",),
    answers={200: Availability, 304: None},
    problems=(404, 412),
)
async def get_availability(call: Call[None, AvailabilityQuery]) -> Answer:
    """With `resource_version`, 412 where a resource is not that far yet."""
    query = call.query
    found = await call.engine.reads.availability(
        query.venue, query.starts, query.ends, resources=query.resource or None, quantity=query.quantity
    )
    _refuse_older(found, query.resource_version)
    body = encode_json(found)
    etag = ("etag", f'W/"{blake2b(body, digest_size=12).hexdigest()}"')
    if matches(call.headers.get("if-none-match"), etag[1]):
        return Answer(304, b"", (etag, _CACHE_CONTROL))
    return Answer(200, body, (etag, _CACHE_CONTROL))


@operation(
    method="GET",
    path="/v1/search",
    summary="Resources that are free for a whole period, in a market or a venue",
    tag=TAG,
    scope=Scope.INVENTORY_READ,
    query=SearchQuery,
    answers={200: FoundList},
    problems=(404,),
)
async def search(call: Call[None, SearchQuery]) -> Answer:
    """Those with the most left first."""
    query = call.query
    found = await call.engine.reads.search(
        market=query.market,
        venue=query.venue,
        kind=query.kind,
        starts=query.starts,
        ends=query.ends,
        quantity=query.quantity,
        limit=query.limit,
    )
    return answer(200, FoundList(query.starts, query.ends, query.quantity, found))


@operation(
    method="GET",
    path="/v1/events",
    summary="The log, in its order; go on with `cursor`",
    tag=TAG,
    scope=Scope.OPS_READ,
    query=EventsQuery,
    answers={200: EventPage},
    problems=(404,),
)
async def list_events(call: Call[None, EventsQuery]) -> Answer:
    """The events of every channel, which is why a channel may not read them here."""
    query = call.query
    page = await call.engine.reads.events(query.after, query.venue, query.limit)
    return answer(200, page)


ROUTES: tuple[HTTPRouteHandler, ...] = (get_availability, search, list_events)


def _refuse_older(found: Availability, wanted: tuple[str, ...]) -> None:
    """Raises Problem 412 where a resource has not reached the version that the caller has seen elsewhere."""
    versions = {resource.resource: resource.version for resource in found.resources}
    for text in wanted:
        key, _, version = text.rpartition(":")
        reached = versions.get(key)
        if reached is not None and reached < int(version):
            raise Problem(
                412, "version-not-reached", "The resource is not at that version", resource=key, version=reached
            )
