"""Placing a booking and telling what came of it: what the express way and the route have in common."""

from collections.abc import Sequence

from onebook.api.answer import Answer, encode_json
from onebook.api.engine import Engine
from onebook.api.json_body import request_hash
from onebook.api.problems import Problem, refusal_problem
from onebook.api.wire import BookingRequest, booking_answer
from onebook.ledger.ledger import Placing
from onebook.model.booking import Booking
from onebook.model.commands import Wanted
from onebook.model.decide import Verdict
from onebook.model.decision import Decision, Unchanged
from onebook.model.refusals import NotBookable, Refusal

_REPLAYED = (("idempotent-replayed", "true"),)


def placing_of(
    request: BookingRequest, *, channel: str, key: str, canonical: bytes, traceparent: str | None
) -> Placing:
    """What the ledger is asked for besides the items."""
    return Placing(
        channel=channel,
        idempotency_key=key,
        request_hash=request_hash(canonical),
        ttl_seconds=request.ttl_seconds,
        confirm=request.confirm,
        reference=request.reference,
        customer=request.customer,
        traceparent=traceparent,
    )


async def place(engine: Engine, request: BookingRequest, placing: Placing) -> Answer:
    """Hold or book a basket. Raises the refusal, and what Ledger.place raises."""
    settled = await engine.ledger.place(request.items, placing)
    answered = placed_answer(settled.verdict)
    if answered is None:
        raise await refused(engine, settled.verdict, request.items)
    return answered


def placed_answer(verdict: Verdict) -> Answer | None:
    """201, or 200 for the repeat of a key; None for a refusal."""
    if isinstance(verdict, Decision) and verdict.booking is not None:
        return Answer(201, _as_placed(verdict.booking), (("location", f"/v1/bookings/{verdict.booking.id}"),))
    if isinstance(verdict, Unchanged) and verdict.booking is not None:
        return Answer(200, _as_placed(verdict.booking.as_placed()), _REPLAYED)
    return None


async def refused(engine: Engine, verdict: Verdict, wanted: Sequence[Wanted] = ()) -> Problem:
    """The problem that a refusal is; with alternatives to the first wanted item that cannot be had."""
    if not isinstance(verdict, Refusal):
        raise TypeError(f"the ledger answered with a verdict that nobody asked for: {type(verdict).__name__}")
    if not isinstance(verdict, NotBookable):
        return refusal_problem(verdict)
    missing = verdict.items[0].resource
    item = next((item for item in wanted if item.resource == missing), None)
    alternatives = () if item is None else await engine.reads.alternatives(item)
    return refusal_problem(verdict, alternatives=alternatives)


def booking_etag(booking: Booking) -> tuple[str, str]:
    """The header that names a booking's state; weak, since the answer also tells the time."""
    return "etag", f'W/"{booking.revision}"'


def _as_placed(booking: Booking) -> bytes:
    return encode_json(booking_answer(booking, booking.placed_at))
