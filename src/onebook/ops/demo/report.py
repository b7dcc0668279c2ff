"""What `onebook demo` reports, as one value: for machines as JSON, for people by `verdict.py`."""

from collections.abc import Mapping
from datetime import date
from typing import Any

import msgspec

from onebook.checkout.books.reconcile import Kind
from onebook.ops.demo.board import Board
from onebook.ops.demo.books import MoneyProof
from onebook.ops.demo.follower import Follower
from onebook.ops.demo.partner import Partner
from onebook.ops.demo.proof import Deliveries, Proof
from onebook.ops.demo.tally import MAX_EXAMPLES, Latencies, Rush, Tally
from onebook.ops.verify.report import Report

EXIT_OK, EXIT_FAILED, EXIT_INVARIANT = 0, 1, 7


class LatencyReport(msgspec.Struct, frozen=True):
    """Of single requests, from sending to the last byte, in milliseconds, at most 1 % too high."""

    p50_ms: float
    p95_ms: float
    p99_ms: float


class ChannelReport(msgspec.Struct, frozen=True):
    """One channel's outcomes; attempts = sold + refused + declined + released + expired + failed."""

    channel: str
    attempts: int
    sold: int
    refused: int
    declined: int
    released: int
    expired: int
    failed: int
    cancelled: int
    latency: LatencyReport


class RushReport(msgspec.Struct, frozen=True):
    """The moment when every channel wanted the last units."""

    what: str
    units: int
    attempts: int
    sold: int
    refused: int
    seconds: float


class AwayReport(msgspec.Struct, frozen=True):
    """An endpoint that was dead for a while; `restored_ms` from its return until its mirror knew all that happened meanwhile."""

    seconds: float
    restored_ms: float | None


class MirrorReport(msgspec.Struct, frozen=True):
    """One channel's mirror. Lag is from commit to arrival, while nothing was dead; `worst_lag_ms` is of the whole run.

    `older` counts events that told nothing new: repeated, or late. `readings` counts snapshots: one at the beginning, one more
    where something was missing. `difference` from the ledger is null when it is equal.
    """

    channel: str
    via: str
    events: int
    older: int
    readings: int
    lag_p50_ms: float
    lag_p99_ms: float
    worst_lag_ms: float
    difference: str | None
    away: AwayReport | None


class ProofReport(msgspec.Struct, frozen=True):
    """Every mirror, and the server's own answer, against the ledger's tables, cell by cell and version by version."""

    mirrors: int
    equal: int
    cells: int
    server_difference: str | None
    drained_seconds: float
    webhooks: Deliveries
    forged: int
    relay_killed: bool
    relay_recovered_seconds: float | None


class CouponReport(msgspec.Struct, frozen=True):
    """The coupon that everybody wants; `late` counts buyers for whom it had been used up, and who paid the whole price."""

    code: str
    limit: int
    used: int
    late: int


class OutageReport(msgspec.Struct, frozen=True):
    """How long the gateway failed, and how long after it all that was begun by then had ended; null where that did not happen."""

    seconds: float | None
    ended_seconds: float | None
    put_off: int
    """Requests that were told to come back, or were not answered."""


class MoneyReport(msgspec.Struct, frozen=True, kw_only=True):
    """Checkouts as the crowd saw them, money as the books have it, and how both stand to the gateway's own list.

    Amounts are minor units by currency. `latency` is of checkouts in which neither payer, nor bank, nor the failing gateway took
    their time. `other` has what else the books and the gateway's list disagree about. Zero is the right answer to the last eight,
    and empty.
    """

    paid: int
    declined: int
    challenged: int
    refunded: int
    taken_minor: Mapping[str, int]
    given_back_minor: Mapping[str, int]
    kept_minor: Mapping[str, int]
    coupon: CouponReport
    outage: OutageReport
    latency: LatencyReport
    payments: int
    orphan_charges: int
    confirmed_unpaid: int
    double_charges: int
    other: int
    imbalances: Mapping[str, int]
    receipts: int
    receipts_wrong: int
    unfinished: int
    differences: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether money adds up: in the books, at the gateway, and in what buyers were told."""
        wrong = self.orphan_charges + self.confirmed_unpaid + self.double_charges + self.other + self.receipts_wrong
        return not (wrong or self.imbalances) and self.coupon.used <= self.coupon.limit


class DemoReport(msgspec.Struct, frozen=True, kw_only=True):
    """Counts over all channels, as the crowd saw them; `verification` is added when the auditor has looked.

    Each attempt is sold, refused, declined, released, expired or failed; a booking sold may be amended or cancelled later.
    `double_bookings` counts cells promised beyond their capacity, at any moment, by the answers alone.
    """

    command: str
    seed: int
    seconds: float
    market: str
    opening: date
    resources: int
    attempts: int
    sold: int
    refused: int
    refused_by_code: dict[str, int]
    declined: int
    released: int
    expired: int
    failed: int
    cancelled: int
    amended: int
    extended: int
    double_bookings: int
    double_booked: tuple[str, ...]
    requests: int
    retries: int
    lost_answers: int
    misused_keys: int
    duplicates: int
    duplicates_wrong: int
    read_back: int
    read_back_wrong: int
    unexpected: int
    examples: tuple[str, ...]
    latency: LatencyReport
    bookings_per_second: float
    requests_per_second: float
    rush: RushReport
    channels: tuple[ChannelReport, ...]
    mirrors: tuple[MirrorReport, ...]
    proof: ProofReport
    money: MoneyReport
    verification: Report | None = None

    @property
    def ok(self) -> bool:
        """Whether every invariant held, as seen from the outside and by the auditor if it has looked."""
        seen_broken = self.double_bookings or self.duplicates_wrong or self.read_back_wrong
        seen_unequal = self.proof.equal < self.proof.mirrors or self.proof.server_difference is not None
        return (
            not (seen_broken or seen_unequal) and self.money.ok and (self.verification is None or self.verification.ok)
        )

    @property
    def exit_code(self) -> int:
        """0: all as promised; 7: an invariant is violated; 1: an unexpected answer, a webhook lost, a checkout without end."""
        if not self.ok:
            return EXIT_INVARIANT
        undelivered = self.proof.webhooks.dead + self.proof.webhooks.pending + self.proof.forged
        return EXIT_FAILED if self.unexpected or undelivered or self.money.unfinished else EXIT_OK


def report_of(board: Board, opening: date, proof: Proof, money: MoneyProof) -> DemoReport:
    """The report of a crowd that has gone home; rates are over the time in which it was buying."""
    plain = (
        *(
            "attempts",
            "sold",
            "declined",
            "released",
            "expired",
            "failed",
            "cancelled",
            "amended",
            "extended",
            "requests",
        ),
        *("retries", "lost_answers", "misused_keys", "duplicates", "duplicates_wrong", "read_back"),
        *("read_back_wrong", "unexpected"),
    )
    totals: dict[str, Any] = {name: board.total(name) for name in plain}
    refused = board.refused()
    double_booked = board.witness.double_booked
    return DemoReport(
        command=f"onebook demo --seed {board.seed} --seconds {board.seconds:g}",
        seed=board.seed,
        seconds=board.seconds,
        market=board.market,
        opening=opening,
        resources=board.resources,
        refused=refused.total(),
        refused_by_code=dict(refused.most_common()),
        double_bookings=len(double_booked),
        double_booked=tuple(
            f"{resource} {cell}: {units} promised" for (resource, cell), units in double_booked.items()
        )[:MAX_EXAMPLES],
        examples=tuple(text for tally in board.tallies.values() for text in tally.examples)[:MAX_EXAMPLES],
        latency=_latency(board.latencies()),
        bookings_per_second=round(totals["sold"] / board.selling_seconds, 1),
        requests_per_second=round(totals["requests"] / board.selling_seconds, 1),
        rush=_rush(board.rush),
        channels=tuple(_channel(name, tally) for name, tally in board.tallies.items()),
        mirrors=tuple(_mirror(follower, proof) for follower in board.followers),
        proof=_proof(board, proof),
        money=_money(board, money),
        **totals,
    )


def _mirror(follower: Follower, proof: Proof) -> MirrorReport:
    lag = follower.lag
    return MirrorReport(
        channel=follower.name,
        via=follower.via,
        events=follower.heard,
        older=follower.older,
        readings=follower.readings,
        lag_p50_ms=_milliseconds(lag.calm.percentile_seconds(50)),
        lag_p99_ms=_milliseconds(lag.calm.percentile_seconds(99)),
        worst_lag_ms=_milliseconds(lag.worst_seconds),
        difference=proof.differences.get(follower.name),
        away=_away(follower) if isinstance(follower, Partner) and follower.away_seconds else None,
    )


def _away(partner: Partner) -> AwayReport:
    restored = partner.restored_seconds
    return AwayReport(round(partner.away_seconds, 2), None if restored is None else _milliseconds(restored))


def _proof(board: Board, proof: Proof) -> ProofReport:
    return ProofReport(
        mirrors=len(board.followers),
        equal=len(board.followers) - len(proof.differences),
        cells=proof.cells,
        server_difference=proof.server_difference,
        drained_seconds=proof.drained_seconds,
        webhooks=proof.deliveries,
        forged=sum(follower.forged for follower in board.followers if isinstance(follower, Partner)),
        relay_killed=board.relay.at is not None,
        relay_recovered_seconds=board.relay.recovered_seconds,
    )


def _money(board: Board, proof: MoneyProof) -> MoneyReport:
    till, books, outage = board.till, proof.books, board.till.outage
    named = (Kind.ORPHAN_CHARGE, Kind.CONFIRMED_UNPAID, Kind.DOUBLE_CHARGE)
    orphans, unpaid, doubles = (proof.count(kind) for kind in named)
    return MoneyReport(
        paid=till.paid,
        declined=board.total("declined"),
        challenged=till.challenged,
        refunded=books.refunds,
        taken_minor=books.taken_minor,
        given_back_minor=books.given_back_minor,
        kept_minor=books.kept_minor,
        coupon=CouponReport(till.coupon, till.coupon_limit, books.coupon_used, till.coupon_late),
        outage=OutageReport(_rounded(outage.seconds), _rounded(outage.ended_seconds), till.put_off),
        latency=_latency(till.latencies),
        payments=proof.payments,
        orphan_charges=orphans,
        confirmed_unpaid=unpaid + proof.sold_unpaid,
        double_charges=doubles,
        other=len(proof.differences) - orphans - unpaid - doubles,
        imbalances=proof.imbalances,
        receipts=len(till.receipts) + len(till.declined),
        receipts_wrong=proof.receipts_wrong,
        unfinished=books.unfinished,
        differences=tuple(
            f"{one.kind} {one.checkout}: {one.expected_minor} in the books, {one.found_minor} found, {one.currency}"
            for one in proof.differences[:MAX_EXAMPLES]
        ),
    )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 2)


def _channel(name: str, tally: Tally) -> ChannelReport:
    return ChannelReport(
        channel=name,
        attempts=tally.attempts,
        sold=tally.sold,
        refused=tally.refused.total(),
        declined=tally.declined,
        released=tally.released,
        expired=tally.expired,
        failed=tally.failed,
        cancelled=tally.cancelled,
        latency=_latency(tally.latencies),
    )


def _rush(rush: Rush) -> RushReport:
    return RushReport(
        what=rush.what,
        units=rush.units,
        attempts=rush.attempts,
        sold=rush.sold,
        refused=rush.refused,
        seconds=round(rush.seconds, 3),
    )


def _latency(latencies: Latencies) -> LatencyReport:
    return LatencyReport(*(_milliseconds(latencies.percentile_seconds(percent)) for percent in (50, 95, 99)))


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 2)
