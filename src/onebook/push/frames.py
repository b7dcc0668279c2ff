"""How an event looks on its way to a client: once for all clients that may see the same of it."""

from typing import Protocol

import msgspec

from onebook.push.ring import Kept

_encode = msgspec.json.Encoder().encode


class Filter(msgspec.Struct, frozen=True):
    """What a client wants of what it may see. Clients with equal filters get the same bytes."""

    venues: frozenset[str]
    types: frozenset[str] | None
    """Types as the client sees them; None for all."""
    sees_bookings: bool
    only_channel: str | None
    """The channel whose bookings alone are shown in full; None where all are."""

    def body_of(self, kept: Kept) -> bytes | None:
        """The event as the client may see it, if it is of a kind that it wants; venues are not looked at."""
        in_full = not kept.is_private or (
            self.sees_bookings and (self.only_channel is None or kept.channel == self.only_channel)
        )
        if self.types is not None and (kept.type if in_full else kept.public_type) not in self.types:
            return None
        return kept.body if in_full else kept.public_body

    def touches(self, kept: Kept) -> bool:
        """Whether the event is of one of the venues."""
        return not self.venues.isdisjoint(kept.venues)


class Wire(Protocol):
    """A transport's form. What it makes can be joined by `+`."""

    def event(self, kept: Kept, body: bytes) -> bytes:
        """An event with its cursor."""

    def note(self, name: str, content: dict[str, str], cursor: str | None) -> bytes:
        """Something about the stream itself."""

    def alive(self, cursor: str) -> bytes:
        """A sign of life; it moves the cursor of a client that has had no event for long, so that it does not grow too old."""


class SseWire:
    """Server-Sent Events (WHATWG HTML, section 9.2), already in the chunks of HTTP/1.1 (RFC 9112, section 7.1)."""

    def event(self, kept: Kept, body: bytes) -> bytes:
        """A message without an event name: the type stands in the CloudEvent."""
        return _chunk(b"id: %b\ndata: %b\n\n" % (str(kept.cursor).encode(), body))

    def note(self, name: str, content: dict[str, str], cursor: str | None) -> bytes:
        """An event with a name of its own."""
        place = b"" if cursor is None else b"id: %b\n" % cursor.encode()
        return _chunk(b"event: %b\n%bdata: %b\n\n" % (name.encode(), place, _encode(content)))

    def alive(self, cursor: str) -> bytes:
        """A comment, and an id without data, which dispatches nothing."""
        return _chunk(b": alive\nid: %b\n\n" % cursor.encode())


class SocketWire:
    """WebSocket messages, one JSON object each, every one ended by a line break, which JSON has none of."""

    def event(self, kept: Kept, body: bytes) -> bytes:
        """{"cursor": ..., "event": {...}}."""
        return b'{"cursor":"%b","event":%b}\n' % (str(kept.cursor).encode(), body)

    def note(self, name: str, content: dict[str, str], cursor: str | None) -> bytes:
        """{"stream": name, ...}."""
        place = {} if cursor is None else {"cursor": cursor}
        return _encode({"stream": name, **content, **place}) + b"\n"

    def alive(self, cursor: str) -> bytes:
        """{"stream": "alive", "cursor": ...}."""
        return self.note("alive", {}, cursor)


SSE = SseWire()
SOCKET = SocketWire()


def _chunk(content: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(content), content)
