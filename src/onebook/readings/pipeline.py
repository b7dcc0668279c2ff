"""The pipeline at a glance: what flows, how far behind each consumer is, and what stands in its way. Pure.

Counters only ever grow, so what happened in a window is the difference of two scrapes. One scrape alone tells of everything since
the server started, and has no rates.
"""

import math

import msgspec

from onebook.readings.scrape import Buckets, Scrape

COMMANDS = "onebook_commands_total"
OFFSET = "onebook_consumer_offset"
LAG = "onebook_cdc_lag_seconds"
REBALANCE = "onebook_rebalance_lag_seconds"
END_TO_END = "onebook_end_to_end_seconds"
EVENTS = "onebook_consumer_events_total"
DUPLICATES = "onebook_consumer_duplicates_total"
REFILLS = "onebook_consumer_refills_total"
PARKED = "onebook_consumer_parked_total"
SLOT_RETAINED = "onebook_relay_slot_retained_bytes"
SLOT_SAFE = "onebook_relay_slot_safe_bytes"
SLOT_LOST = "onebook_relay_slot_losses_total"
RELAY_WAITING = "onebook_relay_waiting_bytes"
CLIENTS = "onebook_push_clients"
BREAKER = "onebook_webhook_breaker"
DELIVERIES = "onebook_webhook_backlog"
DEAD_LETTERS = "onebook_dead_letters"
FORGED = "onebook_forged_messages_total"
CHECKOUTS = "onebook_checkouts_total"
CHECKOUTS_UNDER_WAY = "onebook_checkouts_under_way"
CHECKOUT_OLDEST = "onebook_checkout_oldest_seconds"
REFUNDS_FAILED = "onebook_refunds_failed"
GATEWAY_BREAKER = "onebook_gateway_breaker"

RELAY = "relay"
"""The first consumer, which hands on to all others."""


class Consumer(msgspec.Struct, frozen=True):
    """One consumer of the log; of several workers the worst. Duplicates, refills and parked events are since the start."""

    name: str
    events_per_second: float | None
    lag_seconds: float | None
    end_to_end_p50_ms: float | None
    end_to_end_p99_ms: float | None
    backlog_bytes: int | None
    offset: int | None
    rebalance_lag_seconds: float | None
    duplicates: int
    refills: int
    parked: int


class Slot(msgspec.Struct, frozen=True):
    """The replication slot: the WAL it holds back, what it may still hold back before it is lost, and how often it was."""

    retained_bytes: int | None
    safe_bytes: int | None
    times_lost: int


class Webhooks(msgspec.Struct, frozen=True):
    """Deliveries to partners that are not finished, and endpoints that are given a rest since they fail."""

    backlog: int | None
    breakers_open: int


class Money(msgspec.Struct, frozen=True):
    """Checkouts: how many are paid a second, how many are under way, and what an operator has to look after."""

    paid_per_second: float | None
    under_way: int | None
    oldest_seconds: float | None
    """How long ago the oldest began that waits for no payer."""
    gateway_is_open: bool
    """Whether the breaker to the gateway lets everything through."""
    refunds_failed: int


class Pipeline(msgspec.Struct, frozen=True):
    """One reading. Without a window everything is since the start, and there are no rates; what nobody reports is null."""

    window_seconds: float | None
    holds_per_second: float | None
    commands_per_second: float | None
    clients: int | None
    consumers: tuple[Consumer, ...]
    slot: Slot
    webhooks: Webhooks
    money: Money
    dead_letters: int | None
    forged_messages: int
    """Refused since the start: the relay had not signed them."""


def pipeline_of(now: Scrape, before: Scrape | None = None) -> Pipeline:
    """The pipeline between two scrapes, or since the server started. Raises ValueError where they are in the wrong order."""
    if before is not None and before.taken_at >= now.taken_at:
        raise ValueError("the scrapes are not in the order of time")
    reported = {*now.by(LAG, "consumer"), *now.by(OFFSET, "consumer"), *now.by(EVENTS, "consumer")}
    return Pipeline(
        window_seconds=None if before is None else now.taken_at - before.taken_at,
        holds_per_second=_rate(now, before, COMMANDS, command="PlaceHold", outcome="done"),
        commands_per_second=_rate(now, before, COMMANDS),
        clients=_whole(now.total(CLIENTS)),
        consumers=tuple(
            _consumer(name, now, before) for name in sorted(reported, key=lambda name: (name != RELAY, name))
        ),
        slot=Slot(
            retained_bytes=_whole(now.total(SLOT_RETAINED)),
            safe_bytes=_safe(now),
            times_lost=_count(now, SLOT_LOST),
        ),
        webhooks=Webhooks(
            backlog=_whole(now.total(DELIVERIES)),
            breakers_open=sum(value > 0 for value in now.by(BREAKER, "endpoint").values()),  # half-open is not well yet
        ),
        money=Money(
            paid_per_second=_rate(now, before, CHECKOUTS, state="completed"),
            under_way=_whole(now.total(CHECKOUTS_UNDER_WAY)),
            oldest_seconds=now.total(CHECKOUT_OLDEST),
            gateway_is_open=not any(value > 0 for value in now.by(GATEWAY_BREAKER, "gateway").values()),
            refunds_failed=_count(now, REFUNDS_FAILED),
        ),
        dead_letters=_whole(now.total(DEAD_LETTERS)),
        forged_messages=_count(now, FORGED),
    )


def quantile(buckets: Buckets, share: float) -> float | None:
    """The value below which a share of a histogram's observations lie; None where it has none.

    As Prometheus' `histogram_quantile`: interpolated linearly within the bucket, whose lower bound is that of the one before it,
    0 for the first; in the infinite bucket, the highest finite bound (https://prometheus.io/docs/practices/histograms/).
    """
    if not buckets or buckets[-1][1] <= 0:
        return None
    rank = share * buckets[-1][1]
    lower, below = 0.0, 0.0
    for bound, reached in buckets:
        if reached >= rank and reached > below:
            return lower if math.isinf(bound) else lower + (bound - lower) * (rank - below) / (reached - below)
        lower, below = lower if math.isinf(bound) else bound, reached
    return lower


def _consumer(name: str, now: Scrape, before: Scrape | None) -> Consumer:
    passed = _buckets_between(now, before, name)
    return Consumer(
        name=name,
        events_per_second=_rate(now, before, EVENTS, consumer=name),
        lag_seconds=now.total(LAG, consumer=name),
        end_to_end_p50_ms=_milliseconds(quantile(passed, 0.50)),
        end_to_end_p99_ms=_milliseconds(quantile(passed, 0.99)),
        backlog_bytes=_backlog(name, now),
        offset=_whole(now.total(OFFSET, consumer=name)),
        rebalance_lag_seconds=now.total(REBALANCE, consumer=name),
        duplicates=_count(now, DUPLICATES, consumer=name),
        refills=_count(now, REFILLS, consumer=name),
        parked=_count(now, PARKED, consumer=name),
    )


def _backlog(name: str, now: Scrape) -> int | None:
    """WAL that was handed to a consumer, or could have been, and is not handled: the relay's is not yet taken by the broker."""
    if name == RELAY:
        return _whole(now.total(RELAY_WAITING))
    here, relayed = now.total(OFFSET, consumer=name), now.total(OFFSET, consumer=RELAY)
    # A consumer that reads the log itself, because the broker is away, is ahead of the relay: nothing waits for it.
    return None if here is None or relayed is None else max(0, int(relayed - here))


def _safe(now: Scrape) -> int | None:
    """-1 is how the relay says that nothing bounds the slot."""
    left = now.total(SLOT_SAFE)
    return None if left == -1 else _whole(left)


def _buckets_between(now: Scrape, before: Scrape | None, consumer: str) -> Buckets:
    """What the end-to-end histogram has counted in the window."""
    reached = now.buckets(END_TO_END, consumer=consumer)
    if before is None:
        return reached
    earlier = dict(before.buckets(END_TO_END, consumer=consumer))
    if any(count < earlier.get(bound, 0.0) for bound, count in reached):
        return reached  # counted anew: the server has been started again in between
    return tuple((bound, count - earlier.get(bound, 0.0)) for bound, count in reached)


def _rate(now: Scrape, before: Scrape | None, name: str, **wanted: str) -> float | None:
    if before is None:
        return None
    reached, earlier = now.total(name, **wanted) or 0.0, before.total(name, **wanted) or 0.0
    grown = reached - earlier if reached >= earlier else reached  # less than before: counted anew since a restart
    return grown / (now.taken_at - before.taken_at)


def _count(now: Scrape, name: str, **wanted: str) -> int:
    return int(now.total(name, **wanted) or 0)


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000
