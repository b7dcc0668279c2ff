"""One operation of the API: what the document says of it, and how a request becomes a call of its function.

The same record that the document is made from decides who may call, and what a body and a query must look like, so
that the two cannot differ.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from time import perf_counter
from typing import Any, Generic, Protocol, TypeVar

import msgspec
from litestar import Request
from litestar.enums import HttpMethod
from litestar.handlers import HTTPRouteHandler
from litestar.response.base import ASGIResponse

from onebook import tracing
from onebook.api.answer import Answer
from onebook.api.body import MAX_BODY_BYTES, read_body
from onebook.api.card_numbers import refuse_cards_in_head
from onebook.api.engine import Engine
from onebook.api.headers import traceparent_of
from onebook.api.json_body import decode_json, to_shape
from onebook.api.metrics import REQUEST_SECONDS
from onebook.api.problems import FieldError, Problem, failure_answer, invalid, scope_missing
from onebook.api.roles import Scope
from onebook.api.tokens import Principal

B = TypeVar("B")
Q = TypeVar("Q")

ENGINE = "onebook_engine"
OPERATION = "operation"

# Who cannot say who he is does not get to fill our table of spans.
_UNKNOWN = 401

_PARAMETER = re.compile(r"\{(\w+)\}")


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """An operation as it is documented. `answers` and `problems` are all the statuses it may give."""

    method: str
    path: str
    summary: str
    tag: str
    scope: Scope | None
    answers: Mapping[int, Any]
    problems: tuple[int, ...] = ()
    body: Any = None
    body_optional: bool = False
    body_signed: bool = False
    """Its sender is known by a signature over its bytes: it is handed on as it came, neither read here nor searched."""
    max_body_bytes: int = MAX_BODY_BYTES
    query: Any = None
    headers: tuple[str, ...] = ()
    key_optional: bool = False
    """Without an Idempotency-Key the payload is the key."""
    media_type: str = "application/json"

    @property
    def repeated_parameters(self) -> frozenset[str]:
        """The query parameters that may be given several times."""
        if self.query is None:
            return frozenset()
        fields = msgspec.inspect.type_info(self.query).fields  # type: ignore[attr-defined]
        return frozenset(
            field.encode_name for field in fields if isinstance(_bare(field.type), msgspec.inspect.VarTupleType)
        )


class Call(Generic[B, Q]):
    """A request whose token, query and body are good."""

    __slots__ = ("_principal", "body", "canonical", "engine", "headers", "path", "query", "raw", "traceparent")

    def __init__(
        self,
        engine: Engine,
        principal: Principal | None,
        path: Mapping[str, str],
        headers: Mapping[str, str],
        query: Q,
        body: B,
        canonical: bytes,
        raw: bytes,
        traceparent: str | None,
    ) -> None:
        self.engine = engine
        self._principal = principal
        self.path = path
        self.headers = headers
        self.query = query
        self.body = body
        self.canonical = canonical
        self.raw = raw
        """The body as it came."""
        self.traceparent = traceparent

    @property
    def principal(self) -> Principal:
        """Who asks; only operations that need no scope have nobody."""
        if self._principal is None:
            raise LookupError("an operation without a scope has no principal")
        return self._principal


class Function(Protocol):
    """What an operation does: an async function of a call."""

    __name__: str

    def __call__(self, call: Call[Any, Any], /) -> Awaitable[Answer]:
        """The answer; problems are raised."""


def operation(**record: Any) -> Callable[[Function], HTTPRouteHandler]:
    """Make a route of a function; the arguments are those of Operation."""
    documented = Operation(**record)
    repeated = documented.repeated_parameters

    def route(function: Function) -> HTTPRouteHandler:
        name = function.__name__

        async def handle(request: Request[Any, Any, Any]) -> ASGIResponse:
            began = perf_counter()
            entered = tracing.enter(traceparent_of(request.headers.get("traceparent")))
            try:
                call = await _call(documented, repeated, request, entered.place)
                async with asyncio.timeout(call.engine.answer_seconds):
                    answered = await function(call)
            except Exception as error:
                answered = failure_answer(error)
            REQUEST_SECONDS.labels(name, answered.status).observe(perf_counter() - began)
            if answered.status != _UNKNOWN:
                tracing.leave(entered, "request", operation=name, status=answered.status)
            return response_of(answered)

        return HTTPRouteHandler(
            _PARAMETER.sub(r"{\1:str}", documented.path),
            http_method=[HttpMethod(documented.method)],
            status_code=200,
            opt={OPERATION: documented},
            name=name,
        )(handle)

    return route


def response_of(answered: Answer) -> ASGIResponse:
    """An answer as Litestar sends it."""
    return ASGIResponse(
        body=answered.body,
        status_code=answered.status,
        media_type=answered.content_type,
        headers=answered.headers,
    )


async def _call(
    documented: Operation, repeated: frozenset[str], request: Request[Any, Any, Any], traceparent: str | None
) -> Call[Any, Any]:
    """Who asks is settled before anything is read, and what is asked before anything is done."""
    engine: Engine = request.app.state[ENGINE]
    principal = None
    if documented.scope is not None:
        principal = engine.keys.principal(_raw_header(request, b"authorization"))
        if documented.scope not in principal.scopes:
            raise scope_missing(documented.scope)
    refuse_cards_in_head(
        request.scope["path"],
        b"" if documented.query is None else request.scope["query_string"],
        request.headers.get("idempotency-key"),
    )
    query = None if documented.query is None else _query(documented.query, repeated, request)
    body, canonical, raw = None, b"", b""
    if documented.body is not None:
        body, canonical, raw = await _body(documented, request)
    return Call(engine, principal, request.path_params, request.headers, query, body, canonical, raw, traceparent)


def _query(shape: Any, repeated: frozenset[str], request: Request[Any, Any, Any]) -> Any:
    given: dict[str, Any] = {}
    for name, value in request.query_params.multi_items():
        if name in repeated:
            given.setdefault(name, []).append(value)
        elif name in given:
            raise invalid([FieldError(detail="this parameter may be given once", parameter=name)])
        else:
            given[name] = value
    return to_shape(given, shape, strict=False, in_query=True)


async def _body(documented: Operation, request: Request[Any, Any, Any]) -> tuple[Any, bytes, bytes]:
    """The value, its canonical form, and the bytes that came."""
    raw_length = request.headers.get("content-length", "0")
    announced = int(raw_length) if raw_length.isdecimal() else 0
    raw = await read_body(request.receive, announced, documented.max_body_bytes)
    if not raw and documented.body_optional:
        return documented.body(), b"", b""
    content_type = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if content_type != "application/json":
        raise Problem(
            415, "unsupported-media-type", "The body must be JSON", detail="send content-type: application/json"
        )
    if documented.body_signed:
        return None, b"", raw
    value, canonical = decode_json(raw, documented.body)
    return value, canonical, raw


def _raw_header(request: Request[Any, Any, Any], name: bytes) -> bytes | None:
    return next((value for key, value in request.scope["headers"] if key == name), None)


def _bare(kind: msgspec.inspect.Type) -> msgspec.inspect.Type:
    return kind.type if isinstance(kind, msgspec.inspect.Metadata) else kind
