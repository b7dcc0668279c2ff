"""Which rows of a bookings file are stays, and why the others are not."""

import csv
import gzip
import io
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from onebook.ops.replay import rows as replay_rows
from onebook.ops.replay.rows import (
    CHANNELS,
    COLUMNS,
    MAX_GUESTS_PER_ROOM,
    FileUnusable,
    Reason,
    Rejected,
    Stay,
    read_bookings,
    read_rows,
)

PUBLISHED = Path(__file__).parents[3] / "shared" / "data" / "hotel_bookings.csv.gz"

ROW = {
    "hotel": "Resort Hotel",
    "is_canceled": "0",
    "lead_time": "10",
    "arrival_date_year": "2016",
    "arrival_date_month": "March",
    "arrival_date_day_of_month": "5",
    "stays_in_weekend_nights": "2",
    "stays_in_week_nights": "1",
    "adults": "2",
    "children": "1",
    "babies": "0",
    "distribution_channel": "TA/TO",
    "reserved_room_type": "A",
    "adr": "75.5",
    "reservation_status": "Check-Out",
    "reservation_status_date": "3/8/2016",
}


def _text(*rows: dict[str, str]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _read(**changes: str) -> Stay | Rejected:
    stays, rejected = read_rows(io.StringIO(_text({**ROW, **changes})))
    assert len(stays) + len(rejected) == 1
    return stays[0] if stays else rejected[0]


def _cancelled(on: str, **changes: str) -> Stay | Rejected:
    return _read(is_canceled="1", reservation_status="Canceled", reservation_status_date=on, **changes)


def test_a_row_is_a_stay() -> None:
    """The booking day is the arrival less the lead time; nights and guests are summed."""
    stay = _read()
    assert stay == Stay(
        line=2,
        hotel="Resort Hotel",
        room_type="A",
        channel="ta-to",
        booked_on=date(2016, 2, 24),
        arrival=date(2016, 3, 5),
        nights=3,
        cancelled_on=None,
        guests=3,
        adr=75.5,
    )
    assert stay.departure == date(2016, 3, 8)


def test_a_cancellation_has_its_day() -> None:
    """A cancelled row is a stay that is given up on the day of its status, in either notation of dates."""
    for on in ("3/1/2016", "2016-03-01"):
        stay = _cancelled(on)
        assert isinstance(stay, Stay)
        assert stay.cancelled_on == date(2016, 3, 1)


def test_a_no_show_stays_booked() -> None:
    """Who does not come has not cancelled: the room was kept for them."""
    stay = _read(is_canceled="1", reservation_status="No-Show", reservation_status_date="3/5/2016")
    assert isinstance(stay, Stay)
    assert stay.cancelled_on is None


@pytest.mark.parametrize("on", ["2/24/2016", "3/7/2016"])
def test_the_first_and_last_day_to_cancel(on: str) -> None:
    """A stay can be cancelled from the day it is booked until the day before it ends."""
    assert isinstance(_cancelled(on), Stay)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"hotel": " "}, Reason.MISSING_FIELD),
        ({"lead_time": ""}, Reason.MISSING_FIELD),
        ({"children": "NA"}, Reason.BAD_NUMBER),
        ({"lead_time": "-1"}, Reason.BAD_NUMBER),
        ({"lead_time": "1.5"}, Reason.BAD_NUMBER),
        ({"lead_time": "999999"}, Reason.BAD_NUMBER),
        ({"adults": "²"}, Reason.BAD_NUMBER),
        ({"adr": "free"}, Reason.BAD_NUMBER),
        ({"adr": "nan"}, Reason.BAD_NUMBER),
        ({"adr": "inf"}, Reason.BAD_NUMBER),
        ({"adr": "-6.38"}, Reason.NEGATIVE_PRICE),
        ({"arrival_date_month": "Brumaire"}, Reason.BAD_DATE),
        ({"arrival_date_month": "February", "arrival_date_day_of_month": "30"}, Reason.BAD_DATE),
        ({"arrival_date_year": "0001", "lead_time": "99999"}, Reason.BAD_DATE),
        ({"arrival_date_year": "9999", "stays_in_week_nights": "99999"}, Reason.BAD_DATE),
        ({"reservation_status_date": "13/13/2016"}, Reason.BAD_DATE),
        ({"distribution_channel": "Undefined"}, Reason.UNKNOWN_CHANNEL),
        ({"reservation_status": "Maybe"}, Reason.UNKNOWN_STATUS),
        ({"is_canceled": "1"}, Reason.CONTRADICTORY_STATUS),
        ({"adults": "0", "children": "0"}, Reason.NO_GUESTS),
        ({"adults": "40"}, Reason.TOO_MANY_GUESTS),
        ({"stays_in_weekend_nights": "0", "stays_in_week_nights": "0"}, Reason.NO_NIGHTS),
    ],
)
def test_a_row_that_makes_no_sense_is_rejected_with_its_reason(changes: dict[str, str], reason: Reason) -> None:
    """Each kind of nonsense has its reason, and the detail says where it stands."""
    outcome = _read(**changes)
    assert isinstance(outcome, Rejected)
    assert (outcome.line, outcome.reason) == (2, reason)
    assert outcome.detail


@pytest.mark.parametrize(
    ("on", "reason"),
    [("2/23/2016", Reason.CANCELLED_BEFORE_BOOKED), ("3/8/2016", Reason.CANCELLED_AFTER_DEPARTURE)],
)
def test_a_cancellation_outside_the_life_of_a_booking_is_rejected(on: str, reason: Reason) -> None:
    """A booking cannot end before it is made, nor when its guests have left."""
    outcome = _cancelled(on)
    assert isinstance(outcome, Rejected)
    assert outcome.reason is reason


def test_every_row_is_accounted_for_by_its_line() -> None:
    """Stays and rejected rows together are the rows, each with its own line, short rows included."""
    stays, rejected = read_rows(io.StringIO(_text(ROW, {**ROW, "adults": "NA"}, ROW) + "Resort Hotel,0\n"))
    assert [stay.line for stay in stays] == [2, 4]
    assert [(row.line, row.reason) for row in rejected] == [(3, Reason.BAD_NUMBER), (5, Reason.MISSING_FIELD)]


@pytest.mark.parametrize("packed", [False, True])
def test_compression_is_known_by_content(packed: bool, tmp_path: Path) -> None:
    """A file is read plain or compressed, whatever its name says, with or without a byte order mark."""
    text = ("\ufeff" + _text(ROW)).encode()
    file = tmp_path / "bookings"
    file.write_bytes(gzip.compress(text) if packed else text)
    stays, rejected = read_bookings(file)
    assert (len(stays), len(rejected)) == (1, 0)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"name,price\nx,1\n",
        gzip.compress(_text(ROW).encode())[:-9],
        b"\x1f\x8bnot gzip",
        _text(ROW).encode() + b"\xff\xfe\n",
        _text(ROW).encode() + b'"a"b,\n',
    ],
    ids=["empty", "other columns", "cut off", "damaged", "not UTF-8", "not CSV"],
)
def test_a_file_that_cannot_be_read_is_refused_as_a_whole(content: bytes, tmp_path: Path) -> None:
    """A file that is not a bookings file, or is damaged, is an error and never half a replay."""
    file = tmp_path / "bookings.csv"
    file.write_bytes(content)
    with pytest.raises(FileUnusable):
        read_bookings(file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The error for a file that is not there names it."""
    with pytest.raises(FileUnusable, match=r"nowhere\.csv"):
        read_bookings(tmp_path / "nowhere.csv")


def test_rows_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file with more rows than fit in memory is refused."""
    monkeypatch.setattr(replay_rows, "MAX_ROWS", 2)
    assert len(read_rows(io.StringIO(_text(ROW, ROW)))[0]) == 2
    with pytest.raises(FileUnusable, match="more than 2 rows"):
        read_rows(io.StringIO(_text(ROW, ROW, ROW)))


@pytest.mark.skipif(not PUBLISHED.exists(), reason="the published bookings are not beside the repository")
def test_the_published_file_is_accounted_for() -> None:
    """Every row of the real file is a stay that can be replayed or is rejected for a reason that really holds."""
    with gzip.open(PUBLISHED, "rt", newline="") as text:
        raw = dict(enumerate(csv.DictReader(text), start=2))
    stays, rejected = read_bookings(PUBLISHED)
    assert sorted([stay.line for stay in stays] + [row.line for row in rejected]) == list(raw)

    nights = {n: row["stays_in_weekend_nights"] + row["stays_in_week_nights"] for n, row in raw.items()}
    guests = {n: [row["adults"], row["children"], row["babies"]] for n, row in raw.items()}
    holds: dict[Reason, Callable[[int], bool]] = {
        Reason.NO_NIGHTS: lambda line: nights[line] == "00",
        Reason.NO_GUESTS: lambda line: guests[line] == ["0", "0", "0"],
        Reason.BAD_NUMBER: lambda line: "NA" in guests[line],
        Reason.TOO_MANY_GUESTS: lambda line: sum(map(int, guests[line])) > MAX_GUESTS_PER_ROOM,
    }
    assert [row for row in rejected if not holds[row.reason](row.line)] == []
    for stay in stays:
        assert nights[stay.line] != "00"
        assert stay.booked_on <= stay.arrival < stay.departure
        assert stay.cancelled_on is None or stay.booked_on <= stay.cancelled_on < stay.departure
        assert (stay.cancelled_on is not None) == (raw[stay.line]["reservation_status"] == "Canceled")
    assert {stay.channel for stay in stays} <= set(CHANNELS)
    assert len(rejected) < len(raw) / 100
