"""The rows of a bookings file for `onebook replay`: each is a `Stay`, or a `Rejected` row with its reason.

The columns are those of N. Antonio, A. de Almeida, L. Nunes, "Hotel booking demand datasets", Data in Brief
22 (2019) 41-49. Nothing is repaired and nothing is dropped: rows = stays + rejected.
"""

import csv
import gzip
import math
import zlib
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import IO

import msgspec

MAX_ROWS = 1_000_000
# The file has one row per room. Its few rows with more guests (20 to 55 adults) are groups waiting for rooms.
MAX_GUESTS_PER_ROOM = 10
# Distribution channels and the names under which they sell; "Undefined" is none.
_CHANNEL_NAMES = {"Direct": "direct", "Corporate": "corporate", "TA/TO": "ta-to", "GDS": "gds"}
CHANNELS = tuple(_CHANNEL_NAMES.values())

COLUMNS = (
    "hotel",
    "is_canceled",
    "lead_time",
    "arrival_date_year",
    "arrival_date_month",
    "arrival_date_day_of_month",
    "stays_in_weekend_nights",
    "stays_in_week_nights",
    "adults",
    "children",
    "babies",
    "distribution_channel",
    "reserved_room_type",
    "adr",
    "reservation_status",
    "reservation_status_date",
)


class FileUnusable(Exception):
    """The file as a whole is not a bookings file that can be read; says what is wrong with it."""


class Reason(StrEnum):
    """Why a row makes no sense; a row with several faults is listed under the first one found."""

    MISSING_FIELD = "missing-field"
    BAD_NUMBER = "bad-number"
    BAD_DATE = "bad-date"
    NEGATIVE_PRICE = "negative-price"
    UNKNOWN_CHANNEL = "unknown-channel"
    UNKNOWN_STATUS = "unknown-status"
    CONTRADICTORY_STATUS = "contradictory-status"
    NO_GUESTS = "no-guests"
    TOO_MANY_GUESTS = "too-many-guests"
    NO_NIGHTS = "no-nights"
    CANCELLED_BEFORE_BOOKED = "cancelled-before-booked"
    CANCELLED_AFTER_DEPARTURE = "cancelled-after-departure"


class Stay(msgspec.Struct, frozen=True):
    """One room booked for some nights. A no-show stays booked; an early departure does not shorten it."""

    line: int
    hotel: str
    room_type: str
    channel: str
    booked_on: date
    arrival: date
    nights: int
    cancelled_on: date | None
    guests: int
    adr: float

    @property
    def departure(self) -> date:
        """The first morning after the stay; the period is half-open."""
        return self.arrival + timedelta(days=self.nights)


class Rejected(msgspec.Struct, frozen=True):
    """A row that makes no sense, by its line in the file (the header is line 1)."""

    line: int
    reason: Reason
    detail: str


def read_bookings(file: Path) -> tuple[list[Stay], list[Rejected]]:
    """Read a bookings file, plain or gzip-compressed (known by its content, not its name).

    Raises `FileUnusable` where the file is not such a file, is damaged, or has more than `MAX_ROWS` rows.
    """
    try:
        with file.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
        with _open_text(file, packed) as text:
            return read_rows(text)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise FileUnusable(f"cannot read {file}: {error}") from error


def read_rows(lines: Iterable[str]) -> tuple[list[Stay], list[Rejected]]:
    """Read the rows of CSV text, header first."""
    stays: list[Stay] = []
    rejected: list[Rejected] = []
    reader = csv.DictReader(lines, strict=True)
    try:
        missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
        if missing:
            raise FileUnusable(f"not a bookings file: the header has no {', '.join(missing)}")
        for count, row in enumerate(reader, start=1):
            if count > MAX_ROWS:
                raise FileUnusable(f"more than {MAX_ROWS} rows")
            outcome = read_row(reader.line_num, row)
            if isinstance(outcome, Stay):
                stays.append(outcome)
            else:
                rejected.append(outcome)
    except csv.Error as error:
        raise FileUnusable(f"line {reader.line_num} is not CSV: {error}") from error
    return stays, rejected


def read_row(line: int, row: Mapping[str, str | None]) -> Stay | Rejected:
    """Decide what one row is."""
    try:
        stay = _parse(line, row)
        _check(stay)
    except _Fault as fault:
        return Rejected(line, fault.reason, fault.detail)
    return stay


class _Fault(Exception):
    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def _parse(line: int, row: Mapping[str, str | None]) -> Stay:
    texts = {column: _text(row, column) for column in COLUMNS}
    nights = _count(texts, "stays_in_weekend_nights") + _count(texts, "stays_in_week_nights")
    guests = sum(_count(texts, column) for column in ("adults", "children", "babies"))
    lead_days = _count(texts, "lead_time")
    adr = _price(texts)
    arrival = _arrival(texts)
    try:
        booked_on, _ = arrival - timedelta(days=lead_days), arrival + timedelta(days=nights)
    except OverflowError:
        raise _Fault(Reason.BAD_DATE, f"{lead_days} days before or {nights} nights after {arrival}") from None
    return Stay(
        line=line,
        hotel=texts["hotel"],
        room_type=texts["reserved_room_type"],
        channel=_channel(texts),
        booked_on=booked_on,
        arrival=arrival,
        nights=nights,
        cancelled_on=_cancelled_on(texts),
        guests=guests,
        adr=adr,
    )


def _check(stay: Stay) -> None:
    if stay.guests == 0:
        raise _Fault(Reason.NO_GUESTS, "no adult, child or baby")
    if stay.guests > MAX_GUESTS_PER_ROOM:
        raise _Fault(Reason.TOO_MANY_GUESTS, f"{stay.guests} guests in one room")
    if stay.nights == 0:
        raise _Fault(Reason.NO_NIGHTS, "neither weekend nor week nights")
    if stay.cancelled_on is None:
        return
    if stay.cancelled_on < stay.booked_on:
        raise _Fault(Reason.CANCELLED_BEFORE_BOOKED, f"cancelled {stay.cancelled_on}, booked {stay.booked_on}")
    if stay.cancelled_on >= stay.departure:
        raise _Fault(Reason.CANCELLED_AFTER_DEPARTURE, f"cancelled {stay.cancelled_on}, departure {stay.departure}")


def _text(row: Mapping[str, str | None], column: str) -> str:
    text = (row[column] or "").strip()
    if not text:
        raise _Fault(Reason.MISSING_FIELD, f"{column} is empty")
    return text


def _count(texts: Mapping[str, str], column: str) -> int:
    text = texts[column]
    # The published file writes unknown numbers as NA; five digits are more days than any plan has.
    if not (text.isascii() and text.isdigit() and len(text) <= 5):
        raise _Fault(Reason.BAD_NUMBER, f"{column} is {text[:40]!r}")
    return int(text)


def _price(texts: Mapping[str, str]) -> float:
    try:
        price = float(texts["adr"])
    except ValueError:
        price = math.nan
    if not math.isfinite(price):
        raise _Fault(Reason.BAD_NUMBER, f"adr is {texts['adr'][:40]!r}")
    if price < 0:
        raise _Fault(Reason.NEGATIVE_PRICE, f"adr is {price:g}")
    return price


def _arrival(texts: Mapping[str, str]) -> date:
    parts = [texts[f"arrival_date_{part}"] for part in ("day_of_month", "month", "year")]
    return _date(" ".join(parts), "%d %B %Y")


def _channel(texts: Mapping[str, str]) -> str:
    channel = texts["distribution_channel"]
    if channel not in _CHANNEL_NAMES:
        raise _Fault(Reason.UNKNOWN_CHANNEL, f"distribution_channel is {channel[:40]!r}")
    return _CHANNEL_NAMES[channel]


def _cancelled_on(texts: Mapping[str, str]) -> date | None:
    status, flag, day = texts["reservation_status"], texts["is_canceled"], texts["reservation_status_date"]
    if status not in ("Canceled", "Check-Out", "No-Show"):
        raise _Fault(Reason.UNKNOWN_STATUS, f"reservation_status is {status[:40]!r}")
    if flag != ("0" if status == "Check-Out" else "1"):
        raise _Fault(Reason.CONTRADICTORY_STATUS, f"is_canceled is {flag[:40]!r} but the status {status!r}")
    # Copies of the file are about in both notations.
    status_day = _date(day, "%m/%d/%Y" if "/" in day else "%Y-%m-%d")
    return status_day if status == "Canceled" else None


def _date(text: str, notation: str) -> date:
    try:
        return datetime.strptime(text, notation).date()
    except ValueError:
        raise _Fault(Reason.BAD_DATE, f"{text[:40]!r} is not a date") from None


def _open_text(file: Path, packed: bool) -> IO[str]:
    if packed:
        return gzip.open(file, "rt", encoding="utf-8-sig", newline="")
    return file.open("rt", encoding="utf-8-sig", newline="")
