"""A consumer handles every entry of the log once, whatever the broker loses, repeats or delays."""

import asyncio
from collections.abc import AsyncIterator
from time import monotonic

import pytest
from tests.integration.consuming import Bed, Recorder, drained, open_bed, turn_until

from onebook.broker.place import Place, Snapshot
from onebook.broker.protocol import MessageKind
from onebook.broker.refill import LogReader


@pytest.fixture
async def bed(database_url: str) -> AsyncIterator[Bed]:
    """A broker, an upstream and a database."""
    async with open_bed(database_url) as opened:
        yield opened


async def test_what_is_published_is_handled_once_in_order(bed: Bed) -> None:
    """Entries from before the start and after it reach all handlers once, in order; a heartbeat moves the horizon past them."""
    first, second = Recorder("first"), Recorder("second")
    await bed.upstream.write(3)
    consumer = await bed.joined(first, second)
    for _ in range(5):
        await bed.upstream.write(2)
    await drained(consumer, first, bed.upstream)
    await bed.upstream.beat()
    checkpoints = len(first.checkpoints)
    await turn_until(consumer, lambda _: len(first.checkpoints) > checkpoints)
    assert first.seen == second.seen == bed.upstream.positions
    assert first.horizon > await bed.pool.fetchval("SELECT max(txn) FROM log")
    assert consumer.lag_seconds < 1


async def lose_one_in_the_middle(bed: Bed, recorder: Recorder) -> None:
    """Three transactions, of which the second is not delivered, and a heartbeat; returns once that was heard."""
    consumer = await bed.joined(recorder)
    await bed.upstream.write()
    bed.broker.lose_next = 1
    await bed.upstream.write()
    await bed.upstream.write()
    await bed.upstream.beat()
    checkpoints = len(recorder.checkpoints)
    await turn_until(consumer, lambda _: len(recorder.checkpoints) > checkpoints and consumer.lag_seconds >= 0)
    await turn_until(consumer, lambda turn: turn.events == 0)


async def test_a_loss_in_the_middle_is_read_from_the_log(bed: Bed) -> None:
    """When a message is lost the next one shows it, and everything is handled once, in the order of the log."""
    recorder = Recorder()
    await lose_one_in_the_middle(bed, recorder)
    assert recorder.seen == bed.upstream.positions


async def test_the_control_without_the_chain_the_loss_goes_unseen(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the chain unchecked the lost entry is never handled, although the horizon has passed it."""
    monkeypatch.setattr(Place, "follows", lambda _place, _message: True)
    recorder = Recorder()
    await lose_one_in_the_middle(bed, recorder)
    assert len(set(bed.upstream.positions) - set(recorder.seen)) == 1


async def test_a_loss_at_the_tail_is_seen_at_the_heartbeat(bed: Bed) -> None:
    """When the last message is lost the heartbeat after it shows it."""
    recorder = Recorder()
    consumer = await bed.joined(recorder)
    bed.broker.lose_next = 1
    await bed.upstream.write()
    await bed.upstream.beat()
    assert (await drained(consumer, recorder, bed.upstream)).refills == 1


async def test_duplicates_have_no_effect(bed: Bed) -> None:
    """Each message ten times is each event once, and each heartbeat one checkpoint."""
    recorder = Recorder()
    consumer = await bed.joined(recorder)
    bed.broker.copies = 10
    checkpoints = len(recorder.checkpoints)
    for _ in range(5):
        await bed.upstream.write(2)
    await bed.upstream.beat()
    total = await turn_until(consumer, lambda turn: turn.duplicates >= 90)
    assert recorder.seen == bed.upstream.positions
    assert (total.events, total.duplicates, total.refills) == (10, 90, 0)
    assert len(recorder.checkpoints) == checkpoints + 1


async def test_without_broker_the_log_is_read(bed: Bed) -> None:
    """While the broker is away for 3 s, and its store lost, entries are handled all the same; then the stream is joined again."""
    recorder = Recorder()
    consumer = await bed.joined(recorder)
    bed.broker.stop()
    await bed.upstream.write(3)
    left_at = monotonic()
    await drained(consumer, recorder, bed.upstream)
    await turn_until(consumer, lambda _: monotonic() - left_at > 3)
    await bed.upstream.write(2)
    await drained(consumer, recorder, bed.upstream)
    bed.broker.start(keep=False)
    await bed.upstream.write()
    await drained(consumer, recorder, bed.upstream)
    assert sorted(recorder.seen) == bed.upstream.positions


async def test_without_relay_the_log_is_read(bed: Bed) -> None:
    """When nothing is published for 2 s entries come from the log, and the lag shows that the pipeline stands still."""
    recorder = Recorder()
    consumer = await bed.joined(recorder)
    await bed.upstream.beat()
    bed.upstream.is_away = True
    await bed.upstream.write(3)
    await drained(consumer, recorder, bed.upstream)
    assert consumer.lag_seconds > 1.5
    assert recorder.seen == bed.upstream.positions


async def test_it_starts_without_broker(bed: Bed) -> None:
    """A consumer that finds no broker begins from the log."""
    bed.broker.stop()
    await bed.upstream.write(3)
    recorder = Recorder()
    await drained(bed.consumer(recorder), recorder, bed.upstream)


@pytest.mark.parametrize("is_lost", [False, True])
async def test_a_late_commit_with_a_low_number_is_not_lost(bed: Bed, is_lost: bool) -> None:
    """A transaction begun before a refill and committed long after is handled, by its message or, if lost, from the log."""
    recorder = Recorder()
    async with bed.upstream.begun(2) as slow:
        consumer = await bed.joined(recorder)
        await bed.upstream.write(3)
        await bed.upstream.say(MessageKind.REFILL)
        await bed.upstream.beat()
        await drained(consumer, recorder, bed.upstream)
        assert recorder.horizon <= slow[0]["txn"], "nobody may forget what is still open"
        bed.broker.lose_next = int(is_lost)
    await bed.upstream.beat()
    await drained(consumer, recorder, bed.upstream)
    await turn_until(consumer, lambda _: recorder.horizon > slow[0]["txn"])
    assert sorted(recorder.seen) == sorted(bed.upstream.positions)


async def send_before_it_can_be_read(bed: Bed, recorder: Recorder) -> None:
    """A transaction that is still invisible when the consumer begins, and whose message went out before it listened."""
    async with bed.upstream.begun():
        consumer = await bed.joined(recorder)
        # The consumer must take its message for one of those before its time: the chain does not show it.
        bed.upstream.is_away = True
    bed.upstream.is_away = False
    assert recorder.seen == []
    await bed.upstream.write()
    await turn_until(consumer, lambda _: bed.upstream.positions[-1] in recorder.seen)


async def test_what_was_sent_before_it_could_be_read_is_not_lost(bed: Bed) -> None:
    """A message sent before the consumer listened, whose entry its first refill could not see, is made up for in order."""
    recorder = Recorder()
    await send_before_it_can_be_read(bed, recorder)
    assert recorder.seen == bed.upstream.positions


async def test_the_control_without_open_transactions_it_is_lost(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """A consumer that takes all below a snapshot's end for read loses what was open in it."""
    real = LogReader.snapshot

    async def blind(reader: LogReader) -> Snapshot:
        return (await real(reader))._replace(open=frozenset())

    monkeypatch.setattr(LogReader, "snapshot", blind)
    recorder = Recorder()
    await send_before_it_can_be_read(bed, recorder)
    assert recorder.seen == bed.upstream.positions[1:]


async def test_a_durable_consumer_goes_on_from_its_horizon(bed: Bed) -> None:
    """After a crash a consumer handles again only what lies above its last checkpoint, and all that it missed, page by page."""
    recorder = Recorder()
    consumer = await bed.joined(recorder)
    await bed.upstream.write(5)
    await bed.upstream.beat()
    await turn_until(consumer, lambda _: recorder.horizon > 1 and len(recorder.seen) == 5)
    await turn_until(consumer, lambda turn: turn.events == 0)
    await consumer.close()
    missed = [position for _ in range(9) for position in await bed.upstream.write(3)]
    again = Recorder(horizon=recorder.horizon)
    await bed.joined(again, page_rows=4)
    assert again.seen == missed
    assert len(set(again.checkpoints)) > 5, "progress is written down on the way"


async def test_a_fault_of_the_database_is_sat_out(bed: Bed) -> None:
    """A handler that finds the database away gets the same events again, and nothing is parked."""
    recorder = Recorder()
    consumer = await bed.joined(recorder)
    recorder.faults = 3
    await bed.upstream.write(3)
    total = await drained(consumer, recorder, bed.upstream)
    assert recorder.seen == bed.upstream.positions
    assert total.parked == 0


async def test_a_fault_that_outlasts_the_patience_begins_anew(bed: Bed) -> None:
    """When patience ends the handler starts again, and nothing is lost."""
    recorder = Recorder()
    consumer = await bed.joined(recorder, patience_seconds=0.1)
    recorder.faults = 10
    await bed.upstream.write(3)
    running = asyncio.create_task(consumer.run())
    async with asyncio.timeout(20):
        await recorder.has_handled.wait()
    consumer.stop()
    await running
    assert recorder.seen == bed.upstream.positions
    assert recorder.starts > 1


async def test_undecodable_messages_are_read_from_the_log(bed: Bed) -> None:
    """A message whose body is none of ours costs a refill and nothing else."""
    recorder = Recorder()
    consumer = await bed.joined(recorder)
    await bed.upstream.say(MessageKind.EVENTS, b'[{"not": "ours"}]')
    await bed.upstream.write()
    total = await drained(consumer, recorder, bed.upstream)
    assert (total.undecodable, total.refills) == (1, 1)


async def test_a_rebuild_is_done_once(bed: Bed) -> None:
    """A rebuild that is asked for reaches every handler once, however often the message comes."""
    first, second = Recorder("first"), Recorder("second")
    consumer = await bed.joined(first, second)
    bed.broker.copies = 3
    await bed.upstream.say(MessageKind.REBUILD)
    await bed.upstream.write()
    await drained(consumer, first, bed.upstream)
    assert (first.rebuilds, second.rebuilds) == (1, 1)
