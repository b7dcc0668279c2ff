"""Listening to what happens: Server-Sent Events and WebSockets, from the worker's hub.

A stream of Server-Sent Events is refused here, like anything else, or begun here and then served by the connection itself (see
express_stream.py). A WebSocket has a task, which takes from a queue that the hub fills. What a client may see is decided
once, by its token: `filter_of`.
"""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from litestar import WebSocket
from litestar.handlers import HTTPRouteHandler, WebsocketRouteHandler
from msgspec import Meta

from onebook.api.answer import Answer
from onebook.api.engine import Engine
from onebook.api.express_stream import CONNECTION, CUT_OFF_SECONDS, STREAM_PATH
from onebook.api.json_body import to_shape
from onebook.api.operation import ENGINE, Call, operation
from onebook.api.problems import RETRY_AFTER_SECONDS, Problem, problem_of, scope_missing
from onebook.api.roles import Scope
from onebook.api.tokens import Principal
from onebook.api.wire import Code
from onebook.push.client import Ending
from onebook.push.cursor import MAX_LENGTH, MalformedCursor
from onebook.push.frames import Filter
from onebook.push.hub import Hub
from onebook.push.queued import QueuedClient

TAG = "Streams"
SOCKET_PATH = "/v1/ws"
SUBPROTOCOL = "onebook.v1"
TOKEN_PREFIX = "bearer."  # noqa: S105  # a browser cannot set headers, but offer subprotocols
MAX_VENUES = 100

_TYPE = r"(?:\*|(?:onebook\.)?[a-z]+\.[a-z]+(?:\.[a-z]+)*(?:\.v[0-9]+)?)"
_SUMMARY = f"Events as they happen, as Server-Sent Events; over WebSocket the same at {SOCKET_PATH}"

# What a WebSocket is closed with: 4000 + the HTTP status that the same trouble has, and 1012 where it may simply connect again.
_CODES = {Ending.TOO_SLOW: 4408, Ending.TOKEN_EXPIRED: 4401, Ending.RESTARTING: 1012, Ending.UNAVAILABLE: 4503}

CursorText = Annotated[
    str,
    Meta(
        min_length=1, max_length=MAX_LENGTH, description="Where to go on, for clients that cannot send Last-Event-ID."
    ),
]


class StreamQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to listen to."""

    venue: Annotated[tuple[Code, ...], Meta(min_length=1, max_length=MAX_VENUES)]
    types: tuple[
        Annotated[
            str,
            Meta(
                pattern=rf"^{_TYPE}(?:,{_TYPE})*\Z",
                max_length=1000,
                description="Names of types, such as booking.held or onebook.booking.held.v1; * for all.",
            ),
        ],
        ...,
    ] = ()
    after: CursorText | None = None
    cursor: Annotated[str, Meta(min_length=1, max_length=MAX_LENGTH, description="The same as `after`.")] | None = None


@operation(
    method="GET",
    path=STREAM_PATH,
    summary=_SUMMARY,
    tag=TAG,
    scope=Scope.INVENTORY_READ,
    query=StreamQuery,
    answers={200: str},
    problems=(400, 404, 505),
    media_type="text/event-stream",
)
async def stream(call: Call[None, StreamQuery]) -> Answer:
    """The answer given here goes nowhere: by then the connection belongs to the stream."""
    connection = CONNECTION.get()
    if connection is None:
        raise Problem(
            505,
            "cannot-stream",
            "This connection cannot carry a stream",
            detail="ask over HTTP/1.1, on a connection that no other request is waiting on",
        )
    hub = _hub(call.engine)
    wanted = filter_of(call.query, call.principal)
    cursor = call.headers.get("last-event-id") or call.query.after or call.query.cursor
    start = await _start(hub, call.query, cursor)
    if not connection.transport.is_closing():
        hub.join(connection.take_over(hub, wanted, call.principal.expires_at), start)
    return Answer(200, b"", (), "text/event-stream")


async def _serve_socket(socket: "WebSocket[Any, Any, Any]") -> None:
    """The same over WebSocket. It is accepted before it is refused: browsers are told a close code, but no HTTP status."""
    offered = socket.scope.get("subprotocols", [])
    await socket.accept(subprotocols=SUBPROTOCOL if SUBPROTOCOL in offered else None)
    try:
        hub, client = await _socket_client(socket, offered)
    except Exception as error:
        problem = problem_of(error)
        await socket.close(code=4000 + problem.status, reason=problem.code)
        return
    listening = asyncio.create_task(_listen(socket, client))
    sending = asyncio.create_task(_send(socket, client))
    try:
        await client.over()
        if client.ending is not None:
            _cut_off_soon()
            await asyncio.wait({sending}, timeout=2 * CUT_OFF_SECONDS)
    finally:
        hub.leave(client)
        client.lost()
        listening.cancel()
        sending.cancel()
        await asyncio.gather(listening, sending, return_exceptions=True)


async def _socket_client(socket: "WebSocket[Any, Any, Any]", offered: list[str]) -> tuple[Hub, QueuedClient]:
    """A client that the hub has taken in. Raises what the same request over HTTP would be refused with."""
    engine: Engine = socket.app.state[ENGINE]
    principal = engine.keys.principal(_authorization(socket, offered))
    if Scope.INVENTORY_READ not in principal.scopes:
        raise scope_missing(Scope.INVENTORY_READ)
    query = _socket_query(socket.query_params.dict())
    hub = _hub(engine)
    client = QueuedClient(filter_of(query, principal), principal.expires_at)
    start = await _start(hub, query, query.after or query.cursor)
    hub.join(client, start)
    return hub, client


async def _listen(socket: "WebSocket[Any, Any, Any]", client: QueuedClient) -> None:
    """Wait until the other end closes; whatever else it says is not for us."""
    try:
        while (await socket.receive())["type"] != "websocket.disconnect":
            pass
    finally:
        client.lost()


async def _send(socket: "WebSocket[Any, Any, Any]", client: QueuedClient) -> None:
    """Send what the hub writes, one message an event, and at the end say why."""
    try:
        while payload := await client.take():
            for message in payload.decode().splitlines():
                await socket.send_data(message)
            client.sent(payload)
        if client.ending is not None:
            await socket.close(code=_CODES[client.ending], reason=client.ending.value)
    finally:
        client.lost()


def _cut_off_soon() -> None:
    """One who has stopped reading does not take note of the end either."""
    connection = CONNECTION.get()
    if connection is not None:
        connection.loop.call_later(CUT_OFF_SECONDS, connection.transport.abort)


def filter_of(query: StreamQuery, principal: Principal) -> Filter:
    """What this client wants, and may see."""
    named = [name for text in query.types for name in text.split(",")]
    return Filter(
        venues=frozenset(query.venue),
        types=None if "*" in named or not named else frozenset(full_type(name) for name in named),
        sees_bookings=Scope.BOOKINGS_READ in principal.scopes,
        only_channel=principal.only_channel,
    )


def full_type(name: str) -> str:
    """`booking.held` and `onebook.booking.held.v1` are the same."""
    bare = name.removeprefix("onebook.")
    return f"onebook.{bare}" if bare.rpartition(".")[2].startswith("v") else f"onebook.{bare}.v1"


async def _start(hub: Hub, query: StreamQuery, cursor: str | None) -> Any:
    """Where the stream begins; the last thing that is waited for before the client joins."""
    await hub.require_venues(query.venue)
    try:
        start = await hub.start_of(cursor)
    except MalformedCursor as error:
        raise Problem(400, "cursor-malformed", "This is no cursor", detail=str(error)) from error
    if hub.is_full:
        raise _unavailable("too-many-clients", "as many clients are listening as may")
    return start


def _hub(engine: Engine) -> Hub:
    if engine.hub is None:
        raise _unavailable("unavailable", "this worker has no stream")
    if engine.hub.cursor is None:  # whoever joined now would be told a place that nobody can go on from
        raise _unavailable("unavailable", "this worker is only starting")
    return engine.hub


def _unavailable(code: str, detail: str) -> Problem:
    headers = (("retry-after", str(RETRY_AFTER_SECONDS)),)
    return Problem(503, code, "No stream can be had now", headers=headers, detail=detail)


def _authorization(socket: "WebSocket[Any, Any, Any]", offered: list[str]) -> bytes | None:
    """The header, or the token that a browser offers as a subprotocol."""
    given = next((value for name, value in socket.scope["headers"] if name == b"authorization"), None)
    if given is not None:
        return given
    token = next((text.removeprefix(TOKEN_PREFIX) for text in offered if text.startswith(TOKEN_PREFIX)), None)
    return None if token is None else f"Bearer {token}".encode()


def _socket_query(given: Mapping[str, list[Any]]) -> StreamQuery:
    values = {name: values if name in {"venue", "types"} else values[-1] for name, values in given.items()}
    return to_shape(values, StreamQuery, strict=False, in_query=True)


ROUTES: tuple[HTTPRouteHandler, ...] = (stream,)
SOCKETS: tuple[WebsocketRouteHandler, ...] = (WebsocketRouteHandler(SOCKET_PATH, name="socket")(_serve_socket),)
