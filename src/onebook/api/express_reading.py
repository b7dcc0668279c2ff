"""The express way of GET /v1/availability: answered as soon as its head is read, mostly with bytes that are kept ready.

Who calls me: uvicorn, one instance a connection. Token and scope are looked at as everywhere; the answers are those of the
ordinary route (ready.py writes both). A query that is wrong, or has to wait for a version, goes the ordinary way, where errors
are made. What bounds me: ready.py.
"""

from functools import cache
from time import perf_counter

from prometheus_client import Histogram

from onebook import tracing
from onebook.api.answer import Answer
from onebook.api.engine import Engine
from onebook.api.express_answer import NoWaiters, head_of, may_answer
from onebook.api.express_stream import StreamingProtocol
from onebook.api.headers import traceparent_of
from onebook.api.metrics import REQUEST_SECONDS
from onebook.api.reading_routes import get_availability
from onebook.api.ready import AVAILABILITY_PATH
from onebook.api.roles import Scope

_URL = AVAILABILITY_PATH.encode() + b"?"
_NEEDS_THE_LONG_WAY = (b"content-length", b"transfer-encoding", b"expect")


class _Answered:
    """What uvicorn finds where a request was: it has been answered."""

    disconnected = False
    response_complete = True
    keep_alive = True
    message_event = NoWaiters


class ReadingProtocol(StreamingProtocol):
    """uvicorn's HTTP/1.1 with streams, and the express way of reading."""

    def on_headers_complete(self) -> None:
        """Answer what can be answered now; a request without a body is whole with its head."""
        if not (
            self.url.startswith(_URL)
            and self.parser.get_method() == b"GET"
            and may_answer(self)
            and self._answered_at_once()
        ):
            super().on_headers_complete()

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
        _seconds_of(answered.status).observe(perf_counter() - began)
        tracing.leave(entered, "request", operation=str(get_availability.name), status=answered.status)
        return True


def _answer(engine: Engine, headers: dict[bytes, bytes], url: bytes) -> Answer | None:
    """The answer, where it is one that needs neither waiting nor explaining."""
    if engine.ready is None:
        return None
    known = headers.get(b"if-none-match")
    try:
        if Scope.INVENTORY_READ not in engine.keys.principal(headers.get(b"authorization")).scopes:
            return None
        found = engine.ready.find(url[len(_URL) :])
    except Exception:
        return None  # whatever is wrong with it, the long way comes to the same and says so
    return None if found is None else found.answer(None if known is None else known.decode("latin-1"))


@cache
def _seconds_of(status: int) -> Histogram:
    """The histogram of a status, found once: finding it by its labels costs more than observing."""
    return REQUEST_SECONDS.labels(str(get_availability.name), status)
