"""One subscriber's place in the stream.

JetStream repeats each message once it is stored, and those who listen hear it at once, without a JetStream consumer that would
have to be kept, acknowledged and paid for. What was not heard (before the subscription began, or because the buffer was full) is
seen by the sequence and read back from the stream, page by page, so that a slow subscriber costs a bounded number of bytes here
and nothing there. What the stream no longer has is missing, and the chain of the messages shows it.

Somebody who hears nothing does not know why. So a subscription that was silent for half a second asks for the stream: an answer
that does not come, another stream of the same name, or one shorter than what was heard, is the end of the subscription.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Self

import msgspec
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription as Listening

from onebook.broker.nats_connection import ANSWER_SECONDS, Connection
from onebook.broker.nats_stream import Stream, delivery_of
from onebook.broker.protocol import BrokerError, Delivery

BUFFER_BYTES = 32 * 1024 * 1024
MESSAGE_BYTES = 512  # a message's headers and what Python makes of them, about
PAGE_MESSAGES = 512
PAGE_BYTES = 4 * 1024 * 1024
SILENCE_SECONDS = 0.5
MAX_STRAYS = 64
"""So many are told that did not come from the stream, until they are fetched."""


class NatsSubscription:
    """Hears, and reads back what it did not hear."""

    def __init__(self, connection: Connection, stream: Stream, *, buffer_bytes: int = BUFFER_BYTES) -> None:
        self._connection = connection
        self._stream = stream
        self._buffer_bytes = buffer_bytes
        self._heard: deque[Delivery] = deque()
        self._heard_bytes = 0
        self._strays: deque[Delivery] = deque(maxlen=MAX_STRAYS)
        self._last_heard = 0  # sequences ascend, or the stream is another one
        self._fetched = 0  # the sequence up to which fetch() has returned everything
        self._end = 0  # how far the stream is known to go
        self._created = ""
        self._arrived = asyncio.Event()
        self._doubt = asyncio.Event()
        self._listening: Listening | None = None
        self._watching: asyncio.Task[None] | None = None
        self._forget_end: Callable[[], None] | None = None

    async def open(self, after: int | None) -> Self:
        """Listens first and looks where the stream ends then, so that nothing falls in between."""
        self._forget_end = self._connection.when_ended(self._arrived.set)
        try:
            self._listening = await self._connection.listen(self._stream.stored, self._hear)
            info = await self._stream.info(self._connection)
        except BaseException:
            await self.close()
            raise
        self._created, self._end = info.created, info.state.last_seq
        if after is None:
            self._fetched = self._end
        else:
            self._fetched = after if after <= self._end else 0  # it lost what it had: the chain will show it
        self._watching = asyncio.create_task(self._watch())
        return self

    async def fetch(self, timeout_seconds: float) -> Sequence[Delivery]:
        """What has arrived, in order; empty when nothing has, after the timeout."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            self._connection.check()
            self._arrived.clear()
            if found := self._take_strays() or self._take_heard() or await self._read_back():
                return found
            try:
                async with asyncio.timeout(deadline - time.monotonic()):
                    await self._arrived.wait()
            except TimeoutError:
                return []

    async def close(self) -> None:
        """End it; safe at any moment."""
        if self._forget_end is not None:
            self._forget_end()
        if self._watching is not None:
            self._watching.cancel()
        if self._listening is not None:
            listening, self._listening = self._listening, None
            await self._connection.unlisten(listening)

    async def _hear(self, message: Msg) -> None:
        delivery = delivery_of(message)
        if not delivery.sequence:
            self._strays.append(delivery)
            self._arrived.set()
            return
        if delivery.sequence <= self._last_heard:
            self._doubt.set()  # an answer of JetStream's that somebody has sent here; or the stream began anew
            return
        self._last_heard = delivery.sequence
        self._end = max(self._end, delivery.sequence)
        size = len(delivery.message.body) + MESSAGE_BYTES
        if self._heard_bytes + size <= self._buffer_bytes or not self._heard:
            self._heard.append(delivery)
            self._heard_bytes += size
        self._arrived.set()

    def _take_strays(self) -> list[Delivery]:
        """What did not come from the stream; whoever looks at signatures refuses it."""
        strays = list(self._strays)
        self._strays.clear()
        return strays

    def _take_heard(self) -> list[Delivery]:
        """What was heard, up to the first that follows on something unheard."""
        found = []
        while self._heard and self._heard[0].sequence <= self._fetched + 1:
            delivery = self._heard.popleft()
            self._heard_bytes -= len(delivery.message.body) + MESSAGE_BYTES
            if delivery.sequence <= self._fetched:
                self._doubt.set()  # stored while we began or read back; or it is another stream
                continue
            found.append(delivery)
            self._fetched = delivery.sequence
        return found

    async def _read_back(self) -> list[Delivery]:
        """The next page of what was not heard. What the stream no longer has is passed over."""
        if self._fetched >= self._end:
            return []
        page = await self._page(self._fetched + 1)
        self._fetched = page[-1].sequence if page else self._end
        return page

    async def _page(self, first: int) -> list[Delivery]:
        found: asyncio.Queue[Msg] = asyncio.Queue()  # a page is bounded by the question
        inbox = self._connection.new_inbox()
        listening = await self._connection.listen(inbox, found.put)
        question = {"seq": first, "batch": PAGE_MESSAGES, "max_bytes": PAGE_BYTES}
        page: list[Delivery] = []
        try:
            await self._connection.publish(
                f"$JS.API.DIRECT.GET.{self._stream.name}", msgspec.json.encode(question), inbox
            )
            while True:
                message = await asyncio.wait_for(found.get(), ANSWER_SECONDS)
                if "Status" in (message.headers or {}):  # 204: the page is complete; 404: there is nothing
                    return page
                page.append(delivery_of(message))
        except TimeoutError:
            error = BrokerError("the broker stopped in the middle of an answer")
            self._connection.fail(error)
            raise error from None
        finally:
            await self._connection.unlisten(listening)

    async def _watch(self) -> None:
        """Looks for the stream after each half second of silence, and whenever a message raised a doubt."""
        heard = self._last_heard
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._doubt.wait(), SILENCE_SECONDS)
            if heard != self._last_heard and not self._doubt.is_set():
                heard = self._last_heard
                continue
            self._doubt.clear()
            heard = self._last_heard  # what is heard while the answer is on its way may well lie beyond it
            try:
                info = await self._stream.info(self._connection)
            except BrokerError as error:
                self._connection.fail(error)
                return
            if info.created != self._created or info.state.last_seq < heard:
                self._connection.fail(BrokerError("the stream began anew"))
                return
            if info.state.last_seq > self._end:
                self._end = info.state.last_seq
                self._arrived.set()
