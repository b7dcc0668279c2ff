"""The express way of POST /v1/bookings in its common form, answered from the protocol itself.

Who calls me: uvicorn, one instance a connection. A well-formed request whose body came with its head, with a good token,
plain headers and names already seen, needs no task, no ASGI messages and one write; when everybody wants the last room, that
is nearly all of the traffic. Anything else is handed to the application with all that was read, so that errors of form
are made in one place. What bounds me: one request in flight a connection; pipelined ones wait in uvicorn's own queue.
"""

import asyncio
import re
from functools import cache
from time import perf_counter

from prometheus_client import Histogram

from onebook import tracing
from onebook.api.answer import Answer
from onebook.api.body import MAX_BODY_BYTES
from onebook.api.booking_routes import CREATE_PATH, create_booking
from onebook.api.card_numbers import looks_like_card
from onebook.api.engine import Engine
from onebook.api.express_answer import NoWaiters, head_of, may_answer
from onebook.api.express_reading import ReadingProtocol
from onebook.api.headers import traceparent_of
from onebook.api.json_body import decode_json
from onebook.api.metrics import REQUEST_SECONDS
from onebook.api.placing import placed_answer, placing_of, refused
from onebook.api.problems import failure_answer
from onebook.api.roles import Scope
from onebook.api.tokens import BadToken
from onebook.api.wire import BookingRequest
from onebook.ledger.page import Settled

_URL = CREATE_PATH.encode()
_KEY = re.compile(rb"[\x21-\x7e]{1,255}")
_TYPES = frozenset({None, b"application/json"})


class ExpressProtocol(ReadingProtocol):
    """uvicorn's HTTP/1.1 with streams, and the express ways beside it."""

    _collected: bytearray | None = None

    def data_received(self, data: bytes) -> None:
        """Parse; a body that did not come with its head goes the long way, which waits for it with a timer."""
        super().data_received(data)
        if self._collected is not None and not self.transport.is_closing():
            self._hand_over()

    def on_headers_complete(self) -> None:
        """Collect the body of what may be a booking, before anything is made for it."""
        if self.url == _URL and self.parser.get_method() == b"POST" and may_answer(self):
            self._collected = bytearray()
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body."""
        if self._collected is None:
            super().on_body(body)
        else:
            self._collected += body

    def on_message_complete(self) -> None:
        """The request is whole: answer it here, or hand it over."""
        if self._collected is None:
            super().on_message_complete()
        elif self._answered():
            self._collected = None
        else:
            self._hand_over()
            super().on_message_complete()

    def _hand_over(self) -> None:
        body, self._collected = bytes(self._collected or b""), None
        super().on_headers_complete()
        if body:
            super().on_body(body)

    def _answered(self) -> bool:
        """Whether the ledger has been asked; if not, nothing has happened yet."""
        began = perf_counter()
        engine: Engine = self.app.engine
        headers = dict(self.headers)
        body = bytes(self._collected or b"")
        if not _plain(headers, self.headers, body) or (channel := _channel(engine, headers)) is None:
            return False
        trace = headers.get(b"traceparent")
        entered = tracing.enter(None if trace is None else traceparent_of(trace.decode("latin-1")))
        try:
            request, canonical = decode_json(body, BookingRequest)
            placing = placing_of(
                request,
                channel=channel,
                key=headers[b"idempotency-key"].decode("ascii"),
                canonical=canonical,
                traceparent=entered.place,
            )
            settling = engine.ledger.place_known(request.items, placing)
        except Exception:
            return False  # whatever is wrong with it, the long way comes to the same and says so
        if settling is None:
            return False
        exchange = _Exchange(self, engine, request, began, entered)
        self.cycle = exchange  # type: ignore[assignment]
        settling.add_done_callback(exchange.settled)
        return True


def _plain(headers: dict[bytes, bytes], all_headers: list[tuple[bytes, bytes]], body: bytes) -> bool:
    return (
        len(headers) == len(all_headers)
        and len(body) <= MAX_BODY_BYTES
        and headers.get(b"content-type") in _TYPES
        and b"expect" not in headers
        and _KEY.fullmatch(key := headers.get(b"idempotency-key", b"")) is not None
        and not looks_like_card(key.decode("ascii"))
    )


def _channel(engine: Engine, headers: dict[bytes, bytes]) -> str | None:
    """The channel that asks, if it may place bookings."""
    try:
        principal = engine.keys.principal(headers.get(b"authorization"))
    except BadToken:
        return None
    return principal.channel if Scope.BOOKINGS_WRITE in principal.scopes else None


class _Exchange:
    """A request in the ledger's hands, and its answer; to uvicorn a cycle like its own."""

    __slots__ = (
        "_began",
        "_engine",
        "_entered",
        "_protocol",
        "_request",
        "disconnected",
        "keep_alive",
        "message_event",
        "response_complete",
    )

    def __init__(
        self,
        protocol: ExpressProtocol,
        engine: Engine,
        request: BookingRequest,
        began: float,
        entered: tracing.Entered,
    ) -> None:
        self._protocol = protocol
        self._engine = engine
        self._request = request
        self._began = began
        self._entered = entered
        self.disconnected = False
        self.response_complete = False
        self.keep_alive = True
        self.message_event = NoWaiters

    def settled(self, settling: "asyncio.Future[Settled]") -> None:
        """Answer, now or, where a refusal looks for alternatives, soon."""
        try:
            settled = settling.result()
        except Exception as error:
            self._answer(failure_answer(error))
            return
        answered = placed_answer(settled.verdict)
        if answered is not None:
            self._answer(answered)
            return
        task = self._protocol.loop.create_task(self._refuse(settled))
        self._protocol.tasks.add(task)
        task.add_done_callback(self._protocol.tasks.discard)

    async def _refuse(self, settled: Settled) -> None:
        try:
            problem: Exception = await refused(self._engine, settled.verdict, self._request.items)
        except Exception as error:
            problem = error
        self._answer(failure_answer(problem))

    def _answer(self, answered: Answer) -> None:
        _seconds_of(answered.status).observe(perf_counter() - self._began)
        tracing.leave(self._entered, "request", operation=str(create_booking.name), status=answered.status)
        self.response_complete = True
        if self.disconnected:
            return
        protocol = self._protocol
        protocol.transport.write(
            head_of(answered, protocol.server_state.default_headers, self.keep_alive) + answered.body
        )
        if not self.keep_alive:
            protocol.transport.close()
        protocol.on_response_complete()


@cache
def _seconds_of(status: int) -> Histogram:
    """The histogram of a status, found once: finding it by its labels costs more than observing."""
    return REQUEST_SECONDS.labels(str(create_booking.name), status)
