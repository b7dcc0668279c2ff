"""`onebook demo` as a user starts it: the whole market, the whole server, the auditor."""

import json
import subprocess
import sys
from pathlib import Path

ONEBOOK = Path(sys.executable).with_name("onebook")
TIMEOUT_SECONDS = 120


def test_headless_demo_ends_by_itself_with_a_clean_verdict() -> None:
    """Three seconds of the market sell in every channel, nothing twice, and the auditor finds nothing."""
    demo = subprocess.run(
        [ONEBOOK, "demo", "--headless", "--json", "--seconds", "3", "--seed", "7"],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert demo.returncode == 0, demo.stderr
    report = json.loads(demo.stdout)
    outcomes = ("sold", "refused", "released", "expired", "failed")
    assert report["attempts"] == sum(report[outcome] for outcome in outcomes)
    assert report["double_bookings"] == report["duplicates_wrong"] == report["read_back_wrong"] == 0
    assert report["unexpected"] == 0, report["examples"]
    assert report["rush"]["sold"] == report["rush"]["units"]
    assert all(channel["sold"] > 0 for channel in report["channels"])
    assert report["verification"]["ok"]
