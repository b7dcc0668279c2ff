"""The fast path: POST /v1/bookings in its common form, without the framework.

Only a good token, a good body in one piece and plain headers are taken here. Anything else is handed on, with what was
read of the body, to the route that stands in the document; so errors of form are made in one place. Both use `place`.
"""

import asyncio
import re
from time import perf_counter
from typing import Any

from litestar import Litestar

from onebook.api.answer import Answer
from onebook.api.body import MAX_BODY_BYTES
from onebook.api.booking_routes import CREATE_PATH, create_booking
from onebook.api.engine import Engine
from onebook.api.headers import traceparent_of
from onebook.api.json_body import decode_json, request_hash
from onebook.api.metrics import REQUEST_SECONDS
from onebook.api.operation import ENGINE
from onebook.api.placing import place
from onebook.api.problems import Problem, failure_answer
from onebook.api.roles import Scope
from onebook.api.tokens import BadToken, Principal
from onebook.api.wire import BookingRequest

# A client that has sent its headers has nearly always sent its short body too; the slow path waits for the others.
BODY_SECONDS = 0.5

_KEY = re.compile(rb"[\x21-\x7e]{1,255}")
_TYPES = frozenset({None, b"application/json"})


class HotPath:
    """The application in front of the application."""

    def __init__(self, app: Litestar) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer, or hand on."""
        if scope["type"] != "http" or scope["path"] != CREATE_PATH or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        began = perf_counter()
        engine: Engine = self._app.state[ENGINE]
        headers = dict(scope["headers"])
        principal = _principal(engine, headers) if len(headers) == len(scope["headers"]) else None
        if principal is None or not _plain(headers):
            await self._app(scope, receive, send)
            return
        first = await _first_message(receive)
        taken = None if first is None else _decoded(first)
        if taken is None:
            await self._app(scope, receive if first is None else _again(first, receive), send)
            return
        answered = await _answer(engine, principal, headers, *taken)
        REQUEST_SECONDS.labels(_NAME, answered.status).observe(perf_counter() - began)
        await _send(answered, send)


_NAME = str(create_booking.name)


def _principal(engine: Engine, headers: dict[bytes, bytes]) -> Principal | None:
    """Who asks, if they may place bookings."""
    try:
        principal = engine.keys.principal(headers.get(b"authorization"))
    except BadToken:
        return None
    return principal if Scope.BOOKINGS_WRITE in principal.scopes else None


def _plain(headers: dict[bytes, bytes]) -> bool:
    length = headers.get(b"content-length", b"")
    return (
        length.isdigit()
        and int(length) <= MAX_BODY_BYTES
        and headers.get(b"content-type") in _TYPES
        and _KEY.fullmatch(headers.get(b"idempotency-key", b"")) is not None
    )


async def _first_message(receive: Any) -> Any:
    """What has come of the body; None if nothing comes, and then nothing has been taken."""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await receive()
    except TimeoutError:
        return None


def _decoded(message: Any) -> tuple[BookingRequest, bytes] | None:
    """The booking asked for, if the message has the whole of a good body."""
    if message["type"] != "http.request" or message.get("more_body", False):
        return None
    try:
        return decode_json(message.get("body", b""), BookingRequest)
    except Problem:
        return None


async def _answer(
    engine: Engine, principal: Principal, headers: dict[bytes, bytes], request: BookingRequest, canonical: bytes
) -> Answer:
    trace = headers.get(b"traceparent")
    try:
        async with asyncio.timeout(engine.answer_seconds):
            return await place(
                engine,
                request,
                channel=principal.channel,
                key=headers[b"idempotency-key"].decode("ascii"),
                request_hash=request_hash(canonical),
                traceparent=None if trace is None else traceparent_of(trace.decode("latin-1")),
            )
    except Exception as error:
        return failure_answer(error)


def _again(first: Any, receive: Any) -> Any:
    """A `receive` that begins with the message that was taken."""
    waiting = [first]

    async def receive_again() -> Any:
        return waiting.pop() if waiting else await receive()

    return receive_again


async def _send(answered: Answer, send: Any) -> None:
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answered.headers]
    headers.append((b"content-type", answered.content_type.encode("ascii")))
    headers.append((b"content-length", b"%d" % len(answered.body)))
    await send({"type": "http.response.start", "status": answered.status, "headers": headers})
    await send({"type": "http.response.body", "body": answered.body})
