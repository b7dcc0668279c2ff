"""What requests about venues, resources, sessions and inventory look like, and what the ledger is told of them."""

from collections.abc import Sequence
from datetime import date, datetime
from functools import lru_cache
from typing import Annotated
from zoneinfo import available_timezones

import msgspec
from msgspec import UNSET, Meta, UnsetType

from onebook.api.wire import PERIOD, Code, Name, Time
from onebook.ledger.definitions import ResourceDefinition
from onebook.ledger.failures import Unprocessable
from onebook.ledger.resolve import Cells
from onebook.model.commands import MAX_CELLS_PER_ITEM
from onebook.model.hours import MINUTES_PER_DAY, WEEKDAYS, Interval, OpeningHours
from onebook.model.money import EXPONENTS
from onebook.model.resource import Kind, Unit

MAX_RESOURCES = 5000
MAX_CHANGES = 1000
MAX_UNITS = 1_000_000

Units = Annotated[int, Meta(ge=0, le=MAX_UNITS)]
Stay = Annotated[int, Meta(ge=1, le=MAX_CELLS_PER_ITEM)]
BufferMinutes = Annotated[int, Meta(ge=0, le=MINUTES_PER_DAY)]
Clock = Annotated[str, Meta(pattern=r"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)\Z")]
Day = Annotated[tuple[tuple[Clock, Clock], ...], Meta(max_length=12)]
Instant = Annotated[datetime, Meta(tz=True)]


class VenueRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A place: its IANA time zone, its ISO 4217 currency, and the market it belongs to."""

    name: Name
    timezone: Annotated[str, Meta(max_length=64, examples=["Europe/Lisbon"])]
    currency: Annotated[str, Meta(extra_json_schema={"enum": sorted(EXPONENTS)})]
    market: Name
    prepaid: Annotated[
        bool,
        Meta(description="Bookings are confirmed by paying for them: by their checkout, or by the venue's own desk."),
    ] = False


class VenueAnswer(msgspec.Struct, frozen=True):
    """A venue as it is now."""

    venue: str
    name: str
    timezone: str
    currency: str
    market: str
    prepaid: bool


class NightGrid(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="unit", tag="night"):
    """Sold by the night or the day: local dates of the venue."""


class MinuteGrid(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="unit", tag="minute"):
    """Sold in steps of so many minutes, which divide a day and are counted in UTC."""

    minutes: Annotated[int, Meta(ge=1, le=MINUTES_PER_DAY)]


class SessionGrid(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="unit", tag="session"):
    """Sold by named session."""


Grid = NightGrid | MinuteGrid | SessionGrid


class HoursRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Opening hours in the venue's time; an end that is not after its beginning lies on the next day.

    `exceptions` replace a date's hours; an empty list closes it.
    """

    mon: Day = ()
    tue: Day = ()
    wed: Day = ()
    thu: Day = ()
    fri: Day = ()
    sat: Day = ()
    sun: Day = ()
    exceptions: Annotated[dict[date, Day], Meta(max_length=1000)] = {}


class ResourceRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A pool of `capacity` identical units. Buffers are minutes; they and hours belong to minute grids only."""

    kind: Kind
    name: Name
    capacity: Units
    grid: Grid
    overbooking: Units = 0
    buffer_before: BufferMinutes = 0
    buffer_after: BufferMinutes = 0
    hours: HoursRequest | None = None
    min_stay: Stay | None = None
    max_stay: Stay | None = None


class CodedResourceRequest(ResourceRequest, frozen=True, kw_only=True):
    """One resource of many."""

    code: Code


BulkRequest = Annotated[tuple[CodedResourceRequest, ...], Meta(min_length=1, max_length=MAX_RESOURCES)]


class ResourceAnswer(msgspec.Struct, frozen=True):
    """A resource and its version."""

    resource: str
    version: int


class BulkAnswer(msgspec.Struct, frozen=True):
    """How many resources are new, and the version of each."""

    created: int
    resources: list[ResourceAnswer]


class SessionRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename=PERIOD):
    """When a session begins and ends: instants with their offset."""

    starts: Instant
    ends: Instant


class SessionAnswer(msgspec.Struct, frozen=True, rename=PERIOD):
    """A session as it is now."""

    session: str
    starts: datetime
    ends: datetime


class ChangeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename=PERIOD):
    """New values for the cells from `from` to `to`, or of a `session`.

    What is not named stays as it is; null gives it back to the resource's default.
    """

    starts: Time | None = None
    ends: Time | None = None
    session: Code | None = None
    capacity: Units | UnsetType | None = UNSET
    overbooking: Units | UnsetType | None = UNSET
    closed: bool | UnsetType = UNSET
    min_stay: Stay | UnsetType | None = UNSET
    max_stay: Stay | UnsetType | None = UNSET
    closed_to_arrival: bool | UnsetType = UNSET
    closed_to_departure: bool | UnsetType = UNSET


ChangesRequest = Annotated[tuple[ChangeRequest, ...], Meta(min_length=1, max_length=MAX_CHANGES)]


class VersionAnswer(msgspec.Struct, frozen=True):
    """The resource's version by now."""

    version: int


def check_venue(request: VenueRequest) -> None:
    """Raises Unprocessable for a zone or a currency that does not exist."""
    if request.timezone not in _zones():
        raise Unprocessable("unknown-timezone", "this is no IANA time zone", "/timezone")
    if request.currency not in EXPONENTS:
        raise Unprocessable("unknown-currency", "this is no active ISO 4217 currency", "/currency")


def check_session(request: SessionRequest) -> None:
    """Raises Unprocessable for a period that is reversed, or beyond what calendars of the ledger reach."""
    for name, instant in (("from", request.starts), ("to", request.ends)):
        if not 1970 < instant.year < 9000:
            raise Unprocessable("bad-time", "this instant is out of range", f"/{name}")
    if request.ends <= request.starts:
        raise Unprocessable("reversed-period", "`to` must come after `from`", "/to")


def definition_of(code: str, request: ResourceRequest, pointer: str = "") -> ResourceDefinition:
    """The definition of a resource. Raises Unprocessable where its parts do not go together."""
    _check_grid(request, pointer)
    if request.min_stay is not None and request.max_stay is not None and request.min_stay > request.max_stay:
        raise Unprocessable("invalid", "`max_stay` must not be below `min_stay`", f"{pointer}/max_stay")
    return ResourceDefinition(
        code=code,
        kind=request.kind,
        name=request.name,
        unit=_unit(request.grid),
        cell_minutes=request.grid.minutes if isinstance(request.grid, MinuteGrid) else MINUTES_PER_DAY,
        capacity=request.capacity,
        overbooking=request.overbooking,
        buffer_before=request.buffer_before,
        buffer_after=request.buffer_after,
        hours=None if request.hours is None else _hours(request.hours, f"{pointer}/hours"),
        min_stay=request.min_stay,
        max_stay=request.max_stay,
    )


def cells_of(changes: Sequence[ChangeRequest]) -> list[Cells]:
    """The changes as the ledger takes them. Raises Unprocessable for one that changes nothing."""
    return [_cells(change, index) for index, change in enumerate(changes)]


def _cells(change: ChangeRequest, index: int) -> Cells:
    named = {name: getattr(change, name) for name in ChangeRequest.__struct_fields__[3:]}
    values = {name: value for name, value in named.items() if value is not UNSET}
    if not values:
        raise Unprocessable("nothing-to-change", "name at least one value to change", f"/{index}")
    return Cells(starts=change.starts, ends=change.ends, session=change.session, values=values)


def _check_grid(request: ResourceRequest, pointer: str) -> None:
    grid = request.grid
    if isinstance(grid, MinuteGrid):
        if MINUTES_PER_DAY % grid.minutes:
            raise Unprocessable("invalid", "`minutes` must divide a day of 1440", f"{pointer}/grid/minutes")
        return
    for name in ("buffer_before", "buffer_after", "hours"):
        if getattr(request, name):
            raise Unprocessable("invalid", f"`{name}` belongs to a minute grid", f"{pointer}/{name}")
    if isinstance(grid, SessionGrid):
        for name in ("min_stay", "max_stay"):
            if getattr(request, name) is not None:
                raise Unprocessable("invalid", f"`{name}` has no meaning for sessions", f"{pointer}/{name}")


def _unit(grid: Grid) -> Unit:
    if isinstance(grid, MinuteGrid):
        return Unit.MINUTE
    return Unit.NIGHT if isinstance(grid, NightGrid) else Unit.SESSION


def _hours(request: HoursRequest, pointer: str) -> OpeningHours:
    weekly = tuple(_day(getattr(request, day), f"{pointer}/{day}") for day in WEEKDAYS)
    exceptions = {day: _day(intervals, f"{pointer}/exceptions/{day}") for day, intervals in request.exceptions.items()}
    return OpeningHours(weekly=weekly, exceptions=exceptions)


def _day(day: Day, pointer: str) -> tuple[Interval, ...]:
    return tuple(_interval(opens, closes, f"{pointer}/{index}") for index, (opens, closes) in enumerate(day))


def _interval(opens: str, closes: str, pointer: str) -> Interval:
    first, end = _minutes(opens), _minutes(closes)
    if first == MINUTES_PER_DAY:
        raise Unprocessable("invalid", "24:00 is an end, not a beginning", f"{pointer}/0")
    return first, end if end > first else end + MINUTES_PER_DAY


def _minutes(clock: str) -> int:
    return int(clock[:2]) * 60 + int(clock[3:])


@lru_cache(maxsize=1)
def _zones() -> set[str]:
    return available_timezones()
