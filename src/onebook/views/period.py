"""A period as a reader gives it, in the cells of whatever grid a resource has.

Dates stand for the venue's nights and midnights; instants for themselves, and for the local dates they fall on.
"""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import msgspec

from onebook.ledger.failures import Unprocessable
from onebook.model.periods import BadTime, epoch_minute, night_date, night_number

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Period(msgspec.Struct, frozen=True):
    """Half-open, both in nights and in minutes since the UTC epoch."""

    first_night: int
    end_night: int
    first_minute: int
    end_minute: int

    @property
    def instants(self) -> tuple[datetime, datetime]:
        """The period as two instants."""
        return _EPOCH + timedelta(minutes=self.first_minute), _EPOCH + timedelta(minutes=self.end_minute)

    def cells(self, cell_minutes: int) -> tuple[int, int]:
        """The minute cells that touch the period."""
        return self.first_minute // cell_minutes, -(-self.end_minute // cell_minutes)


@lru_cache(maxsize=4096)
def period_of(starts: str, ends: str, zone: ZoneInfo) -> Period:
    """The period between two dates or two instants. Raises Unprocessable."""
    first_night, first_minute = _boundary(starts, zone, "from")
    end_night, end_minute = _boundary(ends, zone, "to")
    if len(ends) != len("2026-12-01") and end_minute % (24 * 60):
        # An instant within a day: that night is part of the period.
        end_night = max(end_night, first_night + 1)
    if end_minute <= first_minute:
        raise Unprocessable("reversed-period", "`to` must come after `from`", "to")
    return Period(first_night, end_night, first_minute, end_minute)


def _boundary(text: str, zone: ZoneInfo, parameter: str) -> tuple[int, int]:
    try:
        if len(text) == len("2026-12-01"):
            night = night_number(text)
            midnight = datetime.combine(night_date(night), datetime.min.time(), zone)
            return night, int(midnight.timestamp()) // 60
        minute = epoch_minute(text)
    except (BadTime, OverflowError) as error:
        raise Unprocessable("bad-time", str(error), parameter) from error
    return night_number((_EPOCH + timedelta(minutes=minute)).astimezone(zone).date().isoformat()), minute
