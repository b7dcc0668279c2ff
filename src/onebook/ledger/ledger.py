"""The public face of the write side: what may be asked, in the client's own terms.

Each method resolves names and periods to a command and has it settled by the committer. All of them are safe to repeat.
Raised by all: UnknownName, Unprocessable (see resolve.py) and LedgerUnavailable. Refusals are returned, not raised.
"""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from onebook.ledger.catalog import Catalog
from onebook.ledger.committer import Committer
from onebook.ledger.identity import new_id
from onebook.ledger.page import Settled
from onebook.ledger.resolve import Cells, resolve, resolve_changes, resolve_known, without_turnaround
from onebook.model.booking import BookingId, ItemKey
from onebook.model.commands import (
    AmendBooking,
    BookingMove,
    ChangeInventory,
    LiftBlock,
    Line,
    PlaceBlock,
    PlaceHold,
    Wanted,
)


class Placing(NamedTuple):
    """What goes with the items of a booking to be placed."""

    channel: str
    idempotency_key: str
    request_hash: bytes
    ttl_seconds: int
    confirm: bool = False
    reference: str | None = None
    customer: str | None = None
    traceparent: str | None = None
    is_paid: bool = False
    """Whether it was paid for: only the checkout says so."""


class Ledger:
    """Places, moves and blocks; every answer is durable."""

    def __init__(self, catalog: Catalog, committer: Committer) -> None:
        self._catalog = catalog
        self._committer = committer

    async def place(self, wanted: Sequence[Wanted], request: Placing) -> Settled:
        """Hold, or with `confirm` book, all items or none. The verdict is a Decision, Unchanged(replayed) or a Refusal."""
        return await self._place(await resolve(wanted, self._catalog), request)

    def place_known(self, wanted: Sequence[Wanted], request: Placing) -> "asyncio.Future[Settled] | None":
        """The same without a task to wait in; None when a name has to be looked up first, and nothing is done yet."""
        lines = resolve_known(wanted, self._catalog)
        return None if lines is None else self._place(lines, request)

    def _place(self, lines: tuple[Line, ...], request: Placing) -> "asyncio.Future[Settled]":
        command = PlaceHold(
            id=BookingId(new_id()),
            channel=request.channel,
            idempotency_key=request.idempotency_key,
            request_hash=request.request_hash,
            lines=lines,
            ttl_seconds=request.ttl_seconds,
            confirm=request.confirm,
            reference=request.reference,
            customer=request.customer,
            traceparent=request.traceparent,
            is_paid=request.is_paid,
        )
        return self._committer.submit(command)

    async def move(self, move: BookingMove) -> Settled:
        """Extend, confirm, release or cancel."""
        return await self._committer.submit(move)

    async def amend(
        self,
        booking: BookingId,
        wanted: Sequence[Wanted],
        *,
        channel: str | None,
        traceparent: str | None = None,
        paid_for: frozenset[ItemKey] | None = None,
    ) -> Settled:
        """Give a living booking other items, in one step."""
        lines = await resolve(wanted, self._catalog)
        return await self._committer.submit(
            AmendBooking(booking=booking, channel=channel, lines=lines, traceparent=traceparent, paid_for=paid_for)
        )

    async def change_inventory(
        self,
        resource: str,
        changes: Sequence[Cells],
        *,
        expected_version: int | None = None,
        traceparent: str | None = None,
    ) -> Settled:
        """Set capacity and restrictions; `Settled.version` is the resource's new version."""
        found = await self._catalog.find_resource(resource)
        return await self._committer.submit(
            ChangeInventory(
                resource=found,
                changes=await resolve_changes(changes, found, self._catalog),
                expected_version=expected_version,
                traceparent=traceparent,
            )
        )

    async def place_block(
        self, wanted: Sequence[Wanted], *, reason: str | None = None, traceparent: str | None = None
    ) -> Settled:
        """Take units out of sale until the block is lifted."""
        lines = without_turnaround(await resolve(wanted, self._catalog))
        return await self._committer.submit(
            PlaceBlock(id=new_id(), lines=lines, reason=reason, traceparent=traceparent)
        )

    async def lift_block(self, block: str, *, venue: str, traceparent: str | None = None) -> Settled:
        """Put a block's units back on sale."""
        return await self._committer.submit(LiftBlock(block=block, venue=venue, traceparent=traceparent))
