"""Messages of PostgreSQL put together into transactions, each of which becomes one message of the stream."""

from typing import Literal

import msgspec
import structlog

from onebook import tracing
from onebook.broker.protocol import Message, MessageKind
from onebook.log.read import CloudEvent
from onebook.log.stream import batch_of
from onebook.relay.pgoutput import Begin, Commit, Insert, LogicalMessage, ProtocolError, Relation, decode
from onebook.relay.rows import COLUMNS, event_of_texts

LOG_TABLE = "log"
WORD_PREFIX = "onebook"
MAX_BODY_BYTES = 24 * 1024 * 1024
"""Well below the 32 MiB that JetStream stores of one message: beyond that consumers are told to read the log."""
_ENTRY_BYTES = 512

log = structlog.get_logger()


class Transaction(msgspec.Struct, frozen=True):
    """What a committed transaction has for the stream."""

    lsn: int
    """Where its commit record begins in the WAL."""
    committed_at: float
    kind: MessageKind
    horizon: int = 0
    body: bytes = b""
    events: int = 0
    traces: tuple[str, ...] = ()
    """The places, in traces that are followed, of its events."""

    @property
    def bytes(self) -> int:
        """About what it takes in memory."""
        return len(self.body) + _ENTRY_BYTES

    @property
    def acknowledged_lsn(self) -> int:
        """What to tell PostgreSQL when the broker has it.

        PostgreSQL takes as acknowledged what has its commit record begin before that. Not the record's end, so that the slot's
        position names the latest message there is, and a new relay knows from the two whether the broker has them all.
        """
        return self.lsn + 1

    def message(self, previous: int) -> Message:
        """It, as the broker carries it, after the message with that LSN."""
        return Message(self.lsn, previous, self.committed_at, self.kind, self.horizon, self.body)


class _Word(msgspec.Struct, frozen=True):
    """What relay and operators say to consumers by way of the WAL."""

    kind: Literal["heartbeat", "rebuild"]
    horizon: int = 0


_word = msgspec.json.Decoder(_Word)


class Assembler:
    """Takes one replication connection's messages, in their order. Holds no more than a body's worth."""

    def __init__(self, max_body_bytes: int = MAX_BODY_BYTES) -> None:
        self._max_body_bytes = max_body_bytes
        self._columns: dict[int, tuple[str, ...]] = {}
        self._clear()

    def _clear(self) -> None:
        self._events: list[CloudEvent] = []
        self._read_bytes = 0
        self._is_too_large = False
        self._said: _Word | None = None

    def take(self, body: bytes) -> Transaction | None:
        """The transaction that ends with this message, if it has anything for the stream. Raises ProtocolError."""
        match decode(body):
            case Insert() as insert:
                self._insert(insert, len(body))
            case Begin():
                self._clear()
            case Commit() as commit:
                return self._commit(commit)
            case Relation() as relation:
                self._relation(relation)
            case LogicalMessage(is_transactional=True, prefix=prefix, content=content) if prefix == WORD_PREFIX:
                self._say(content)
        return None

    def _relation(self, relation: Relation) -> None:
        if relation.name == LOG_TABLE:
            if missing := COLUMNS - set(relation.columns):
                raise ProtocolError(f"the log comes without its columns {', '.join(sorted(missing))}")
            self._columns[relation.id] = relation.columns

    def _insert(self, insert: Insert, read_bytes: int) -> None:
        columns = self._columns.get(insert.relation)
        if columns is None or self._is_too_large:
            return
        self._events.append(event_of_texts(columns, insert.values))
        self._read_bytes += read_bytes
        if self._read_bytes > self._max_body_bytes:
            self._events.clear()
            self._is_too_large = True

    def _say(self, content: bytes) -> None:
        try:
            self._said = _word.decode(content)
        except msgspec.DecodeError as error:  # anybody may write into the WAL under our prefix
            log.warning("relay_word_unknown", reason=str(error))

    def _commit(self, commit: Commit) -> Transaction | None:
        body = batch_of(self._events) if self._events else b""
        lsn, at = commit.commit_lsn, commit.committed_at
        transaction = None
        if self._is_too_large or len(body) > self._max_body_bytes:
            log.warning("relay_transaction_too_large", lsn=lsn, max_bytes=self._max_body_bytes)
            transaction = Transaction(lsn, at, MessageKind.REFILL)
        elif self._events:
            traces = tuple(t for e in self._events if isinstance(t := e.traceparent, str) and tracing.followed(t))
            transaction = Transaction(lsn, at, MessageKind.EVENTS, 0, body, len(self._events), traces)
        elif self._said is not None:
            transaction = Transaction(lsn, at, MessageKind(self._said.kind), self._said.horizon)
        self._clear()
        return transaction
