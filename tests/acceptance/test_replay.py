"""`onebook replay` as a user starts it: a bookings file through a whole server, the report and the auditor."""

import csv
import json
import random
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from onebook.ops.replay.rows import CHANNELS, COLUMNS
from tests.conftest import Server, onebook

STAYS, SENSELESS = 300, 3


@pytest.fixture
def bookings(tmp_path: Path) -> Path:
    """A hotel with three room types and a fortnight that many want, a third of them not for long."""
    chance = random.Random(20)
    file = tmp_path / "bookings.csv"
    with file.open("w", newline="") as text:
        writer = csv.DictWriter(text, COLUMNS)
        writer.writeheader()
        writer.writerows(_row(chance, nights=chance.randint(1, 5)) for _ in range(STAYS))
        writer.writerows(_row(chance, nights=0) for _ in range(SENSELESS))
    return file


def _row(chance: random.Random, nights: int) -> dict[str, object]:
    lead_days = chance.randint(0, 20)
    arrival = date(2016, 5, 1) + timedelta(days=chance.randint(0, 13))
    cancelled = chance.random() < 0.3
    return {
        "hotel": "Resort Hotel",
        "is_canceled": int(cancelled),
        "lead_time": lead_days,
        "arrival_date_year": arrival.year,
        "arrival_date_month": arrival.strftime("%B"),
        "arrival_date_day_of_month": arrival.day,
        "stays_in_weekend_nights": 0,
        "stays_in_week_nights": nights,
        "adults": 2,
        "children": 0,
        "babies": 0,
        "distribution_channel": chance.choice(["Direct", "Corporate", "TA/TO", "GDS"]),
        "reserved_room_type": chance.choice("ABC"),
        "adr": 80,
        "reservation_status": "Canceled" if cancelled else "Check-Out",
        "reservation_status_date": arrival - timedelta(days=chance.randint(0, lead_days) if cancelled else 0),
    }


def _replay(file: Path, *options: str) -> dict[str, Any]:
    run = onebook("replay", str(file), "--json", *options, check=False)
    assert run.returncode == 0, run.stderr or run.stdout
    report: dict[str, Any] = json.loads(run.stdout)
    return report


def _assert_sound(report: dict[str, Any]) -> None:
    total = report["total"]
    assert report["rows"] == total["asked"] + len(report["rejected"]) == STAYS + SENSELESS
    assert report["rejected_by_reason"] == {"no-nights": SENSELESS}
    assert total["asked"] == total["sold"] + sum(total["refused"].values()) + total["failed"] == STAYS
    assert set(total["refused"]) == {"sold-out"}
    assert total["cancelled"] > 0
    assert report["troubles"] == []
    assert report["audit"] == {"oversold_nights": 0, "needlessly_refused": 0}


def test_a_replay_brings_its_own_server_and_is_audited(bookings: Path) -> None:
    """Every row is accounted for, each channel sells, no room is sold twice or refused while free, and all is verified."""
    report = _replay(bookings)
    _assert_sound(report)
    assert [channel["channel"] for channel in report["channels"]] == sorted(CHANNELS)
    assert all(channel["count"]["sold"] > 0 for channel in report["channels"])
    assert report["verification"]["ok"]


def test_a_running_server_can_be_asked_again(bookings: Path, server: Server) -> None:
    """A second replay has venues of its own: it finds them empty, and ends as sound as the first."""
    for _ in range(2):
        _assert_sound(_replay(bookings, "--url", server.url, "--token", server.token("admin")))
