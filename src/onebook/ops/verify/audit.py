"""`onebook verify`: an independent auditor. It shares no rule with the ledger, and believes nothing but rows.

Called by the command line and by the demo, on a running system or a stopped one: everything is read in one
REPEATABLE READ snapshot, so bookings may go on meanwhile; only what a running server answers is compared afterwards,
with rows read for each question (served.py). It writes nothing and takes no lock that a booking waits for; while it
runs, vacuum cannot clean up what is newer than its snapshot. Memory is bounded by the number of cells and of amended
bookings; everything else is streamed, or summed up by PostgreSQL. Every statement is bounded by `STATEMENT_SECONDS`.
"""

from datetime import timedelta
from time import monotonic

import asyncpg

from onebook.config import WebhookSettings, load
from onebook.ops.verify.replay import Entry, Replay
from onebook.ops.verify.report import (
    FINDINGS_PER_CHECK,
    Check,
    Finding,
    Report,
    Tally,
    render,
)
from onebook.ops.verify.served import Served, compare_served
from onebook.ops.verify.tables import ROWS_PER_FETCH, compare_tables
from onebook.sql import statements

__all__ = ["Check", "Finding", "Report", "Served", "render", "verify"]

CONNECT_SECONDS = 10
STATEMENT_SECONDS = 3600

SQL = statements("onebook.ops.verify") | statements("onebook.ops.verify", "money.sql")

# Every booking is sorted and joined, once: memory for that, and no compiling of plans.
_SETTINGS = {"work_mem": "64MB", "jit": "off", "application_name": "onebook-verify"}


# Name of the check and of its statement, invariants, what it examines, promise.
_STATEMENT_CHECKS = (
    ("guards", (1, 2, 4, 6, 8, 9), "guards", "constraints and triggers stand as they were made"),
    ("counters", (1,), "cells", "no cell has more taken than there is"),
    ("cells", (3,), "cells", "cells are the sums of living bookings and blocks"),
    ("bookings", (2,), "bookings", "each is placed once, ends at most once, and is as the log says"),
    ("overdue", (2,), "bookings", "no hold outlives its deadline by 5 s; a stopped server ends it at its start"),
    ("blocks", (3,), "blocks", "each is placed once, lifted at most once, and is as the log says"),
    ("keys", (6,), "bookings", "one idempotency key, one booking"),
    ("books", (8,), "entries", "every entry balances, for each venue too, and all of them in every currency"),
    ("checkouts", (8,), "checkouts", "paid and confirmed, or not charged and released; posted and told so"),
    ("coupons", (8,), "coupons", "used as often as it was taken and not given back, and as often as it may be"),
    ("settlements", (8,), "settlements", "what goes back is posted as promised and as given, and was taken before"),
    ("deliveries", (9,), "deliveries", "each endpoint has one delivery of every event that it wants, and no other"),
    ("order", (9,), "deliveries", "per endpoint and resource, none ends before an earlier one"),
    ("undelivered", (9,), "deliveries", "none waits for ever; what is given up, and nothing else, has a letter"),
)


async def verify(
    database_url: str,
    expect_sweeper: bool = False,
    *,
    served: Served | str = "no server was named",
    webhooks: WebhookSettings | None = None,
) -> Report:
    """Examine a database, and what a server answers from it. Opens a transaction of its own and changes nothing.

    A hold long past its deadline is damage where a sweeper is expected to run, and otherwise only noted: a
    stopped server expires it as it starts. In place of a server stands the reason why there is none. How long deliveries
    are tried and kept is what the settings say, which must be those of the sender. Raises asyncpg's errors when the database
    cannot be reached or is no ledger, and BadConfig.
    """
    began = monotonic()
    patience = webhooks or load().webhooks
    connection = await asyncpg.connect(
        database_url, timeout=CONNECT_SECONDS, command_timeout=STATEMENT_SECONDS, server_settings=_SETTINGS
    )
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            at = await connection.fetchval(SQL["snapshot"])
            tallies = [
                *await _check_by_statements(connection, expect_sweeper, patience),
                *await _check_by_replay(connection),
            ]
        tallies.append(await compare_served(connection, SQL, served))
    finally:
        await connection.close()
    checks = tuple(tally.check() for tally in tallies)
    ok = all(check.ok for check in checks)
    return Report(ok=ok, at=at, seconds=monotonic() - began, checks=checks)


async def _check_by_statements(
    connection: asyncpg.Connection, expect_sweeper: bool, patience: WebhookSettings
) -> list[Tally]:
    """The checks that are one statement each, named like it."""
    advisory = {"undelivered"} if expect_sweeper else {"undelivered", "overdue"}
    bounds = {
        "deliveries": (timedelta(days=patience.keep_days),),
        "undelivered": (timedelta(hours=patience.give_up_hours),),
    }
    [sold], [paid] = await connection.fetch(SQL["sizes"]), await connection.fetch(SQL["money_sizes"])
    sizes = {**sold, **paid}
    tallies = []
    for name, invariants, rows, promise in _STATEMENT_CHECKS:
        tally = Tally(name, invariants, promise, advisory=name in advisory)
        tally.examined = sizes[rows]
        await _check_by_statement(connection, tally, bounds.get(name, ()))
        tallies.append(tally)
    return tallies


async def _check_by_statement(connection: asyncpg.Connection, tally: Tally, bounds: tuple[timedelta, ...]) -> None:
    """Run a check's statement. Values it stumbles over are a finding, and end this check only."""
    try:
        async with connection.transaction():
            rows = await connection.fetch(SQL[tally.name], FINDINGS_PER_CHECK, *bounds)
    except asyncpg.DataError as error:
        tally.add(tally.name, "rows that cannot be read", "values of their kind", error)
        return
    findings = [Finding(row["where"], row["what"], row["expected"], row["found"]) for row in rows]
    tally.add_counted(findings, rows[0]["total"] if rows else 0)


async def _check_by_replay(connection: asyncpg.Connection) -> list[Tally]:
    """The checks that read the log in its order."""
    amended = await connection.fetch(SQL["amended"])
    replay = Replay(row["subject"] for row in amended)
    cursor = await connection.cursor(SQL["log"])
    while rows := await cursor.fetch(ROWS_PER_FETCH):
        for row in rows:
            replay.apply(Entry(*row))
    stored = await compare_tables(connection, SQL, replay)
    return [replay.versions, replay.entries, replay.history, stored]
