"""What requests and answers about bookings look like. The structs are the OpenAPI document's schemas as well."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from onebook.model.booking import Block, Booking, Item, Status
from onebook.model.commands import MAX_ITEMS, MAX_QUANTITY, Wanted
from onebook.model.resource import Kind
from onebook.views.alternatives import Alternative
from onebook.views.search import Found

MAX_TTL_SECONDS = 86_400
MAX_PAGE = 200
MAX_EVENTS = 1000
MAX_FOUND = 500
MAX_NAMED_RESOURCES = 100
MAX_QUOTE_CHARACTERS = 48 * 1024


def _text(pattern: str, **bounds: Any) -> Meta:
    # Python's $ lets a final line break through, JSON Schema's does not: \Z here, and $ in the document (openapi.py).
    return Meta(pattern=rf"^{pattern}\Z", **bounds)


CODE_PATTERN = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
PERIOD = {"starts": "from", "ends": "to"}

Code = Annotated[str, _text(CODE_PATTERN, description="A name in URLs: letters, digits, dots, dashes, underscores.")]
Text = Annotated[str, _text(r"[^\x00-\x1f\x7f]*", max_length=200)]
Name = Annotated[str, _text(r"[^\x00-\x1f\x7f]+", min_length=1, max_length=200)]
Key = Annotated[str, _text(r"[^\x00-\x1f\x7f]+", min_length=1, max_length=129, examples=["alfama/double"])]
Time = Annotated[
    str,
    Meta(
        max_length=40,
        description="A local date of the venue, or an instant with its offset, whichever the grid is made of.",
        examples=["2026-12-01", "2026-12-01T10:00:00+00:00"],
        extra_json_schema={"anyOf": [{"format": "date"}, {"format": "date-time"}]},
    ),
]
Quantity = Annotated[int, Meta(ge=1, le=MAX_QUANTITY)]
TtlSeconds = Annotated[int, Meta(ge=1, le=MAX_TTL_SECONDS)]
Cursor = Annotated[str, _text(r"[A-Za-z0-9_-]+", min_length=1, max_length=200)]


class ItemRequest(Wanted, frozen=True, gc=False):
    """What is wanted: a period with `from` and `to`, or, for what is sold by session, a `session`."""

    resource: Key
    starts: Time | None = None
    ends: Time | None = None
    session: Code | None = None
    quantity: Quantity = 1


Items = Annotated[tuple[ItemRequest, ...], Meta(min_length=1, max_length=MAX_ITEMS)]


class BookingRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A basket: all items or none. With `confirm` it is booked at once, without a deadline."""

    items: Items
    ttl_seconds: TtlSeconds = 600
    confirm: bool = False
    reference: Text | None = None
    customer: Text | None = None


# Made by the gateway's own form: pm_… at Stripe, tok_… at the simulator. A card number has no place here and no form for it.
PaymentToken = Annotated[
    str,
    _text(
        r"[A-Za-z][A-Za-z0-9_-]*",
        min_length=3,
        max_length=200,
        description="A payment method's token, made by the gateway's own form. Never a card number.",
        examples=["tok_ok"],
    ),
]
QuoteToken = Annotated[str, Meta(min_length=1, max_length=MAX_QUOTE_CHARACTERS)]


class PaymentMethod(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """With what is paid."""

    token: PaymentToken


class Extension(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new deadline, counted from now."""

    ttl_seconds: TtlSeconds


class Amendment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The items that the booking shall have instead.

    Where it was paid for, the difference to a `quote` of theirs, or to today's prices, is charged to `payment`, or to what the
    booking was paid with; or it is given back.
    """

    items: Items
    quote: QuoteToken | None = None
    payment: PaymentMethod | None = None


class Reason(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why; the log keeps it."""

    reason: Text | None = None


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An empty object; no body at all will do."""


class BlockRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Units to take out of sale, all or none."""

    items: Items
    reason: Text | None = None


class BookedItem(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, rename=PERIOD):
    """An item as it stands; `version` is the resource's version that it brought about."""

    resource: str
    starts: str
    ends: str
    quantity: int
    version: int
    session: str | None = None


class SettlementAnswer(msgspec.Struct, frozen=True):
    """What has become of the money: what is kept, and what goes back. `state` is `settled` once the gateway has given it back."""

    id: str
    kind: str
    state: str
    fee_minor: int
    refund_minor: int
    currency: str


class BookingAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """A booking. `expires_at` is null unless it is held; `server_time` is the ledger's clock at the answer.

    `settlement` is told of one that was paid for, by the request that cancelled it or made it cheaper.
    """

    id: str
    status: Status
    channel: str
    expires_at: datetime | None
    items: list[BookedItem]
    server_time: datetime | msgspec.UnsetType = msgspec.UNSET
    reference: str | None = None
    customer: str | None = None
    settlement: SettlementAnswer | None = None


class BookingList(msgspec.Struct, frozen=True):
    """A page of bookings, the latest arrival first; `next_cursor` is null on the last page."""

    bookings: list[BookingAnswer]
    next_cursor: str | None


class BlockAnswer(msgspec.Struct, frozen=True):
    """Units out of sale; `lifted_at` is null while they are."""

    id: str
    reason: str | None
    placed_at: datetime
    lifted_at: datetime | None
    items: list[BookedItem]


class FoundList(msgspec.Struct, frozen=True, rename=PERIOD):
    """Resources that are free for the whole period, with the lowest number of units left in it."""

    starts: str
    ends: str
    quantity: int
    resources: list[Found]


class BookingsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename=PERIOD):
    """Which bookings: those whose stay touches the dates [from, to)."""

    venue: Code | None = None
    starts: Time | None = None
    ends: Time | None = None
    status: Status | None = None
    cursor: Cursor | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE)] = 50


class AvailabilityQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename=PERIOD):
    """Which cells. `resource` may be repeated; `resource_version` is venue/code:N, the version to see at least."""

    venue: Code
    starts: Time
    ends: Time
    resource: Annotated[tuple[Key, ...], Meta(max_length=MAX_NAMED_RESOURCES)] = ()
    quantity: Annotated[
        int, Meta(ge=0, le=MAX_QUANTITY, description="Leave out what nowhere has so many units; 0 shows everything.")
    ] = 0
    resource_version: Annotated[
        tuple[Annotated[str, _text(r"[A-Za-z0-9_.\/-]{1,129}:[0-9]{1,18}")], ...],
        Meta(max_length=MAX_NAMED_RESOURCES),
    ] = ()


class SearchQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename=PERIOD):
    """What to look for, in a market or in a venue."""

    starts: Time
    ends: Time
    market: Name | None = None
    venue: Code | None = None
    kind: Kind | None = None
    quantity: Quantity = 1
    limit: Annotated[int, Meta(ge=1, le=MAX_FOUND)] = 50


class EventsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where in the log to begin."""

    after: Cursor | None = None
    venue: Code | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_EVENTS)] = 100


class ProblemDocument(msgspec.Struct, frozen=True):
    """RFC 9457. `code` is stable; further members depend on it."""

    type: str
    title: str
    status: int
    code: str
    detail: str | msgspec.UnsetType = msgspec.UNSET
    pointer: str | msgspec.UnsetType = msgspec.UNSET
    parameter: str | msgspec.UnsetType = msgspec.UNSET
    alternatives: list[Alternative] | msgspec.UnsetType = msgspec.UNSET


def booking_answer(booking: Booking, at: datetime | msgspec.UnsetType) -> BookingAnswer:
    """A booking as it is told; a pure function of its arguments, so that a replay can give the same bytes."""
    return BookingAnswer(
        id=booking.id,
        status=booking.status,
        channel=booking.channel,
        expires_at=booking.expires_at,
        items=_booked(booking.lines),
        server_time=at,
        reference=booking.reference,
        customer=booking.customer,
    )


def block_answer(block: Block) -> BlockAnswer:
    """A block as it is told."""
    return BlockAnswer(
        id=block.id,
        reason=block.reason,
        placed_at=block.placed_at,
        lifted_at=block.lifted_at,
        items=_booked(block.items),
    )


def _booked(items: tuple[Item, ...]) -> list[BookedItem]:
    return [
        BookedItem(item.resource, item.starts, item.ends, item.quantity, item.version, item.session) for item in items
    ]
