"""`onebook rebuild`: equal to the ledger, or which cell is not."""

import asyncio

import asyncpg
import msgspec
import pytest
from tests.conftest import Bench, onebook
from tests.integration.test_view import hold

from onebook.commands.terminal import EXIT_INVARIANT
from onebook.ledger.resolve import Cells
from onebook.model.resource import Kind, Unit
from onebook.views import rebuild as rebuilding
from onebook.views.rebuild import Rebuilt


async def _sell(bench: Bench) -> None:
    """Something of everything, and a redefinition after the first sale."""
    await bench.room("alfama/double", 3)
    await bench.resource("alfama/ana", kind=Kind.STAFF, unit=Unit.MINUTE, cell_minutes=15, capacity=2)
    for night in range(1, 8):
        await hold(bench, "alfama/double", f"2026-12-0{night}", f"2026-12-0{night + 2}")
    await hold(bench, "alfama/ana", "2026-12-01T10:00:00+00:00", "2026-12-01T11:00:00+00:00")
    changes: list[dict[str, int | bool | None]] = [
        {"capacity": 5},
        {"closed": True},
        {"min_stay": 2},
        {"closed": False},
        {"capacity": None},
    ]
    for values in changes:
        cells = [Cells("2026-12-20", "2026-12-24", None, values)]
        await bench.ledger.change_inventory("alfama/double", cells, expected_version=None)
    await bench.room("alfama/double", 9)


async def _rebuild(url: str) -> tuple[int, Rebuilt]:
    ran = await asyncio.to_thread(onebook, "rebuild", "--database", url, "--json", check=False)
    return ran.returncode, msgspec.json.decode(ran.stdout, type=Rebuilt)


async def test_the_log_is_replayed_page_by_page(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """In pages of a few entries nothing is left out or taken twice."""
    monkeypatch.setattr(rebuilding, "PAGE_ROWS", 3)
    await _sell(bench)
    told: list[int] = []
    connection = await asyncpg.connect(bench.url)
    try:
        rebuilt = await rebuilding.rebuild(connection, lambda events, _: told.append(events))
        entries = await connection.fetchval("SELECT count(*) FROM log")
    finally:
        await connection.close()
    assert (rebuilt.differences, rebuilt.events, told[-1]) == ([], entries, entries)
    assert len(told) >= entries // 3


async def test_the_log_makes_what_the_ledger_has(bench: Bench) -> None:
    """Replayed from zero, the log gives every cell and version; running workers are then asked to load theirs anew."""
    await _sell(bench)
    slot = "SELECT lsn FROM pg_create_logical_replication_slot($1, 'pgoutput')"
    name = "test_" + bench.url.rpartition("/")[2].partition("?")[0][-32:]
    connection = await asyncpg.connect(bench.url)
    try:
        await connection.fetchval(slot, name)
        code, rebuilt = await _rebuild(bench.url)
        entries = await connection.fetchval("SELECT count(*) FROM log")
        asked = await connection.fetch(
            "SELECT data FROM pg_logical_slot_peek_binary_changes($1, NULL, NULL, 'proto_version', '1',"
            " 'publication_names', 'onebook_log', 'messages', 'true')",
            name,
        )
    finally:
        await connection.execute("SELECT pg_drop_replication_slot($1)", name)
        await connection.close()
    assert (code, rebuilt.equal, rebuilt.differences, rebuilt.events) == (0, True, [], entries)
    assert any(b'{"kind":"rebuild"}' in row["data"] for row in asked)


async def test_a_cell_that_the_log_does_not_explain_is_named(bench: Bench) -> None:
    """Somebody wrote to the tables: exit code 7, and the cell with both figures."""
    await _sell(bench)
    await bench.reader.execute("UPDATE cell SET booked = booked + 1 WHERE number = 20790 AND held = 2")
    code, rebuilt = await _rebuild(bench.url)
    assert code == EXIT_INVARIANT
    assert not rebuilt.equal
    assert [difference.what for difference in rebuilt.differences] == ["free of alfama/double in 2026-12-03"]
