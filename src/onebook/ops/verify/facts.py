"""The auditor's own reading of the log: what each type of entry says, as far as it can be checked.

Written apart from onebook.log on purpose: a mistake in how entries are written must not be repeated in how
they are read.
"""

from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType


class Item(msgspec.Struct, frozen=True, gc=False, rename={"starts": "from", "ends": "to"}):
    """`quantity` units of a resource in the half-open range `cells`, buffers included."""

    resource: str
    starts: str
    ends: str
    quantity: int
    version: int
    cells: tuple[int, int]
    session: str | None = None


class Touched(msgspec.Struct, frozen=True, gc=False):
    """What an entry says of one resource: the version brought about, and what its touched cells have left."""

    resource: str
    version: int
    cells: tuple[str, ...]
    available: tuple[int, ...]


class Change(msgspec.Struct, frozen=True):
    """New values of the cells [first, end); None gives a value back to the resource's default."""

    first: int
    end: int
    capacity: int | UnsetType | None = UNSET
    overbooking: int | UnsetType | None = UNSET
    closed: bool | UnsetType = UNSET
    min_stay: int | UnsetType | None = UNSET
    max_stay: int | UnsetType | None = UNSET
    closed_to_arrival: bool | UnsetType = UNSET
    closed_to_departure: bool | UnsetType = UNSET


class Definition(msgspec.Struct, frozen=True):
    """A resource as it is sold from this entry on; buffers in minutes."""

    id: int
    resource: str
    kind: str
    name: str
    unit: str
    cell_minutes: int
    capacity: int
    overbooking: int
    buffer_before: int
    buffer_after: int
    min_stay: int | None = None
    max_stay: int | None = None
    hours: object = None

    def __post_init__(self) -> None:
        """A grid of no minutes would make no cells."""
        if self.cell_minutes < 1 and self.unit == "minute":
            raise ValueError("a minute grid needs cell_minutes")


class BookingTold(msgspec.Struct, frozen=True):
    """A booking after a move."""

    status: str
    revision: int
    items: tuple[Item, ...]
    resources: tuple[Touched, ...]


class BlockTold(msgspec.Struct, frozen=True):
    """A block after a move."""

    items: tuple[Item, ...]
    resources: tuple[Touched, ...]


class InventoryTold(msgspec.Struct, frozen=True):
    """Changes of one resource's cells."""

    resource: str
    changes: tuple[Change, ...]
    resources: tuple[Touched, ...]


class ResourcesTold(msgspec.Struct, frozen=True):
    """Resources defined, or defined anew."""

    definitions: tuple[Definition, ...]
    resources: tuple[Touched, ...]


class VenueTold(msgspec.Struct, frozen=True):
    """A venue defined, or defined anew."""

    id: int
    venue: str
    name: str
    timezone: str
    currency: str
    market: str


class SessionTold(msgspec.Struct, frozen=True, rename={"starts": "from", "ends": "to"}):
    """A session defined, or defined anew. The number of its cell is its id."""

    id: int
    session: str
    venue: str
    starts: str
    ends: str


class CustomerTold(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """That something happened to a customer. Whatever else stands there may be personal, and the log is for ever."""

    customer: UUID
    channel: str
    resources: tuple[()]


class OfferTold(msgspec.Struct, frozen=True):
    """A venue's rate plans, taxes or policies were put anew, or are gone."""

    venue: str
    resources: tuple[()]


class CheckoutTold(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What has become of a checkout or of its money. Neither who pays nor with what: the log is for ever."""

    checkout: UUID
    booking: UUID
    channel: str
    state: str
    amount_minor: int
    currency: str
    venues: tuple[str, ...]
    resources: tuple[()]
    code: str | None = None
    confirmed_booking: UUID | None = None
    settlement: UUID | None = None
    kind: str | None = None
    fee_minor: int | None = None


Told = (
    BookingTold
    | BlockTold
    | InventoryTold
    | ResourcesTold
    | VenueTold
    | SessionTold
    | CustomerTold
    | OfferTold
    | CheckoutTold
)

_TYPES: dict[str, type[Told]] = {
    "venue.defined": VenueTold,
    "session.defined": SessionTold,
    "resource.defined": ResourcesTold,
    "inventory.changed": InventoryTold,
    "booking.held": BookingTold,
    "booking.confirmed": BookingTold,
    "booking.extended": BookingTold,
    "booking.released": BookingTold,
    "booking.expired": BookingTold,
    "booking.cancelled": BookingTold,
    "booking.amended": BookingTold,
    "block.placed": BlockTold,
    "block.lifted": BlockTold,
    "offer.changed": OfferTold,
    "checkout.started": CheckoutTold,
    "checkout.challenged": CheckoutTold,
    "checkout.completed": CheckoutTold,
    "checkout.failed": CheckoutTold,
    "checkout.settled": CheckoutTold,
    "customer.created": CustomerTold,
    "customer.changed": CustomerTold,
    "customer.erased": CustomerTold,
}
_DECODERS = {kind: msgspec.json.Decoder(told) for kind, told in _TYPES.items()}


class UnreadableEntryError(ValueError):
    """An entry that does not say what its type promises."""


def read_entry(kind: str, data: str) -> Told:
    """What an entry of a type says. Raises UnreadableEntryError."""
    decoder = _DECODERS.get(kind)
    if decoder is None:
        raise UnreadableEntryError("no such type of entry")
    try:
        return decoder.decode(data)
    except msgspec.DecodeError as error:
        raise UnreadableEntryError(str(error)) from error
