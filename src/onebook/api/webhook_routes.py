"""Webhooks: endpoints, their secrets, and what became of each delivery."""

from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from litestar.handlers import HTTPRouteHandler

from onebook.api.answer import Answer, answer
from onebook.api.operation import Call, operation
from onebook.api.problems import Problem
from onebook.api.roles import Scope
from onebook.api.wire_webhooks import (
    DeliveriesQuery,
    EndpointChange,
    EndpointList,
    EndpointRequest,
    ReplayRequest,
    TestQueued,
    check_instant,
)
from onebook.channels.endpoints import EndpointId
from onebook.channels.subscriptions import DeliveryPage, EndpointView, Replayed, SecretView
from onebook.ledger.failures import Unprocessable

TAG = "Webhooks"

T = TypeVar("T")


@operation(
    method="POST",
    path="/v1/webhooks",
    summary="Have events posted to a URL, signed as Standard Webhooks has it",
    tag=TAG,
    scope=Scope.CHANNELS_WRITE,
    body=EndpointRequest,
    answers={201: SecretView},
    problems=(404,),
)
async def create_webhook(call: Call[EndpointRequest, None]) -> Answer:
    """The secret is told this once. A channel's token makes endpoints of that channel only."""
    wished, owner = call.body, call.principal.only_channel
    if owner is not None and wished.channel not in {None, owner}:
        raise Unprocessable("invalid", "this token may only name its own channel", "/channel")
    created = await call.engine.webhooks.create(
        wished.url, wished.venues, wished.types, channel=owner or wished.channel
    )
    return answer(201, created, ("location", f"/v1/webhooks/{created.id}"), ("cache-control", "no-store"))


@operation(
    method="GET",
    path="/v1/webhooks",
    summary="All endpoints",
    tag=TAG,
    scope=Scope.CHANNELS_WRITE,
    answers={200: EndpointList},
)
async def list_webhooks(call: Call[None, None]) -> Answer:
    """Without their secrets."""
    return answer(200, EndpointList(await call.engine.webhooks.all(call.principal.only_channel)))


@operation(
    method="GET",
    path="/v1/webhooks/{id}",
    summary="One endpoint",
    tag=TAG,
    scope=Scope.CHANNELS_WRITE,
    answers={200: EndpointView},
    problems=(404,),
)
async def get_webhook(call: Call[None, None]) -> Answer:
    """Without its secret."""
    return answer(200, _found(await call.engine.webhooks.one(*_whose(call))))


@operation(
    method="PATCH",
    path="/v1/webhooks/{id}",
    summary="Change where an endpoint lies, what it wants, or whether it gets anything",
    tag=TAG,
    scope=Scope.CHANNELS_WRITE,
    body=EndpointChange,
    answers={200: EndpointView},
    problems=(404,),
)
async def patch_webhook(call: Call[EndpointChange, None]) -> Answer:
    """An endpoint that answered 410 is enabled again by `status`."""
    wished = call.body
    changed = await call.engine.webhooks.change(
        *_whose(call), url=wished.url, venues=wished.venues, types=wished.types, status=wished.status
    )
    return answer(200, _found(changed))


@operation(
    method="DELETE",
    path="/v1/webhooks/{id}",
    summary="Send nothing more to an endpoint, and forget it",
    tag=TAG,
    scope=Scope.CHANNELS_WRITE,
    answers={204: None},
    problems=(404,),
)
async def delete_webhook(call: Call[None, None]) -> Answer:
    """What is under way may still arrive."""
    if not await call.engine.webhooks.delete(*_whose(call)):
        raise _unknown()
    return Answer(204, b"")


@operation(
    method="POST",
    path="/v1/webhooks/{id}/rotate",
    summary="A new secret; the one before it goes on signing beside it for a while",
    tag=TAG,
    scope=Scope.CHANNELS_WRITE,
    answers={200: SecretView},
    problems=(404,),
)
async def rotate_webhook(call: Call[None, None]) -> Answer:
    """The new secret is told this once."""
    return answer(200, _found(await call.engine.webhooks.rotate(*_whose(call))), ("cache-control", "no-store"))


@operation(
    method="POST",
    path="/v1/webhooks/{id}/test",
    summary="Send a test event",
    tag=TAG,
    scope=Scope.CHANNELS_WRITE,
    answers={202: TestQueued},
    problems=(404, 409),
)
async def send_webhook_test(call: Call[None, None]) -> Answer:
    """What becomes of it is told by the deliveries."""
    whose = _whose(call)
    delivery = await call.engine.webhooks.test(*whose)
    if delivery is None:
        found = _found(await call.engine.webhooks.one(*whose))
        raise Problem(409, "webhook-disabled", "The endpoint is disabled", detail=found.reason)
    return answer(202, TestQueued(delivery))


@operation(
    method="GET",
    path="/v1/webhooks/{id}/deliveries",
    summary="What became of each delivery, the latest first",
    tag=TAG,
    scope=Scope.CHANNELS_WRITE,
    query=DeliveriesQuery,
    answers={200: DeliveryPage},
    problems=(404,),
)
async def list_webhook_deliveries(call: Call[None, DeliveriesQuery]) -> Answer:
    """With the latest attempts of each."""
    query = call.query
    page = await call.engine.webhooks.deliveries(
        *_whose(call), status=query.status, cursor=query.cursor, limit=query.limit
    )
    return answer(200, _found(page))


@operation(
    method="POST",
    path="/v1/webhooks/{id}/replay",
    summary="Send deliveries again, under the ids they had",
    tag=TAG,
    scope=Scope.CHANNELS_WRITE,
    body=ReplayRequest,
    answers={202: Replayed},
    problems=(404,),
)
async def replay_webhook(call: Call[ReplayRequest, None]) -> Answer:
    """Those that are still pending are on their way anyway, and not counted."""
    wished = call.body
    if sum(part is not None for part in (wished.since, wished.minutes, wished.deliveries)) != 1:
        raise Unprocessable("invalid", "name one of `since`, `minutes` and `deliveries`", "")
    since = wished.since
    if since is not None:
        check_instant(since, "/since")
    if wished.minutes is not None:
        since = datetime.now(UTC) - timedelta(minutes=wished.minutes)
    replayed = await call.engine.webhooks.replay(*_whose(call), since=since, deliveries=wished.deliveries)
    return answer(202, _found(replayed))


ROUTES: tuple[HTTPRouteHandler, ...] = (
    create_webhook,
    list_webhooks,
    get_webhook,
    patch_webhook,
    delete_webhook,
    rotate_webhook,
    send_webhook_test,
    list_webhook_deliveries,
    replay_webhook,
)


def _whose(call: Call[Any, Any]) -> tuple[EndpointId, str | None]:
    """The endpoint that the path names, and the channel whose endpoints alone the caller sees."""
    try:
        return EndpointId(str(UUID(call.path["id"]))), call.principal.only_channel
    except ValueError:
        raise _unknown() from None


def _found(value: T | None) -> T:
    if value is None:
        raise _unknown()
    return value


def _unknown() -> Problem:
    return Problem(404, "not-found", "Not found", detail="there is no such webhook")
