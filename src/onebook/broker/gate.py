"""Where a consumer lets in what the relay has signed, and nothing else.

Who calls me: the consumer, with all that was heard, before anything is done with it. What survives a crash: what was refused, in
table refused_message. What bounds me: MAX_RECORDED messages written down at a time, KEPT rows for each consumer; the counter
counts them all. What is refused leaves no trace in the consumer's place: the chain goes on as if nothing had come.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import asyncpg
import msgspec
import structlog

from onebook.broker.faults import is_fault
from onebook.broker.metrics import FORGED
from onebook.broker.protocol import Message
from onebook.broker.signing import Flaw, Verifier
from onebook.sql import statements

SQL = statements("onebook.broker", "refused.sql")
KEPT = 1_000
MAX_RECORDED = 100
EXCERPT_BYTES = 1_000
RECORD_SECONDS = 2.0
_MAX_READ_BYTES = 64 * 1024
_MAX_SUBJECT = 200
_HIGHEST_LSN = 2**63 - 1

log = structlog.get_logger()


class Refused(NamedTuple):
    """A message that was not the relay's. `lsn` and `subject` are what it claims, where it does."""

    reason: Flaw
    lsn: int | None
    subject: str | None
    digest: bytes
    excerpt: bytes


class Gate:
    """One consumer's."""

    def __init__(self, consumer: str, keys: Verifier, pool: asyncpg.Pool) -> None:
        self._consumer = consumer
        self._keys = keys
        self._pool = pool
        self._count = FORGED.labels(consumer)

    async def admit(self, messages: Sequence[Message]) -> Sequence[Message]:
        """Those that are the relay's; the others are counted and recorded."""
        flaws = [self._keys.flaw_of(message) for message in messages]
        if not any(flaws):
            return messages
        forged = [(message, flaw) for message, flaw in zip(messages, flaws, strict=True) if flaw is not None]
        self._count.inc(len(forged))
        log.error("messages_forged", consumer=self._consumer, count=len(forged), reason=forged[0][1].value)
        await self._record([_refused(*each) for each in forged[:MAX_RECORDED]])
        return [message for message, flaw in zip(messages, flaws, strict=True) if flaw is None]

    async def _record(self, refused: Sequence[Refused]) -> None:
        """Written down if the database is there; if it is not, they are refused all the same."""
        times = Counter(each.digest for each in refused)
        once: dict[bytes, Refused] = {}
        for each in refused:
            once.setdefault(each.digest, each)
        try:
            async with self._pool.acquire(timeout=RECORD_SECONDS) as connection:
                await connection.execute(
                    SQL["record"],
                    self._consumer,
                    *zip(*once.values(), strict=True),
                    [times[digest] for digest in once],
                    timeout=RECORD_SECONDS,
                )
                await connection.execute(SQL["forget"], self._consumer, KEPT, timeout=RECORD_SECONDS)
        except Exception as error:
            if not is_fault(error):
                raise
            log.warning("forged_messages_not_recorded", consumer=self._consumer, reason=repr(error))


class _Claim(msgspec.Struct, frozen=True):
    """What an event says it is about."""

    subject: str


def _refused(message: Message, flaw: Flaw) -> Refused:
    return Refused(
        reason=flaw,
        lsn=message.lsn if 0 < message.lsn <= _HIGHEST_LSN else None,
        subject=_subject_of(message.body),
        digest=hashlib.sha256(message.body).digest(),
        excerpt=message.body[:EXCERPT_BYTES],
    )


def _subject_of(body: bytes) -> str | None:
    """The subject that the first event claims; a text that PostgreSQL can keep."""
    if len(body) > _MAX_READ_BYTES:
        return None
    try:
        claims = msgspec.json.decode(body, type=list[_Claim])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return claims[0].subject[:_MAX_SUBJECT].replace("\0", "") if claims else None
