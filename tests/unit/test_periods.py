"""Times as people write them, and the cells they stand for."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onebook.model.periods import (
    BadTime,
    epoch_minute,
    midnight_number,
    minute_label,
    minute_number,
    night_date,
    night_label,
    night_number,
)

ZONES = [ZoneInfo(name) for name in ("Europe/Lisbon", "Australia/Lord_Howe", "Asia/Kolkata", "America/St_Johns")]
INSTANTS = st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1)).map(lambda t: t.replace(second=0, microsecond=0))


@given(st.dates())
def test_a_night_is_a_date_both_ways(day: date) -> None:
    """Every date has a number, from which it is written again."""
    number = night_number(day.isoformat())
    assert night_label(number) == day.isoformat()
    assert night_date(number) == day


@given(st.dates(max_value=date(9999, 12, 30)))
def test_nights_follow_each_other(day: date) -> None:
    """A stay of one night ends where the next begins: the day of departure is not taken."""
    assert night_number((day + timedelta(days=1)).isoformat()) == night_number(day.isoformat()) + 1


@given(INSTANTS, st.sampled_from([1, 5, 15, 30, 60, 1440]), st.sampled_from(ZONES))
def test_a_minute_cell_is_an_instant_both_ways(wall: datetime, minutes: int, zone: ZoneInfo) -> None:
    """A cell's beginning, written in any venue's offset, is that cell again."""
    number = int(wall.replace(tzinfo=UTC).timestamp()) // 60 // minutes
    assert minute_number(minute_label(number, minutes, zone), minutes) == number


@given(INSTANTS, st.sampled_from(ZONES))
def test_an_offset_does_not_change_the_instant(wall: datetime, zone: ZoneInfo) -> None:
    """One instant in two offsets is one cell."""
    instant = wall.replace(tzinfo=UTC)
    assert epoch_minute(instant.astimezone(zone).isoformat()) == epoch_minute(instant.isoformat())


@given(INSTANTS, st.integers(2, 60), st.integers(1, 59))
def test_a_time_beside_the_grid_is_refused(wall: datetime, minutes: int, beside: int) -> None:
    """A period begins and ends where cells do; nothing is rounded."""
    start = int(wall.replace(tzinfo=UTC).timestamp()) // 60 // minutes * minutes
    text = datetime.fromtimestamp((start + beside) * 60, UTC).isoformat()
    if beside % minutes:
        with pytest.raises(BadTime, match=f"grid of {minutes} minutes"):
            minute_number(text, minutes)
    else:
        assert minute_number(text, minutes) == (start + beside) // minutes


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-12-1",
        "2026-02-29",
        "2026-13-01",
        "20261201",
        "2026-W49-2",
        "01-12-2026",
        "2026-12-01T00:00",
        "tomorrow",
        "２０２６-12-01",
    ],
)
def test_what_is_no_date_is_refused(text: str) -> None:
    """Nights are written YYYY-MM-DD and exist."""
    with pytest.raises(BadTime):
        night_number(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-12-01",
        "2026-12-01T10:00",
        "2026-12-01T10:00:00",
        "2026-12-01T25:00:00+00:00",
        "2026-12-01T10:00:30+00:00",
        "2026-12-01T10:00:00.5+00:00",
        "2026-12-01T10:00:00+25:00",
        "2026-W49-2T10:00:00+00:00",
        "20261201T100000+0000",
        "1969-12-31T23:59:00+00:00",
        "0001-01-01T00:00:00+14:00",
        "NaN-NaN-NaNTNaN:NaN",
    ],
)
def test_what_is_no_instant_is_refused(text: str) -> None:
    """Instants are RFC 3339 with their offset, in whole minutes, and within range."""
    with pytest.raises(BadTime):
        epoch_minute(text)


@given(st.text(max_size=40))
def test_any_text_is_a_time_or_refused(text: str) -> None:
    """No text does worse than BadTime."""
    for read in (night_number, epoch_minute):
        try:
            read(text)
        except BadTime:
            continue


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Lisbon", "2026-03-29", 23),
        ("Europe/Lisbon", "2026-10-25", 25),
        ("Europe/Lisbon", "2026-07-01", 24),
        ("Australia/Lord_Howe", "2026-10-04", 23.5),
        ("Australia/Lord_Howe", "2026-04-05", 24.5),
    ],
)
def test_a_day_is_as_long_as_it_is(zone: str, day: str, hours: float) -> None:
    """From midnight to midnight there are as many minute cells as the day really has."""
    after = (date.fromisoformat(day) + timedelta(days=1)).isoformat()
    cells = midnight_number(after, 15, ZoneInfo(zone)) - midnight_number(day, 15, ZoneInfo(zone))
    assert cells == hours * 4


def test_midnight_between_two_cells_is_the_next_cell() -> None:
    """Where the offset is no multiple of the grid, a date begins with the first cell that lies wholly in it."""
    zone = ZoneInfo("Asia/Kolkata")
    number = midnight_number("2026-12-01", 60, zone)
    assert minute_label(number, 60, zone) == "2026-12-01T00:30:00+05:30"
    assert minute_label(number - 1, 60, zone) == "2026-11-30T23:30:00+05:30"


def test_the_repeated_hour_is_two_cells() -> None:
    """When clocks are put back, the same wall time is written with two offsets and is two cells."""
    zone = ZoneInfo("Europe/Lisbon")
    first = minute_number("2026-10-25T01:30:00+01:00", 30)
    second = minute_number("2026-10-25T01:30:00+00:00", 30)
    assert second == first + 2
    assert [minute_label(n, 30, zone)[11:] for n in (first, second)] == ["01:30:00+01:00", "01:30:00+00:00"]
