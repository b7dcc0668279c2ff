"""Reading what is on sale, and the log."""

from litestar.handlers import HTTPRouteHandler

from onebook.api.answer import Answer, answer
from onebook.api.operation import Call, operation
from onebook.api.ready import AVAILABILITY_PATH, versions_wanted, written
from onebook.api.roles import Scope
from onebook.api.wire import AvailabilityQuery, EventsQuery, FoundList, SearchQuery
from onebook.views.availability import Availability
from onebook.views.reads import EventPage

TAG = "Reading"


@operation(
    method="GET",
    path=AVAILABILITY_PATH,
    summary="What is on sale in a venue, cell by cell; the header onebook-cursor is where a stream goes on from it",
    tag=TAG,
    scope=Scope.INVENTORY_READ,
    query=AvailabilityQuery,
    headers=("If-None-Match",),
    answers={200: Availability, 304: None},
    problems=(404,),
)
async def get_availability(call: Call[None, AvailabilityQuery]) -> Answer:
    """With `resource_version` it waits a moment for resources to be that far; after that, `behind` names those that are not."""
    query = call.query
    # Before the answer is made: what is handled meanwhile may be in both, but must not be in neither.
    cursor = None if call.engine.hub is None else call.engine.hub.cursor
    found = await call.engine.reads.availability(
        query.venue,
        query.starts,
        query.ends,
        resources=query.resource or None,
        quantity=query.quantity,
        at_least=versions_wanted(query),
    )
    return written(found).answer(call.headers.get("if-none-match"), cursor)


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
    page = await call.engine.reads.events(
        query.after, query.venue, query.limit, with_customers=Scope.CUSTOMERS_READ in call.principal.scopes
    )
    return answer(200, page)


ROUTES: tuple[HTTPRouteHandler, ...] = (get_availability, search, list_events)
