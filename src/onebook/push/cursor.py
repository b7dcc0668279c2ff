"""Cursors of the stream: what a client has seen, in a form that every worker can go on from.

The stream's order is that of commits, which is not the order of the log (txn, position), and after a gap a worker gets
some events from the log, late. So the last event seen says too little: another worker may have handled it earlier. A `Place`
says instead which *set* of events was handled when it was issued: every one below a horizon, and those above it by the sum
of their hashes. The argument:

- A worker sends a client everything that passes its filter, in the order in which it handles it. So whoever holds the place
  (H, f) has seen all that it may see of that set, whatever the set's order was.
- Two workers that issue the same (H, f) have handled the same set: below H by what a horizon is, above it because the sums of
  64-bit hashes agree. What this worker handled after it issued (H, f) is therefore exactly what is missing.
- A place that this worker never issued, or does not remember, still says that everything below H was seen. The log from H on
  has the rest; of the set above H, whose members are not known, events come a second time with the same `id`.

Nothing of this uses an LSN, so an event that came from the log instead of the WAL has as good a cursor as any other. While a
client is being served from the log it gets cursors of the log itself, which /v1/events gives and takes too.
"""

import base64
import re
from hashlib import blake2b
from typing import NamedTuple

from onebook.log.read import Cursor as LogCursor

MAX_LENGTH = 200

_WELL_FORMED = re.compile(rf"[A-Za-z0-9_-]{{1,{MAX_LENGTH}}}")
_MARK = b"s"  # a log cursor begins with a digit
_SIZE = 17
_SUM = 2**64
_LAST_POSITION = 2**63 - 1


class MalformedCursor(ValueError):
    """Text that no cursor of any version can be."""


class Place(NamedTuple):
    """Everything below the horizon, and above it the events whose hashes have this sum."""

    horizon: int
    fingerprint: int

    def __str__(self) -> str:
        raw = _MARK + self.horizon.to_bytes(8) + self.fingerprint.to_bytes(8)
        return base64.urlsafe_b64encode(raw).decode().rstrip("=")

    def with_event(self, position: int) -> "Place":
        """The place once this event, at or above the horizon, has been handled too."""
        digest = blake2b(position.to_bytes(8), digest_size=8).digest()
        return Place(self.horizon, (self.fingerprint + int.from_bytes(digest)) % _SUM)

    @property
    def in_log(self) -> LogCursor:
        """Where the log begins that may hold something unseen."""
        return LogCursor(self.horizon - 1, _LAST_POSITION)


def parse(text: str) -> Place | LogCursor | None:
    """What a cursor says; None for one that is well-formed but not ours. Raises MalformedCursor."""
    if not _WELL_FORMED.fullmatch(text):
        raise MalformedCursor("a cursor has letters, digits, dashes and underscores only")
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        if raw.startswith(_MARK) and len(raw) == _SIZE:
            place = Place(int.from_bytes(raw[1:9]), int.from_bytes(raw[9:]))
            return place if 0 < place.horizon <= _LAST_POSITION else None
        return LogCursor.parse(text)
    except ValueError:
        return None
