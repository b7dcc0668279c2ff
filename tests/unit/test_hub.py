"""The hub's parts: what makes two workers' cursors equal, what a client may see, what is sent to whom."""

import itertools
import random
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onebook.api.stream_routes import full_type
from onebook.config import PushSettings
from onebook.log.read import Cursor as LogCursor
from onebook.log.stream import AVAILABILITY_TYPE, StreamEvent, event_of_row, events_of
from onebook.push.client import Ending
from onebook.push.cursor import MalformedCursor, Place, parse
from onebook.push.frames import SSE, Filter, Wire
from onebook.push.hub import Hub
from onebook.push.resume import NOW
from onebook.push.ring import Ring

BATCH = 7


def event(
    position: int,
    *,
    txn: int | None = None,
    venue: str = "alfama",
    channel: str | None = "atlas",
    kind: str | None = None,
) -> StreamEvent:
    """A booking's event, or with no channel an inventory's, unless a kind is given."""
    kind = kind or ("inventory.changed" if channel is None else "booking.held")
    touched = {"resource": f"{venue}/double", "version": position, "cells": ["2026-12-01"], "available": [1]}
    data = {"resources": [touched]} | ({} if channel is None else {"channel": channel, "booking": f"secret-{position}"})
    body = {
        "id": str(position),
        "type": f"onebook.{kind}.v1",
        "source": f"/venues/{venue}",
        "subject": f"bookings/secret-{position}",
        "time": "2026-12-01T10:00:00Z",
        "sequence": f"{position if txn is None else txn:016d}.{position:016d}",
        "data": data,
    }
    return events_of(msgspec.json.encode([body]), 0.0, position)[0]


def without_resources(position: int, kind: str, subject: str, venues: list[str], data: dict[str, Any]) -> StreamEvent:
    """An event that touches nothing on sale, by way of the log's row, as the relay has it."""
    row = {"txn": position, "position": position, "time": datetime(2026, 12, 1, tzinfo=UTC), "type": kind}
    told = msgspec.json.encode({"resources": [], "venues": venues} | data).decode()
    return event_of_row(row | {"subject": subject, "venues": venues, "traceparent": None, "data": told})


def checkout(position: int, kind: str = "checkout.completed") -> StreamEvent:
    """Of a checkout of atlas, at two venues."""
    data = {
        "checkout": "c1",
        "booking": "b1",
        "channel": "atlas",
        "state": "completed",
        "amount_minor": 1,
        "currency": "EUR",
    }
    return without_resources(position, kind, f"checkouts/{position}", ["porto", "alfama"], data)


def offer(position: int) -> StreamEvent:
    """Of what everybody may know."""
    return without_resources(position, "offer.changed", f"offers/{position}", ["alfama"], {"rate_plan": "flex"})


def customer(position: int) -> StreamEvent:
    """Of a person."""
    return without_resources(position, "customer.changed", f"customers/{position}", [], {"customer": "u1"})


def wanting(**changes: Any) -> Filter:
    """A filter of somebody who sees everything of one venue, changed."""
    given = {"venues": frozenset({"alfama"}), "types": None, "sees_bookings": True, "only_channel": None}
    return Filter(**(given | changes))


class Pocket:
    """A client that keeps what it is sent; `taken` is what has left the process."""

    def __init__(self, wanted: Filter, expires_at: float = float("inf")) -> None:
        self.wire: Wire = SSE
        self.filter = wanted
        self.expires_at = expires_at
        self.is_gone = False
        self.payloads: list[bytes] = []
        self.backlog = 0
        self.ending: Ending | None = None

    def backlog_bytes(self) -> int:
        """As if the transport said so."""
        return self.backlog

    def write(self, payload: bytes) -> None:
        """Keep it."""
        self.payloads.append(payload)

    async def drained(self) -> None:
        """At once."""

    def end(self, ending: Ending) -> None:
        """Remember why."""
        self.is_gone, self.ending = True, ending

    @property
    def text(self) -> str:
        """All that was sent."""
        return b"".join(self.payloads).decode()


def new_hub(**changes: Any) -> Hub:
    """A hub that needs no database, since everything its clients ask for is in the ring."""
    given = {"max_clients": 10, "max_client_buffer_kib": 16, "kept_events": 100, "comment_seconds": 15.0}
    return Hub(None, PushSettings(**(given | changes)))  # type: ignore[arg-type]


@given(st.integers(1, 2**63 - 1), st.integers(0, 2**64 - 1))
def test_a_place_is_read_as_it_was_written(horizon: int, fingerprint: int) -> None:
    """Every place and every cursor of the log comes back from its text."""
    assert parse(str(Place(horizon, fingerprint))) == Place(horizon, fingerprint)
    assert parse(str(LogCursor(horizon, horizon))) == LogCursor(horizon, horizon)


@given(st.text(max_size=300))
def test_any_text_is_a_cursor_or_not(text: str) -> None:
    """Nothing that a client sends makes the parser fail in another way than by saying that it is malformed."""
    try:
        parse(text)
    except MalformedCursor:
        assert not text or len(text) > 200 or any(not (c.isascii() and c.isalnum()) and c not in "-_" for c in text)


@given(st.lists(st.integers(1, 200), unique=True, max_size=60), st.randoms(use_true_random=False))
def test_equal_places_mean_equal_sets(txns: list[int], rng: random.Random) -> None:
    """Two workers that take the same events in another order issue the same place exactly where their sets agree."""
    orders = [list(txns), list(txns)]
    rng.shuffle(orders[1])
    horizon, later = 1, rng.randint(1, 200)
    sets: list[dict[Place, frozenset[int]]] = []
    for order in orders:
        ring = Ring(1000)
        ring.begin(horizon)
        seen: dict[Place, frozenset[int]] = {ring.place: frozenset()}
        for count, txn in enumerate(order, 1):
            assert ring.add(event(txn, txn=txn)) is not None
            seen[ring.place] = frozenset(order[:count])
        # Everything is handled: both may be told any horizon, and still agree on what lies above it.
        ring.advance(later)
        seen[ring.place] = frozenset(txn for txn in order if txn >= later)
        sets.append(seen)
    for place in sets[0].keys() & sets[1].keys():
        assert sets[0][place] == sets[1][place]
    assert list(sets[0])[-1] == list(sets[1])[-1]


def test_events_that_come_again_are_not_kept_twice() -> None:
    """A repeated event changes neither the ring nor its place."""
    ring = Ring(10)
    ring.begin(1)
    ring.add(event(5))
    place = ring.place
    assert ring.add(event(5)) is None
    assert (ring.place, ring.next) == (place, 1)


def test_a_replayed_dead_letter_is_shown() -> None:
    """An event from below the horizon that was never here passes, and later places do not depend on it."""
    ring = Ring(10)
    ring.begin(1)
    ring.advance(50)
    place = ring.place
    assert ring.add(event(5)) is not None
    assert ring.place == place


def test_the_ring_is_bounded_and_says_what_it_lost() -> None:
    """Old events leave; their places are unknown afterwards, and the floor tells from which transaction on all are there."""
    ring = Ring(10)
    ring.begin(1)
    first = ring.place
    for position in range(1, 26):
        ring.add(event(position))
    assert (ring.first, ring.next, ring.floor) == (15, 25, 16)
    assert ring.number_of(first) is None
    assert [kept.position for kept in ring.after(ring.number_from(20), 3)] == [20, 21, 22]
    with pytest.raises(LookupError):
        ring.after(14, 1)


def test_a_horizon_that_does_not_move_makes_places_private() -> None:
    """When more lies above the horizon than is kept, two workers' places no longer agree, and do again after it has moved."""
    rings = [Ring(10), Ring(10)]
    for ring in rings:
        ring.begin(1)
        for position in range(1, 31):
            ring.add(event(position))
    assert rings[0].place != rings[1].place
    for ring in rings:
        ring.advance(29)
    assert rings[0].place == rings[1].place


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (wanting(), "full"),
        (wanting(only_channel="atlas"), "full"),
        (wanting(only_channel="rival"), "public"),
        (wanting(sees_bookings=False), "public"),
        (wanting(types=frozenset({"onebook.booking.held.v1"})), "full"),
        (wanting(types=frozenset({"onebook.booking.held.v1"}), only_channel="rival"), None),
        (wanting(types=frozenset({AVAILABILITY_TYPE}), only_channel="rival"), "public"),
        (wanting(types=frozenset({AVAILABILITY_TYPE})), None),
    ],
)
def test_what_a_client_sees_is_decided_by_its_token(wanted: Filter, expected: str | None) -> None:
    """A booking is shown in full to its own channel and to those who see all; a filter goes by the type that is seen."""
    ring = Ring(10)
    ring.begin(1)
    kept = ring.add(event(1))
    assert kept is not None
    body = wanted.body_of(kept)
    assert body == {"full": kept.body, "public": kept.public_body, None: None}[expected]
    assert kept.public_body is not None and b"secret" not in kept.public_body


@pytest.mark.parametrize(
    ("wanted", "is_told"),
    [
        (wanting(), True),
        (wanting(only_channel="atlas"), True),
        (wanting(only_channel="rival"), False),
        (wanting(sees_bookings=False), False),
        (wanting(types=frozenset({"onebook.checkout.completed.v1"})), True),
        (wanting(types=frozenset({AVAILABILITY_TYPE}), only_channel="rival"), False),
    ],
)
async def test_a_checkout_is_told_to_its_channel_alone(wanted: Filter, is_told: bool) -> None:
    """An event that touches nothing on sale goes in full to who may see its booking, at its venues, and to nobody else."""
    hub = new_hub()
    hub._ring.begin(1)
    here, elsewhere = Pocket(wanted), Pocket(msgspec.structs.replace(wanted, venues=frozenset({"opera"})))
    hub.join(here, NOW)
    hub.join(elsewhere, NOW)
    await hub.handle([checkout(1)])
    assert ("checkouts/1" in here.text) == is_told
    assert '"id":"' not in elsewhere.text
    hub.close()


async def test_what_is_told_of_a_customer_is_streamed_to_nobody() -> None:
    """It belongs to no venue, and streams are of venues; an offer belongs to one, and everybody there is told."""
    hub = new_hub()
    hub._ring.begin(1)
    clients = [Pocket(wanting()), Pocket(wanting(sees_bookings=False))]
    for client in clients:
        hub.join(client, NOW)
    await hub.handle([customer(1), offer(2)])
    for client in clients:
        assert "customers/1" not in client.text and "offers/2" in client.text
    hub.close()


def test_a_type_that_nobody_has_thought_about_is_not_public() -> None:
    """Of an event that may tell of anything, a channel learns what is available and nothing else."""
    ring = Ring(9)
    ring.begin(1)
    kept = ring.add(event(5, kind="folio.charged"))
    assert kept is not None
    shown = wanting(only_channel="belem").body_of(kept)
    assert shown is not None
    assert b"secret" not in shown
    assert wanting().body_of(kept) == kept.body


def test_a_type_has_two_names() -> None:
    """Short names, full names and later versions."""
    assert full_type("booking.held") == full_type("onebook.booking.held.v1") == "onebook.booking.held.v1"
    assert full_type("booking.held.v2") == "onebook.booking.held.v2"
    assert full_type("venue.changed") == "onebook.venue.changed.v1"


async def test_one_write_a_batch_and_none_for_other_venues() -> None:
    """A batch reaches each client in one write, the same bytes for equal filters, and nobody of another venue."""
    hub = new_hub()
    hub._ring.begin(1)
    here, twin, elsewhere = Pocket(wanting()), Pocket(wanting()), Pocket(wanting(venues=frozenset({"porto"})))
    for client in (here, twin, elsewhere):
        hub.join(client, NOW)
    await hub.handle([event(position) for position in range(1, BATCH + 1)])
    assert [len(client.payloads) for client in (here, twin, elsewhere)] == [2, 2, 1]
    assert here.payloads[1] is twin.payloads[1]
    assert here.text.count("id: ") == BATCH + 1
    hub.close()
    assert here.ending is Ending.RESTARTING


async def test_resuming_from_the_ring_gives_exactly_what_comes_after() -> None:
    """From every place in the ring on: each later event once, in order, then what is live."""
    hub = new_hub()
    hub._ring.begin(1)
    places = [str(hub._ring.place)]
    for position in range(1, 9):
        await hub.handle([event(position)])
        places.append(str(hub._ring.place))
    for seen, cursor in enumerate(places):
        client = Pocket(wanting())
        hub.join(client, await hub.start_of(cursor))
        await hub.handle([event(100 + seen)])
        shown = [int(part.partition('"')[0]) for part in client.text.split('"id":"')[1:]]
        assert shown == [*range(seen + 1, 9), *range(100, 101 + seen)]
        hub.leave(client)


async def test_a_slow_client_is_dropped_alone() -> None:
    """Who has too much before him is ended with the reason before more is written; the others get everything."""
    hub = new_hub()
    hub._ring.begin(1)
    slow, good = Pocket(wanting()), Pocket(wanting())
    hub.join(slow, NOW)
    hub.join(good, NOW)
    slow.backlog = 16 * 1024 + 1
    await hub.handle([event(1)])
    assert slow.ending is Ending.TOO_SLOW
    assert len(slow.payloads) == 1
    await hub.handle([event(2)])
    assert good.text.count('"id":"') == 2
    hub.close()


async def test_an_event_that_cannot_be_shown_harms_no_other() -> None:
    """Those before it in a batch are sent although it fails, and those after it when they are tried again."""
    hub = new_hub()
    hub._ring.begin(1)
    client = Pocket(wanting())
    hub.join(client, NOW)
    poison = event(2)
    poison.resources = [None]  # type: ignore[list-item]
    with pytest.raises(AttributeError):
        await hub.handle([event(1), poison, event(3)])
    for single in (event(1), event(3)):
        await hub.handle([single])
    assert [part.partition('"')[0] for part in client.text.split('"id":"')[1:]] == ["1", "3"]
    hub.close()


async def test_tokens_expire_and_silence_is_broken() -> None:
    """The timer ends streams whose token has expired, and says to the silent ones that they live."""
    hub = new_hub(comment_seconds=0.5)
    hub._ring.begin(1)
    expired, silent = Pocket(wanting(), expires_at=1.0), Pocket(wanting())
    hub.join(expired, NOW)
    hub.join(silent, NOW)
    hub._tick()
    assert expired.ending is Ending.TOKEN_EXPIRED
    assert ": alive\nid: " in silent.payloads[1].decode()
    hub.close()


def test_a_full_hub_says_so() -> None:
    """After max_clients nobody else is taken in."""
    hub = new_hub(max_clients=2)
    hub._clients.update(Pocket(wanting()) for _ in itertools.repeat(None, 2))
    assert hub.is_full
