"""What may be asked of the ledger. A command names its effect, so that asking twice cannot do it twice.

`channel` in a move is the channel that asks, which finds only its own bookings; None finds any.
"""

import msgspec

from onebook.model.booking import BookingId, ItemKey
from onebook.model.resource import Resource

MAX_ITEMS = 100
MAX_CELLS_PER_ITEM = 1500
MAX_CELLS_PER_BASKET = 10_000
MAX_CELLS_PER_CHANGE = 5000
MAX_QUANTITY = 1_000_000


class Line(msgspec.Struct, frozen=True):
    """An item with its resource found and its period turned into cells.

    `first`..`end` are the cells of the period itself; the buffers come on top (`occupied`). `wanted` is the
    item as it was asked for, from which the line is made again when the resource's definition has changed.
    """

    resource: Resource
    first: int
    end: int
    quantity: int
    starts: str
    ends: str
    session: str | None
    wanted: "Wanted"

    @property
    def occupied(self) -> tuple[int, int]:
        """The half-open range of cells taken, turnaround included."""
        return self.first - self.resource.buffer_before, self.end + self.resource.buffer_after


class Wanted(
    msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True, rename={"starts": "from", "ends": "to"}
):
    """An item as a client asks for it: a period with `from` and `to`, or a `session`."""

    resource: str
    starts: str | None = None
    ends: str | None = None
    session: str | None = None
    quantity: int = 1


class PlaceHold(msgspec.Struct, frozen=True):
    """Take every line or none, until the deadline; with `confirm`, for good at once."""

    id: BookingId
    channel: str
    idempotency_key: str
    request_hash: bytes
    lines: tuple[Line, ...]
    ttl_seconds: int
    confirm: bool
    reference: str | None
    customer: str | None
    traceparent: str | None = None
    is_paid: bool = False


class ExtendHold(msgspec.Struct, frozen=True):
    """Move a living hold's deadline to `ttl_seconds` from now."""

    booking: BookingId
    channel: str | None
    ttl_seconds: int
    traceparent: str | None = None


class ConfirmBooking(msgspec.Struct, frozen=True):
    """Turn a living hold into a booking without a deadline. With `paid_for`, only if its items are still those."""

    booking: BookingId
    channel: str | None
    traceparent: str | None = None
    paid_for: frozenset[ItemKey] | None = None


class ReleaseHold(msgspec.Struct, frozen=True):
    """End a hold before its deadline."""

    booking: BookingId
    channel: str | None
    traceparent: str | None = None


class ExpireHold(msgspec.Struct, frozen=True):
    """End a hold whose deadline has passed; without effect on any other."""

    booking: BookingId
    traceparent: str | None = None


class CancelBooking(msgspec.Struct, frozen=True):
    """End a confirmed booking."""

    booking: BookingId
    channel: str | None
    reason: str | None
    traceparent: str | None = None


class AmendBooking(msgspec.Struct, frozen=True):
    """Give a living booking other lines; its own units count as free while the new ones are taken.

    With `paid_for`, only if its items are still those, or the new ones already.
    """

    booking: BookingId
    channel: str | None
    lines: tuple[Line, ...]
    traceparent: str | None = None
    paid_for: frozenset[ItemKey] | None = None


class InventoryChange(msgspec.Struct, frozen=True):
    """New values for the cells [first, end). UNSET leaves a value; None gives it back to the resource's default."""

    first: int
    end: int
    capacity: int | msgspec.UnsetType | None = msgspec.UNSET
    overbooking: int | msgspec.UnsetType | None = msgspec.UNSET
    closed: bool | msgspec.UnsetType = msgspec.UNSET
    min_stay: int | msgspec.UnsetType | None = msgspec.UNSET
    max_stay: int | msgspec.UnsetType | None = msgspec.UNSET
    closed_to_arrival: bool | msgspec.UnsetType = msgspec.UNSET
    closed_to_departure: bool | msgspec.UnsetType = msgspec.UNSET


class ChangeInventory(msgspec.Struct, frozen=True):
    """Set capacity and restrictions cell by cell; all changes or none."""

    resource: Resource
    changes: tuple[InventoryChange, ...]
    expected_version: int | None
    traceparent: str | None = None


class PlaceBlock(msgspec.Struct, frozen=True):
    """Take units out of sale until the block is lifted. Restrictions and hours do not bind an operator."""

    id: str
    lines: tuple[Line, ...]
    reason: str | None
    traceparent: str | None = None


class LiftBlock(msgspec.Struct, frozen=True):
    """Put a block's units back on sale; `venue` is where it must lie."""

    block: str
    venue: str
    traceparent: str | None = None


BookingMove = ExtendHold | ConfirmBooking | ReleaseHold | ExpireHold | CancelBooking | AmendBooking
Command = PlaceHold | BookingMove | ChangeInventory | PlaceBlock | LiftBlock

# For isinstance: the tests of one batch run over every command, and a tuple is looked through faster than a union.
MOVES = (ExtendHold, ConfirmBooking, ReleaseHold, ExpireHold, CancelBooking, AmendBooking)
BASKETS = (PlaceHold, AmendBooking, PlaceBlock)
BLOCKINGS = (PlaceBlock, LiftBlock)
