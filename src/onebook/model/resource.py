"""What is sold: venues, resources and sessions, as the rules see them."""

from enum import StrEnum
from zoneinfo import ZoneInfo

import msgspec

from onebook.model.hours import OpeningHours
from onebook.model.periods import minute_label, night_label


class Kind(StrEnum):
    """The six kinds of thing sold by time."""

    ROOM = "room"
    TABLE = "table"
    VEHICLE = "vehicle"
    SEAT = "seat"
    STAFF = "staff"
    ACTIVITY = "activity"


class Unit(StrEnum):
    """How a resource's time is cut into cells."""

    NIGHT = "night"
    MINUTE = "minute"
    SESSION = "session"


class Venue(msgspec.Struct, frozen=True, gc=False):
    """A place with one time zone and one currency; `market` groups venues city by city.

    Where it is `prepaid`, who sells may not confirm what was not paid for: the checkout does, or the venue's own desk.
    """

    id: int
    code: str
    name: str
    zone: ZoneInfo
    currency: str
    market: str
    prepaid: bool = False


class Session(msgspec.Struct, frozen=True, gc=False):
    """A named period of a venue, sold as one cell whose number is the session's id."""

    id: int
    venue: str
    code: str
    starts: str
    ends: str


class Resource(msgspec.Struct, frozen=True):
    """A pool of `capacity` identical units on one grid; an identified unit is a pool of one.

    `key` is "venue/code". `buffer_before` and `buffer_after` count cells. `revision` is raised by every
    change of this definition: a decision made from an older revision is made again.
    """

    id: int
    key: str
    venue: Venue
    kind: Kind
    name: str
    unit: Unit
    cell_minutes: int
    capacity: int
    overbooking: int
    buffer_before: int
    buffer_after: int
    hours: OpeningHours | None
    min_stay: int | None
    max_stay: int | None
    revision: int


def time_label(unit: Unit, number: int, cell_minutes: int, zone: ZoneInfo) -> str:
    """A cell of a night or minute grid as people write it; a session's cell has its code for a label."""
    return night_label(number) if unit is Unit.NIGHT else minute_label(number, cell_minutes, zone)
