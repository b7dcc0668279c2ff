"""What `onebook replay` reports: every row of the file accounted for, and the outcome audited. Pure.

rows = asked + rejected; asked = sold + refused + failed. The audit knows nothing of the server: it recounts
the book of every night from what was answered.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import msgspec

from onebook.ops.replay.calendar import CAPACITY_RULE, Room, needlessly_refused, oversold_nights, room_of
from onebook.ops.replay.desk import Outcome, Sale
from onebook.ops.replay.rows import Reason, Rejected
from onebook.ops.verify.report import Report as Verification

Key = TypeVar("Key", str, Room, tuple[str, Room])  # what sales are grouped by: it has an order

EXIT_OK, EXIT_FAILED, EXIT_INVARIANT = 0, 1, 7


class Latency(msgspec.Struct, frozen=True):
    """Percentiles (nearest rank) of the time from a booking's first try to its answer, retries included."""

    p50_ms: float
    p95_ms: float
    p99_ms: float


class Count(msgspec.Struct, frozen=True):
    """What came of a part of the demand, and how much of the supply it took.

    Nights are kept when sold and not cancelled; offered are those from the hotel's first arrival to its last
    departure, for each unit.
    """

    asked: int
    sold: int
    refused: dict[str, int]
    failed: int
    cancelled: int
    nights_kept: int
    nights_offered: int
    occupancy_percent: float
    latency: Latency | None


class RoomCount(msgspec.Struct, frozen=True):
    """One room type of one hotel, over all channels; its occupancy is of its own nights."""

    hotel: str
    room_type: str
    capacity: int
    count: Count


class ChannelCount(msgspec.Struct, frozen=True):
    """One channel, over all hotels; its occupancy is its share of all nights, so that they add up."""

    channel: str
    count: Count


class ChannelRoomCount(msgspec.Struct, frozen=True):
    """One channel in one room type of one hotel; its occupancy is its share of the room type's nights."""

    channel: str
    hotel: str
    room_type: str
    count: Count


class Trouble(msgspec.Struct, frozen=True):
    """A request that ended neither in success nor in a refusal, by its line in the file."""

    line: int
    request: str
    what: str


class Audit(msgspec.Struct, frozen=True):
    """What recounting the answers says. `needlessly_refused` is unknown (None) when a request's effect is."""

    oversold_nights: int
    needlessly_refused: int | None


class ReplayReport(msgspec.Struct, frozen=True):
    """The whole outcome of a replay. `verification` is what `onebook verify` said, where the data is ours."""

    file: str
    run: str
    rows: int
    rejected_by_reason: dict[Reason, int]
    capacity_rule: str
    total: Count
    room_types: list[RoomCount]
    channels: list[ChannelCount]
    channels_by_room_type: list[ChannelRoomCount]
    retries: int
    seconds: float
    audit: Audit
    troubles: list[Trouble]
    rejected: list[Rejected]
    verification: Verification | None = None


def report_on(
    sales: Sequence[Sale],
    rejected: Sequence[Rejected],
    capacity: Mapping[Room, int],
    *,
    file: str,
    run: str,
    retries: int,
    seconds: float,
) -> ReplayReport:
    """Add up the sales of one replay."""
    offered = _nights_offered(sales, capacity)
    all_offered = sum(offered.values())
    troubles = [trouble for sale in sales for trouble in _troubles(sale)]
    return ReplayReport(
        file=file,
        run=run,
        rows=len(sales) + len(rejected),
        rejected_by_reason=dict(Counter(row.reason for row in rejected).most_common()),
        capacity_rule=CAPACITY_RULE,
        total=_count(sales, all_offered),
        room_types=[
            RoomCount(*room, capacity[room], _count(part, offered[room]))
            for room, part in _parts(sales, lambda sale: room_of(sale.stay))
        ],
        channels=[
            ChannelCount(channel, _count(part, all_offered))
            for channel, part in _parts(sales, lambda sale: sale.stay.channel)
        ],
        channels_by_room_type=[
            ChannelRoomCount(channel, *room, _count(part, offered[room]))
            for (channel, room), part in _parts(sales, lambda sale: (sale.stay.channel, room_of(sale.stay)))
        ],
        retries=retries,
        seconds=round(seconds, 3),
        audit=_audit(sales, capacity, exact=not troubles),
        troubles=troubles,
        rejected=list(rejected),
    )


def exit_code(report: ReplayReport) -> int:
    """7 when the book is wrong, 1 when a request failed for good, else 0: a refusal is an expected answer."""
    verified = report.verification is None or report.verification.ok
    if report.audit.oversold_nights or report.audit.needlessly_refused or not verified:
        return EXIT_INVARIANT
    return EXIT_FAILED if report.troubles else EXIT_OK


def _count(sales: Sequence[Sale], nights_offered: int) -> Count:
    outcomes = Counter(sale.outcome for sale in sales)
    kept = sum(sale.stay.nights for sale in sales if sale.outcome is Outcome.SOLD and not sale.cancelled)
    refusals = Counter(sale.code for sale in sales if sale.outcome is Outcome.REFUSED)
    return Count(
        asked=len(sales),
        sold=outcomes[Outcome.SOLD],
        refused=dict(refusals.most_common()),
        failed=outcomes[Outcome.FAILED],
        cancelled=sum(sale.cancelled for sale in sales),
        nights_kept=kept,
        nights_offered=nights_offered,
        occupancy_percent=round(100 * kept / nights_offered, 2) if nights_offered else 0.0,
        latency=_latency([sale.seconds for sale in sales]),
    )


def _latency(seconds: Sequence[float]) -> Latency | None:
    if not seconds:
        return None
    ordered = sorted(seconds)
    p50, p95, p99 = (ordered[math.ceil(len(ordered) * percent / 100) - 1] for percent in (50, 95, 99))
    return Latency(*(round(1000 * each, 3) for each in (p50, p95, p99)))


def _nights_offered(sales: Iterable[Sale], capacity: Mapping[Room, int]) -> dict[Room, int]:
    nights = {
        hotel: (max(sale.stay.departure for sale in part) - min(sale.stay.arrival for sale in part)).days
        for hotel, part in _parts(sales, lambda sale: sale.stay.hotel)
    }
    return {room: units * nights[room.hotel] for room, units in capacity.items()}


def _parts(sales: Iterable[Sale], key: Callable[[Sale], Key]) -> list[tuple[Key, list[Sale]]]:
    parts: defaultdict[Key, list[Sale]] = defaultdict(list)
    for sale in sales:
        parts[key(sale)].append(sale)
    return sorted(parts.items())


def _troubles(sale: Sale) -> Iterator[Trouble]:
    if sale.outcome is Outcome.FAILED:
        yield Trouble(sale.stay.line, "book", sale.code)
    if sale.cancel_failure:
        yield Trouble(sale.stay.line, "cancel", sale.cancel_failure)


def _audit(sales: Sequence[Sale], capacity: Mapping[Room, int], *, exact: bool) -> Audit:
    """Recount the book. A failed request may have had an effect; left out, it accuses nobody falsely."""
    sold = [sale.stay for sale in sales if sale.outcome is Outcome.SOLD]
    sold_out = {sale.stay.line for sale in sales if sale.code == "sold-out"}
    asked = [sale.stay for sale in sales]
    return Audit(
        oversold_nights=oversold_nights(sold, capacity),
        needlessly_refused=needlessly_refused(asked, {stay.line for stay in sold}, sold_out, capacity)
        if exact
        else None,
    )
