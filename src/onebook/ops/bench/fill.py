"""Bookings by the million, written straight to the tables as the ledger would have written them.

`onebook bench grown` calls it, to measure on a ledger that has grown. `onebook verify` finds nothing wrong afterwards:
versions dense, cells the sums of their bookings, an entry of the log for each. A chunk is one transaction under the
resources' own locks, so a server may run meanwhile, and a fill that was cut short is only smaller. A chunk is
small, so that the server's sweeper is not kept waiting for longer than a command may take.
"""

import secrets
import time
from collections.abc import Callable, Iterator
from datetime import date

import asyncpg

from onebook.sql import statements

SQL = statements("onebook.ops.bench")

STAY_NIGHTS = 3  # as the statement `book` has it, and as the load asks for
FIRST_NIGHT = date(2000, 1, 1)
STAYS = 2500  # from FIRST_NIGHT on, up to July 2020; then over again
SAME_STAY = 4  # bookings of one stay in a row
STAYS_PER_CHUNK = 10
CHUNK_SECONDS = 120
TOLD_TIMES = 20
SETTINGS = {
    "application_name": "onebook-bench",
    "work_mem": "64MB",  # the rows of a chunk are sorted once
    "plan_cache_mode": "force_custom_plan",  # a chunk is worth a plan that knows its size
}


async def fill(database: str, per_resource: int, tell: Callable[[str], None] = lambda _: None) -> int:
    """Book every resource so often, on nights long past; how many bookings that were. All must be sold by the night."""
    connection = await _connect(database)
    began = time.monotonic()
    booked = told = 0
    try:
        resources = await connection.fetchval("SELECT count(*) FROM resource")
        for first_cell, bookings in chunks(per_resource):
            booked += await _book(connection, first_cell, bookings, SAME_STAY)
            if booked * TOLD_TIMES >= (told + 1) * per_resource * resources:
                told = booked * TOLD_TIMES // (per_resource * resources)
                microseconds = 1e6 * (time.monotonic() - began) / booked
                tell(f"filled {booked:,} of {per_resource * resources:,}, {microseconds:.0f} µs a booking")
    finally:
        await connection.close()
    return booked


async def book_every_night(database: str, first_night: date, nights: int) -> int:
    """Book every resource once for each night of a window, so that no later hold is a night's first; how many that were."""
    connection = await _connect(database)
    try:
        return await _book(connection, cell_of(first_night), -(-nights // STAY_NIGHTS), 1)
    finally:
        await connection.close()


def chunks(per_resource: int) -> Iterator[tuple[int, int]]:
    """The first cell and the bookings of each resource, chunk by chunk; the years over again when they are full."""
    first_cell = cell_of(FIRST_NIGHT)
    size = STAYS_PER_CHUNK * SAME_STAY
    for number, done in enumerate(range(0, per_resource, size)):
        stay = number * STAYS_PER_CHUNK % STAYS
        yield first_cell + stay * STAY_NIGHTS, min(size, per_resource - done)


def cell_of(night: date) -> int:
    """The number of a night's cell."""
    return (night - date(1970, 1, 1)).days


async def _connect(database: str) -> asyncpg.Connection:
    connection = await asyncpg.connect(database, command_timeout=CHUNK_SECONDS, server_settings=SETTINGS)
    await connection.execute("ANALYZE venue, resource, head")
    return connection


async def _book(connection: asyncpg.Connection, first_cell: int, bookings: int, same_stay: int) -> int:
    # The locks come in a statement of their own: the next one sees what their last holder committed.
    async with connection.transaction():
        await connection.execute(SQL["lock_resources"])
        booked = await connection.fetchval(SQL["book"], first_cell, bookings, same_stay, secrets.token_hex(8))
    return int(booked)
