"""What is sold: venues, resources, sessions, their inventory by date, and blocks."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from litestar.handlers import HTTPRouteHandler

from onebook.api.answer import Answer, answer
from onebook.api.body import MAX_BULK_BYTES
from onebook.api.headers import expected_version
from onebook.api.operation import Call, operation
from onebook.api.path import existing_code, new_code
from onebook.api.placing import refused
from onebook.api.problems import refusal_problem
from onebook.api.roles import Scope
from onebook.api.wire import BlockAnswer, BlockRequest, ItemRequest, block_answer
from onebook.api.wire_definitions import (
    BulkAnswer,
    BulkRequest,
    ChangesRequest,
    ResourceAnswer,
    ResourceRequest,
    SessionAnswer,
    SessionRequest,
    VenueAnswer,
    VenueRequest,
    VersionAnswer,
    cells_of,
    check_session,
    check_venue,
    definition_of,
)
from onebook.ledger.definitions import Defined, ResourceDefinition
from onebook.ledger.failures import Unprocessable
from onebook.model.decision import Decision, Unchanged
from onebook.model.refusals import Refusal, UnknownBlock

TAG = "Inventory"


@operation(
    method="PUT",
    path="/v1/venues/{venue}",
    summary="Define a venue",
    tag=TAG,
    scope=Scope.INVENTORY_WRITE,
    body=VenueRequest,
    answers={201: VenueAnswer, 200: VenueAnswer},
    problems=(409,),
)
async def put_venue(call: Call[VenueRequest, None]) -> Answer:
    """201 where it is new."""
    code, venue = new_code(call.path, "venue"), call.body
    check_venue(venue)
    created = await call.engine.definitions.put_venue(
        code, venue.name, venue.timezone, venue.currency, venue.market, prepaid=venue.prepaid
    )
    if isinstance(created, Refusal):
        raise refusal_problem(created)
    told = VenueAnswer(code, venue.name, venue.timezone, venue.currency, venue.market, venue.prepaid)
    return answer(201 if created else 200, told)


@operation(
    method="PUT",
    path="/v1/venues/{venue}/resources/{code}",
    summary="Define a resource",
    tag=TAG,
    scope=Scope.INVENTORY_WRITE,
    body=ResourceRequest,
    answers={201: ResourceAnswer, 200: ResourceAnswer},
    problems=(404, 409),
)
async def put_resource(call: Call[ResourceRequest, None]) -> Answer:
    """201 where it is new, 200 where it replaces."""
    defined = await _define(call, [definition_of(new_code(call.path, "code"), call.body)])
    ((key, version),) = defined.versions.items()
    etag = ("etag", f'"{version}"')
    return answer(201 if defined.created else 200, ResourceAnswer(key, version), etag)


@operation(
    method="POST",
    path="/v1/venues/{venue}/resources:bulk",
    summary="Define many resources, all or none",
    tag=TAG,
    scope=Scope.INVENTORY_WRITE,
    body=BulkRequest,
    max_body_bytes=MAX_BULK_BYTES,
    answers={200: BulkAnswer},
    problems=(404, 409),
)
async def put_resources(call: Call[BulkRequest, None]) -> Answer:
    """A hall of seats in one request."""
    definitions = [definition_of(resource.code, resource, f"/{index}") for index, resource in enumerate(call.body)]
    defined = await _define(call, definitions)
    told = [ResourceAnswer(key, version) for key, version in defined.versions.items()]
    return answer(200, BulkAnswer(created=len(defined.created), resources=told))


@operation(
    method="PUT",
    path="/v1/venues/{venue}/sessions/{session}",
    summary="Define a session: a performance, a departure",
    tag=TAG,
    scope=Scope.INVENTORY_WRITE,
    body=SessionRequest,
    answers={201: SessionAnswer, 200: SessionAnswer},
    problems=(404,),
)
async def put_session(call: Call[SessionRequest, None]) -> Answer:
    """201 where it is new."""
    venue, code, session = existing_code(call.path, "venue"), new_code(call.path, "session"), call.body
    check_session(session)
    created = await call.engine.definitions.put_session(venue, code, session.starts, session.ends)
    return answer(201 if created else 200, SessionAnswer(code, session.starts, session.ends))


@operation(
    method="PATCH",
    path="/v1/venues/{venue}/resources/{code}/inventory",
    summary="Set capacity and restrictions by date, all changes or none",
    tag=TAG,
    scope=Scope.INVENTORY_WRITE,
    body=ChangesRequest,
    headers=("If-Match", "traceparent"),
    answers={200: VersionAnswer},
    problems=(404, 409, 412),
)
async def patch_inventory(call: Call[ChangesRequest, None]) -> Answer:
    """A capacity below what is sold is refused with the figures."""
    settled = await call.engine.ledger.change_inventory(
        f"{existing_code(call.path, 'venue')}/{existing_code(call.path, 'code', 'resource')}",
        cells_of(call.body),
        expected_version=expected_version(call.headers.get("if-match")),
        traceparent=call.traceparent,
    )
    if not isinstance(settled.verdict, Decision | Unchanged):
        raise await refused(call.engine, settled.verdict)
    return answer(200, VersionAnswer(settled.version), ("etag", f'"{settled.version}"'))


@operation(
    method="POST",
    path="/v1/venues/{venue}/blocks",
    summary="Take units out of sale until they are given back",
    tag=TAG,
    scope=Scope.INVENTORY_WRITE,
    body=BlockRequest,
    headers=("traceparent",),
    answers={201: BlockAnswer},
    problems=(404, 409),
)
async def create_block(call: Call[BlockRequest, None]) -> Answer:
    """All items or none."""
    venue = existing_code(call.path, "venue")
    _refuse_strangers(call.body.items, venue)
    settled = await call.engine.ledger.place_block(
        call.body.items, reason=call.body.reason, traceparent=call.traceparent
    )
    if not isinstance(settled.verdict, Decision) or settled.verdict.block is None:
        raise await refused(call.engine, settled.verdict)
    block = settled.verdict.block
    return answer(201, block_answer(block), ("location", f"/v1/venues/{venue}/blocks/{block.id}"))


@operation(
    method="DELETE",
    path="/v1/venues/{venue}/blocks/{id}",
    summary="Put a block's units back on sale; doing it again finds it done",
    tag=TAG,
    scope=Scope.INVENTORY_WRITE,
    headers=("traceparent",),
    answers={200: BlockAnswer},
    problems=(404,),
)
async def delete_block(call: Call[None, None]) -> Answer:
    """The block stays on record, lifted."""
    try:
        identity = str(UUID(call.path["id"]))
    except ValueError:
        raise refusal_problem(UnknownBlock()) from None
    venue = existing_code(call.path, "venue")
    settled = await call.engine.ledger.lift_block(identity, venue=venue, traceparent=call.traceparent)
    if not isinstance(settled.verdict, Decision | Unchanged) or settled.verdict.block is None:
        raise await refused(call.engine, settled.verdict)
    return answer(200, block_answer(settled.verdict.block))


ROUTES: tuple[HTTPRouteHandler, ...] = (
    put_venue,
    put_resource,
    put_resources,
    put_session,
    patch_inventory,
    create_block,
    delete_block,
)


async def _define(call: Call[Any, None], definitions: Sequence[ResourceDefinition]) -> Defined:
    defined = await call.engine.definitions.put_resources(existing_code(call.path, "venue"), definitions)
    if isinstance(defined, Refusal):
        raise refusal_problem(defined)
    return defined


def _refuse_strangers(items: Sequence[ItemRequest], venue: str) -> None:
    for index, item in enumerate(items):
        if item.resource.partition("/")[0] != venue:
            raise Unprocessable(
                "invalid", f"a block of {venue} takes only its own resources", f"/items/{index}/resource"
            )
