"""The floor under a lone hold: one bare commit of the same rows, sent straight to the same database.

It takes holds that were placed, and writes their rows once more, to tables of the same definition in a schema
of their own: head and cells updated, booking and log entry inserted, in one prepared statement that is its
own transaction. It asks for no lock and decides nothing: what a hold takes beyond it is Onebook's own.
"""

import statistics
import time
from typing import Any

import asyncpg

SCHEMA = "bench"
TABLES = ("head", "cell", "booking", "log")
WARM_UP = 20
PLANNED_ONCE = {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off", "jit": "off"}

SAMPLE = """
    SELECT booking.id, resource.id AS resource_id,
           (items->0->'cells'->>0)::integer AS first, (items->0->'cells'->>1)::integer AS "end"
    FROM booking JOIN venue ON venue.id = booking.venue_id
    JOIN resource ON resource.venue_id = venue.id
        AND venue.code || '/' || resource.code = items->0->>'resource'
    ORDER BY booking.id DESC LIMIT $1
"""


async def bare_commit_p50_ms(database: str, holds: int) -> float | None:
    """The median over the rows of up to `holds` holds; None when there are too few to tell."""
    connection = await asyncpg.connect(database, server_settings=PLANNED_ONCE)
    try:
        samples = await connection.fetch(SAMPLE, holds)
        if len(samples) <= WARM_UP:
            return None
        bookings = await _rows(connection, "booking", "id = ANY ($1)", [each["id"] for each in samples])
        subjects = [f"bookings/{each['id']}" for each in samples]
        entries = await _rows(connection, "log", "subject = ANY ($1)", subjects)
        await _copy_tables(connection)
        statement = await connection.prepare(_statement(bookings, entries))
        by_id = {row["id"]: row for row in bookings}
        by_subject = {row["subject"]: row for row in entries}
        milliseconds = []
        for each in samples:
            rows = (*by_id[each["id"]].values(), *by_subject[f"bookings/{each['id']}"].values())
            began = time.perf_counter()
            await statement.fetchval(each["resource_id"], each["first"], each["end"], *rows)
            milliseconds.append((time.perf_counter() - began) * 1000)
        return statistics.median(milliseconds[WARM_UP:])
    finally:
        await connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
        await connection.close()


async def _rows(
    connection: asyncpg.Connection, table: str, condition: str, argument: list[Any]
) -> list[dict[str, Any]]:
    """Rows by name of column, without the columns that the database numbers itself."""
    columns = await connection.fetchval(
        "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute"
        " WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped AND attidentity = ''",
        table,
    )
    found = await connection.fetch(f"SELECT {columns} FROM {table} WHERE {condition}", argument)  # noqa: S608
    return [dict(row) for row in found]


async def _copy_tables(connection: asyncpg.Connection) -> None:
    """Tables as the ledger's, with its heads and cells, warm and known to the planner."""
    await connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
    await connection.execute(f"CREATE SCHEMA {SCHEMA}")
    for table in TABLES:
        await connection.execute(f"CREATE TABLE {SCHEMA}.{table} (LIKE {table} INCLUDING ALL)")
    for table in ("head", "cell"):
        await connection.execute(f"INSERT INTO {SCHEMA}.{table} SELECT * FROM {table}")  # noqa: S608
        await connection.execute(f"ANALYZE {SCHEMA}.{table}")
    await connection.execute("CHECKPOINT")


def _statement(bookings: list[dict[str, Any]], entries: list[dict[str, Any]]) -> str:
    """Every write of one hold; $1 is the resource, $2 and $3 its cells, and the rest the two rows."""
    booking_columns, log_columns = list(bookings[0]), list(entries[0])
    first_of_log = 4 + len(booking_columns)
    return f"""
        WITH raised AS (UPDATE {SCHEMA}.head SET version = version + 1 WHERE resource_id = $1),
        taken AS (
            UPDATE {SCHEMA}.cell SET held = held + 1 WHERE resource_id = $1 AND number >= $2 AND number < $3
        ),
        placed AS (
            INSERT INTO {SCHEMA}.booking ({_names(booking_columns)}) VALUES ({_numbers(4, booking_columns)})
        )
        INSERT INTO {SCHEMA}.log ({_names(log_columns)}) VALUES ({_numbers(first_of_log, log_columns)})
    """  # noqa: S608 - the names come from the catalog


def _names(columns: list[str]) -> str:
    return ", ".join(f'"{column}"' for column in columns)


def _numbers(first: int, columns: list[str]) -> str:
    return ", ".join(f"${number}" for number in range(first, first + len(columns)))
