"""The express way of GET /v1/availability: answered as soon as its head is read, mostly with bytes that are kept ready.

Who calls me: uvicorn, one instance a connection. Token and scope are looked at as everywhere; the answers are those of the
ordinary route (ready.py writes both). A query that is wrong, or has to wait for a version, goes the ordinary way, where errors
are made. What bounds me: ready.py.

Clients that ask again and again send the same headers each time. On a connection whose last request was answered here, one
that differs from it only in its query is not even parsed, since all but the query has been.
"""

import re
import time
from functools import cache
from time import perf_counter
from typing import NamedTuple

from prometheus_client import Histogram

from onebook import tracing
from onebook.api.answer import Answer
from onebook.api.engine import Engine
from onebook.api.express_answer import NoWaiters, Opening, head_of, may_answer
from onebook.api.express_stream import StreamingProtocol
from onebook.api.headers import traceparent_of
from onebook.api.metrics import REQUEST_SECONDS
from onebook.api.reading_routes import get_availability
from onebook.api.ready import AVAILABILITY_PATH, CURSOR_HEADER, ReadyAnswers, Written
from onebook.api.roles import Scope

_URL = AVAILABILITY_PATH.encode() + b"?"
_REQUEST = b"GET " + _URL
_VERSION = b" HTTP/1.1\r\n"
_END = b"\r\n\r\n"
_PLAIN = re.compile(rb"[!$-;=?-~]+")
_NEEDS_THE_LONG_WAY = (b"content-length", b"transfer-encoding", b"expect")


class _Answered:
    """What uvicorn finds where a request was: it has been answered."""

    disconnected = False
    response_complete = True
    keep_alive = True
    message_event = NoWaiters


class _Asker(NamedTuple):
    """Who asked last on a connection, for a plain answer: the bytes of the headers, and until when their token is good."""

    headers: bytes
    expires_at: float


class ReadingProtocol(StreamingProtocol):
    """uvicorn's HTTP/1.1 with streams, and the express way of reading."""

    _opening = Opening()
    _asker: _Asker | None = None
    _received = b""
    _answered_at = 0.0

    def data_received(self, data: bytes) -> None:
        """Answer or parse."""
        if self._asker is None or not self._answered_again(self._asker, data):
            self._asker, self._received = None, data
            super().data_received(data)

    def on_headers_complete(self) -> None:
        """Answer what can be answered now; a request without a body is whole with its head."""
        if not (
            self.url.startswith(_URL)
            and self.parser.get_method() == b"GET"
            and may_answer(self)
            and self._answered_at_once()
        ):
            super().on_headers_complete()

    def timeout_keep_alive_handler(self) -> None:
        """The time since the last answer counts, also of those that did not come by the parser."""
        idle_seconds = self.loop.time() - self._answered_at
        if idle_seconds < self.timeout_keep_alive:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive - idle_seconds, self.timeout_keep_alive_handler
            )
        else:
            super().timeout_keep_alive_handler()

    def _answered_again(self, asker: _Asker, data: bytes) -> bool:
        began = perf_counter()
        request, _, headers = data.partition(_VERSION)
        if (
            headers != asker.headers
            or not request.startswith(_REQUEST)
            or asker.expires_at <= time.time()
            or self.cycle is not _Answered  # type: ignore[comparison-overlap]
            or self.flow.write_paused
            or self.transport.is_closing()
            or self.app.engine is None
        ):
            return False
        found = _found(self.app.engine.ready, request[len(_REQUEST) :])
        if found is None:
            return False
        entered = tracing.enter(None)
        self.transport.write(self._opening.of(self.server_state.default_headers, self._place) + found.head + found.body)
        self.server_state.total_requests += 1
        self._answered_at = self.loop.time()
        _seconds_of(200).observe(perf_counter() - began)
        tracing.leave(entered, "request", operation=str(get_availability.name), status=200)
        return True

    def _place(self) -> list[tuple[bytes, bytes]]:
        """Where a stream goes on; up to a second old, so it may bring something again, but misses nothing."""
        cursor = _cursor(self.app.engine)
        return [] if cursor is None else [(CURSOR_HEADER.encode(), cursor.encode())]

    def _remember(self, headers: dict[bytes, bytes]) -> None:
        """Whoever asked, if the request came whole and alone, and asked for nothing that makes one request unlike another."""
        line, _, block = self._received.partition(b"\r\n")
        if (
            line == b"GET %b HTTP/1.1" % self.url
            and block.find(_END) == len(block) - len(_END)
            and b"if-none-match" not in headers
            and b"traceparent" not in headers
        ):
            principal = self.app.engine.keys.principal(headers[b"authorization"])
            self._asker = _Asker(block, principal.expires_at)

    def _answered_at_once(self) -> bool:
        began = perf_counter()
        headers = dict(self.headers)
        if len(headers) != len(self.headers) or any(name in headers for name in _NEEDS_THE_LONG_WAY):
            return False
        trace = headers.get(b"traceparent")
        entered = tracing.enter(None if trace is None else traceparent_of(trace.decode("latin-1")))
        answered = _answer(self.app.engine, headers, self.url)
        if answered is None:
            return False
        self.transport.write(head_of(answered, self.server_state.default_headers) + answered.body)
        self.cycle = _Answered  # type: ignore[assignment]
        self.on_response_complete()
        self._remember(headers)
        _seconds_of(answered.status).observe(perf_counter() - began)
        tracing.leave(entered, "request", operation=str(get_availability.name), status=answered.status)
        return True


def _answer(engine: Engine, headers: dict[bytes, bytes], url: bytes) -> Answer | None:
    """The answer, where it is one that needs neither waiting nor explaining."""
    if engine.ready is None:
        return None
    known = headers.get(b"if-none-match")
    cursor = _cursor(engine)
    try:
        if Scope.INVENTORY_READ not in engine.keys.principal(headers.get(b"authorization")).scopes:
            return None
        found = engine.ready.find(url[len(_URL) :])
    except Exception:
        return None  # whatever is wrong with it, the long way comes to the same and says so
    return None if found is None else found.answer(None if known is None else known.decode("latin-1"), cursor)


def _found(ready: ReadyAnswers, query_string: bytes) -> Written | None:
    """The answer to a query that nobody has parsed; None where it takes the long way to say what is wrong with it."""
    try:
        return ready.find(query_string) if _PLAIN.fullmatch(query_string) else None
    except Exception:
        return None


def _cursor(engine: Engine) -> str | None:
    return None if engine.hub is None else engine.hub.cursor


@cache
def _seconds_of(status: int) -> Histogram:
    """The histogram of a status, found once: finding it by its labels costs more than observing."""
    return REQUEST_SECONDS.labels(str(get_availability.name), status)
