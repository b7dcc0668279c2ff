"""The database's clock in the test's hands: deadlines pass when a test says so, and nobody waits for them."""

from datetime import timedelta
from importlib.resources import files
from re import DOTALL, MULTILINE, findall
from typing import Any

import asyncpg
import pytest

from onebook.ledger.catalog import SQL

HANDS = "(SELECT now FROM clock)"


def ledger_open() -> str:
    """The text of the function that opens a page, from the migration, made to replace itself."""
    migration = (files("onebook.ledger") / "migrations" / "0001_ledger.sql").read_text("utf-8")
    [text] = findall(r"^CREATE FUNCTION ledger_open\(.*?^\$\$;$", migration, MULTILINE | DOTALL)
    return str(text).replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1)


def replaced(text: str, old: str, new: str) -> str:
    """The text with the one place replaced, which must be there."""
    assert text.count(old) == 1, f"{old!r} is not there once"
    return text.replace(old, new)


async def stop_clock(url: str) -> None:
    """From now on this database's ledger decides by a time in a table, at first the present one."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("CREATE TABLE clock AS SELECT clock_timestamp() AS now")
        await connection.execute(replaced(ledger_open(), "clock_timestamp()", HANDS))
    finally:
        await connection.close()


def sweep_by_stopped_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sweepers of this process look for holds that are due by that time."""
    monkeypatch.setitem(SQL, "due_holds", replaced(SQL["due_holds"], "<= now()", f"<= {HANDS}"))


async def pass_time(pool: "asyncpg.Pool[Any]", seconds: int) -> None:
    """Move the stopped clock on."""
    await pool.execute("UPDATE clock SET now = now + $1", timedelta(seconds=seconds))
