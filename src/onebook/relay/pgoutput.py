"""PostgreSQL's logical replication messages, as the plugin pgoutput writes them (protocol version 1).

Pure: bytes in, values out. Sources: "Logical Replication Message Formats" and "Logical Streaming Replication Protocol" in
PostgreSQL's documentation. Only what a publication of inserts sends is understood; anything else is an error.
"""

import struct
from collections.abc import Callable

import msgspec

# PostgreSQL counts microseconds from the start of the year 2000.
_EPOCH_SECONDS = 946_684_800
_TRANSACTIONAL = 1


class ProtocolError(Exception):
    """A message that is not what the protocol says: PostgreSQL or we are wrong, and going on would lose something."""


class Begin(msgspec.Struct, frozen=True):
    """A committed transaction starts here; all of it follows, uninterrupted, up to its Commit."""

    commit_lsn: int
    committed_at: float
    xid: int


class Commit(msgspec.Struct, frozen=True):
    """The end of a transaction, whose commit record begins at `commit_lsn` and ends at `end_lsn` in the WAL."""

    commit_lsn: int
    end_lsn: int
    committed_at: float
    """Seconds since the Unix epoch."""


class Relation(msgspec.Struct, frozen=True):
    """A table and its columns, in the order in which values come. Sent before its first row and after each change."""

    id: int
    namespace: str
    name: str
    columns: tuple[str, ...]


class Insert(msgspec.Struct, frozen=True, gc=False):
    """A new row; values as PostgreSQL prints them."""

    relation: int
    values: list[str | None]


class LogicalMessage(msgspec.Struct, frozen=True):
    """What somebody wrote into the WAL with pg_logical_emit_message."""

    is_transactional: bool
    prefix: str
    content: bytes


PgMessage = Begin | Commit | Relation | Insert | LogicalMessage


def decode(body: bytes) -> PgMessage | None:
    """The message, or None for a kind that tells us nothing. Raises ProtocolError."""
    try:
        read = _READERS[body[:1]]
    except KeyError as error:
        raise ProtocolError(f"a message of an unknown kind {body[:1]!r}") from error
    if read is None:
        return None
    try:
        message, end = read(body)
    except (struct.error, IndexError, ValueError) as error:
        raise ProtocolError(f"a message {body[:1]!r} of {len(body)} bytes cannot be read: {error}") from error
    if end != len(body):
        raise ProtocolError(f"a message {body[:1]!r} has {len(body)} bytes and should have {end}")
    return message


_Read = Callable[[bytes], tuple[PgMessage, int]]

_BEGIN = struct.Struct("!xQqI")
_COMMIT = struct.Struct("!xBQQq")
_RELATION = struct.Struct("!BH")
_COLUMN = struct.Struct("!Ii")
_INSERT = struct.Struct("!xIcH")
_MESSAGE = struct.Struct("!xBQ")
_LENGTH = struct.Struct("!I")
_NULL, _TEXT = ord("n"), ord("t")


def _begin(body: bytes) -> tuple[Begin, int]:
    lsn, microseconds, xid = _BEGIN.unpack_from(body)
    return Begin(lsn, _seconds(microseconds), xid), _BEGIN.size


def _commit(body: bytes) -> tuple[Commit, int]:
    _flags, lsn, end_lsn, microseconds = _COMMIT.unpack_from(body)
    return Commit(lsn, end_lsn, _seconds(microseconds)), _COMMIT.size


def _relation(body: bytes) -> tuple[Relation, int]:
    (relation,) = _LENGTH.unpack_from(body, 1)
    namespace, at = _string(body, 1 + _LENGTH.size)
    name, at = _string(body, at)
    _replica_identity, count = _RELATION.unpack_from(body, at)
    at += _RELATION.size
    columns = []
    for _ in range(count):
        column, at = _string(body, at + 1)  # a byte of flags goes before
        at += _COLUMN.size
        columns.append(column)
    return Relation(relation, namespace, name, tuple(columns)), at


def _insert(body: bytes) -> tuple[Insert, int]:
    relation, kind, count = _INSERT.unpack_from(body)
    if kind != b"N":
        raise ValueError(f"{kind!r} where the new row should begin")
    values: list[str | None] = []
    at = _INSERT.size
    for _ in range(count):
        if body[at] == _TEXT:
            start = at + 5
            at = start + _LENGTH.unpack_from(body, at + 1)[0]
            values.append(body[start:at].decode())
        elif body[at] == _NULL:
            values.append(None)
            at += 1
        else:
            raise ValueError(f"a value of kind {body[at : at + 1]!r}, which a new row cannot have")
    return Insert(relation, values), at


def _message(body: bytes) -> tuple[LogicalMessage, int]:
    flags, _lsn = _MESSAGE.unpack_from(body)
    prefix, at = _string(body, _MESSAGE.size)
    (length,) = _LENGTH.unpack_from(body, at)
    start, end = at + _LENGTH.size, at + _LENGTH.size + length
    return LogicalMessage(bool(flags & _TRANSACTIONAL), prefix, body[start:end]), end


def _string(body: bytes, start: int) -> tuple[str, int]:
    """A zero-terminated string, and where the next thing begins."""
    end = body.index(0, start)
    return body[start:end].decode(), end + 1


def _seconds(microseconds: int) -> float:
    return _EPOCH_SECONDS + microseconds / 1_000_000


# Origin, Type and Truncate tell a subscriber that copies tables something, and us nothing.
_READERS: dict[bytes, _Read | None] = {
    b"B": _begin,
    b"C": _commit,
    b"R": _relation,
    b"I": _insert,
    b"M": _message,
    b"O": None,
    b"Y": None,
    b"T": None,
}
