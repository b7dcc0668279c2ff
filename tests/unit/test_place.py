"""Where a consumer stands: what counts as handled, and what follows what, for any order in which the world tells it."""

from collections.abc import Iterable
from types import SimpleNamespace
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from onebook.broker.place import Place, Snapshot
from onebook.broker.protocol import Message
from onebook.log.stream import StreamEvent


def entry(txn: int, position: int) -> StreamEvent:
    """An event of which only its place in the log matters."""
    return cast(StreamEvent, SimpleNamespace(txn=txn, position=position))


def positions(events: Iterable[StreamEvent]) -> list[int]:
    """Where they lie."""
    return [event.position for event in events]


def message(lsn: int, previous: int) -> Message:
    """A message of which only its place in the chain matters."""
    return Message(lsn=lsn, previous=previous, committed_at=0.0)


def test_below_the_horizon_everything_is_handled() -> None:
    """An event of a transaction below the horizon is a duplicate, one at it is not."""
    assert positions(Place(10).admit([entry(9, 1), entry(10, 2)])) == [2]


def test_an_event_is_admitted_once() -> None:
    """The same event is a duplicate in the same batch and in every later one."""
    place = Place(10)
    assert positions(place.admit([entry(10, 1), entry(10, 1), entry(12, 2)])) == [1, 2]
    assert place.admit([entry(12, 2), entry(10, 1)]) == []


def test_what_was_open_at_a_refill_is_still_awaited() -> None:
    """A transaction that was open in the snapshot is admitted when it is read later, and holds the horizon back until then."""
    place = Place(10)
    place.refill(Snapshot(20, frozenset({12})), lsn=100)
    assert place.horizon == 12
    assert positions(place.admit([entry(11, 1), entry(12, 2), entry(20, 3)])) == [2, 3]
    place.settle(frozenset())
    assert place.horizon == 20
    assert place.admit([entry(12, 2), entry(20, 3)]) == []


def test_a_heartbeat_moves_the_horizon_and_never_back() -> None:
    """The horizon follows the heartbeats upward and ignores an older one."""
    place = Place(10)
    place.pass_horizon(30)
    place.pass_horizon(20)
    assert place.horizon == 30


def test_a_message_follows_when_its_predecessor_is_known() -> None:
    """A message follows what has been heard or read; one whose predecessor is missing or unknown does not."""
    place = Place(10)
    place.refill(Snapshot(20, frozenset()), lsn=100)
    assert place.follows(message(150, previous=90))
    place.hear(message(150, previous=90))
    assert place.follows(message(160, previous=150))
    assert not place.follows(message(180, previous=170))
    assert not place.follows(message(180, previous=0))


def test_a_message_is_repeated_only_when_it_was_heard_itself() -> None:
    """Reading the log beyond a message does not make its first arrival a repetition; hearing it does."""
    place = Place(10)
    place.refill(Snapshot(20, frozenset()), lsn=100)
    assert not place.is_repeated(message(90, previous=80))
    place.hear(message(90, previous=80))
    assert place.is_repeated(message(90, previous=80))


def test_what_is_remembered_is_bounded() -> None:
    """Of more positions than may be remembered the older ones are forgotten, and the latest are not."""
    place = Place(1, max_seen=100)
    place.admit([entry(1, position) for position in range(1000)])
    again = positions(place.admit([entry(1, position) for position in range(1000)]))
    assert again == list(range(again[-1] + 1))
    assert again[-1] < 999


@given(
    st.lists(st.integers(1, 30), unique=True, max_size=30),
    st.sets(st.integers(1, 30)),
    st.integers(1, 31),
    st.data(),
)
def test_every_transaction_is_handled_exactly_once(
    order: list[int], invisible: set[int], upto: int, data: st.DataObject
) -> None:
    """However a refill falls between messages, and whatever it cannot see yet, each event is admitted once."""
    place, handled = Place(1), []
    half = data.draw(st.integers(0, len(order)))
    lost = data.draw(st.sets(st.sampled_from(order))) if order else set()
    for txn in order[:half]:
        if txn not in lost:
            handled += place.admit([entry(txn, txn)])
    is_open = frozenset(txn for txn in range(1, upto) if txn in invisible or txn in order[half:])
    handled += place.admit(entry(txn, txn) for txn in sorted(order) if txn < upto and txn not in is_open)
    place.refill(Snapshot(upto, is_open), lsn=1)
    for txn in order[half:]:
        handled += place.admit([entry(txn, txn)])
    handled += place.admit(entry(txn, txn) for txn in sorted(order) if txn in is_open)
    place.settle(frozenset())
    missed = {txn for txn in lost & set(order[:half]) if txn >= upto}
    assert sorted(positions(handled)) == sorted(set(order) - missed)
