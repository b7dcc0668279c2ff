"""The ASGI application: all routes.

Who calls me: the wiring, once a worker. What I own: nothing; the engine is opened when the worker's loop runs and closed
when the server stops. What bounds me: see body.py (size and time of a body) and engine.py (time of an answer).
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from litestar import Litestar, Request, Response
from litestar.handlers import HTTPRouteHandler

from onebook.api import (
    booking_routes,
    checkout_routes,
    customer_routes,
    dead_letter_routes,
    definition_routes,
    delta_routes,
    documentation_routes,
    gateway_routes,
    money_routes,
    offer_routes,
    pipeline_routes,
    probe_routes,
    quote_routes,
    reading_routes,
    stream_routes,
    webhook_routes,
)
from onebook.api.answer import Answer, encode_json
from onebook.api.engine import Engine
from onebook.api.openapi import document_of
from onebook.api.operation import ENGINE, OPERATION, Call, Operation, operation
from onebook.api.problems import failure_answer

ROOMS = (
    definition_routes,
    offer_routes,
    quote_routes,
    booking_routes,
    checkout_routes,
    money_routes,
    gateway_routes,
    customer_routes,
    reading_routes,
    stream_routes,
    delta_routes,
    webhook_routes,
    pipeline_routes,
    dead_letter_routes,
    probe_routes,
    documentation_routes,
)

OpenEngine = Callable[[], AbstractAsyncContextManager[Engine]]


class Application:
    """The ASGI application, with its engine in reach of the protocol (see express.py)."""

    def __init__(self, litestar: Litestar) -> None:
        self.litestar = litestar

    @property
    def engine(self) -> Engine | None:
        """The engine while it is open."""
        return self.litestar.state.get(ENGINE)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Every request that the express way does not take."""
        await self.litestar(scope, receive, send)


def create_app(open_engine: OpenEngine) -> Application:
    """The application; `open_engine` is entered at startup, in the loop that serves, and left at shutdown."""

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        async with open_engine() as engine:
            app.state[ENGINE] = engine
            yield

    routes = [route for room in ROOMS for route in room.ROUTES]
    app = Litestar(
        route_handlers=[*routes, _document_route(routes), *stream_routes.SOCKETS],
        lifespan=[lifespan],
        exception_handlers={Exception: _failed},
        openapi_config=None,
        logging_config=None,
        request_max_body_size=None,
    )
    return Application(app)


def operations_of(routes: Sequence[HTTPRouteHandler]) -> list[tuple[str, Operation]]:
    """The records of routes, with their names."""
    return [(str(route.name), route.opt[OPERATION]) for route in routes]


def _document_route(routes: Sequence[HTTPRouteHandler]) -> HTTPRouteHandler:
    """The route of the document, which describes itself as well."""

    @operation(
        method="GET",
        path="/openapi.json",
        summary="The OpenAPI 3.1 document",
        tag=documentation_routes.TAG,
        scope=None,
        answers={200: dict[str, Any]},
    )
    async def openapi_document(_call: Call[None, None]) -> Answer:
        """Made once, at the start."""
        return Answer(200, encoded, (("cache-control", "no-cache"),))

    encoded = encode_json(document_of(operations_of([*routes, openapi_document])))
    return openapi_document


def _failed(_request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """What goes wrong outside of an operation: no such route or method."""
    answered = failure_answer(error)
    return Response(
        content=answered.body,
        status_code=answered.status,
        media_type=answered.content_type,
        headers=dict(answered.headers),
    )
