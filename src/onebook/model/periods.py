"""Between times as people write them and cell numbers.

Nights are local dates, numbered by days since 1970-01-01. Minute cells are numbered from the UTC epoch in steps of
the grid, so that a clock change neither repeats nor skips a cell. A session's cell is its id. Periods are half-open.
"""

from datetime import date, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()


class BadTime(ValueError):
    """A text is not the date or the instant that the grid needs; the message says what would be."""


@lru_cache(maxsize=8192)
def night_number(text: str) -> int:
    """The number of a local date written YYYY-MM-DD. Raises BadTime."""
    if len(text) != 10 or text[4] != "-" or text[7] != "-":
        raise BadTime("write a date as YYYY-MM-DD")
    try:
        return date.fromisoformat(text).toordinal() - _EPOCH_ORDINAL
    except ValueError as error:
        raise BadTime("there is no such date") from error


@lru_cache(maxsize=8192)
def night_label(number: int) -> str:
    """The local date of a night, written YYYY-MM-DD."""
    return date.fromordinal(number + _EPOCH_ORDINAL).isoformat()


def epoch_minute(text: str) -> int:
    """Minutes since the UTC epoch of an RFC 3339 instant with its offset. Raises BadTime."""
    if len(text) < 16 or text[4] != "-" or text[7] != "-" or text[10] not in "Tt ":
        raise BadTime("write an instant as RFC 3339, for example 2026-12-01T10:00:00+00:00")
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadTime("there is no such instant") from error
    if instant.tzinfo is None:
        raise BadTime("a time needs its offset from UTC, for example +00:00")
    try:
        seconds = instant.timestamp()
    except OverflowError as error:
        raise BadTime("this instant is out of range") from error
    minute, rest = divmod(seconds, 60)
    if rest:
        raise BadTime("times are in whole minutes")
    if not 0 <= minute < 2**31:
        raise BadTime("this instant is out of range")
    return int(minute)


def minute_number(text: str, cell_minutes: int) -> int:
    """The cell that begins at an instant on a grid of `cell_minutes`. Raises BadTime."""
    number, rest = divmod(epoch_minute(text), cell_minutes)
    if rest:
        raise BadTime(f"times must lie on this resource's grid of {cell_minutes} minutes (counted in UTC)")
    return number


def minute_label(number: int, cell_minutes: int, zone: ZoneInfo) -> str:
    """The beginning of a minute cell, RFC 3339 in the venue's own offset."""
    return datetime.fromtimestamp(number * cell_minutes * 60, zone).isoformat()


def midnight_number(text: str, cell_minutes: int, zone: ZoneInfo) -> int:
    """The minute cell that begins at, or is the first after, a local date's midnight. Raises BadTime."""
    day = date.fromordinal(night_number(text) + _EPOCH_ORDINAL)
    midnight = datetime.combine(day, datetime.min.time(), zone)
    return -(-int(midnight.timestamp()) // (cell_minutes * 60))


def night_date(number: int) -> date:
    """The local date of a night."""
    return date.fromordinal(number + _EPOCH_ORDINAL)
