"""Commands that were resolved with a definition which has changed since."""

import asyncio

from tests.conftest import Bench

from onebook.ledger.resolve import resolve
from onebook.model.booking import BookingId
from onebook.model.commands import Line, PlaceHold, Wanted
from onebook.model.decision import Decision
from onebook.model.resource import Kind, Unit

MORNING = Wanted(resource="depot/van", starts="2026-12-01T09:00:00+00:00", ends="2026-12-01T10:00:00+00:00")
NOON = Wanted(resource="depot/van", starts="2026-12-01T12:00:00+00:00", ends="2026-12-01T13:00:00+00:00")


def placing(number: int, lines: tuple[Line, ...]) -> PlaceHold:
    """A hold of these lines."""
    return PlaceHold(
        id=BookingId(f"018f0000-0000-7000-8000-00000000000{number}"),
        channel="web",
        idempotency_key=str(number),
        request_hash=bytes(16),
        lines=lines,
        ttl_seconds=60,
        confirm=False,
        reference=None,
        customer=None,
    )


async def define(bench: Bench, buffer_after: int) -> None:
    """The van, with so many minutes of turnaround."""
    await bench.resource(
        "depot/van", kind=Kind.VEHICLE, unit=Unit.MINUTE, cell_minutes=60, capacity=1, buffer_after=buffer_after
    )


async def test_old_and_new_in_one_batch_follow_the_new_definition(bench: Bench) -> None:
    """A command from before a change of turnaround, settled beside one from after it, takes the turnaround of today."""
    await define(bench, buffer_after=0)
    before = await resolve([MORNING], bench.catalog)
    await define(bench, buffer_after=120)
    after = await resolve([NOON], bench.catalog)
    settled = await asyncio.gather(
        *[bench.committer.submit(placing(number, lines)) for number, lines in enumerate((before, after))]
    )
    bookings = [s.verdict.booking for s in settled if isinstance(s.verdict, Decision) and s.verdict.booking is not None]
    assert [end - first for booking in bookings for first, end in [booking.lines[0].cells]] == [3, 3]
