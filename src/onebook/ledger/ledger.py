"""The public face of the write side: what may be asked, in the client's own terms.

Each method resolves names and periods to a command and has it settled by the committer. All of them are safe to repeat.
Raised by all: UnknownName, Unprocessable (see resolve.py) and LedgerUnavailable. Refusals are returned, not raised.
"""

from collections.abc import Sequence
from functools import cache

from prometheus_client import Counter

from onebook.ledger.catalog import Catalog
from onebook.ledger.committer import Committer
from onebook.ledger.identity import new_id
from onebook.ledger.metrics import COMMANDS
from onebook.ledger.page import Settled
from onebook.ledger.resolve import Cells, resolve, resolve_changes, without_turnaround
from onebook.model.booking import BookingId
from onebook.model.commands import (
    AmendBooking,
    BookingMove,
    ChangeInventory,
    Command,
    LiftBlock,
    PlaceBlock,
    PlaceHold,
    Wanted,
)
from onebook.model.decision import Decision, Unchanged


class Ledger:
    """Places, moves and blocks; every answer is durable."""

    def __init__(self, catalog: Catalog, committer: Committer) -> None:
        self._catalog = catalog
        self._committer = committer

    async def place(
        self,
        wanted: Sequence[Wanted],
        *,
        channel: str,
        idempotency_key: str,
        request_hash: bytes,
        ttl_seconds: int,
        confirm: bool = False,
        reference: str | None = None,
        customer: str | None = None,
        traceparent: str | None = None,
    ) -> Settled:
        """Hold, or with `confirm` book, all items or none. The verdict is a Decision, Unchanged(replayed) or a Refusal."""
        lines = await resolve(wanted, self._catalog)
        command = PlaceHold(
            id=BookingId(new_id()),
            channel=channel,
            idempotency_key=idempotency_key,
            request_hash=request_hash,
            lines=lines,
            ttl_seconds=ttl_seconds,
            confirm=confirm,
            reference=reference,
            customer=customer,
            traceparent=traceparent,
        )
        return await self._settle(command)

    async def move(self, move: BookingMove) -> Settled:
        """Extend, confirm, release or cancel."""
        return await self._settle(move)

    async def amend(
        self,
        booking: BookingId,
        wanted: Sequence[Wanted],
        *,
        channel: str | None,
        traceparent: str | None = None,
    ) -> Settled:
        """Give a living booking other items, in one step."""
        lines = await resolve(wanted, self._catalog)
        return await self._settle(AmendBooking(booking=booking, channel=channel, lines=lines, traceparent=traceparent))

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
        return await self._settle(
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
        return await self._settle(PlaceBlock(id=new_id(), lines=lines, reason=reason, traceparent=traceparent))

    async def lift_block(self, block: str, *, venue: str, traceparent: str | None = None) -> Settled:
        """Put a block's units back on sale."""
        return await self._settle(LiftBlock(block=block, venue=venue, traceparent=traceparent))

    async def _settle(self, command: Command) -> Settled:
        settled = await self._committer.submit(command)
        verdict = settled.verdict
        if isinstance(verdict, Decision):
            outcome = "done"
        elif isinstance(verdict, Unchanged):
            outcome = "replayed" if verdict.replayed else "unchanged"
        else:
            outcome = verdict.code
        _counter(type(command).__name__, outcome).inc()
        return settled


@cache
def _counter(command: str, outcome: str) -> Counter:
    """The counter of a command and what came of it; looking one up by its labels costs more than counting."""
    return COMMANDS.labels(command, outcome)
