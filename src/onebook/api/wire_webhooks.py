"""What requests about webhooks and deltas look like; answers are those of channels/subscriptions.py and channels/delta.py."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from onebook.api.wire import Code, Cursor
from onebook.channels.guard import MAX_URL_LENGTH
from onebook.channels.subscriptions import EndpointView
from onebook.ledger.failures import Unprocessable

MAX_NAMES = 100
MAX_NAMED_DELIVERIES = 1000
MAX_MINUTES = 24 * 60
MAX_REPLAY_MINUTES = 30 * 24 * 60
MAX_PAGE = 200

Url = Annotated[str, Meta(max_length=MAX_URL_LENGTH, min_length=1, examples=["https://partner.example/onebook"])]
VenueName = Annotated[
    str, Meta(pattern=r"^(\*|[A-Za-z0-9][A-Za-z0-9_.-]{0,63})\Z", description="A venue's code; * for all.")
]
TypeName = Annotated[
    str,
    Meta(
        pattern=r"^(\*|(onebook\.)?[a-z]+\.[a-z]+(\.v[0-9]+)?)\Z",
        description="An event's type, `onebook.booking.held.v1` or in short `booking.held`; * for all.",
    ),
]
Venues = Annotated[tuple[VenueName, ...], Meta(min_length=1, max_length=MAX_NAMES)]
Types = Annotated[tuple[TypeName, ...], Meta(min_length=1, max_length=MAX_NAMES)]
Instant = Annotated[datetime, Meta(tz=True)]
Identity = Annotated[str, Meta(min_length=1, max_length=100)]


class EndpointRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where to tell of which events. With a `channel`, of others' bookings only what anybody may know is told."""

    url: Url
    venues: Venues
    types: Types = ("*",)
    channel: Code | None = None


class EndpointChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is not named stays as it is."""

    url: Url | None = None
    venues: Venues | None = None
    types: Types | None = None
    status: Literal["active", "disabled"] | None = None


class EndpointList(msgspec.Struct, frozen=True):
    """The oldest first."""

    webhooks: list[EndpointView]


class TestQueued(msgspec.Struct, frozen=True):
    """The webhook-id under which the test event goes out."""

    delivery: str


class DeliveriesQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which deliveries."""

    status: Literal["pending", "delivered", "dead"] | None = None
    cursor: Cursor | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE)] = 50


class ReplayRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to send again: one of the three."""

    since: Instant | None = None
    minutes: Annotated[int, Meta(ge=1, le=MAX_REPLAY_MINUTES)] | None = None
    deliveries: Annotated[tuple[Identity, ...], Meta(min_length=1, max_length=MAX_NAMED_DELIVERIES)] | None = None


class DeltaQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which changes: those since a time, or of the last minutes; at most a day."""

    venue: Code
    since: Instant | None = None
    minutes: Annotated[int, Meta(ge=1, le=MAX_MINUTES)] | None = None


def check_instant(instant: datetime, place: str) -> None:
    """Raises Unprocessable for what no calendar of the database reaches."""
    if not 1970 < instant.year < 9000:
        raise Unprocessable("bad-time", "this instant is out of range", place)
