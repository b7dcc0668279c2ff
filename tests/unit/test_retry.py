"""What comes after an attempt, and in which order deliveries of an endpoint may go."""

from datetime import UTC, datetime
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onebook.breaker import Breaker, BreakerState
from onebook.channels.endpoints import Endpoint, EndpointId, full_types, message_id, position_of
from onebook.channels.lane import Lane, Owed
from onebook.channels.retry import (
    LONGEST_WAIT_SECONDS,
    Outcome,
    Patience,
    Verdict,
    judge,
    retry_after_seconds,
)

PATIENCE = Patience(first_wait_seconds=5, give_up_seconds=3 * 86_400)
NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)


def judged(status_code: int | None, *, retry_after: float | None = None, failures: int = 1, age: float = 0) -> Verdict:
    """A verdict without luck."""
    return judge(
        PATIENCE, status_code=status_code, retry_after=retry_after, failures=failures, age_seconds=age, luck=0.5
    )


@given(st.integers(1, 10), st.floats(0, 0.999), st.floats(0, 0.999))
def test_each_wait_is_longer_than_the_one_before(failures: int, luck: float, later: float) -> None:
    """Doubled, a quarter more or less by luck, until the longest."""
    assert PATIENCE.wait_seconds(failures, luck) < PATIENCE.wait_seconds(failures + 1, later)
    assert PATIENCE.wait_seconds(1000, luck) <= LONGEST_WAIT_SECONDS * 1.25


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, "delivered"),
        (204, "delivered"),
        (299, "delivered"),
        (100, "retry"),
        (301, "retry"),
        (307, "retry"),
        (400, "retry"),
        (404, "retry"),
        (410, "gone"),
        (429, "retry"),
        (500, "retry"),
        (503, "retry"),
        (None, "retry"),
    ],
)
def test_what_a_status_means(status: int | None, outcome: str) -> None:
    """2xx is delivered, 410 is gone, everything else is tried again, redirects too."""
    assert judged(status).outcome == outcome


def test_a_delivery_is_given_up_when_its_next_attempt_would_be_too_late() -> None:
    """Three days, and no attempt after them."""
    assert judged(500, age=3 * 86_400 - 6).outcome is Outcome.RETRY
    assert judged(500, age=3 * 86_400 - 4).outcome is Outcome.DEAD


def test_retry_after_counts_for_429_and_503_and_has_a_bound() -> None:
    """It is waited for, and the whole endpoint rests; a year is not believed; with other statuses it means nothing."""
    assert judged(429, retry_after=60) == Verdict(Outcome.RETRY, 60, 60)
    assert judged(503, retry_after=1e9).rest_seconds == LONGEST_WAIT_SECONDS
    assert judged(500, retry_after=60) == Verdict(Outcome.RETRY, 5, 0)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120),
        (" 7 ", 7),
        ("Tue, 01 Dec 2026 12:01:00 GMT", 60),
        ("Tue, 01 Dec 2026 11:00:00 GMT", 0),
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1e9", None),
        ("9" * 40, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str | None, seconds: float | None) -> None:
    """What cannot be understood says nothing."""
    assert retry_after_seconds(text, NOW) == seconds


def test_a_breaker_opens_probes_and_closes() -> None:
    """Three failures in a row open it; when its time is over one goes out; that one's success closes it, its failure does not."""
    breaker = Breaker(failures=3, open_seconds=30)
    for _ in range(2):
        breaker.failed(0)
    breaker.succeeded()
    for _ in range(3):
        assert breaker.allows(0, in_flight=5)
        breaker.failed(0)
    assert breaker.state is BreakerState.OPEN
    breaker.failed(20)  # one that was still under way
    assert not breaker.allows(29, in_flight=0)
    assert breaker.allows(30, in_flight=0)
    assert not breaker.allows(30, in_flight=1)
    breaker.failed(31)
    assert not breaker.allows(60, in_flight=0)
    assert breaker.allows(61, in_flight=0)
    assert breaker.succeeded()
    assert breaker.allows(61, in_flight=9)


def lane(window: int = 1000, concurrency: int = 1000) -> Lane:
    """An empty lane that has read its table."""
    endpoint = Endpoint(
        id=EndpointId("e"), url="", venues=frozenset("*"), types=frozenset("*"), channel=None, secret="",
        previous_secret=None, previous_until=None, is_active=True, revision=1, filled_revision=1, since_txn=0, first_txn=0,
        woken=0,
    )  # fmt: skip
    made = Lane(endpoint, Breaker(10_000, 1), window=window, concurrency=concurrency)
    made.has_more = False
    return made


def owed(position: int, *resources: str) -> Owed:
    """A delivery."""
    return Owed(
        txn=position, position=position, resources=resources, body=b"x", kind="t", subject="s", traceparent=None,
        committed_at=0, queued_at=0,
    )  # fmt: skip


@given(st.lists(st.sets(st.sampled_from("abcd"), max_size=3), max_size=40), st.integers(0, 2**32))
def test_deliveries_of_a_resource_never_overtake(touched: list[set[str]], seed: int) -> None:
    """Whatever fails, comes late or is asked for again: of each resource one is under way, and in the log's order."""
    random, tested, now = Random(seed), lane(), 0.0
    under_way: list[Owed] = []
    done: list[Owed] = []
    waiting = [owed(number, *resources) for number, resources in enumerate(touched)]
    while len(done) < len(touched):
        now += 1
        if waiting and random.random() < 0.5:
            tested.offer(waiting.pop(0), now)
        while (ready := tested.next(now)) is not None:
            under_way.append(ready)
        busy = [resource for each in under_way for resource in each.resources]
        assert len(busy) == len(set(busy))
        if under_way:
            ended = under_way.pop(random.randrange(len(under_way)))
            tested.in_flight -= 1
            if random.random() < 0.25:
                tested.retry(ended, now + 2, now)
            else:
                tested.settle(ended, now)
                tested.forget(ended)
                done.append(ended)
    for resource in "abcd":
        positions = [each.position for each in done if resource in each.resources]
        assert positions == sorted(positions)
    assert len(tested) == 0


def test_a_full_lane_leaves_the_rest_to_the_table() -> None:
    """Beyond the window nothing is taken in until the table has been read."""
    tested = lane(window=4)
    for position in range(6):
        tested.offer(owed(position, "a"), 0)
    assert (len(tested), tested.has_more, tested.wants_more) == (4, True, False)
    for _ in range(2):
        first = tested.next(0)
        assert first is not None
        tested.settle(first, 0)
        tested.forget(first)
    assert tested.wants_more
    tested.loading()
    tested.offer(owed(6, "a"), 0)
    tested.loaded([owed(4, "a"), owed(5, "a")], is_all=True, now=0)
    assert tested.knows(5) and not tested.knows(6)
    assert tested.has_more


def test_names_and_ids() -> None:
    """A webhook-id says its position, to its own endpoint only; short types stand for full ones."""
    mine, other = EndpointId("01a1c3f0-0000-7000-8000-000000000001"), EndpointId("01a1c3f0-0000-7000-8000-000000000002")
    assert position_of(message_id(mine, 42), mine) == 42
    for text in (message_id(other, 42), "msg_", "", message_id(mine, 42) + "x", message_id(mine, 42) + "0" * 30):
        assert position_of(text, mine) is None
    assert full_types(["booking.held", "onebook.booking.held.v1", "*"]) == ["onebook.booking.held.v1", "*"]
