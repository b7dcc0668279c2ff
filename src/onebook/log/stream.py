"""An entry as everything derived sees it: from a message of the stream, or from the log itself, the same either way."""

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import msgspec

from onebook.log.facts import Touched
from onebook.log.read import CUSTOMERS, CloudEvent, event_of

AVAILABILITY_TYPE = "onebook.availability.changed.v1"
PUBLIC_TYPES = frozenset(
    {
        "onebook.venue.defined.v1",
        "onebook.session.defined.v1",
        "onebook.resource.defined.v1",
        "onebook.inventory.changed.v1",
        "onebook.offer.changed.v1",
    }
)
"""What everybody may read in full. A type that is new is not among these before somebody has thought about it."""


class _Data(msgspec.Struct, frozen=True, gc=False):
    """The part of an event's data that says where it belongs."""

    resources: list[Touched] = []
    channel: str | None = None
    venues: list[str] = []


class _Outline(msgspec.Struct, frozen=True, gc=False):
    """An event without the parts that nobody who routes it needs."""

    id: str
    type: str
    source: str
    subject: str
    time: str
    sequence: str
    data: _Data
    traceparent: str | None = None


class StreamEvent:
    """One entry. `body` is its CloudEvent JSON, made once, by the relay or by whoever read the log."""

    __slots__ = (
        "_public_body",
        "_venues",
        "body",
        "channel",
        "committed_at",
        "id",
        "lsn",
        "position",
        "resources",
        "source",
        "subject",
        "time",
        "traceparent",
        "txn",
        "type",
    )

    def __init__(self, body: bytes, outline: _Outline, committed_at: float, lsn: int) -> None:
        self._public_body: bytes | None = None
        txn, _, position = outline.sequence.partition(".")
        self.body = body
        self.txn = int(txn)
        self.position = int(position)
        self.lsn = lsn
        """The commit's place in the WAL; 0 for an event read from the log."""
        self.committed_at = committed_at
        """Seconds since the Unix epoch; of an event read from the log, when it was decided."""
        self.id = outline.id
        self.type = outline.type
        self.source = outline.source
        self.subject = outline.subject
        self.time = outline.time
        self.resources = outline.data.resources
        self._venues = outline.data.venues
        self.channel = outline.data.channel
        """Who sells; None where the event is no booking's."""
        self.traceparent = outline.traceparent

    @property
    def venues(self) -> tuple[str, ...]:
        """Every venue touched; none of what is told of a customer."""
        if len(self.resources) == 1:
            return (self.resources[0].resource.partition("/")[0],)
        if not self.resources:
            return tuple(self._venues) or ((self.source.rpartition("/")[2],) if self.source != CUSTOMERS else ())
        return tuple(dict.fromkeys(touched.resource.partition("/")[0] for touched in self.resources))

    @property
    def public_body(self) -> bytes:
        """What anybody may know of it: the same id, what is available now, and nothing about who took it. Made once.

        Raises LookupError for a secret event.
        """
        if self.is_secret:
            raise LookupError("nothing of this event is for everybody")
        if self._public_body is None:
            self._public_body = self._redacted() if self.is_private else self.body
        return self._public_body

    def _redacted(self) -> bytes:
        public = {
            "id": self.id,
            "type": AVAILABILITY_TYPE,
            "source": self.source,
            "subject": f"resources/{self.resources[0].resource}",
            "time": self.time,
            "sequence": f"{self.txn:016d}.{self.position:016d}",
            "data": {"resources": self.resources},
            "specversion": "1.0",
            "datacontenttype": "application/json",
        }
        return msgspec.json.encode(public)

    @property
    def is_private(self) -> bool:
        """Whether it tells of somebody's booking or of the operator's own doings."""
        return self.type not in PUBLIC_TYPES

    @property
    def is_secret(self) -> bool:
        """Whether whoever may not read it in full is told nothing at all: it is private, and changes nothing that is on sale."""
        return self.is_private and not self.resources

    @property
    def public_type(self) -> str:
        """The type of `public_body`."""
        return AVAILABILITY_TYPE if self.is_private else self.type


_outline = msgspec.json.Decoder(_Outline)
_raw_batch = msgspec.json.Decoder(list[msgspec.Raw])
_encode = msgspec.json.Encoder().encode


def batch_of(events: Iterable[CloudEvent]) -> bytes:
    """A transaction's events in the CloudEvents JSON batch format."""
    return b"[" + b",".join(_encode(event) for event in events) + b"]"


def events_of(batch: bytes, committed_at: float, lsn: int) -> list[StreamEvent]:
    """The events of a batch. Raises msgspec.DecodeError (and ValidationError) where it is none of ours."""
    return [StreamEvent(bytes(raw), _outline.decode(raw), committed_at, lsn) for raw in _raw_batch.decode(batch)]


def readable_events(rows: Iterable[Any]) -> list[StreamEvent]:
    """The events of rows of the log, without those that are none of ours: every consumer parks these as it comes by them."""
    events = []
    for row in rows:
        with suppress(msgspec.MsgspecError):
            events.append(event_of_row(row))
    return events


def event_of_row(row: Any) -> StreamEvent:
    """The event of a row of the log. Raises msgspec.MsgspecError where it is none of ours."""
    body = _encode(event_of(row))
    return StreamEvent(body, _outline.decode(body), row["time"].timestamp(), 0)
