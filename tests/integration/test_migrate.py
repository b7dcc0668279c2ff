"""Migrations: once, in one order, never on a database that would not keep its promises; and the log after a restore."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from tests.conftest import Bench, data_folder, open_bench, with_database

from onebook.embedded.account import account_for
from onebook.embedded.folder import DataFolder
from onebook.embedded.postgres import EmbeddedPostgres
from onebook.embedded.programs import find_programs
from onebook.ledger.database import RefusedDatabase, migrate
from onebook.ledger.ledger import Placing
from onebook.log.read import START, CloudEvent, read_events
from onebook.model.commands import Wanted
from onebook.model.decision import Decision
from onebook.ops.verify.audit import verify

TOOL_SECONDS = 60


async def run(url: str, statement: str, *arguments: Any) -> Any:
    """One statement, on a connection of its own; the first value of its answer."""
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement, *arguments)
    finally:
        await connection.close()


@pytest.fixture
async def empty_url(postgres_url: str) -> AsyncIterator[str]:
    """A database without a table."""
    name = f"empty_{uuid4().hex}"
    await run(postgres_url, f"CREATE DATABASE {name}")
    yield with_database(postgres_url, name)
    await run(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


async def test_migrations_at_once_apply_once(empty_url: str) -> None:
    """Of several that migrate at the same time one applies everything, in order, and the others find it done."""
    applied = [names for names in await asyncio.gather(*(migrate(empty_url) for _ in range(5))) if names]
    assert applied == [sorted(applied[0])]
    assert await run(empty_url, "SELECT array_agg(name ORDER BY name) FROM migration") == applied[0]
    assert await migrate(empty_url) == []


async def test_a_changed_migration_is_refused(database_url: str) -> None:
    """A migration whose text is not the one that was applied is refused by its name."""
    await run(database_url, "UPDATE migration SET checksum = 'other' WHERE name = '0001_ledger.sql'")
    with pytest.raises(RefusedDatabase, match=r"0001_ledger\.sql was applied with other contents"):
        await migrate(database_url)


async def test_a_database_ahead_of_us_is_refused(database_url: str) -> None:
    """A database that a later version has migrated is refused with what it has that we do not know."""
    await run(database_url, "INSERT INTO migration VALUES ('9999_later.sql', 'x')")
    with pytest.raises(RefusedDatabase, match=r"the database has 9999_later\.sql"):
        await migrate(database_url)


@pytest.mark.parametrize(("name", "value"), [("synchronous_commit", "off"), ("server_encoding", "SQL_ASCII")])
async def test_unfit_settings_are_refused(empty_url: str, name: str, value: str) -> None:
    """A setting under which answers could be lost or names garbled is refused by name, before a table is made."""
    database = empty_url.partition("?")[0].rpartition("/")[2]
    if name == "server_encoding":
        await run(with_database(empty_url, "postgres"), f"DROP DATABASE {database}")
        options = f"ENCODING '{value}' LOCALE 'C' TEMPLATE template0"
        await run(with_database(empty_url, "postgres"), f"CREATE DATABASE {database} {options}")
    else:
        await run(empty_url, f"ALTER DATABASE {database} SET {name} = '{value}'")
    with pytest.raises(RefusedDatabase, match=f"{name}={value}"):
        await migrate(empty_url)
    assert await run(empty_url, "SELECT to_regclass('migration')") is None


async def test_migrating_a_living_database_shifts_nothing(bench: Bench) -> None:
    """While others write, starting once more does not touch the order of the log."""
    await bench.room("alfama/double", capacity=1000)
    writing = asyncio.create_task(book(bench, "while", 100))
    while not writing.done():
        await migrate(bench.url)
    await writing
    assert await bench.reader.fetchval("SELECT shift FROM log_shift") == 0


async def test_the_log_goes_on_after_a_restore(bench: Bench) -> None:
    """Restored from a dump into a young cluster, the log goes on after its end, and a reader loses nothing."""
    await bench.room("alfama/double", capacity=1000)
    await bench.reader.execute(
        "DO $$ BEGIN FOR i IN 1..5000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$"
    )  # the old cluster has lived longer than the young one
    await book(bench, "before", 20)
    with data_folder() as folder:
        postgres = EmbeddedPostgres(folder)
        try:
            url = await postgres.start()
            await asyncio.to_thread(copy_database, bench.url, url, DataFolder(folder))
            assert await run(url, "SELECT max(txn) > log_txn() FROM log"), "the young cluster counts from the start"
            assert await migrate(url) == []
            assert await run(url, "SELECT max(txn) < log_txn() FROM log")
            async with open_bench(url) as restored:
                old = await all_events(restored)
                assert [e.id for e in old] == [e.id for e in await all_events(bench)]
                await book(restored, "after", 20)
                events = await all_events(restored)
            assert events[: len(old)] == old
            assert len(events) == len(old) + 20
            assert (await verify(url)).ok
        finally:
            await postgres.stop()


async def book(bench: Bench, prefix: str, count: int) -> None:
    """Holds, one after the other."""
    stay = Wanted(resource="alfama/double", starts="2030-03-01", ends="2030-03-02")
    for number in range(count):
        settled = await bench.ledger.place((stay,), Placing("web", f"{prefix}-{number}", b"0" * 16, 600))
        assert isinstance(settled.verdict, Decision)


async def all_events(bench: Bench) -> list[CloudEvent]:
    """The log as a reader gets it."""
    async with bench.reader.acquire() as connection:
        events, _ = await read_events(connection, START, venue=None, limit=1000)
    return list(events)


def copy_database(source: str, target: str, folder: DataFolder) -> None:
    """Dump one database and restore it in another, with PostgreSQL's own tools."""
    programs = find_programs(account_for(folder.postgres), folder.programs)
    dump = subprocess.run(
        [programs / "pg_dump", "--no-owner", "--no-privileges", source],
        capture_output=True,
        timeout=TOOL_SECONDS,
        check=True,
    )
    subprocess.run(
        [programs / "psql", "--quiet", "--set", "ON_ERROR_STOP=1", target],
        input=dump.stdout,
        capture_output=True,
        timeout=TOOL_SECONDS,
        check=True,
    )
