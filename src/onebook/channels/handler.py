"""From events to deliveries: who is owed what, written down before anything is sent.

Who calls me: the consumer skeleton (broker/handler.py); webhooks.py, when this process has become the one that sends, and when
endpoints have changed. What I own: the endpoints, as of the registry's version last read, and the horizon in table `consumer`.
What survives a crash: the deliveries and the horizon; what was handled above it comes again and changes nothing. What bounds me:
one insert a batch, one page of the log at a time.

An endpoint begins with the transactions that were open when it was made or changed. Events that passed before the change was
heard of are found in the log ("filling"). The stream outruns the log's visibility, so the log is looked through until its horizon
has passed the last event that was handled without the change.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from time import monotonic

import asyncpg

from onebook.channels.endpoints import Endpoint, EndpointId, endpoint_of
from onebook.log.stream import StreamEvent, readable_events
from onebook.sql import statements

SQL = statements("onebook.channels")
NAME = "webhooks"
PAGE = 1000
CHECKPOINT_SECONDS = 1.0

Offer = Callable[[Endpoint, StreamEvent], None]


class WebhookHandler:
    """Matches events with endpoints. While another process sends, it only listens."""

    name = NAME

    def __init__(self, pool: asyncpg.Pool, offer: Offer) -> None:
        self.endpoints: dict[EndpointId, Endpoint] = {}
        self._pool = pool
        self._offer = offer
        self._turn = asyncio.Lock()
        self._version = 0
        self._is_active = False
        self._highest_txn = 0
        self._resumes_from: int | None = None
        self._resume_mark = 0
        self._marks: dict[tuple[EndpointId, int], int] = {}
        self._checkpoint_at = 0.0

    async def start(self) -> int:
        """Where the last one left off."""
        return int(await self._pool.fetchval(SQL["stand"], NAME))

    async def handle(self, events: Sequence[StreamEvent]) -> None:
        """Write down who is owed these, and offer what is new to the sender."""
        self._highest_txn = max(self._highest_txn, max((event.txn for event in events), default=0))
        if self._is_active and self.endpoints:
            async with self._turn:
                await self._enqueue(self.endpoints.values(), events)

    async def checkpoint(self, horizon: int) -> None:
        """Written down at most once a second, and not while the log is being looked through from an older place."""
        if not self._is_active or self._resumes_from is not None or monotonic() < self._checkpoint_at:
            return
        self._checkpoint_at = monotonic() + CHECKPOINT_SECONDS
        await self._pool.execute(SQL["advance"], NAME, horizon)

    async def rebuild(self) -> None:
        """Nothing is sent again: what is missing since the horizon is added."""
        if self._is_active:
            self._resume(await self.start())

    async def activate(self) -> None:
        """From now on this process sends: take over from where deliveries were last written down."""
        self._version = 0
        await self.refresh()
        self._is_active = True
        self._resume(await self.start())
        await self.fill()

    def deactivate(self) -> None:
        """Another process sends from now on."""
        self._is_active = False
        self._resumes_from = None
        self._marks.clear()

    async def refresh(self) -> bool:
        """Read the endpoints if they have changed; whether they have."""
        if await self._pool.fetchval(SQL["registry_version"]) == self._version:
            return False
        rows = await self._pool.fetch(SQL["registry"])
        found = [endpoint_of(row) for row in rows if row["id"] is not None]
        self.endpoints = {endpoint.id: endpoint for endpoint in found}
        self._version = rows[0]["version"]
        due = {(endpoint.id, endpoint.revision) for endpoint in found if endpoint.filled_revision < endpoint.revision}
        # An endpoint that is filled already keeps its mark: it is about what passed before its change was heard of.
        self._marks = {key: self._marks.get(key, self._highest_txn) for key in due}
        return True

    async def fill(self) -> None:
        """Look through the log for what endpoints that are new, or changed, or all after a takeover, are owed."""
        if not self._marks and self._resumes_from is None:
            return
        async with self._turn:
            horizon = int(await self._pool.fetchval(SQL["log_horizon"]))
            if self._resumes_from is not None:
                await self._fill_from(self._resumes_from, list(self.endpoints.values()))
                if horizon > self._resume_mark:
                    self._resumes_from = None
            new = [self.endpoints[identity] for identity, _ in self._marks if identity in self.endpoints]
            if new:
                await self._fill_from(min(endpoint.since_txn for endpoint in new), new)
            done = [key for key, mark in self._marks.items() if horizon > mark]
            if done:
                await self._pool.execute(SQL["filled"], [key[0] for key in done], [key[1] for key in done])
            for key in done:
                del self._marks[key]

    def _resume(self, horizon: int) -> None:
        self._resumes_from = horizon
        self._resume_mark = self._highest_txn

    async def _fill_from(self, txn: int, endpoints: Sequence[Endpoint]) -> None:
        """Every visible row of the log from a transaction on: bounded pages, each by itself."""
        place = (txn, 0)
        while endpoints and (rows := await self._pool.fetch(SQL["log_page"], *place, PAGE)):
            await self._enqueue(endpoints, readable_events(rows))
            place = (rows[-1]["txn"], rows[-1]["position"])
            if len(rows) < PAGE:
                return

    async def _enqueue(self, endpoints: Iterable[Endpoint], events: Sequence[StreamEvent]) -> None:
        owed = {
            (endpoint.id, event.position): (endpoint, event)
            for event in events
            for endpoint in endpoints
            if endpoint.wants(event)
        }
        if not owed:
            return
        new = await self._pool.fetch(
            SQL["enqueue"],
            [endpoint.id for endpoint, _ in owed.values()],
            [event.position for _, event in owed.values()],
            [event.txn for _, event in owed.values()],
            [event.type if endpoint.sees_all_of(event) else event.public_type for endpoint, event in owed.values()],
        )
        fresh = {(row["endpoint_id"], row["position"]) for row in new}
        for key, (endpoint, event) in owed.items():
            if key in fresh:
                self._offer(endpoint, event)
