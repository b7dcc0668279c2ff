"""What a broker has to do for us: carry messages in order, from one publisher to many subscribers.

The broker is transport, not truth. It may lose messages, since each names the one before it (`previous`) and a subscriber that
misses one reads the log. It may bring what the relay never sent, since each is signed. It must not reorder those it delivers.
Each implementation passes broker_conformance.py (in tests/).
"""

from collections.abc import Callable, Sequence
from enum import StrEnum
from types import TracebackType
from typing import Protocol, Self

import msgspec

LOOK_BACK = 100


class MessageKind(StrEnum):
    """What a message is."""

    EVENTS = "events"
    """One transaction's entries; the body is a CloudEvents 1.0 JSON batch."""
    HEARTBEAT = "heartbeat"
    """Everything below `horizon` has been sent before this. No body."""
    REFILL = "refill"
    """Messages before this one are lost for good, or too large to be sent: read the log. No body."""
    REBUILD = "rebuild"
    """An operator wants everything derived to be made anew. No body."""


class Message(msgspec.Struct, frozen=True):
    """What the relay sends. LSNs are byte positions in the WAL; places in it only grow."""

    lsn: int
    """The commit LSN, which identifies the message: sending it again has no effect."""
    previous: int
    """The LSN of the message before it; 0 where the relay cannot know."""
    committed_at: float
    """When its transaction was committed, in seconds since the Unix epoch, by PostgreSQL's clock."""
    kind: MessageKind = MessageKind.EVENTS
    horizon: int = 0
    """Heartbeats: every transaction of the log below this number has been sent before."""
    body: bytes = b""
    signature: str = ""
    """Of the relay, over all of the above (signing.py); empty where somebody else has put the message there."""


class Delivery(msgspec.Struct, frozen=True):
    """A message as a subscriber receives it. `sequence` is its place in the broker, ascending."""

    sequence: int
    message: Message


class BrokerError(Exception):
    """A fault of the broker that may pass: it is away, refuses, or does not answer in time."""


class NotAllowed(BrokerError):
    """These credentials may not do that."""


class OutOfOrder(BrokerError):
    """Somebody else has published meanwhile, or the broker lost what it had: open a new publisher, which looks again."""


class Publisher(Protocol):
    """The one who publishes; a second one at the same time is refused by OutOfOrder."""

    async def last(self, is_genuine: Callable[[Message], bool]) -> Message | None:
        """The latest genuine message that the broker has; None where it has none, or lost them, or where more than LOOK_BACK
        that are not genuine came after it."""

    async def publish(self, message: Message) -> None:
        """Returns when the broker has taken charge of it. May be called again before it returns; order is that of the calls.

        Raises OutOfOrder, NotAllowed, BrokerError. After an error the publisher must be opened anew.
        """

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Subscription(Protocol):
    """One subscriber's place in the stream. Holds a bounded number of bytes; what overflows is lost and will be missed."""

    async def fetch(self, timeout_seconds: float) -> Sequence[Delivery]:
        """What has arrived, in order, at the latest after the timeout; empty when nothing has.

        Raises BrokerError when the subscription has ended (the broker restarted or its store is gone): subscribe again.
        """

    async def close(self) -> None:
        """End it; safe at any moment."""


class Broker(Protocol):
    """A connection's worth of broker; opened by the wiring with its own credentials."""

    def publisher(self) -> Publisher:
        """The publishing side; used as an async context manager."""

    async def subscribe(self, *, after: int | None = None) -> Subscription:
        """What comes after a sequence, or from now on; listens already when this returns. Raises BrokerError, NotAllowed."""

    async def close(self) -> None:
        """End the connection; safe at any moment."""
