"""`onebook demo` as a user starts it: the whole market, the whole server, the auditor."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ONEBOOK = Path(sys.executable).with_name("onebook")
TIMEOUT_SECONDS = 240
OPTIONS = ("--headless", "--json", "--seconds", "3", "--seed", "7")

FORGETFUL = """
import sys
from onebook.commands.demo import demo
from onebook.ops.demo import gateway, mirror

heed, forgotten = mirror._change, []

def forget_one(shelf, touched):
    if touched.resource == "alfama/double" and touched.available == [0] and not forgotten:
        forgotten.extend((shelf, touched.cells))
    # Neither that the last room is held nor that it is paid for.
    if not (forgotten and shelf is forgotten[0] and touched.cells == forgotten[1]):
        heed(shelf, touched)

mirror._change = forget_one
heal = gateway.GatewayPages.heal

async def heal_and_charge(pages):
    await heal(pages)
    headers = {"authorization": f"Bearer {pages._secret}"}
    payment = {"key": "planted", "amount_minor": 100, "currency": "EUR", "token": "tok_ok", "booking": "none"}
    for path, body in (("", payment), ("/planted/capture", {"amount_minor": 100})):
        async with pages._session.post(f"{pages._url}/payments{path}", json=body, headers=headers) as response:
            response.raise_for_status()

gateway.GatewayPages.heal = heal_and_charge
demo(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    """What a demo of three seconds reported; it ended by itself, and with 0."""
    code, report = _run(ONEBOOK, "demo")
    assert code == 0, report
    return report


def test_headless_demo_ends_by_itself_with_a_clean_verdict(report: dict[str, Any]) -> None:
    """Three seconds of the market sell in every channel, nothing twice, and the auditor finds nothing."""
    outcomes = ("sold", "refused", "declined", "released", "expired", "failed")
    assert report["attempts"] == sum(report[outcome] for outcome in outcomes)
    assert report["double_bookings"] == report["duplicates_wrong"] == report["read_back_wrong"] == 0
    assert report["unexpected"] == 0, report["examples"]
    assert report["rush"]["sold"] == report["rush"]["units"]
    assert all(channel["sold"] > 0 for channel in report["channels"])
    assert report["verification"]["ok"]


def test_every_mirror_equals_the_ledger_although_the_relay_and_an_endpoint_died(report: dict[str, Any]) -> None:
    """Six mirrors, none of which lost anything: by streams, by webhooks, and by a webhook endpoint that was away."""
    proof = report["proof"]
    assert proof["mirrors"] == proof["equal"] == 6
    assert proof["cells"] > 90_000
    assert proof["server_difference"] is None
    assert proof["relay_killed"]
    assert proof["relay_recovered_seconds"] is not None
    assert proof["webhooks"]["dead"] == proof["webhooks"]["pending"] == proof["forged"] == 0
    away = [mirror["away"] for mirror in report["mirrors"] if mirror["away"] is not None]
    assert [absence["restored_ms"] > 0 for absence in away] == [True]
    assert len({mirror["events"] - mirror["older"] for mirror in report["mirrors"] if mirror["via"] == "stream"}) == 1
    assert all(mirror["events"] > 0 and mirror["lag_p99_ms"] > 0 for mirror in report["mirrors"])


def test_money_adds_up_although_the_gateway_failed(report: dict[str, Any]) -> None:
    """What website, app and desk have sold is paid for once, by the books, the gateway's list and the buyers' receipts."""
    money = report["money"]
    assert money["paid"] > 0
    assert money["payments"] >= money["paid"] + money["declined"] == money["receipts"]
    assert money["orphan_charges"] == money["confirmed_unpaid"] == money["double_charges"] == money["other"] == 0
    assert money["imbalances"] == {}
    assert money["receipts_wrong"] == money["unfinished"] == 0
    assert money["coupon"]["used"] <= money["coupon"]["limit"] == 6
    assert money["outage"]["seconds"] > 0
    assert money["outage"]["ended_seconds"] is not None


def test_a_mirror_that_forgets_one_change_and_a_charge_for_nothing_are_found() -> None:
    """The control: one mirror does not write down the last room of the rush, and money is taken for nothing: exit code 7."""
    code, report = _run(sys.executable, "-c", FORGETFUL)
    differing = [mirror for mirror in report["mirrors"] if mirror["difference"] is not None]
    assert code == 7
    assert report["money"]["orphan_charges"] == 1
    assert report["proof"]["equal"] == 5
    assert [mirror["difference"].endswith(": 1 in the mirror, 0 in the ledger") for mirror in differing] == [True]


def _run(*command: str | Path) -> tuple[int, dict[str, Any]]:
    """Exit code and report of a short demo."""
    demo = subprocess.run([*command, *OPTIONS], capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
    assert demo.stdout, demo.stderr
    return demo.returncode, json.loads(demo.stdout)
