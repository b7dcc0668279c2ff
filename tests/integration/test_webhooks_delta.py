"""The bulk delta: a partner that was away is right again after one call."""

from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from tests.conftest import Bench

from onebook.channels.delta import Delta, Deltas
from onebook.ledger.failures import Unprocessable
from onebook.ledger.ledger import Placing
from onebook.ledger.resolve import Cells
from onebook.log.read import Cursor
from onebook.model.commands import Wanted
from onebook.model.resource import Kind, Unit

ROOMS = [f"alfama/r{index}" for index in range(6)]
HOUR = timedelta(hours=1)
Mirror = dict[str, tuple[int, dict[str, int]]]


async def snapshot(bench: Bench) -> Mirror:
    """Availability of December, as a partner reads it from a view that is loaded now."""
    await bench.view.start()
    found = await bench.reads.availability("alfama", "2026-12-01", "2027-01-01")
    return {
        each.resource: (each.version, dict(zip(each.cells, each.available, strict=True))) for each in found.resources
    }


def apply(mirror: Mirror, delta: Delta) -> None:
    """What a partner does with a delta."""
    for changed in delta.resources:
        _, cells = mirror.get(changed.resource, (0, {}))
        if changed.redefined:
            assert changed.otherwise is not None
            labels = cells or next(iter(mirror.values()))[1]
            cells = dict.fromkeys(labels, changed.otherwise)
        told = zip(changed.cells, changed.available, strict=True)
        mirror[changed.resource] = (changed.version, cells | {cell: left for cell, left in told if cell in cells})


async def trade(bench: Bench, random: Random, count: int) -> None:
    """Holds, releases and inventory changes."""
    for number in range(count):
        night = random.randrange(1, 29)
        wanted = [Wanted(resource=random.choice(ROOMS), starts=f"2026-12-{night:02}", ends=f"2026-12-{night + 2:02}")]
        await bench.ledger.place(wanted, Placing("web", f"{random.random()}-{number}", b"h", 3600))
        if number % 5 == 0:
            values: dict[str, int | bool | None] = {"capacity": random.randrange(6, 9), "closed": number % 10 == 0}
            cells = Cells("2026-12-10", "2026-12-12", None, values)
            await bench.ledger.change_inventory(random.choice(ROOMS), [cells])


async def age_log(bench: Bench, by: timedelta) -> None:
    """Make everything in the log so far older, as if time had passed."""
    async with bench.reader.acquire() as connection, connection.transaction():
        await connection.execute("ALTER TABLE log DISABLE TRIGGER log_is_append_only")
        await connection.execute("UPDATE log SET time = time - $1::interval", by)
        await connection.execute("ALTER TABLE log ENABLE TRIGGER log_is_append_only")


@pytest.mark.parametrize("seed", [3, 4, 5])
async def test_after_an_hours_absence_one_call_makes_it_right(bench: Bench, seed: int) -> None:
    """A mirror of an hour ago and the delta since are the availability of now; the delta without it would not be."""
    print(f"seed {seed}")
    random = Random(seed)
    for room in ROOMS:
        await bench.room(room, capacity=5)
    await trade(bench, random, 20)
    mirror = await snapshot(bench)
    await age_log(bench, 2 * HOUR)
    await trade(bench, random, 30)
    await bench.room(ROOMS[0], capacity=7)
    await bench.room("alfama/new", capacity=2)
    await trade(bench, random, 5)
    current = await snapshot(bench)
    assert mirror != current
    delta = await Deltas(bench.reader, bench.catalog).since("alfama", datetime.now(UTC) - HOUR)
    apply(mirror, delta)
    assert mirror == current
    assert Cursor.parse(delta.cursor).txn > 0 and delta.until > delta.since


async def test_only_what_changed_is_told(bench: Bench) -> None:
    """Nothing has changed since now; a session and opening hours are told as they are sold."""
    hours = {"cell_minutes": 30, "capacity": 2}
    await bench.resource("alfama/ana", kind=Kind.STAFF, unit=Unit.MINUTE, **hours)
    await bench.resource("alfama/tour", kind=Kind.ACTIVITY, unit=Unit.SESSION, capacity=9)
    await bench.room("alfama/double")
    await age_log(bench, 2 * HOUR)
    deltas = Deltas(bench.reader, bench.catalog)
    since = datetime.now(UTC) - HOUR
    assert (await deltas.since("alfama", since)).resources == []
    begin = datetime(2026, 12, 24, 20, tzinfo=UTC)
    await bench.definitions.put_session("alfama", "late", begin, begin + HOUR)
    wanted = [Wanted(resource="alfama/ana", starts="2026-12-01T10:00:00+00:00", ends="2026-12-01T11:00:00+00:00")]
    await bench.ledger.place(wanted, Placing("web", "k", b"h", 3600))
    told = {each.resource: each for each in (await deltas.since("alfama", since)).resources}
    assert set(told) == {"alfama/ana", "alfama/tour"}
    assert (told["alfama/tour"].cells, told["alfama/tour"].available) == (["late"], [9])
    assert told["alfama/ana"].available == [1, 1]
    assert told["alfama/ana"].cells[0] == "2026-12-01T10:00:00+00:00"


async def test_too_much_is_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A delta beyond its bounds says to read a snapshot."""
    await bench.room("alfama/double", capacity=9)
    deltas = Deltas(bench.reader, bench.catalog)
    for bound in ("MAX_EVENTS", "MAX_CELLS"):
        with monkeypatch.context() as patched:
            patched.setattr(f"onebook.channels.delta.{bound}", -1)
            with pytest.raises(Unprocessable, match="snapshot") as refused:
                await deltas.since("alfama", datetime.now(UTC) - HOUR)
        assert refused.value.code == "answer-too-large"
