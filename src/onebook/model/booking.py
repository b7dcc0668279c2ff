"""A booking, its items and its states, as the ledger keeps them."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import NewType

import msgspec

BookingId = NewType("BookingId", str)
ItemKey = tuple[str, str, str, str | None, int, int]
"""What an item is about, wherever it is written: resource, from, to, session, quantity; and how many there are of the same."""


class Status(StrEnum):
    """held → confirmed | released | expired; confirmed → cancelled."""

    HELD = "held"
    CONFIRMED = "confirmed"
    RELEASED = "released"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


LIVE = frozenset({Status.HELD, Status.CONFIRMED})


class Item(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, rename={"starts": "from", "ends": "to"}):
    """One line of a booking: `quantity` units of a resource for a period.

    `cells` is the half-open range of cells it occupies, turnaround buffers included: it stays true when the
    resource's definition changes later. `version` is the resource's version that this line brought about.
    """

    resource: str
    starts: str
    ends: str
    quantity: int
    version: int
    cells: tuple[int, int]
    session: str | None = None


class Booking(msgspec.Struct, frozen=True):
    """One row of the ledger. `placed_*` and `items` never change; an amendment stands beside them.

    `ttl_seconds` is None for a booking that was confirmed as it was placed. `revision` counts the moves, so that a
    decision made from an older reading is seen.
    """

    id: BookingId
    status: Status
    channel: str
    idempotency_key: str
    request_hash: bytes
    placed_at: datetime
    ttl_seconds: int | None
    items: tuple[Item, ...]
    amended: tuple[Item, ...] | None
    expires_at: datetime | None
    reference: str | None
    customer: str | None
    revision: int

    @property
    def lines(self) -> tuple[Item, ...]:
        """The items as they are now."""
        return self.items if self.amended is None else self.amended

    def alive(self, now: datetime) -> bool:
        """Whether this is a hold whose deadline has not come."""
        return self.status == Status.HELD and self.expires_at is not None and now < self.expires_at

    def as_placed(self) -> "Booking":
        """The booking as it was answered first, which a replay of its key answers again."""
        if self.ttl_seconds is None:
            status, deadline = Status.CONFIRMED, None
        else:
            status, deadline = Status.HELD, self.placed_at + timedelta(seconds=self.ttl_seconds)
        return msgspec.structs.replace(self, status=status, expires_at=deadline, amended=None, revision=1)


class Block(msgspec.Struct, frozen=True):
    """Units an operator has taken out of sale, until they are given back."""

    id: str
    reason: str | None
    placed_at: datetime
    lifted_at: datetime | None
    items: tuple[Item, ...]
    revision: int
