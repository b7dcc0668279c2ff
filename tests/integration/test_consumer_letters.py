"""Poison is parked with its reason while everything else goes on, and is handled when its fault is gone."""

from collections.abc import AsyncIterator

import pytest
from tests.integration.consuming import Bed, Recorder, drained, open_bed, turn_until

from onebook.broker.dead_letters import REPLAY_SECONDS, DeadLetter, DeadLetters


@pytest.fixture
async def bed(database_url: str) -> AsyncIterator[Bed]:
    """A broker, an upstream and a database."""
    async with open_bed(database_url) as opened:
        yield opened


async def letters_of(bed: Bed) -> list[DeadLetter]:
    """All there are."""
    return await DeadLetters(bed.pool).list(consumer=None, after=0, limit=100)


async def beaten(bed: Bed, *recorders: Recorder) -> None:
    """One heartbeat later."""
    for consumer, recorder in zip(bed.consumers, recorders, strict=True):
        checkpoints = len(recorder.checkpoints)
        await bed.upstream.beat()
        await turn_until(consumer, lambda _, r=recorder, n=checkpoints: len(r.checkpoints) > n)  # type: ignore[misc]


async def parked(bed: Bed, first: Recorder, second: Recorder) -> DeadLetter:
    """Five entries of one transaction, the third of which the second handler cannot stand; its letter."""
    consumer = await bed.joined(first, second)
    async with bed.upstream.begun(5) as rows:
        second.poison = {rows[2]["position"]}
    await drained(consumer, first, bed.upstream)
    (letter,) = await letters_of(bed)
    return letter


async def test_poison_is_parked_and_the_others_go_on(bed: Bed) -> None:
    """The handler that fails misses one event and gets a letter; its neighbour misses nothing and gets none."""
    first, second = Recorder("first"), Recorder("second")
    letter = await parked(bed, first, second)
    poisoned = bed.upstream.positions[2]
    assert first.seen == bed.upstream.positions
    assert second.seen == [position for position in bed.upstream.positions if position != poisoned]
    assert (letter.consumer, letter.position, letter.attempts) == ("second", poisoned, 1)
    assert letter.reason == f"ValueError: cannot stand [{poisoned}]"
    assert letter.type == "onebook.booking.held.v1"


async def test_a_replay_after_the_fault_is_gone_empties_the_letter_box(bed: Bed) -> None:
    """A replay is handled at a heartbeat, and its letter is gone once every worker has had the time to."""
    first, second = Recorder("first"), Recorder("second")
    letter = await parked(bed, first, second)
    second.poison = set()
    await beaten(bed, second)
    assert letter.position not in second.seen, "nobody asked for it yet"
    assert await DeadLetters(bed.pool).replay([letter.id]) == [letter.id]
    await beaten(bed, second)
    assert letter.position in second.seen
    await bed.pool.execute(
        "UPDATE dead_letter SET replay_requested_at = replay_requested_at - make_interval(secs => $1)", REPLAY_SECONDS
    )
    await beaten(bed, second)
    assert await letters_of(bed) == []
    assert letter.position not in first.seen[first.seen.index(letter.position) + 1 :], "the neighbour had it already"


async def test_a_replay_that_fails_stays(bed: Bed) -> None:
    """A replay that fails counts one more try, and is not tried again unasked."""
    first, second = Recorder("first"), Recorder("second")
    letter = await parked(bed, first, second)
    await DeadLetters(bed.pool).replay_all("second")
    await beaten(bed, second)
    await beaten(bed, second)
    (again,) = await letters_of(bed)
    assert (again.id, again.attempts, again.replay_requested_at) == (letter.id, 2, None)


async def test_every_worker_handles_a_replay(bed: Bed) -> None:
    """Two workers with the same poison share a letter, and both handle it when it is replayed."""
    workers = Recorder("view"), Recorder("view")
    consumers = [await bed.joined(worker) for worker in workers]
    async with bed.upstream.begun(3) as rows:
        for worker in workers:
            worker.poison = {rows[1]["position"]}
    for consumer in consumers:
        await turn_until(consumer, lambda turn: turn.parked == 1)
    (letter,) = await letters_of(bed)
    assert letter.attempts == 2
    for worker in workers:
        worker.poison = set()
    await DeadLetters(bed.pool).replay([letter.id])
    await beaten(bed, *workers)
    assert all(letter.position in worker.seen for worker in workers)


async def test_letters_of_webhooks_are_left_alone(bed: Bed) -> None:
    """A replay that was asked of the sender is not taken by a consumer."""
    recorder = Recorder()
    await bed.joined(recorder)
    letters = DeadLetters(bed.pool)
    await letters.park("webhook/7", 1, 1, "onebook.booking.held.v1", "bookings/7", "gave up")
    await letters.replay_all(None)
    await beaten(bed, recorder)
    (letter,) = await letters_of(bed)
    assert letter.replay_requested_at is not None
    shown = await letters.show(letter.id)
    assert shown is not None and shown.event is None


async def test_an_entry_that_is_no_event_is_parked_for_all(bed: Bed) -> None:
    """An entry of the log that cannot be read as an event is parked for each handler, and what follows it is handled."""
    first, second = Recorder("first"), Recorder("second")
    consumer = await bed.joined(first, second)
    (bad,) = await bed.upstream.write(1, '{"resources": "none"}')
    bed.upstream.positions.remove(bad)
    await bed.upstream.write(2)
    total = await drained(consumer, second, bed.upstream)
    assert total.parked == 2
    assert {letter.consumer for letter in await letters_of(bed)} == {"first", "second"}


async def test_letters_are_listed_by_pages_and_purged(bed: Bed) -> None:
    """Pages follow one another by id, one consumer's or all, and what is purged is gone."""
    letters = DeadLetters(bed.pool)
    for position in range(5):
        name = f"webhook/{position % 2}"
        await letters.park(name, 1, position, "onebook.booking.held.v1", f"bookings/{position}", "a\0b")
    page = await letters.list(consumer="webhook/0", after=0, limit=2)
    rest = await letters.list(consumer="webhook/0", after=page[-1].id, limit=2)
    assert [letter.position for letter in (*page, *rest)] == [0, 2, 4]
    assert page[0].reason == "a�b"
    assert await letters.purge([page[0].id, 10**12]) == [page[0].id]
    assert len(await letters.purge_all("webhook/0")) == 2
    assert len(await letters.purge_all(None)) == 2
    assert await letters.show(page[0].id) is None
