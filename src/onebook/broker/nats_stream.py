"""The stream in JetStream: how it is made, what it holds, and how a message lies in it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from nats.aio.msg import Msg

from onebook.broker.nats_connection import Connection, Refused
from onebook.broker.protocol import LOOK_BACK, Delivery, Message, MessageKind

MIB = 1024 * 1024
NANOSECONDS = 1_000_000_000
DUPLICATE_WINDOW_SECONDS = 120  # JetStream keeps every id of that time in memory
NOT_FOUND = 404

ID = "Nats-Msg-Id"
EXPECTED_SEQUENCE = "Nats-Expected-Last-Sequence"
EXPECTED_ID = "Nats-Expected-Last-Msg-Id"
SEQUENCE = "Nats-Sequence"
PREVIOUS = "Onebook-Previous"
COMMITTED = "Onebook-Committed"
KIND = "Onebook-Kind"
HORIZON = "Onebook-Horizon"
SIGNATURE = "Onebook-Signature"


class State(msgspec.Struct, frozen=True):
    """What a stream holds."""

    messages: int
    last_seq: int


class StreamInfo(msgspec.Struct, frozen=True):
    """A stream. `created` tells it from another of the same name."""

    created: str
    state: State
    config: dict[str, Any]


class _Stored(msgspec.Struct, frozen=True):
    hdrs: bytes = b""
    data: bytes = b""


class _StoredAnswer(msgspec.Struct, frozen=True):
    message: _Stored


@dataclass(frozen=True, slots=True)
class Stream:
    """Its name and bounds. Each message is repeated on `stored` once it lies in the stream: that is what subscribers hear."""

    name: str
    subject: str
    max_store_mib: int
    max_age_minutes: int

    @property
    def stored(self) -> str:
        """The subject on which JetStream repeats what it has stored, with its sequence."""
        return f"{self.subject}.stored"

    async def info(self, connection: Connection) -> StreamInfo:
        """What the stream is now. Raises Refused (code 404) where it does not exist."""
        return msgspec.json.decode(await connection.request(self._api("INFO")), type=StreamInfo)

    async def ensure(self, connection: Connection) -> StreamInfo:
        """Makes the stream, or brings it to these bounds; what an operator has set beside them stays."""
        wanted = self._config()
        try:
            found = await self.info(connection)
        except Refused as refused:
            if refused.error.code != NOT_FOUND:
                raise
            made = await connection.request(self._api("CREATE"), msgspec.json.encode(wanted))
            return msgspec.json.decode(made, type=StreamInfo)
        if any(found.config.get(name) != value for name, value in wanted.items()):
            await connection.request(self._api("UPDATE"), msgspec.json.encode({**found.config, **wanted}))
        return found

    async def last(self, connection: Connection, is_genuine: Callable[[Message], bool]) -> Message | None:
        """The latest genuine message, from the stream's leader: what others have put behind it must not look like our place."""
        state = (await self.info(connection)).state
        for sequence in range(state.last_seq, max(0, state.last_seq - min(state.messages, LOOK_BACK)), -1):
            stored = await self._stored(connection, sequence)
            if stored is None or is_genuine(stored):
                return stored
        return None

    async def _stored(self, connection: Connection, sequence: int) -> Message | None:
        """The message with a sequence; None where it has grown too old meanwhile, and so has all before it."""
        question = msgspec.json.encode({"seq": sequence})
        try:
            answer = await connection.request(f"$JS.API.STREAM.MSG.GET.{self.name}", question)
        except Refused as refused:
            if refused.error.code == NOT_FOUND:
                return None
            raise
        stored = msgspec.json.decode(answer, type=_StoredAnswer).message
        lines = stored.hdrs.decode(errors="replace").split("\r\n")[1:]
        headers = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return message_of(headers, stored.data)

    def _api(self, verb: str) -> str:
        return f"$JS.API.STREAM.{verb}.{self.name}"

    def _config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "subjects": [self.subject],
            "retention": "limits",
            "storage": "file",
            "discard": "old",
            "max_bytes": self.max_store_mib * MIB,
            "max_age": self.max_age_minutes * 60 * NANOSECONDS,
            "duplicate_window": min(DUPLICATE_WINDOW_SECONDS, self.max_age_minutes * 60) * NANOSECONDS,
            "allow_direct": True,
            "republish": {"src": self.subject, "dest": self.stored},
        }


def headers_of(message: Message, after_sequence: int, after_lsn: int | None) -> dict[str, str]:
    """Everything of a message but its body, and after what alone it may be stored."""
    headers = {
        ID: str(message.lsn),
        EXPECTED_SEQUENCE: str(after_sequence),
        PREVIOUS: str(message.previous),
        COMMITTED: repr(message.committed_at),
        KIND: message.kind.value,
        HORIZON: str(message.horizon),
        SIGNATURE: message.signature,
    }
    if after_lsn is not None:
        headers[EXPECTED_ID] = str(after_lsn)
    return headers


def delivery_of(message: Msg) -> Delivery:
    """A message as the stream repeats it, or gives it back.

    One that does not come from the stream has the sequence 0: JetStream can be made to send its answers anywhere.
    """
    headers = message.headers or {}
    sequence = headers.get(SEQUENCE, "")
    return Delivery(int(sequence) if sequence.isdecimal() else 0, message_of(headers, message.data))


def message_of(headers: dict[str, str], body: bytes) -> Message:
    """The message that these headers tell of. Without the relay's headers it has no signature either."""
    try:
        return Message(
            lsn=int(headers[ID]),
            previous=int(headers[PREVIOUS]),
            committed_at=float(headers[COMMITTED]),
            kind=MessageKind(headers[KIND]),
            horizon=int(headers[HORIZON]),
            body=body,
            signature=headers.get(SIGNATURE, ""),
        )
    except (KeyError, ValueError):
        return Message(lsn=0, previous=0, committed_at=0.0, body=body)
