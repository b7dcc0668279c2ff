"""When a resource sold by the minute is open, by the auditor's own reading of its hours.

Hours are `weekly`, seven lists of [opens, closes] in minutes after local midnight, Monday first, and `exceptions`, which
replace those of a date. An end beyond 1440 lies on the next day. Openings that touch are one.
"""

from bisect import bisect_right
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

Opening = tuple[int, int]


class Openings:
    """The openings of a span of minutes since the UTC epoch, merged and in order."""

    def __init__(self, hours: Any, zone: ZoneInfo, first_minute: int, end_minute: int) -> None:
        merged: list[Opening] = []
        for opens, closes in sorted(_openings(hours, zone, first_minute, end_minute)):
            if merged and opens <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(merged[-1][1], closes))
            else:
                merged.append((opens, closes))
        self._merged = merged

    def cover(self, first_minute: int, end_minute: int) -> bool:
        """Whether one opening has the whole of a period in it."""
        index = bisect_right(self._merged, first_minute, key=lambda opening: opening[0]) - 1
        return index >= 0 and end_minute <= self._merged[index][1]


def _openings(hours: Any, zone: ZoneInfo, first_minute: int, end_minute: int) -> Iterator[Opening]:
    # Two days before: an opening may end a day later, and a date begins at different instants.
    day = datetime.fromtimestamp(first_minute * 60, zone).date() - timedelta(days=2)
    last = datetime.fromtimestamp(end_minute * 60, zone).date()
    while day <= last:
        for opens, closes in hours["exceptions"].get(day.isoformat(), hours["weekly"][day.weekday()]):
            yield _minute(day, opens, zone), _minute(day, closes, zone)
        day += timedelta(days=1)


def _minute(day: date, wall_minute: int, zone: ZoneInfo) -> int:
    days, minute = divmod(wall_minute, 24 * 60)
    wall = datetime.combine(day + timedelta(days=days), time(minute // 60, minute % 60), zone)
    return int(wall.timestamp()) // 60
