"""Opening hours on ordinary days, past midnight, and on the days when clocks change."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onebook.model.hours import Interval, OpeningHours, covers, open_cells

LISBON = ZoneInfo("Europe/Lisbon")
NEVER: tuple[tuple[Interval, ...], ...] = ((),) * 7
ALWAYS: tuple[tuple[Interval, ...], ...] = (((0, 1440),),) * 7


def hours(
    weekly: dict[int, tuple[Interval, ...]], exceptions: dict[date, tuple[Interval, ...]] | None = None
) -> OpeningHours:
    """Hours of some weekdays, Monday 0; the others are closed."""
    return OpeningHours(weekly=tuple(weekly.get(day, ()) for day in range(7)), exceptions=exceptions or {})


def at(clock: str) -> int:
    """Minutes since the epoch of an hour and minute of day."""
    hour, _, minute = clock.partition(":")
    return int(hour) * 60 + int(minute)


def is_open(opening: OpeningHours, first: str, end: str, zone: ZoneInfo = LISBON) -> bool:
    """Whether the hours cover the period between two instants."""
    minutes = [int(datetime.fromisoformat(text).timestamp()) // 60 for text in (first, end)]
    return covers(opening, zone, minutes[0], minutes[1])


@pytest.mark.parametrize(
    ("first", "end", "expected"),
    [
        ("12:00", "15:00", True),  # the whole of lunch
        ("11:45", "12:45", False),  # before it opens
        ("14:30", "15:15", False),  # after it closes
        ("14:45", "19:15", False),  # over the break
        ("19:00", "22:30", True),
        ("16:00", "17:00", False),
    ],
)
def test_a_period_lies_within_one_opening(first: str, end: str, expected: bool) -> None:
    """Openings are half-open, and a break between two of them cannot be booked over."""
    tuesday = hours({1: ((at("12:00"), at("15:00")), (at("19:00"), at("22:30")))})
    assert is_open(tuesday, f"2026-12-01T{first}+00:00", f"2026-12-01T{end}+00:00") is expected


def test_openings_that_touch_are_one() -> None:
    """An opening that begins where another ends, in any order and over midnight, does not break a period."""
    split = hours({1: ((900, 1440), (600, 900)), 2: ((0, 120),)})
    assert is_open(split, "2026-12-01T10:00+00:00", "2026-12-02T02:00+00:00")
    assert not is_open(split, "2026-12-01T10:00+00:00", "2026-12-02T02:01+00:00")


def test_an_opening_runs_past_midnight() -> None:
    """A bar that opens on Friday evening is open on Saturday morning, and by Saturday's own hours it is not."""
    friday = hours({4: ((at("20:00"), at("26:00")),)})
    assert is_open(friday, "2026-12-04T23:00+00:00", "2026-12-05T02:00+00:00")
    assert is_open(friday, "2026-12-05T00:30+00:00", "2026-12-05T01:30+00:00")
    assert not is_open(friday, "2026-12-05T01:30+00:00", "2026-12-05T02:30+00:00")
    assert not is_open(friday, "2026-12-05T20:00+00:00", "2026-12-05T21:00+00:00")


def test_an_exception_replaces_the_whole_day() -> None:
    """A dated exception opens other hours, and an empty one closes the day, whatever the week says."""
    christmas, eve = date(2026, 12, 25), date(2026, 12, 24)
    opening = OpeningHours(weekly=ALWAYS, exceptions={christmas: (), eve: ((at("9:00"), at("13:00")),)})
    assert is_open(opening, "2026-12-24T09:00+00:00", "2026-12-24T13:00+00:00")
    assert not is_open(opening, "2026-12-24T13:00+00:00", "2026-12-24T14:00+00:00")
    assert not is_open(opening, "2026-12-25T10:00+00:00", "2026-12-25T11:00+00:00")
    assert is_open(opening, "2026-12-26T00:00+00:00", "2026-12-27T00:00+00:00")


def test_closing_a_day_keeps_the_night_before() -> None:
    """An exception is about the openings that begin on its date: last night's may still run into it."""
    late = OpeningHours(weekly=(((at("20:00"), at("26:00")),),) * 7, exceptions={date(2026, 12, 25): ()})
    assert is_open(late, "2026-12-25T00:00+00:00", "2026-12-25T02:00+00:00")
    assert not is_open(late, "2026-12-25T20:00+00:00", "2026-12-25T21:00+00:00")


@pytest.mark.parametrize(
    ("zone", "day", "day_hours"),
    [
        ("Europe/Lisbon", date(2026, 3, 29), 23),
        ("Europe/Lisbon", date(2026, 10, 25), 25),
        ("Australia/Lord_Howe", date(2026, 10, 4), 23.5),
        ("Australia/Lord_Howe", date(2026, 4, 5), 24.5),
        ("Asia/Kolkata", date(2026, 7, 1), 24),
    ],
)
def test_a_day_open_throughout_is_as_long_as_it_is(zone: str, day: date, day_hours: float) -> None:
    """Hours from 00:00 to 24:00 open a day of 23, 23.5, 24.5 or 25 hours for exactly that long."""
    place = ZoneInfo(zone)
    opening = OpeningHours(weekly=NEVER, exceptions={day: ((0, 1440),)})
    midnight = int(datetime.combine(day, datetime.min.time(), place).timestamp()) // 60
    end = midnight + int(day_hours * 60)
    assert covers(opening, place, midnight, end)
    assert not covers(opening, place, midnight - 1, midnight)
    assert not covers(opening, place, end, end + 1)


def test_a_wall_time_that_the_clocks_skip() -> None:
    """Opening at 01:30 on the day when 01:00 becomes 02:00 is opening half an hour after the change, at 02:30."""
    spring = OpeningHours(weekly=NEVER, exceptions={date(2026, 3, 29): ((at("1:30"), at("4:00")),)})
    assert is_open(spring, "2026-03-29T02:30+01:00", "2026-03-29T04:00+01:00")
    assert not is_open(spring, "2026-03-29T02:00+01:00", "2026-03-29T03:00+01:00")


def test_an_opening_inside_the_skipped_hour_does_not_exist() -> None:
    """Hours that lie wholly in the hour that clocks skip, up to its end, open nothing."""
    spring = OpeningHours(weekly=NEVER, exceptions={date(2026, 3, 29): ((at("1:30"), at("2:00")),)})
    assert not is_open(spring, "2026-03-29T00:30+00:00", "2026-03-29T00:45+00:00")
    assert not is_open(spring, "2026-03-29T02:30+01:00", "2026-03-29T02:45+01:00")


def test_the_repeated_hour_is_open_twice() -> None:
    """Hours from 01:00 to 02:00 on the day when clocks are put back last two hours."""
    autumn = OpeningHours(weekly=NEVER, exceptions={date(2026, 10, 25): ((at("1:00"), at("2:00")),)})
    assert is_open(autumn, "2026-10-25T01:00+01:00", "2026-10-25T02:00+00:00")
    assert not is_open(autumn, "2026-10-25T02:00+00:00", "2026-10-25T02:15+00:00")


intervals = st.lists(
    st.tuples(st.integers(0, 1439), st.integers(1, 1440)).map(lambda pair: (pair[0], pair[0] + pair[1])), max_size=2
).map(tuple)


@settings(max_examples=200)
@given(
    st.lists(intervals, min_size=7, max_size=7).map(tuple),
    st.dictionaries(st.dates(date(2026, 10, 22), date(2026, 10, 28)), intervals, max_size=2),
    st.integers(0, 5 * 96),
    st.integers(1, 96),
)
def test_a_period_is_open_when_each_of_its_minutes_is(
    weekly: tuple[tuple[Interval, ...], ...],
    exceptions: dict[date, tuple[Interval, ...]],
    quarter: int,
    quarters: int,
) -> None:
    """A period is covered exactly when every minute of it lies in some opening, looked up minute by minute."""
    opening = OpeningHours(weekly=weekly, exceptions=exceptions)
    start = int(datetime(2026, 10, 23, tzinfo=UTC).timestamp()) // 60 + 15 * quarter
    end = start + 15 * quarters
    assert covers(opening, LISBON, start, end) is all(_open_at(opening, minute) for minute in range(start, end))


def _open_at(opening: OpeningHours, minute: int) -> bool:
    """Whether a minute lies in an opening that began up to two days before, by comparing instants."""
    instant = datetime.fromtimestamp(minute * 60, UTC)
    today = instant.astimezone(LISBON).date()
    return any(
        _wall(day, opens) <= instant < _wall(day, closes)
        for day in (today - timedelta(days=2), today - timedelta(days=1), today)
        for opens, closes in opening.exceptions.get(day, opening.weekly[day.weekday()])
    )


def _wall(day: date, minute: int) -> datetime:
    wall = datetime.combine(day, datetime.min.time()) + timedelta(minutes=minute)
    return wall.replace(tzinfo=LISBON).astimezone(UTC)


@given(
    st.lists(intervals, min_size=7, max_size=7).map(tuple),
    st.dictionaries(st.dates(date(2026, 10, 22), date(2026, 10, 28)), intervals, max_size=2),
    st.sampled_from([5, 15, 60, 7]),
    st.integers(0, 5 * 96),
    st.integers(1, 96),
)
@settings(deadline=None)
def test_cells_are_open_where_the_period_of_each_is(
    weekly: tuple[tuple[Interval, ...], ...],
    exceptions: dict[date, tuple[Interval, ...]],
    cell_minutes: int,
    offset: int,
    count: int,
) -> None:
    """Looked at together, cells are open exactly where each is by itself, through a change of the clock too."""
    opening = OpeningHours(weekly=weekly, exceptions=exceptions)
    begin = int(datetime(2026, 10, 22, tzinfo=UTC).timestamp()) // 60 // cell_minutes + offset
    assert open_cells(opening, LISBON, cell_minutes, begin, begin + count) == [
        covers(opening, LISBON, number * cell_minutes, (number + 1) * cell_minutes)
        for number in range(begin, begin + count)
    ]
