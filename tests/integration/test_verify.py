"""The auditor: silent on a sound ledger, and each kind of damage is found by the right check at the right place."""

import asyncio
from importlib.resources import files
from io import StringIO
from itertools import chain
from pathlib import Path
from uuid import uuid4

import asyncpg
import msgspec
import pytest
from rich.console import Console
from tests.conftest import with_database
from tests.integration.verify_damages import DAMAGES, ENDPOINT, Damage, in_log, of_delivery
from tests.integration.verify_money_damages import GROUPS

from onebook.config import load
from onebook.ops.verify.audit import Report, render
from onebook.ops.verify.audit import verify as audit

# The log of audited.sql has a date, and it must not matter when the tests run.
WEBHOOKS = msgspec.structs.replace(load(environment={}).webhooks, keep_days=36_500)


@pytest.fixture(scope="module")
def empty_database(postgres_url: str) -> str:
    """A database for the tests of this file, one after the other."""
    name = f"audited_{uuid4().hex}"
    asyncio.run(run(postgres_url, f"CREATE DATABASE {name}"))
    return with_database(postgres_url, name)


@pytest.fixture
async def database(empty_database: str) -> str:
    """The ledger of audited.sql, made anew: that takes a tenth of the time of copying a database."""
    migrations = sorted((files("onebook.ledger") / "migrations").iterdir(), key=lambda file: file.name)
    await run(
        empty_database,
        "DROP PUBLICATION IF EXISTS onebook_log; DROP SCHEMA IF EXISTS customer, payment, public CASCADE; CREATE SCHEMA public",
    )
    for script in (*migrations, Path(__file__).with_name("audited.sql")):
        await run(empty_database, script.read_text("utf-8"))
    return empty_database


async def run(database: str, sql: str) -> None:
    """Change the ledger behind its back."""
    connection = await asyncpg.connect(database)
    await connection.execute(sql)
    await connection.close()


async def verify(database: str, expect_sweeper: bool = False) -> Report:
    """The audit, which keeps deliveries for ever."""
    return await audit(database, expect_sweeper, webhooks=WEBHOOKS)


def findings_of(report: Report) -> set[tuple[str, str, str]]:
    """Check, place and kind of everything found."""
    return {(check.name, finding.where, finding.what) for check in report.checks for finding in check.findings}


async def test_a_sound_ledger_has_no_findings(database: str) -> None:
    """A ledger that agrees with its log passes every check, each of which looked at something."""
    report = await verify(database, expect_sweeper=True)
    assert findings_of(report) == set()
    assert report.ok
    assert all(check.ok and check.examined > 0 for check in report.checks if check.checked)
    assert [check.name for check in report.checks if not check.checked] == ["views"]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name)
async def test_damage_is_found(database: str, damage: Damage) -> None:
    """Each kind of damage is found by its own check, at its place, and the verdict is that it is not ok."""
    await run(database, damage.sql)
    report = await verify(database)
    assert (damage.check, damage.where, damage.what) in findings_of(report)
    assert not report.ok


@pytest.mark.parametrize("damages", GROUPS, ids=lambda damages: damages[0].name)
async def test_damage_to_money_is_found(database: str, damages: tuple[Damage, ...]) -> None:
    """The same for damage to money, several kinds in one ledger."""
    for damage in damages:
        await run(database, damage.sql)
    report = await verify(database)
    assert {(damage.check, damage.where, damage.what) for damage in damages} - findings_of(report) == set()
    assert not report.ok


async def test_every_check_has_its_damage() -> None:
    """No check goes without a proof that it can fail."""
    assert {damage.check for damage in (*DAMAGES, *chain(*GROUPS))} | {"overdue", "undelivered"} == {
        "guards", "counters", "cells", "bookings", "overdue", "blocks", "keys", "versions", "entries", "history", "replay",
        "deliveries", "order", "undelivered", "books", "checkouts", "coupons", "settlements",
    }  # fmt: skip


@pytest.mark.parametrize(("late_seconds", "noted"), [(0, 0), (60, 1)])
async def test_an_overdue_hold_is_damage_only_where_a_sweeper_runs(
    database: str, late_seconds: int, noted: int
) -> None:
    """A hold is overdue five seconds after its deadline, which is noted, and is damage where it should be swept."""
    deadline = f"date_trunc('second', now()) - interval '{late_seconds} s'"
    await run(
        database,
        f"UPDATE booking SET expires_at = {deadline} WHERE idempotency_key = 'k7';"
        + in_log(
            "UPDATE log SET data = replace(data::text, '2100-01-01T00:00:00Z', (SELECT to_json(expires_at)#>>'{}'"
            " FROM booking WHERE idempotency_key = 'k7'))::json WHERE txn = 123"
        ),
    )
    stopped, running = await verify(database), await verify(database, expect_sweeper=True)
    assert {check.name: check.total for check in stopped.checks if check.total} == ({"overdue": noted} if noted else {})
    assert stopped.ok
    assert running.ok is (noted == 0)


@pytest.mark.parametrize(
    ("change", "where", "what"),
    [
        (
            of_delivery(1, 122, "queued_at = now() - interval '73 hours'"),
            f"webhooks/{ENDPOINT}1 log 122/22",
            "pending for longer than it is tried",
        ),
        (
            of_delivery(1, 117, "status = 'delivered'"),
            f"webhooks/{ENDPOINT}1 log 117/17",
            "a letter of a delivery that is not dead",
        ),
        ("DELETE FROM dead_letter", f"webhooks/{ENDPOINT}1 log 117/17", "dead, and its letter is gone"),
        (
            "UPDATE webhook_endpoint SET revision = revision + 1, types = '{onebook.venue.defined.v1}', since_txn = 110"
            f" WHERE id = '{ENDPOINT}3'",
            f"webhooks/{ENDPOINT}3",
            "a change not looked through yet",
        ),
        (
            "DELETE FROM webhook_delivery WHERE txn = 109;"
            "INSERT INTO dead_letter (consumer, txn, position, type, subject, reason)"
            " VALUES ('webhooks', 109, 9, 'onebook.booking.released.v1', 'bookings/2', 'poison')",
            "log 109/9",
            "parked: nobody is told of it",
        ),
    ],
)
async def test_what_waits_for_somebody_is_noted(database: str, change: str, where: str, what: str) -> None:
    """What may be as it should, but is for somebody to look at, is told, and is not damage."""
    await run(database, change)
    report = await verify(database, expect_sweeper=True)
    assert findings_of(report) == {("undelivered", where, what)}
    assert report.ok


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM webhook_delivery WHERE txn = 107",
        "UPDATE webhook_endpoint SET status = 'disabled'; DELETE FROM webhook_delivery",
        "UPDATE consumer SET horizon = 120; DELETE FROM webhook_delivery WHERE txn >= 120",
        "DELETE FROM webhook_endpoint",
    ],
    ids=["kept no longer", "disabled", "not written down yet", "endpoint gone"],
)
async def test_a_delivery_that_need_not_be_there_is_not_missed(database: str, change: str) -> None:
    """Nothing is missing that is past its time, or of which nobody has said yet that it is written down."""
    await run(database, change)
    past = "kept" if "107" in change else ""
    settings = msgspec.structs.replace(WEBHOOKS, keep_days=1) if past else WEBHOOKS
    report = await audit(database, webhooks=settings)
    assert "deliveries" not in {check.name for check in report.checks if not check.ok}


async def test_findings_are_counted_and_only_the_first_are_kept(database: str) -> None:
    """A ledger that is wrong everywhere makes a bounded report with the true count."""
    await run(
        database,
        "INSERT INTO cell (resource_id, number, held, booked, blocked, capacity, overbooking)"
        " SELECT 1, number, 0, 0, 0, 4, 1 FROM generate_series(30000, 30999) AS number",
    )
    report = await verify(database)
    [replay] = [check for check in report.checks if check.name == "replay"]
    assert (replay.total, len(replay.findings)) == (1000, 20)


async def test_the_report_is_json_and_a_table(database: str) -> None:
    """The report goes through JSON unharmed, and the table names the place of what is wrong."""
    await run(database, "UPDATE cell SET booked = 2 WHERE resource_id = 1 AND number = 20791")
    report = await verify(database)
    assert msgspec.json.decode(msgspec.json.encode(report), type=Report) == report
    screen = StringIO()
    render(report, Console(file=screen, width=200))
    assert "alfama/double 2026-12-04" in screen.getvalue()
    assert "wrong" in screen.getvalue()


async def test_the_audit_changes_nothing_and_waits_for_nobody(database: str) -> None:
    """While somebody holds every row of the ledger, the audit reads the state before and comes to its verdict."""
    connection = await asyncpg.connect(database)
    async with connection.transaction():
        await connection.execute("UPDATE cell SET booked = 0; UPDATE head SET version = 0")
        report = await verify(database)
    await connection.close()
    assert report.ok
