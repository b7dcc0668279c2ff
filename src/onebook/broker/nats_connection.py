"""One connection to NATS, which ends once and for good, and tells everybody who waits on it.

nats-py would reconnect by itself, and a request in between would wait for its whole timeout without a word; what was missed
meanwhile nobody would know. So its reconnecting is off, requests are our own, and the broker's next user connects anew.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from copy import copy
from itertools import count
from typing import Self
from urllib.parse import urlsplit

import msgspec
import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription as Listening

from onebook.broker.protocol import BrokerError, NotAllowed

CONNECT_SECONDS = 2
ANSWER_SECONDS = 1.0
PING_SECONDS = 2  # a connection on which two of these were not answered has ended
CLOSE_SECONDS = 1
PENDING_BYTES = 8 * 1024 * 1024  # not yet taken by the kernel; a publisher waits while there is more

# The server's own words: nats-py has a class of error for neither, as the server writes them.
REFUSALS = ("authorization violation", "permissions violation")

Answered = Callable[[Msg], Awaitable[None]]


class ApiError(msgspec.Struct, frozen=True):
    """JetStream's refusal."""

    description: str = ""
    code: int = 0
    err_code: int = 0


class _ApiAnswer(msgspec.Struct, frozen=True):
    error: ApiError | None = None


class Refused(BrokerError):
    """JetStream says no; `error` says why."""

    def __init__(self, error: ApiError) -> None:
        super().__init__(error)
        self.error = error

    def __str__(self) -> str:
        return self.error.description


class Connection:
    """Requests, subscriptions, and the end of both."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client = Client()
        # Its own for each user, so that permissions can keep one from reading another's answers.
        self._inboxes = f"_INBOX.{urlsplit(url).username or 'anybody'}"
        self._inbox = ""
        self._numbers = count(1)
        self._waiting: dict[str, asyncio.Future[Msg]] = {}
        self._when_ended: set[Callable[[], None]] = set()
        self.error: BrokerError | None = None

    async def open(self) -> Self:
        """Connect. Raises BrokerError, NotAllowed."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._client.connect(
                    self._url,
                    allow_reconnect=False,
                    max_reconnect_attempts=1,  # counts for the first connection too; 0 would be for ever
                    reconnect_time_wait=0,
                    ping_interval=PING_SECONDS,
                    max_outstanding_pings=2,
                    pending_size=PENDING_BYTES,
                    inbox_prefix=self._inboxes,
                    error_cb=self._failed,
                    closed_cb=self._closed,
                )
            self._inbox = self._client.new_inbox()
            await self._client.subscribe(f"{self._inbox}.*", cb=self._answered)
        except (OSError, TimeoutError, nats.errors.Error) as error:
            await self._failed(error)
            await self.close()
        self.check()
        return self

    def check(self) -> None:
        """Raises what ended the connection, if something did."""
        if self.error is not None:
            raise copy(self.error)  # a traceback of its own: one error is raised for everybody who comes later

    async def ask(
        self, subject: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> "asyncio.Future[Msg]":
        """Sends a request; returns the answer to come, which is an error when the connection ends before. In order of calls."""
        self.check()
        token = str(next(self._numbers))
        answer: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        self._waiting[token] = answer
        answer.add_done_callback(lambda _: self._waiting.pop(token, None))
        try:
            await self._client.publish(subject, body, f"{self._inbox}.{token}", headers)
        except nats.errors.Error as error:
            answer.cancel()
            raise BrokerError(f"the broker takes no message of {len(body)} bytes: {error}") from error
        return answer

    async def request(self, subject: str, body: bytes = b"") -> bytes:
        """JetStream's answer to a question. Raises Refused, NotAllowed, BrokerError."""
        return accepted(await self.answer(await self.ask(subject, body), ANSWER_SECONDS))

    async def answer(self, expected: "asyncio.Future[Msg]", seconds: float) -> Msg:
        """The answer to come. When it does not, the connection is half-open for all we know, and ends."""
        try:
            async with asyncio.timeout(seconds):
                return await expected
        except TimeoutError:
            error = BrokerError(f"the broker did not answer within {seconds:g} s")
            self.fail(error)
            raise error from None

    async def listen(self, subject: str, heard: Answered) -> Listening:
        """`heard` is called with each message of the subject, in order; begun before any later request is answered.

        Client.flush() would not tell that it has begun: its PING may overtake what nats-py still holds back.
        """
        self.check()
        try:
            # No limits here: `heard` takes each message at once, and bounds what it keeps.
            return await self._client.subscribe(subject, cb=heard, pending_msgs_limit=0, pending_bytes_limit=0)
        except nats.errors.Error as error:
            raise BrokerError(f"the broker does not answer: {error}") from error

    async def unlisten(self, subscription: Listening) -> None:
        """Hear no more of it; nothing to do when the connection has ended."""
        with suppress(nats.errors.Error):
            await subscription.unsubscribe()

    async def publish(self, subject: str, body: bytes, reply: str) -> None:
        """Sends a request whose answers somebody listens to."""
        self.check()
        await self._client.publish(subject, body, reply)

    def new_inbox(self) -> str:
        """A subject of this connection's own."""
        return self._client.new_inbox()

    def when_ended(self, call: Callable[[], None]) -> Callable[[], None]:
        """Calls when the connection has ended; returns how to take that back."""
        self._when_ended.add(call)
        return lambda: self._when_ended.discard(call)

    def fail(self, error: BrokerError) -> None:
        """It ends, with everything that waits on it."""
        if self.error is not None:
            return
        self.error = error
        for answer in list(self._waiting.values()):
            if not answer.done():
                answer.set_exception(copy(error))
                answer.exception()  # whoever gave up waiting shall not have it logged
        for call in list(self._when_ended):
            call()

    async def close(self) -> None:
        """End it, and its socket; bounded also when the other side no longer reads."""
        self.fail(BrokerError("the connection was closed"))
        with suppress(TimeoutError, OSError, nats.errors.Error):
            await asyncio.wait_for(self._client.close(), CLOSE_SECONDS)

    async def _answered(self, message: Msg) -> None:
        answer = self._waiting.get(message.subject.rpartition(".")[2])
        if answer is not None and not answer.done():
            answer.set_result(message)

    async def _failed(self, error: Exception) -> None:
        said = str(error) or type(error).__name__
        refused = any(refusal in said.lower() for refusal in REFUSALS)
        self.fail(NotAllowed(said) if refused else BrokerError(f"the broker is away: {said}"))

    async def _closed(self) -> None:
        self.fail(BrokerError("the broker ended the connection"))


def accepted(answer: Msg) -> bytes:
    """The body of an answer that is no refusal. Raises Refused, BrokerError."""
    if (answer.headers or {}).get("Status") == "503":  # NATS: nobody listens there
        raise BrokerError("the broker has no JetStream, or no such stream")
    if refusal := msgspec.json.decode(answer.data, type=_ApiAnswer).error:
        raise Refused(refusal)
    return answer.data
