"""NATS JetStream as the broker: one stream, one publisher, subscribers who hear what it has stored.

A `NatsBroker` connects when it is used, and again when the connection has ended: after a BrokerError, open a new publisher or
subscribe again. It owns the connection. Nothing of it survives a crash, and nothing needs to.

A publisher tells JetStream the sequence and the message after which alone each one may be stored. So many may be under way at
once, and none can be stored after a gap or among a second publisher's: the sequence alone would do for one at a time, but those
of several under way can happen to fit behind somebody else's. A repeated message takes no sequence, so that those sent after it
would be refused: until its first new message is stored a publisher therefore sends one at a time. JetStream knows a repetition
for two minutes, and after a restart of its own too.
"""

import asyncio
from collections.abc import Callable
from copy import copy
from types import TracebackType
from typing import Self

import msgspec
from nats.aio.msg import Msg

from onebook.broker.nats_connection import Connection, Refused, accepted
from onebook.broker.nats_stream import Stream, headers_of
from onebook.broker.nats_subscription import NatsSubscription
from onebook.broker.protocol import BrokerError, Message, NotAllowed, OutOfOrder

MAX_IN_FLIGHT = 256
ACKNOWLEDGE_SECONDS = 3.0
WRONG_LAST = {10070, 10071}  # JetStream's codes: not that message, not that sequence


class _Acknowledged(msgspec.Struct, frozen=True):
    duplicate: bool = False


async def open_nats(
    url: str,
    *,
    stream: str = "ONEBOOK",
    subject: str = "onebook.events",
    max_store_mib: int = 512,
    max_age_minutes: int = 60,
) -> "NatsBroker":
    """A broker at a URL with its credentials. Raises NotAllowed for wrong ones; one that is away is looked for when it is used.

    The bounds are for who publishes: a publisher makes the stream, or changes it to them.
    """
    broker = NatsBroker(url, Stream(stream, subject, max_store_mib, max_age_minutes))
    try:
        await broker.connection()
    except NotAllowed:
        raise
    except BrokerError:
        pass  # everything derived works without a broker, so it must be possible to start without one
    return broker


class NatsBroker:
    """Opens publishers and subscriptions on one connection, which it makes anew after each end."""

    def __init__(self, url: str, stream: Stream) -> None:
        self._url = url
        self._stream = stream
        self._connection: Connection | None = None
        self._connecting = asyncio.Lock()

    def publisher(self) -> "NatsPublisher":
        """The publishing side; used as an async context manager."""
        return NatsPublisher(self, self._stream)

    async def subscribe(self, *, after: int | None = None) -> NatsSubscription:
        """What comes after a sequence, or from now on. A sequence that the stream has not reached means: all there is."""
        return await NatsSubscription(await self.connection(), self._stream).open(after)

    async def connection(self) -> Connection:
        """The connection that works, made anew if need be. Raises BrokerError, NotAllowed."""
        async with self._connecting:
            if self._connection is None or self._connection.error is not None:
                await self.close()
                self._connection = await Connection(self._url).open()
            return self._connection

    async def close(self) -> None:
        """End the connection; safe at any moment."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close()


class NatsPublisher:
    """Sends in the order of calls, at most MAX_IN_FLIGHT messages ahead of JetStream."""

    def __init__(self, broker: NatsBroker, stream: Stream) -> None:
        self._broker = broker
        self._stream = stream
        self._connection: Connection | None = None
        self._turn = asyncio.Lock()
        self._room = asyncio.Semaphore(MAX_IN_FLIGHT)
        self._sequence = 0
        self._lsn = 0
        self._may_repeat = True
        self._error: BrokerError | None = None

    async def __aenter__(self) -> Self:
        self._connection = await self._broker.connection()
        info = await self._stream.ensure(self._connection)
        self._sequence = info.state.last_seq
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._error = self._error or BrokerError("this publisher was closed")

    async def last(self, is_genuine: Callable[[Message], bool]) -> Message | None:
        """The latest message of the stream that is genuine."""
        return await self._stream.last(self._opened(), is_genuine)

    async def publish(self, message: Message) -> None:
        """Returns when JetStream has it."""
        async with self._room:
            try:
                await self._store(message)
            except BrokerError as error:
                self._error = self._error or _meaning(error)
                raise copy(self._error) from error

    async def _store(self, message: Message) -> None:
        async with self._turn:
            connection = self._opened()
            headers = headers_of(message, self._sequence, None if self._may_repeat else self._lsn)
            self._sequence, self._lsn = self._sequence + 1, message.lsn
            sent = await connection.ask(self._stream.subject, message.body, headers)
            if self._may_repeat:
                self._taken(await connection.answer(sent, ACKNOWLEDGE_SECONDS))
                return
        self._taken(await connection.answer(sent, ACKNOWLEDGE_SECONDS))

    def _opened(self) -> Connection:
        if self._error is not None:
            raise copy(self._error)
        if self._connection is None:
            raise BrokerError("this publisher has not been opened")
        return self._connection

    def _taken(self, answer: Msg) -> None:
        self._may_repeat = msgspec.json.decode(accepted(answer), type=_Acknowledged).duplicate
        if self._may_repeat:
            self._sequence -= 1


def _meaning(error: BrokerError) -> BrokerError:
    if isinstance(error, Refused) and error.error.err_code in WRONG_LAST:
        return OutOfOrder(str(error))
    return error
