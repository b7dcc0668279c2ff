"""Reading the log while it is written: everything once, in order, however long somebody takes to commit."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import msgspec
from tests.conftest import Bench, open_bench

from onebook.ledger.catalog import SQL
from onebook.ledger.ledger import Placing
from onebook.log.read import START, CloudEvent, Cursor, read_events
from onebook.model.commands import Wanted

RESOURCES = tuple(f"alfama/room-{number}" for number in range(5))
PAGE = 7
READ_SECONDS = 60.0


class Reader:
    """Polls the log, page by page, and keeps what it has seen."""

    def __init__(self, bench: Bench, venue: str | None = None) -> None:
        self._bench = bench
        self._venue = venue
        self._cursor = START
        self.seen: list[CloudEvent] = []

    async def poll(self) -> int:
        """Read one page; how many events it had."""
        async with self._bench.reader.acquire() as connection:
            events, reached = await read_events(connection, self._cursor, venue=self._venue, limit=PAGE)
        assert reached >= self._cursor
        assert Cursor.parse(str(reached)) == reached
        self._cursor = reached
        self.seen.extend(events)
        return len(events)

    async def follow(self, writing: "asyncio.Future[Any]") -> None:
        """Poll as long as others write, and then to the end."""
        async with asyncio.timeout(READ_SECONDS):
            while not writing.done():
                await self.poll()
            await self.drain()

    async def drain(self) -> None:
        """Poll until nothing comes any more."""
        while await self.poll():
            pass


async def positions(bench: Bench) -> list[str]:
    """Every entry there is, in the order of the log."""
    return [str(row["position"]) for row in await bench.reader.fetch("SELECT position FROM log ORDER BY txn, position")]


def versions(events: Sequence[CloudEvent]) -> dict[str, list[int]]:
    """The versions of each resource, in the order in which they were read."""
    found: dict[str, list[int]] = defaultdict(list)
    for event in events:
        for touched in msgspec.json.decode(event.data).get("resources", ()):
            found[touched["resource"]].append(touched["version"])
    return found


def assert_versions_ascend(events: Sequence[CloudEvent]) -> None:
    """Each resource's versions come dense, from 1."""
    for resource, found in versions(events).items():
        assert found == list(range(1, len(found) + 1)), resource


async def write(bench: Bench, writer: int, count: int) -> None:
    """Holds on one or two resources, drawn from a seed."""
    draw = random.Random(writer)
    for number in range(count):
        stays = tuple(
            Wanted(resource=resource, starts="2030-03-01", ends="2030-03-02")
            for resource in draw.sample(RESOURCES, draw.randint(1, 2))
        )
        await bench.ledger.place(stays, Placing("web", f"{writer}-{number}", b"0" * 16, 600))


async def open_rooms(bench: Bench) -> None:
    """Resources that never run out."""
    for resource in RESOURCES:
        await bench.room(resource, capacity=10_000)


async def test_a_reader_of_a_busy_log_sees_everything_once_in_order(bench: Bench) -> None:
    """While four ledgers write concurrently a polling reader gets every entry once, each resource's versions in order."""
    await open_rooms(bench)
    reader, of_venue = Reader(bench), Reader(bench, venue="alfama")
    async with AsyncExitStack() as ledgers:
        benches = [await ledgers.enter_async_context(open_bench(bench.url, max_batch=3)) for _ in range(4)]
        writing = asyncio.gather(*(write(b, 4 * n + task, 25) for n, b in enumerate(benches) for task in range(4)))
        await asyncio.gather(writing, reader.follow(writing), of_venue.follow(writing))
    assert [event.id for event in reader.seen] == await positions(bench)
    assert [event.id for event in of_venue.seen] == await positions(bench)
    assert_versions_ascend(reader.seen)


async def test_a_slow_commit_is_waited_for(bench: Bench) -> None:
    """A transaction that holds an early number open holds readers back; after its commit they get it, and all, once."""
    await open_rooms(bench)
    reader, naive = Reader(bench), Naive(bench)
    await reader.drain()
    await naive.poll()
    before = len(reader.seen)
    slow = await asyncpg.connect(bench.url)
    transaction = slow.transaction()
    await transaction.start()
    await slow.execute(SQL["append"], "venue.defined", "venues/slow", ["slow"], "{}")
    async with open_bench(bench.url) as second:
        await asyncio.gather(write(bench, 1, 20), write(second, 2, 20))
    await reader.drain()
    await naive.poll()
    assert len(reader.seen) == before, "nothing is read beyond what may still be committed"
    await transaction.commit()
    await slow.close()
    await reader.drain()
    await naive.poll()
    assert [event.id for event in reader.seen] == await positions(bench)
    assert [event.subject for event in reader.seen].count("venues/slow") == 1
    assert_versions_ascend(reader.seen)
    lost = set(await positions(bench)) - set(naive.seen)
    assert len(lost) == 1, "the control: whoever polls by position alone loses the slow one"


class Naive:
    """What everybody writes first: the entries whose position is greater than the last one seen."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._last = 0
        self.seen: list[str] = []

    async def poll(self) -> None:
        """Read what is new."""
        for row in await self._bench.reader.fetch(
            "SELECT position FROM log WHERE position > $1 ORDER BY position", self._last
        ):
            self._last = row["position"]
            self.seen.append(str(self._last))
