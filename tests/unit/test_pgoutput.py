"""WAL as PostgreSQL 18.6 sent it, byte for byte, and what is read from it."""

import math
from contextlib import suppress
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onebook.broker.protocol import MessageKind
from onebook.relay.pgoutput import (
    Begin,
    Commit,
    Insert,
    LogicalMessage,
    PgMessage,
    ProtocolError,
    Relation,
    decode,
)
from onebook.relay.rows import event_of_texts, text_array
from onebook.relay.transactions import Assembler, Transaction

COLUMNS = ("txn", "position", "time", "type", "subject", "venues", "traceparent", "data")
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
COMMITTED_AT = datetime(2026, 11, 22, 1, 17, 0, 194015, tzinfo=UTC).timestamp()

BEGIN = b"B\x00\x00\x00\x00\x01\xba\xd8\x90\x00\x03\x03\xd2\x00\xb7\xd0\xdf\x00\x00\x03\x0c"
RELATION = (
    b"R\x00\x00@\xa4public\x00log\x00d\x00\x08"
    b"\x01txn\x00\x00\x00\x00\x14\xff\xff\xff\xff\x01position\x00\x00\x00\x00\x14\xff\xff\xff\xff"
    b"\x00time\x00\x00\x00\x04\xa0\xff\xff\xff\xff\x00type\x00\x00\x00\x00\x19\xff\xff\xff\xff"
    b"\x00subject\x00\x00\x00\x00\x19\xff\xff\xff\xff\x00venues\x00\x00\x00\x03\xf1\xff\xff\xff\xff"
    b"\x00traceparent\x00\x00\x00\x00\x19\xff\xff\xff\xff\x00data\x00\x00\x00\x00r\xff\xff\xff\xff"
)
INSERT = (
    b"I\x00\x00@\xa4N\x00\x08t\x00\x00\x00\x017t\x00\x00\x00\x0221t\x00\x00\x00\x182026-12-01 10:00:00.5+00"
    b"t\x00\x00\x00\x0bhold.placedt\x00\x00\x00\nbookings/1"
    b't\x00\x00\x00"{alfama,"we ird","a\\"b\\\\c","NULL"}nt\x00\x00\x00\x0b{"a": "\xc3\xa9"}'
)
INSERT_FOLLOWED = (
    b"I\x00\x00@\xa4N\x00\x08t\x00\x00\x00\x018t\x00\x00\x00\x0222t\x00\x00\x00\x162026-12-01 10:00:00+00"
    b"t\x00\x00\x00\x03a.bt\x00\x00\x00\x03s/2t\x00\x00\x00\x03{x}"
    b"t\x00\x00\x00700-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01t\x00\x00\x00\x02{}"
)
MESSAGE = b'M\x01\x00\x00\x00\x00\x01\xba\xda\x18onebook\x00\x00\x00\x00!{"kind":"heartbeat","horizon":42}'
COMMIT = b"C\x00\x00\x00\x00\x00\x01\xba\xd8\x90\x00\x00\x00\x00\x01\xba\xd8\xc0\x00\x03\x03\xd2\x00\xb7\xd0\xdf"

TEXTS = ["7", "21", "2026-12-01 10:00:00.5+00", "hold.placed", "bookings/1"]
TEXTS_AFTER = [r'{alfama,"we ird","a\"b\\c","NULL"}', None, '{"a": "é"}']
GOLDEN: list[tuple[bytes, PgMessage]] = [
    (BEGIN, Begin(0x1BAD890, COMMITTED_AT, 780)),
    (RELATION, Relation(16548, "public", "log", COLUMNS)),
    (INSERT, Insert(16548, [*TEXTS, *TEXTS_AFTER])),
    (INSERT_FOLLOWED, Insert(16548, ["8", "22", "2026-12-01 10:00:00+00", "a.b", "s/2", "{x}", TRACEPARENT, "{}"])),
    (MESSAGE, LogicalMessage(True, "onebook", b'{"kind":"heartbeat","horizon":42}')),
    (COMMIT, Commit(0x1BAD890, 0x1BAD8C0, COMMITTED_AT)),
]


def taken(assembler: Assembler, *bodies: bytes) -> Transaction | None:
    """What the last of these messages completes."""
    return [assembler.take(body) for body in bodies][-1]


@pytest.mark.parametrize(("body", "message"), GOLDEN, ids=lambda given: type(given).__name__)
def test_what_postgresql_sent_is_read(body: bytes, message: PgMessage) -> None:
    """Each kind of message is read as what it was."""
    assert decode(body) == message


@given(st.sampled_from(GOLDEN), st.data())
def test_a_message_cut_short_is_an_error(golden: tuple[bytes, PgMessage], data: st.DataObject) -> None:
    """A message that ends too early, anywhere, is a ProtocolError that names its kind, and never a shorter row."""
    body = golden[0]
    cut = data.draw(st.integers(1, len(body) - 1))
    with pytest.raises(ProtocolError, match=f"b'{chr(body[0])}'"):
        decode(body[:cut])


@given(st.sampled_from(GOLDEN), st.binary(min_size=1, max_size=8))
def test_a_message_with_more_behind_it_is_an_error(golden: tuple[bytes, PgMessage], more: bytes) -> None:
    """Bytes that belong to nothing are a ProtocolError."""
    with pytest.raises(ProtocolError):
        decode(golden[0] + more)


@given(st.binary(max_size=200))
def test_noise_is_an_error_or_nothing_we_use(noise: bytes) -> None:
    """Whatever arrives, the only error is ProtocolError."""
    with suppress(ProtocolError):
        decode(noise)


@pytest.mark.parametrize("kind", [b"O", b"Y", b"T"])
def test_kinds_that_tell_us_nothing_are_passed_over(kind: bytes) -> None:
    """Origin, Type and Truncate are no error."""
    assert decode(kind + b"\x00" * 9) is None


def test_columns_may_come_in_any_order() -> None:
    """A row is read by the names of the Relation message, whatever their order and whatever else there is."""
    row = dict(zip(COLUMNS, [*TEXTS, *TEXTS_AFTER], strict=True)) | {"added": "later"}
    names = tuple(reversed(row))
    assert event_of_texts(names, [row[name] for name in names]) == event_of_texts(COLUMNS, [*TEXTS, *TEXTS_AFTER])


@pytest.mark.parametrize(("column", "text"), [(0, "x"), (0, None), (2, "infinity"), (5, "{{a}}"), (5, None)])
def test_a_row_that_cannot_be_an_entry_is_an_error(column: int, text: str | None) -> None:
    """A value that is not what its column holds is a ProtocolError."""
    texts = [*TEXTS, *TEXTS_AFTER]
    texts[column] = text
    with pytest.raises(ProtocolError):
        event_of_texts(COLUMNS, texts)


@given(st.lists(st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))))
def test_an_array_of_texts_is_taken_apart(elements: list[str]) -> None:
    """Elements come back as they were, quoted where PostgreSQL quotes them."""
    quoted = ['"' + element.replace("\\", "\\\\").replace('"', '\\"') + '"' for element in elements]
    plain = [e if e.isidentifier() and e != "NULL" else q for e, q in zip(elements, quoted, strict=True)]
    assert text_array("{" + ",".join(quoted) + "}") == elements
    assert text_array("{" + ",".join(plain) + "}") == elements


@pytest.mark.parametrize(
    "text", ["", "a", "{", "{a", "{a,}", "{,a}", "{a b}", '{"a}', "{NULL}", "{a,NULL}", "[0:0]={a}"]
)
def test_what_is_no_array_of_texts_is_an_error(text: str) -> None:
    """Nulls, nested arrays and texts that are cut short are refused."""
    with pytest.raises(ValueError, match="array"):
        text_array(text)


def test_a_transaction_becomes_a_message() -> None:
    """Its entries are one batch of CloudEvents, under its commit LSN."""
    transaction = taken(Assembler(), BEGIN, RELATION, INSERT, INSERT_FOLLOWED, COMMIT)
    assert transaction is not None
    assert (transaction.kind, transaction.events, transaction.lsn) == (MessageKind.EVENTS, 2, 0x1BAD890)
    assert math.isclose(transaction.committed_at, COMMITTED_AT)
    first, second = msgspec.json.decode(transaction.body)
    assert (first["id"], first["source"], first["data"]) == ("21", "/venues/alfama", {"a": "é"})
    assert first["time"] == "2026-12-01T10:00:00.500000Z"
    assert "traceparent" not in first
    assert second["traceparent"] == TRACEPARENT
    message = transaction.message(previous=5)
    assert (message.lsn, message.previous) == (transaction.lsn, 5)


def test_a_heartbeat_comes_through_the_wal() -> None:
    """A logical message of ours becomes a heartbeat with its horizon; nothing is left over for the next transaction."""
    assembler = Assembler()
    heartbeat = taken(assembler, BEGIN, MESSAGE, COMMIT)
    assert heartbeat is not None
    assert (heartbeat.kind, heartbeat.horizon, heartbeat.body) == (MessageKind.HEARTBEAT, 42, b"")
    assert taken(assembler, BEGIN, COMMIT) is None


@pytest.mark.parametrize("content", [b"", b"[]", b'{"kind":"party"}', b'{"kind":"rebuild","horizon":"x"}'])
def test_a_word_nobody_knows_is_passed_over(content: bytes) -> None:
    """Anybody may write under our prefix: what we do not understand is not published."""
    word = MESSAGE[: MESSAGE.index(b"!") - 3] + len(content).to_bytes(4, "big") + content
    assert taken(Assembler(), BEGIN, word, COMMIT) is None


def test_other_tables_and_other_prefixes_are_passed_over() -> None:
    """Only the log and our own words become messages."""
    other = RELATION.replace(b"log", b"dog")
    assert taken(Assembler(), BEGIN, other, INSERT, MESSAGE.replace(b"onebook", b"twobook"), COMMIT) is None
    assert taken(Assembler(), BEGIN, MESSAGE.replace(b"M\x01", b"M\x00"), COMMIT) is None


def test_a_log_without_its_columns_is_an_error() -> None:
    """A log that lacks a column is refused when its Relation comes."""
    with pytest.raises(ProtocolError, match="venues"):
        taken(Assembler(), RELATION.replace(b"venues", b"venuez"))


def test_a_transaction_too_large_for_the_broker_becomes_a_refill() -> None:
    """Consumers are told to read the log; the memory held stays within the bound, and the next transaction is ordinary."""
    assembler = Assembler(max_body_bytes=len(INSERT) * 3)
    refill = taken(assembler, BEGIN, RELATION, *[INSERT] * 10, COMMIT)
    assert refill is not None
    assert (refill.kind, refill.lsn, refill.body) == (MessageKind.REFILL, 0x1BAD890, b"")
    ordinary = taken(assembler, BEGIN, INSERT_FOLLOWED, COMMIT)
    assert ordinary is not None
    assert ordinary.kind is MessageKind.EVENTS
