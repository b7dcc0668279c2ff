"""The replayed books held against the tables: what the log leads to is what is stored, row by row.

Reads within the auditor's snapshot. Each cell is dropped from the books as it is compared: what is left is missing.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import asyncpg
import msgspec

from onebook.ops.verify.facts import Definition, SessionTold, VenueTold
from onebook.ops.verify.replay import Replay
from onebook.ops.verify.report import Tally
from onebook.ops.verify.stock import CELL_COLUMNS, Stock

ROWS_PER_FETCH = 5000

_DEFINITION_COLUMNS = tuple(name for name in Definition.__struct_fields__ if name not in {"resource", "hours"})
_VENUE_COLUMNS = tuple(name for name in VenueTold.__struct_fields__ if name != "venue")


async def compare_tables(connection: asyncpg.Connection, sql: dict[str, str], replay: Replay) -> Tally:
    """The check "replay"; heads that are not where the log ends are noted with the replay's versions."""
    tally = Tally("replay", (4,), "replaying the log from zero rebuilds definitions and cells")
    _compare_venues(await connection.fetch(sql["venues"]), replay.venues, tally)
    _compare_sessions(await connection.fetch(sql["sessions"]), replay.sessions, tally)
    rows = await connection.fetch(sql["resources"])
    _compare_resources(rows, replay, tally)
    stocks = {row["id"]: replay.stocks.get(row["resource"]) for row in rows}
    cursor = await connection.cursor(sql["stored_cells"])
    while cells := await cursor.fetch(ROWS_PER_FETCH):
        for row in cells:
            _compare_cell(row, stocks.get(row["resource_id"]), tally)
    for stock in replay.stocks.values():
        for number in stock.cells:
            tally.add(_place(stock, number), "a cell that the log touched is not there", "a row", "none")
    return tally


def _compare_venues(rows: list[asyncpg.Record], told: dict[str, VenueTold], tally: Tally) -> None:
    stored = {row["venue"]: row for row in rows}
    _compare_names("venues", stored, told, tally)
    for code in stored.keys() & told.keys():
        _compare_columns(f"venues/{code}", _VENUE_COLUMNS, stored[code], told[code], tally)


def _compare_sessions(rows: list[asyncpg.Record], told: dict[str, dict[str, SessionTold]], tally: Tally) -> None:
    stored = {f"{row['venue']}/{row['session']}": row for row in rows}
    flat = {f"{venue}/{code}": session for venue, codes in told.items() for code, session in codes.items()}
    _compare_names("sessions", stored, flat, tally)
    for name in stored.keys() & flat.keys():
        row, session = stored[name], flat[name]
        expected = (session.id, datetime.fromisoformat(session.starts), datetime.fromisoformat(session.ends))
        if (found := (row["id"], row["starts_at"], row["ends_at"])) != expected:
            tally.add(f"sessions/{name}", "another session than the log's", expected, found)


def _compare_resources(rows: list[asyncpg.Record], replay: Replay, tally: Tally) -> None:
    stored = {row["resource"]: row for row in rows}
    _compare_names("resources", stored, replay.stocks, tally)
    for key in stored.keys() & replay.stocks.keys():
        row, stock = stored[key], replay.stocks[key]
        _compare_columns(f"resources/{key}", _DEFINITION_COLUMNS, row, stock.definition, tally)
        hours = None if row["hours"] is None else msgspec.json.decode(row["hours"])
        if hours != stock.definition.hours:
            tally.add(f"resources/{key}", "other hours than the log's", stock.definition.hours, hours)
        if row["version"] != stock.version:
            replay.versions.add(f"head {key}", "another version than the log's last", stock.version, row["version"])


def _compare_names(what: str, stored: Iterable[str], told: Iterable[str], tally: Tally) -> None:
    tally.examined += len(set(stored))
    for name in sorted(set(stored) - set(told)):
        tally.add(f"{what}/{name}", "the log does not tell of it", "an entry", "none")
    for name in sorted(set(told) - set(stored)):
        tally.add(f"{what}/{name}", "the log tells of it and it is not there", "a row", "none")


def _compare_columns(where: str, columns: Iterable[str], row: asyncpg.Record, told: Any, tally: Tally) -> None:
    for column in columns:
        if (found := row[column]) != (expected := getattr(told, column)):
            tally.add(where, f"another {column} than the log's", expected, found)


def _compare_cell(row: asyncpg.Record, stock: Stock | None, tally: Tally) -> None:
    tally.examined += 1
    number = row["number"]
    cell = None if stock is None else stock.cells.pop(number, None)
    if stock is None or cell is None:
        where = f"resource {row['resource_id']} cell {number}" if stock is None else _place(stock, number)
        tally.add(where, "a cell that the log never touched", "no row", "a row")
        return
    if tuple(row)[2:] != cell.columns():
        _compare_columns(_place(stock, number), CELL_COLUMNS, row, cell, tally)


def _place(stock: Stock, number: int) -> str:
    return f"{stock.definition.resource} {stock.label(number)}"
