"""The ledger on a real database: what is placed is there, what is refused leaves no trace."""

from tests.conftest import Bench

from onebook.ledger.definitions import ResourceDefinition
from onebook.ledger.ledger import Placing
from onebook.model.booking import Status
from onebook.model.commands import ConfirmBooking, Wanted
from onebook.model.decision import Decision, Unchanged
from onebook.model.refusals import BelowSold, SoldOut
from onebook.model.resource import Kind, Unit

STAY = Wanted(resource="alfama/double", starts="2026-12-01", ends="2026-12-04")


async def place(bench: Bench, key: str, *wanted: Wanted) -> object:
    """The verdict on a hold."""
    settled = await bench.ledger.place(
        wanted or (STAY,),
        Placing(channel="web", idempotency_key=key, request_hash=b"0" * 16, ttl_seconds=60),
    )
    return settled.verdict


async def test_the_last_unit_is_sold_once(bench: Bench) -> None:
    """A hold takes its nights, and the next one for the same nights is refused with what is left."""
    await bench.room("alfama/double")
    assert isinstance(await place(bench, "first"), Decision)
    refused = await place(bench, "second")
    assert isinstance(refused, SoldOut)
    assert refused.items[0].available == 0
    assert refused.items[0].unavailable == ("2026-12-01", "2026-12-02", "2026-12-03")


async def test_a_key_has_one_effect(bench: Bench) -> None:
    """Sending a hold again finds the booking that it made."""
    await bench.room("alfama/double")
    first = await place(bench, "key")
    again = await place(bench, "key")
    assert isinstance(first, Decision) and first.booking is not None
    assert isinstance(again, Unchanged) and again.booking is not None
    assert again.replayed and again.booking.as_placed() == first.booking


async def test_lines_of_a_basket_count_together(bench: Bench) -> None:
    """Two lines on one resource are refused together where each alone could be had."""
    await bench.room("alfama/double", capacity=1)
    assert isinstance(await place(bench, "both", STAY, STAY), SoldOut)
    assert isinstance(await place(bench, "one", STAY), Decision)


async def test_a_hold_becomes_a_booking(bench: Bench) -> None:
    """Confirming moves the units from held to booked."""
    await bench.room("alfama/double")
    held = await place(bench, "key")
    assert isinstance(held, Decision) and held.booking is not None
    settled = await bench.ledger.move(ConfirmBooking(booking=held.booking.id, channel="web"))
    assert isinstance(settled.verdict, Decision) and settled.verdict.booking is not None
    assert settled.verdict.booking.status is Status.CONFIRMED
    assert await bench.reader.fetchval("SELECT sum(held) * 10 + sum(booked) FROM cell") == 3


async def test_a_definition_below_what_is_sold_is_refused_by_date(bench: Bench) -> None:
    """A lower default capacity than is sold is refused with the figures and the night, as people write it."""
    await bench.room("alfama/double", capacity=2)
    await place(bench, "first")
    await place(bench, "second")
    definition = ResourceDefinition("double", Kind.ROOM, "double", Unit.NIGHT, 1, capacity=1)
    refused = await bench.definitions.put_resources("alfama", [definition])
    assert isinstance(refused, BelowSold)
    assert (refused.taken, refused.capacity) == (2, 1)
    assert refused.cell in {"2026-12-01", "2026-12-02", "2026-12-03"}
