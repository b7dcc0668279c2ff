"""The demo's mirrors: whatever the order in which they are told, they are what the ledger is, or know that they are not."""

from datetime import UTC, datetime
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onebook.ops.demo.mirror import MAX_ASIDE, REDEFINED, Event, Front, Mirror, Picture, Shelf, Touched
from onebook.ops.demo.proof import difference

ROOMS = ("alfama/double", "alfama/suite")
NIGHTS = ["2027-01-04", "2027-01-05", "2027-01-06"]
CAPACITY = 9


class Hotel:
    """A ledger of two rooms: each change takes units of some nights, and raises the version of one room."""

    def __init__(self) -> None:
        self.now: Picture = {room: Shelf(1, dict.fromkeys(NIGHTS, CAPACITY)) for room in ROOMS}

    def snapshot(self) -> list[Touched]:
        """Everything, as it is."""
        return [Touched(room, s.version, list(s.cells), list(s.cells.values())) for room, s in self.now.items()]

    def change(self, random: Random) -> Event:
        """One change, and the event that tells of it."""
        room = random.choice(ROOMS)
        shelf = self.now[room]
        touched = random.sample(NIGHTS, random.randint(1, len(NIGHTS)))
        for night in touched:
            shelf.cells[night] = random.randint(0, CAPACITY)
        shelf.version += 1
        return told(Touched(room, shelf.version, touched, [shelf.cells[night] for night in touched]))


def told(*resources: Touched, kind: str = "onebook.availability.changed.v1") -> Event:
    """An event about resources."""
    body = {"type": kind, "time": datetime.now(UTC), "data": {"resources": resources}}
    return msgspec.json.decode(msgspec.json.encode(body), type=Event)


@pytest.fixture
def hotel() -> Hotel:
    """Two rooms of which nothing is sold."""
    return Hotel()


@given(st.randoms(use_true_random=False), st.integers(0, 20), st.integers(0, 20))
def test_order_repetition_and_lateness_change_nothing(random: Random, before: int, after: int) -> None:
    """Events in any order and more than once, and a snapshot from anywhere among them, lead to what the ledger is."""
    hotel = Hotel()
    events = [hotel.change(random) for _ in range(before)]
    snapshot = hotel.snapshot()
    events += [hotel.change(random) for _ in range(after)]
    events += random.choices(events, k=5) if events else []
    random.shuffle(events)
    cut = random.randint(0, len(events))
    front = Front()
    mirror = Mirror(front)
    for event in events[:cut]:
        mirror.hear(event)
    mirror.read(snapshot, is_whole=True)
    for event in events[cut:]:
        mirror.hear(event)
    assert difference(mirror.shelves, hotel.now) is None
    assert mirror.behind == 0
    assert not mirror.gaps


@given(st.randoms(use_true_random=False), st.integers(1, 20))
def test_a_lost_event_is_noticed_or_found(random: Random, count: int) -> None:
    """One event less, and the mirror knows of a gap, or, if it was the last of its room, the comparison finds it."""
    hotel = Hotel()
    mirror = Mirror(Front())
    mirror.read(hotel.snapshot(), is_whole=True)
    events = [hotel.change(random) for _ in range(count)]
    place = random.randrange(count)
    room = events.pop(place).data.resources[0].resource
    for event in events:
        mirror.hear(event)
    assert difference(mirror.shelves, hotel.now) is not None
    more_of_it = any(event.data.resources[0].resource == room for event in events[place:])
    assert set(mirror.gaps) == ({room} if more_of_it else set())
    mirror.read(hotel.snapshot(), is_whole=True)
    assert difference(mirror.shelves, hotel.now) is None
    assert not mirror.gaps


def test_the_first_difference_is_named(hotel: Hotel) -> None:
    """A cell that is not the ledger's is told with both figures, and so is a version, and a room that is not there."""
    cells = {**hotel.now[ROOMS[0]].cells, NIGHTS[1]: 3}
    wrong = {**hotel.now, ROOMS[0]: Shelf(1, cells)}
    assert difference(wrong, hotel.now) == "alfama/double 2027-01-05: 3 in the mirror, 9 in the ledger"
    late = {**hotel.now, ROOMS[1]: Shelf(0, hotel.now[ROOMS[1]].cells)}
    assert difference(late, hotel.now) == "alfama/suite: version 0 in the mirror, 1 in the ledger"
    assert difference({}, hotel.now) == "alfama/double is known only to the ledger"


def test_a_partner_that_was_away_is_right_after_one_delta(hotel: Hotel) -> None:
    """What changed meanwhile, in its latest state, brings it into step; the events that come late are no news."""
    random = Random(1)
    front = Front()
    away, here = Mirror(front), Mirror(front)
    for mirror in (away, here):
        mirror.read(hotel.snapshot(), is_whole=True)
    missed = [hotel.change(random) for _ in range(30)]
    assert all(here.hear(event) for event in missed)
    assert away.behind == 30
    away.read(hotel.snapshot(), is_whole=False)
    assert away.behind == 0
    assert not any(away.hear(event) for event in missed)
    assert difference(away.shelves, hotel.now) is None


def test_a_delta_of_a_redefined_room_tells_the_cells_that_it_does_not_name(hotel: Hotel) -> None:
    """They have what is said of all others, but for those that were outside the opening hours, which have nothing still."""
    mirror = Mirror(Front())
    hotel.now[ROOMS[0]].cells[NIGHTS[2]] = 0
    mirror.read(hotel.snapshot(), is_whole=True)
    mirror.read([Touched(ROOMS[0], 3, [NIGHTS[0]], [4], otherwise=12)], is_whole=False)
    assert mirror.shelves[ROOMS[0]] == Shelf(3, dict(zip(NIGHTS, (4, 12, 0), strict=True)))


def test_only_a_snapshot_gets_past_a_new_definition(hotel: Hotel) -> None:
    """An event that redefines a room does not say what became of its cells: the mirror knows that it has to read."""
    mirror = Mirror(Front())
    mirror.read(hotel.snapshot(), is_whole=True)
    mirror.hear(told(Touched(ROOMS[0], 2, [], []), kind=REDEFINED))
    assert mirror.gaps == {ROOMS[0]: 2}
    hotel.now[ROOMS[0]] = Shelf(2, dict.fromkeys(NIGHTS, 20))
    mirror.read(hotel.snapshot(), is_whole=True)
    assert not mirror.gaps
    assert difference(mirror.shelves, hotel.now) is None


def test_what_is_kept_aside_is_bounded_and_the_gap_stays_known(hotel: Hotel) -> None:
    """After a loss, far more changes than are kept aside still ask for the version that was heard last."""
    mirror = Mirror(Front())
    mirror.read(hotel.snapshot(), is_whole=True)
    last = 3 * MAX_ASIDE
    for version in range(3, last + 1):
        mirror.hear(told(Touched(ROOMS[0], version, [NIGHTS[0]], [1])))
    assert mirror.gaps == {ROOMS[0]: last}
    mirror.read([Touched(ROOMS[0], last, NIGHTS, [1, 2, 3])], is_whole=True)
    assert not mirror.gaps
