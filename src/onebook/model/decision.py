"""What a command comes to: a decision that changes the ledger, or the finding that nothing has to change."""

import msgspec

from onebook.model.booking import Block, Booking
from onebook.model.commands import InventoryChange


class Move(msgspec.Struct, frozen=True, gc=False):
    """Units that change hands in the cells [first, end) of one resource; negative gives back."""

    resource: str
    first: int
    end: int
    held: int = 0
    booked: int = 0
    blocked: int = 0


class Decision(msgspec.Struct, frozen=True):
    """A change, with the event that tells of it. `resources` are those whose version it raises, each once."""

    event: str
    resources: tuple[str, ...]
    moves: tuple[Move, ...] = ()
    changes: tuple[InventoryChange, ...] = ()
    booking: Booking | None = None
    block: Block | None = None
    reason: str | None = None


class Unchanged(msgspec.Struct, frozen=True):
    """The command's effect is already there. `replayed` marks the repeat of an idempotency key."""

    booking: Booking | None = None
    block: Block | None = None
    replayed: bool = False
