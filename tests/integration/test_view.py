"""The availability view on its own: searches against SQL over the tables, gaps, repetitions, late visibility, waiting."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import msgspec
import pytest
from tests.conftest import Bench
from tests.follow import Follower

from onebook.ledger.definitions import ResourceDefinition
from onebook.ledger.failures import LedgerUnavailable, UnknownName, Unprocessable
from onebook.ledger.ledger import Placing
from onebook.ledger.resolve import Cells
from onebook.log.stream import StreamEvent, event_of_row
from onebook.model.commands import Wanted
from onebook.model.hours import OpeningHours, covers
from onebook.model.periods import night_label
from onebook.model.resource import Kind, Unit
from onebook.views.compare import differences
from onebook.views.period import period_of
from onebook.views.search import Found
from onebook.views.snapshot import load
from onebook.views.view import AvailabilityView

ORACLE = (Path(__file__).parent / "view_oracle.sql").read_text("utf-8")
HOURS = OpeningHours(weekly=(((9 * 60, 12 * 60), (13 * 60, 18 * 60)),) * 7, exceptions={})
NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)
LISBON = ZoneInfo("Europe/Lisbon")
FIRST_NIGHT = 20_788  # 2026-12-01


async def hold(bench: Bench, resource: str, starts: str, ends: str) -> None:
    """Hold one unit."""
    placing = Placing("web", str(uuid4()), b"hash", ttl_seconds=600)
    settled = await bench.ledger.place([Wanted(resource=resource, starts=starts, ends=ends)], placing)
    assert settled.verdict.event == "booking.held"  # type: ignore[union-attr]


async def log_of(bench: Bench) -> list[StreamEvent]:
    """Everything that has been logged."""
    rows = await bench.reader.fetch("SELECT * FROM log ORDER BY txn, position")
    return [event_of_row(row) for row in rows]


async def assert_equal_to_tables(bench: Bench, view: AvailabilityView) -> None:
    """The view has every version and every cell as the tables have it."""
    async with bench.reader.acquire() as connection:
        stored, _ = await load(connection)
    assert differences(view.stock, stored) == []


@pytest.fixture
async def market(bench: Bench) -> Bench:
    """Two venues with everything that is sold, some of it restricted, closed or sold; thrown with a seed that is printed."""
    seed = Random().randrange(2**32)
    print(f"seed {seed}")
    dice = Random(seed)
    for venue in ("alfama", "belem"):
        await bench.definitions.put_venue(venue, venue, "Europe/Lisbon", "EUR", "lisboa")
        things = [
            *(
                ResourceDefinition(f"room-{n}", Kind.ROOM, f"Room {n}", Unit.NIGHT, 1440, dice.randrange(3))
                for n in range(9)
            ),
            ResourceDefinition("suite", Kind.ROOM, "Suite", Unit.NIGHT, 1440, 2, min_stay=2, max_stay=4),
            *(ResourceDefinition(f"table-{n}", Kind.TABLE, "Table", Unit.MINUTE, 30, 2) for n in range(3)),
            ResourceDefinition("ana", Kind.STAFF, "Ana", Unit.MINUTE, 15, 1, hours=HOURS),
            *(ResourceDefinition(f"seat-{n}", Kind.SEAT, "Seat", Unit.SESSION, 1440, 1) for n in range(4)),
        ]
        await bench.definitions.put_resources(venue, things)
        for number in range(4):
            starts = NOON + timedelta(hours=8 * number)
            await bench.definitions.put_session(venue, f"show-{number}", starts, starts + timedelta(hours=2))
        for thing in things:
            for _ in range(4):
                await bench.ledger.change_inventory(
                    f"{venue}/{thing.code}", [_change(thing.unit, dice)], expected_version=None
                )
    return bench


def _change(unit: Unit, dice: Random) -> Cells:
    every: list[dict[str, Any]] = [{"capacity": dice.randrange(4)}, {"closed": True}, {"overbooking": 1}]
    if unit is not Unit.SESSION:
        every += [{"min_stay": 3}, {"max_stay": 2}, {"closed_to_arrival": True}, {"closed_to_departure": True}]
    values = dice.choice(every)
    if unit is Unit.SESSION:
        return Cells(None, None, f"show-{dice.randrange(4)}", values)
    starts, ends = _span(unit, dice)
    return Cells(starts, ends, None, values)


def _span(unit: Unit, dice: Random) -> tuple[str, str]:
    first, length = dice.randrange(12), dice.randrange(1, 6)
    if unit is Unit.NIGHT:
        return night_label(FIRST_NIGHT + first), night_label(FIRST_NIGHT + first + length)
    starts = NOON + timedelta(minutes=30 * (first - 6))
    return starts.isoformat(), (starts + timedelta(minutes=30 * length)).isoformat()


async def told_by_sql(bench: Bench, asked: dict[str, Any]) -> list[Found]:
    """What the tables say to a search."""
    period = period_of(asked["starts"], asked["ends"], LISBON)
    sessions = await bench.reader.fetch(
        "SELECT id FROM session WHERE starts_at >= $1 AND starts_at < $2", *period.instants
    )
    rows = await bench.reader.fetch(
        ORACLE,
        asked["market"],
        asked["venue"],
        asked["kind"],
        period.first_night,
        period.end_night,
        period.first_minute,
        period.end_minute,
        [row["id"] for row in sessions],
        asked["quantity"],
    )
    found = [
        Found(row["key"], row["name"], Kind(row["kind"]), row["available"], row["session"])
        for row in rows
        if row["hours"] is None
        or covers(msgspec.json.decode(row["hours"], type=OpeningHours), LISBON, row["first_minute"], row["end_minute"])
    ]
    return found[: asked["limit"]]


async def test_searches_find_what_the_tables_say(market: Bench) -> None:
    """Over hundreds of searches of all kinds the view answers what SQL over the tables does, in the same order."""
    await market.view.start()
    dice = Random(7)
    found = 0
    for _ in range(250):
        starts, ends = _span(dice.choice([Unit.NIGHT, Unit.MINUTE]), dice)
        venue = dice.choice([None, "alfama"])
        asked: dict[str, Any] = {
            "market": "lisboa" if venue is None else None,
            "venue": venue,
            "kind": dice.choice([None, *Kind]),
            "starts": starts,
            "ends": ends,
            "quantity": dice.choice([1, 1, 2, 3]),
            "limit": dice.choice([1, 3, 50]),
        }
        answered = await market.reads.search(**asked)
        assert answered == await told_by_sql(market, asked), asked
        found += len(answered)
    assert found > 50  # or the searches were too narrow to tell anything


async def test_what_is_not_there_is_named(market: Bench) -> None:
    """An unknown venue or market is an error, as is a search without either; a period in reverse too."""
    await market.view.start()
    some = {"kind": None, "starts": "2026-12-01", "ends": "2026-12-02", "quantity": 1, "limit": 1}
    for place in ({"market": None, "venue": "nowhere"}, {"market": "nowhere", "venue": None}):
        with pytest.raises(UnknownName):
            await market.reads.search(**place, **some)  # type: ignore[arg-type]
    with pytest.raises(Unprocessable):
        await market.reads.search(market=None, venue=None, **some)  # type: ignore[arg-type]
    with pytest.raises(Unprocessable):
        await market.reads.availability("alfama", "2026-12-02", "2026-12-01")


async def test_events_in_any_portion_come_to_the_tables(market: Bench) -> None:
    """Taken in from nothing, one by one or all at once, each several times, the log makes the view equal to the tables."""
    events = await log_of(market)
    one_by_one, at_once = AvailabilityView(market.reader), AvailabilityView(market.reader)
    for view in (one_by_one, at_once):
        await view.start()
    await at_once.handle([*events, *events])
    for event in events:
        await one_by_one.handle([event, event])
    for view in (one_by_one, at_once):
        await assert_equal_to_tables(market, view)


async def test_a_gap_is_read_from_the_database(bench: Bench) -> None:
    """A version that was skipped has the resource read again, and what comes late is left out."""
    await bench.room("alfama/double", 3)
    await bench.view.start()
    for _ in range(3):
        await hold(bench, "alfama/double", "2026-12-01", "2026-12-03")
    events = (await log_of(bench))[-3:]
    await bench.view.handle([events[2]])
    await assert_equal_to_tables(bench, bench.view)
    await bench.view.handle(events[:2])
    await assert_equal_to_tables(bench, bench.view)


async def test_a_resource_that_was_never_told_of_is_read(bench: Bench) -> None:
    """The first that the view hears of a venue, its sessions and a resource is a booking: it reads them all."""
    await bench.view.start()
    await bench.resource("opera/A-1", kind=Kind.SEAT, unit=Unit.SESSION)
    await bench.definitions.put_session("opera", "late", NOON, NOON + timedelta(hours=2))
    placing = Placing("web", "key", b"hash", ttl_seconds=600)
    await bench.ledger.place([Wanted(resource="opera/A-1", session="late")], placing)
    await bench.view.handle((await log_of(bench))[-1:])
    await assert_equal_to_tables(bench, bench.view)


async def test_a_commit_that_is_not_visible_yet_is_waited_for(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log tells of a version that the database never shows: the events are to be tried again, not taken for done."""
    monkeypatch.setattr("onebook.views.view.READ_AGAIN", 3)
    await bench.room("alfama/double", 3)
    await hold(bench, "alfama/double", "2026-12-01", "2026-12-03")
    (event,) = (await log_of(bench))[-1:]
    await bench.view.start()
    event.resources = [msgspec.structs.replace(event.resources[0], version=9)]
    with pytest.raises(TimeoutError, match="alfama/double"):
        await bench.view.handle([event])


async def test_an_old_definition_does_not_come_back(bench: Bench) -> None:
    """A venue's first description, told once more after its second, changes nothing."""
    await bench.view.start()
    for name in ("First", "Second"):
        await bench.definitions.put_venue("alfama", name, "Europe/Lisbon", "EUR", "lisboa")
    first, second = await log_of(bench)
    await bench.view.handle([first, second])
    await bench.view.handle([first])
    await assert_equal_to_tables(bench, bench.view)


async def test_a_gap_does_not_bring_back_a_session_that_has_moved(bench: Bench) -> None:
    """A resource that is read again leaves sessions alone that the stream has told of and the database does not show yet."""
    await bench.resource("dome/seat", kind=Kind.SEAT, unit=Unit.SESSION)
    await bench.definitions.put_session("dome", "gala", NOON, NOON + timedelta(hours=2))
    view = AvailabilityView(bench.reader)
    await view.start()
    later = NOON + timedelta(days=1)
    async with bench.reader.acquire() as connection:
        move = connection.transaction()
        await move.start()  # not visible for as long as it is open, though the stream has told of it
        await connection.execute("UPDATE session SET starts_at = $1, ends_at = $2", later, later + timedelta(hours=2))
        moved = await log_of_move(bench, later)
        for capacity in (2, 3):
            await bench.ledger.change_inventory(
                "dome/seat", [Cells(None, None, "gala", {"capacity": capacity})], expected_version=None
            )
        gap = (await log_of(bench))[-1:]
        await view.handle([moved, *gap])
        await move.rollback()
    assert view.stock.listings["dome/seat"].version == gap[0].resources[0].version
    assert view.stock.places["dome"].sessions["gala"].starts == later


async def log_of_move(bench: Bench, starts: datetime) -> StreamEvent:
    """What the log says of a session of the dome that has moved."""
    (row,) = await bench.reader.fetch("SELECT * FROM log WHERE type = 'session.defined'")
    told = {**msgspec.json.decode(row["data"]), "from": starts, "to": starts + timedelta(hours=2)}
    return event_of_row({**row, "position": row["position"] + 1000, "data": msgspec.json.encode(told).decode()})


async def test_a_reader_waits_for_a_version(bench: Bench) -> None:
    """An answer that asks for a version waits for it; in vain, it says how far it is."""
    await bench.room("alfama/double", 3)
    follower = Follower(bench.view, bench.reader)
    await follower.catch_up()
    asking = asyncio.create_task(
        bench.reads.availability("alfama", "2026-12-01", "2026-12-02", at_least={"alfama/double": 2})
    )
    await hold(bench, "alfama/double", "2026-12-01", "2026-12-03")
    await follower.catch_up()
    answered = await asking
    assert (answered.resources[0].version, answered.resources[0].available) == (2, [2])
    assert answered.behind is msgspec.UNSET
    early = await bench.reads.availability("alfama", "2026-12-01", "2026-12-02", at_least={"alfama/double": 7})
    assert msgspec.to_builtins(early.behind) == [{"resource": "alfama/double", "wanted": 7, "version": 2}]


async def test_nothing_is_answered_before_the_first_load(bench: Bench) -> None:
    """A view that is not loaded says that it cannot answer yet; alternatives are left out of a refusal."""
    await bench.room("alfama/double", 3)
    with pytest.raises(LedgerUnavailable):
        await bench.reads.availability("alfama", "2026-12-01", "2026-12-02")
    wanted = Wanted(resource="alfama/double", starts="2026-12-01", ends="2026-12-02")
    assert await bench.reads.alternatives(wanted) == ()


async def test_alternatives_are_the_nearest_times_and_others_of_the_kind(bench: Bench) -> None:
    """A refused stay is offered at the nearest dates that can be booked, then in another room."""
    for code in ("double", "twin"):
        await bench.room(f"alfama/{code}", 1)
    await bench.resource("alfama/table", kind=Kind.TABLE, unit=Unit.MINUTE, cell_minutes=30)
    await hold(bench, "alfama/double", "2026-12-10", "2026-12-12")
    closed = Cells("2026-12-08", "2026-12-09", None, {"closed_to_arrival": True})
    await bench.ledger.change_inventory("alfama/double", [closed], expected_version=None)
    await bench.view.start()
    wanted = Wanted(resource="alfama/double", starts="2026-12-10", ends="2026-12-12")
    found = [(other.resource, other.starts) for other in await bench.reads.alternatives(wanted)]
    assert found == [("alfama/double", "2026-12-12"), ("alfama/double", "2026-12-13"), ("alfama/twin", "2026-12-10")]


async def test_a_difference_is_found(bench: Bench) -> None:
    """The comparison names what was changed behind the view's back: a cell, a rule, a version, a definition."""
    await bench.room("alfama/double", 3)
    await hold(bench, "alfama/double", "2026-12-01", "2026-12-03")
    for change, what in (
        ("UPDATE cell SET held = held + 1 WHERE number = 20788", "free of alfama/double in 2026-12-01"),
        ("UPDATE cell SET min_stay = 2 WHERE number = 20789", "rules of alfama/double in 2026-12-02"),
        ("UPDATE head SET version = version + 1", "resource alfama/double"),
        ("UPDATE venue SET market = 'porto'", "venue alfama"),
    ):
        await bench.view.start()
        await assert_equal_to_tables(bench, bench.view)
        await bench.reader.execute(change)
        async with bench.reader.acquire() as connection:
            stored, _ = await load(connection)
        assert [difference.what for difference in differences(bench.view.stock, stored)] == [what]
