"""Sends what is owed: many endpoints at once, each in order per resource, every outcome written down.

Who calls me: webhooks.py, while this process is the one that sends; the handler offers what it has just written. What I own: a
lane per endpoint, the attempts under way, their outcomes until they are written. What survives a crash: the table. An attempt
whose outcome was not written is made again, under the same id. What bounds me: `concurrency` attempts at once, a window of
deliveries a lane, MAX_UNWRITTEN outcomes; beyond these nothing new is sent.
"""

import asyncio
import random
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import asyncpg
import msgspec

from onebook import tracing
from onebook.breaker import Breaker, BreakerState
from onebook.broker.metrics import END_TO_END
from onebook.channels.endpoints import TEST_TYPE, Endpoint, EndpointId, message_id
from onebook.channels.handler import SQL
from onebook.channels.lane import Lane, Owed
from onebook.channels.metrics import ATTEMPT_SECONDS, BACKLOG, BREAKER, DELIVERIES
from onebook.channels.post import Post, Reply
from onebook.channels.retry import Outcome, Patience, judge
from onebook.config import WebhookSettings
from onebook.log.stream import StreamEvent, event_of_row

WINDOW = 2000
MAX_UNWRITTEN = 2000
LOADS_PER_ROUND = 4
_BREAKER_LEVEL = {BreakerState.CLOSED: 0, BreakerState.HALF_OPEN: 1, BreakerState.OPEN: 2}
_STATUS = {Outcome.DELIVERED: "delivered", Outcome.RETRY: "pending", Outcome.DEAD: "dead", Outcome.GONE: "dead"}


class _Concluded(NamedTuple):
    """An attempt whose outcome is to be written down."""

    lane: Lane
    owed: Owed
    reply: Reply
    outcome: Outcome
    wait_seconds: float

    @property
    def next_at(self) -> datetime | None:
        if self.outcome is not Outcome.RETRY:
            return None
        return datetime.now(UTC) + timedelta(seconds=self.wait_seconds)


class Sender:
    """The lanes, and the attempts under way."""

    def __init__(self, pool: asyncpg.Pool, post: Post, settings: WebhookSettings) -> None:
        self._pool = pool
        self._post = post
        self._settings = settings
        self._patience = Patience(settings.first_retry_seconds, settings.give_up_hours * 3600)
        self._loop = asyncio.get_running_loop()
        self._lanes: dict[EndpointId, Lane] = {}
        self._eager: OrderedDict[Lane, None] = OrderedDict()
        self._hungry: dict[Lane, None] = {}
        self._alarms: dict[EndpointId, asyncio.TimerHandle] = {}
        self._under_way: set[asyncio.Task[None]] = set()
        self._concluded: list[_Concluded] = []
        self._has_work = asyncio.Event()

    def offer(self, endpoint: Endpoint, event: StreamEvent) -> None:
        """Something has just been written for an endpoint."""
        lane = self._lanes.get(endpoint.id)
        if lane is not None:
            lane.offer(_owed(endpoint, event, queued_at=time.time()), self._loop.time())
            self._stir(lane)

    def adopt(self, endpoints: Iterable[Endpoint]) -> None:
        """Send to these from now on, and to no others."""
        active = {endpoint.id: endpoint for endpoint in endpoints if endpoint.is_active}
        for identity in self._lanes.keys() - active.keys():
            self._drop(self._lanes.pop(identity))
        for identity, endpoint in active.items():
            lane = self._lanes.get(identity)
            if lane is None:
                lane = self._lanes[identity] = self._lane(endpoint)
                self.wake(identity)
            elif (endpoint.woken, endpoint.revision) != (lane.endpoint.woken, lane.endpoint.revision):
                self.wake(identity)
            lane.endpoint = endpoint

    def wake(self, identity: EndpointId) -> None:
        """Others have queued something for an endpoint: look for it in the table."""
        lane = self._lanes.get(identity)
        if lane is not None:
            lane.has_more = True
            self._look_into_table(lane)

    async def wait(self, timeout_seconds: float) -> None:
        """Return when there is something to write or to read, or after the timeout."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._has_work.wait()
        except TimeoutError:
            return

    async def keep_books(self) -> None:
        """Write down what has been concluded, then read on for lanes that run low. Raises asyncpg's errors."""
        self._has_work.clear()
        if batch := self._concluded[:MAX_UNWRITTEN]:
            await self._write(batch)
            del self._concluded[: len(batch)]
            self._written(batch)
        for lane in list(self._hungry)[:LOADS_PER_ROUND]:
            del self._hungry[lane]
            if lane.endpoint.is_active and lane.wants_more:
                await self._load(lane)
                self._stir(lane)
        if self._hungry or self._concluded:
            self._has_work.set()
        BACKLOG.labels("under way").set(len(self._under_way))
        BACKLOG.labels("in memory").set(sum(map(len, self._lanes.values())))

    async def stop(self) -> None:
        """Break off what is under way, and forget everything: the table has it."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        for lane in self._lanes.values():
            self._drop(lane)
        self._lanes.clear()
        self._eager.clear()
        self._hungry.clear()
        self._concluded.clear()

    def _lane(self, endpoint: Endpoint) -> Lane:
        breaker = Breaker(self._settings.breaker_failures, self._settings.breaker_seconds)
        BREAKER.labels(endpoint.id).set(0)
        return Lane(endpoint, breaker, window=WINDOW, concurrency=self._settings.endpoint_concurrency)

    def _drop(self, lane: Lane) -> None:
        lane.endpoint = msgspec.structs.replace(lane.endpoint, is_active=False)
        if alarm := self._alarms.pop(lane.endpoint.id, None):
            alarm.cancel()
        BREAKER.labels(lane.endpoint.id).set(0)  # a label cannot be removed while several processes tell their metrics

    # Choosing what goes next: lanes in turns, one delivery each.

    def _stir(self, lane: Lane) -> None:
        """Something has changed in a lane."""
        self._eager[lane] = None
        self._pump()

    def _pump(self) -> None:
        now = self._loop.time()
        while (
            self._eager and len(self._under_way) < self._settings.concurrency and len(self._concluded) < MAX_UNWRITTEN
        ):
            lane, _ = self._eager.popitem(last=False)
            owed = lane.next(now)
            if owed is None:
                self._set_alarm(lane, now)
                continue
            self._eager[lane] = None
            task = self._loop.create_task(self._attempt(lane, owed))
            self._under_way.add(task)
            task.add_done_callback(self._ended)

    def _set_alarm(self, lane: Lane, now: float) -> None:
        if alarm := self._alarms.pop(lane.endpoint.id, None):
            alarm.cancel()
        wakes_at = lane.wakes_at(now)
        if wakes_at is not None and lane.endpoint.is_active:
            self._alarms[lane.endpoint.id] = self._loop.call_at(wakes_at, self._stir, lane)

    def _look_into_table(self, lane: Lane) -> None:
        self._hungry[lane] = None
        self._has_work.set()

    # One attempt.

    async def _attempt(self, lane: Lane, owed: Owed) -> None:
        endpoint = lane.endpoint
        started_at = time.time()
        span_id, traceparent = None, owed.traceparent
        if traceparent is not None and tracing.followed(traceparent):
            span_id, traceparent = tracing.child(traceparent)
        identity = message_id(endpoint.id, owed.position)
        reply = await self._post.send(endpoint, identity, owed.body, traceparent)
        told = reply.error if reply.status_code is None else reply.status_code
        tracing.record(
            "webhook",
            owed.traceparent,
            started_at,
            span_id=span_id,
            endpoint=endpoint.id,
            webhook=identity,
            outcome=str(told),
        )
        ATTEMPT_SECONDS.observe(reply.latency_ms / 1000)
        self._conclude(lane, owed, reply)

    def _conclude(self, lane: Lane, owed: Owed, reply: Reply) -> None:
        now = self._loop.time()
        verdict = judge(
            self._patience,
            status_code=reply.status_code,
            retry_after=reply.retry_after,
            failures=owed.failures + 1,
            age_seconds=time.time() - owed.queued_at,
            luck=random.random(),  # noqa: S311  # spreads retries, keeps no secret
        )
        lane.in_flight -= 1
        lane.rests_until = max(lane.rests_until, now + verdict.rest_seconds)
        if verdict.outcome is Outcome.DELIVERED:
            if owed.committed_at:
                END_TO_END.labels("webhook").observe(time.time() - owed.committed_at)
            if lane.breaker.succeeded():
                lane.hurry(now)
        else:
            owed.failures += 1
            lane.breaker.failed(now)
        if lane.endpoint.is_active:
            BREAKER.labels(lane.endpoint.id).set(_BREAKER_LEVEL[lane.breaker.state])
        if verdict.outcome is not Outcome.RETRY:
            lane.settle(owed, now)  # what waits behind it need not wait until this is written down
        if verdict.outcome is Outcome.GONE:
            lane.endpoint = msgspec.structs.replace(lane.endpoint, is_active=False)
        DELIVERIES.labels(verdict.outcome).inc()
        self._concluded.append(_Concluded(lane, owed, reply, verdict.outcome, verdict.wait_seconds))
        self._has_work.set()
        self._eager[lane] = None

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.result()  # an attempt raises nothing; if it did, the loop's handler is told
            self._pump()

    # The table.

    async def _write(self, batch: Sequence[_Concluded]) -> None:
        await self._pool.execute(
            SQL["settle"],
            [each.lane.endpoint.id for each in batch],
            [each.owed.position for each in batch],
            [_STATUS[each.outcome] for each in batch],
            [each.reply.at for each in batch],
            [each.reply.status_code for each in batch],
            [each.reply.latency_ms for each in batch],
            [each.reply.excerpt for each in batch],
            [each.reply.error for each in batch],
            [each.next_at for each in batch],
            [each.owed.place[0] for each in batch],
            [each.owed.kind for each in batch],
            [each.owed.subject for each in batch],
        )
        gone = {each.lane.endpoint.id for each in batch if each.outcome is Outcome.GONE}
        if gone:
            await self._pool.execute(SQL["disable"], list(gone), "it answered 410 Gone")

    def _written(self, batch: Sequence[_Concluded]) -> None:
        now = self._loop.time()
        for each in batch:
            if each.outcome is Outcome.RETRY:
                each.lane.retry(each.owed, now + each.wait_seconds, now)
            else:
                each.lane.forget(each.owed)
        for lane in {each.lane: None for each in batch}:
            if lane.wants_more:
                self._hungry[lane] = None
            self._stir(lane)

    async def _load(self, lane: Lane) -> None:
        lane.loading()
        rows = await self._pool.fetch(SQL["pending"], lane.endpoint.id, WINDOW)
        found = [_owed_of_row(lane.endpoint, row) for row in rows if not lane.knows(row["position"])]
        lane.loaded(found, is_all=len(rows) < WINDOW, now=self._loop.time())


def _owed(endpoint: Endpoint, event: StreamEvent, *, queued_at: float) -> Owed:
    return Owed(
        txn=event.txn,
        position=event.position,
        # What touches nothing that is on sale keeps the order of what it tells of: a checkout's events, an offer's.
        resources=tuple(dict.fromkeys(touched.resource for touched in event.resources)) or (event.subject,),
        body=endpoint.body_of(event),
        kind=event.type if endpoint.sees_all_of(event) else event.public_type,
        subject=event.subject,
        # The trace of another channel's request is none of this one's business.
        traceparent=event.traceparent if endpoint.sees_all_of(event) else None,
        committed_at=event.committed_at,
        queued_at=queued_at,
    )


def _owed_of_row(endpoint: Endpoint, row: Any) -> Owed:
    """A delivery from its row. How long the event took is only of interest the first time it is sent."""
    queued_at = row["queued_at"].timestamp()
    owed = _test(endpoint, row) if row["is_test"] else _owed(endpoint, event_of_row(row), queued_at=queued_at)
    owed.queued_at = queued_at
    owed.failures = row["attempts"]
    if row["queued_at"] > row["created_at"] or row["is_test"]:
        owed.committed_at = 0.0
    if row["next_at"] is not None:
        owed.due_at = asyncio.get_running_loop().time() + (row["next_at"].timestamp() - time.time())
    return owed


def _test(endpoint: Endpoint, row: Any) -> Owed:
    """A test event tells that the way is open, and nothing else."""
    subject = f"webhooks/{endpoint.id}"
    event = {
        "specversion": "1.0",
        "id": str(row["position"]),
        "type": TEST_TYPE,
        "source": "/webhooks",
        "subject": subject,
        "time": row["created_at"],
        "datacontenttype": "application/json",
        "data": {"endpoint": endpoint.id},
    }
    return Owed(
        txn=row["txn"],
        position=row["position"],
        resources=(),
        body=msgspec.json.encode(event),
        kind=TEST_TYPE,
        subject=subject,
        traceparent=None,
        committed_at=0.0,
        queued_at=0.0,
    )
