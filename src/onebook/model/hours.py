"""Opening hours: weekly, in the venue's own time, with dated exceptions.

Wall times are turned into instants day by day, so a day of 23 or 25 hours is as long as it is. A wall time
that a clock change skips stands for the instant just as far after the change (PEP 495, fold=0).
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MINUTES_PER_DAY = 24 * 60

Interval = tuple[int, int]


class OpeningHours(msgspec.Struct, frozen=True):
    """Intervals as minutes after local midnight; an end beyond 1440 lies on the next day.

    `weekly` has seven entries, Monday first. `exceptions` replace the whole of a date's hours; an empty one
    closes that date.
    """

    weekly: tuple[tuple[Interval, ...], ...]
    exceptions: dict[date, tuple[Interval, ...]]

    def of(self, day: date) -> tuple[Interval, ...]:
        """The intervals that begin on a local date."""
        return self.exceptions.get(day, self.weekly[day.weekday()])


def covers(hours: OpeningHours, zone: ZoneInfo, start_minute: int, end_minute: int) -> bool:
    """Whether one unbroken opening spans [start, end), both in minutes since the UTC epoch."""
    reached = start_minute
    for opens, closes in _openings(hours, zone, start_minute, end_minute):
        if opens <= reached < closes:
            reached = closes
        if reached >= end_minute:
            return True
    return False


def open_cells(hours: OpeningHours, zone: ZoneInfo, cell_minutes: int, first: int, end: int) -> list[bool]:
    """For each cell of a minute grid in [first, end) what `covers` says of it; days are looked at once."""
    unbroken: list[list[int]] = []
    for opens, closes in sorted(_openings(hours, zone, first * cell_minutes, end * cell_minutes)):
        if unbroken and opens <= unbroken[-1][1]:
            unbroken[-1][1] = max(unbroken[-1][1], closes)
        else:
            unbroken.append([opens, closes])
    cells = [False] * (end - first)
    for opens, closes in unbroken:
        inside = range(max(-(-opens // cell_minutes), first), min(closes // cell_minutes, end))
        for number in inside:
            cells[number - first] = True
    return cells


def _openings(hours: OpeningHours, zone: ZoneInfo, start_minute: int, end_minute: int) -> Iterator[Interval]:
    """Openings that may touch the period, in order, in minutes since the UTC epoch."""
    first = _local_date(start_minute, zone) - timedelta(days=1)
    last = _local_date(end_minute, zone)
    for offset in range((last - first).days + 1):
        day = first + timedelta(days=offset)
        for opens, closes in sorted(hours.of(day)):
            yield _instant(day, opens, zone), _instant(day, closes, zone)


def _local_date(minute: int, zone: ZoneInfo) -> date:
    return datetime.fromtimestamp(minute * 60, zone).date()


def _instant(day: date, wall_minute: int, zone: ZoneInfo) -> int:
    days, minute = divmod(wall_minute, MINUTES_PER_DAY)
    wall = datetime.combine(day + timedelta(days=days), datetime.min.time(), zone)
    wall = wall.replace(hour=minute // 60, minute=minute % 60)
    return int(wall.astimezone(UTC).timestamp()) // 60
