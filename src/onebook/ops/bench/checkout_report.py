"""What `onebook bench checkout` measured: whole checkouts a second, holds beside a hanging gateway, and whether all is true."""

from collections.abc import Sequence
from statistics import fmean
from typing import Literal

import msgspec
from rich.console import Console
from rich.table import Table

from onebook.ops.bench.report import Hardware, LoadReport, answers, hardware_line, latencies
from onebook.ops.bench.targets import Target, at_least, at_most, targets_table

CHECKOUTS_PER_SECOND = 500
PACED_P99_MS = 150
HELD_UP_RATIO = 1.2
RATE_SHARE = 0.98


class Processors(msgspec.Struct, frozen=True):
    """Processor time in milliseconds for each checkout, by who took it. `others`: the pipeline behind the log."""

    workers: float
    gateway: float
    postgresql: float
    others: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.workers + self.gateway + self.postgresql + self.others


class FullSpeed(msgspec.Struct, frozen=True):
    """Clients that pay for a hold, and then for the next: as fast as they are answered."""

    load: LoadReport
    checkouts_per_second: float
    """Answered as paid."""
    cpu_ms_each: Processors


class PacedCheckouts(msgspec.Struct, frozen=True):
    """Checkouts at a rate; latencies run from when one was due, its hold not yet asked for, to the checkout's answer."""

    rate: int
    load: LoadReport


class Turn(msgspec.Struct, frozen=True):
    """Holds at a rate, while other bookings are paid for at another, or would be if the gateway did not hang."""

    hangs: bool
    holds: LoadReport
    checkouts: LoadReport


class Proof(msgspec.Struct, frozen=True):
    """What was written down in the end, here and at the gateway, of all that was asked in the run."""

    told: int
    """Checkouts that clients were told are paid."""
    completed: int
    confirmed: int
    """Bookings."""
    captured: int
    """Payments, in the gateway's own list."""
    astray: int
    """Completed and not captured, or captured and not completed, or of different amounts, or without a confirmed booking."""
    under_way: int
    """Not ended within the time for it."""
    balance_minor: int
    """Of all postings, in absolute value."""
    unposted_minor: int
    """What the gateway has taken, without what the books say that it has."""


class CheckoutReport(msgspec.Struct, frozen=True):
    """From a hold to money that was taken, through the simulated gateway's own process."""

    seconds: int
    workers: int
    clients: int
    full: Sequence[FullSpeed]
    paced: PacedCheckouts
    holds_rate: int
    checkouts_rate: int
    turns: Sequence[Turn]
    held_up: float | None
    """p99 of holds while the gateway hangs over p99 while it does not, each averaged over its turns."""
    proof: Proof
    targets: Sequence[Target]
    hardware: Hardware
    kind: Literal["checkout"] = "checkout"


def rate_of(full: Sequence[FullSpeed]) -> float:
    """Checkouts a second over all rounds."""
    return sum(each.load.placed for each in full) / sum(each.load.seconds for each in full)


def held_up(turns: Sequence[Turn]) -> float | None:
    """What a hanging gateway does to other bookings' holds; None where one of both was not measured."""
    hanging, healthy = ([turn.holds for turn in turns if turn.hangs is hangs] for hangs in (True, False))
    if not all(load.placed for load in (*hanging, *healthy)) or not hanging or not healthy:
        return None
    return fmean(load.p99_ms for load in hanging) / fmean(load.p99_ms for load in healthy)


def checkout_targets(
    full: Sequence[FullSpeed], paced: PacedCheckouts, turns: Sequence[Turn], proof: Proof
) -> list[Target]:
    """What was to be shown, and whether it was."""
    lost = sum(turn.holds.broken + turn.holds.requests - turn.holds.placed for turn in turns)
    return [
        at_least("whole checkouts", rate_of(full), CHECKOUTS_PER_SECOND, "/s"),
        at_least(
            f"checkouts made at {paced.rate}/s", paced.load.placed / paced.load.seconds, RATE_SHARE * paced.rate, "/s"
        ),
        at_most("their p99", paced.load.p99_ms if paced.load.placed else None, PACED_P99_MS, "ms"),
        at_most("p99 of holds with a hanging gateway over without", held_up(turns), HELD_UP_RATIO, "×"),
        at_most("holds that were not placed meanwhile", lost, 0),
        at_most("checkouts told as paid that are not", max(0, proof.told - proof.completed), 0),
        at_most("completed, confirmed and captured that differ", proof.astray, 0),
        at_most("checkouts that have not ended", proof.under_way, 0),
        at_most("trial balance, minor units", proof.balance_minor, 0),
        at_most("captured and not in the books, minor units", abs(proof.unposted_minor), 0),
    ]


def render_checkout(report: CheckoutReport, console: Console) -> None:
    """The report for people."""
    console.print(_checkouts_table(report))
    console.print(_turns_table(report))
    console.print(*_lines(report), sep="\n", highlight=False)
    console.print(targets_table(report.targets))
    console.print(hardware_line(report.hardware), style="dim", highlight=False)


def _checkouts_table(report: CheckoutReport) -> Table:
    title = f"Hold, authorize, commit, capture: {report.workers} workers, {report.seconds} s a round"
    table = Table(title=title, title_justify="left", caption=_CAPTION, caption_justify="left")
    table.add_column("load")
    for heading in ("checkouts/s", "p50 ms", "p95 ms", "p99 ms"):
        table.add_column(heading, justify="right")
    table.add_column("CPU ms each", justify="right")
    table.add_column("answers")
    for each in report.full:
        table.add_row(
            f"{report.clients} clients",
            f"{each.checkouts_per_second:,.0f}",
            *latencies(each.load),
            f"{each.cpu_ms_each.total:.2f}",
            answers(each.load),
        )
    paced = report.paced
    made = f"{paced.load.placed / paced.load.seconds:,.0f}"
    table.add_row(f"at {paced.rate}/s", made, *latencies(paced.load), "", answers(paced.load))
    return table


_CAPTION = (
    "From the arrival, its hold not yet asked for, to the checkout's answer 201 (paid). The load shares the processors."
)


def _turns_table(report: CheckoutReport) -> Table:
    title = f"{report.holds_rate} holds/s, while {report.checkouts_rate} other bookings a second are paid for"
    table = Table(title=title, title_justify="left")
    table.add_column("the gateway")
    for heading in ("p50 ms", "p95 ms", "p99 ms"):
        table.add_column(f"holds {heading}", justify="right")
    table.add_column("holds")
    table.add_column("checkouts")
    for turn in report.turns:
        name = "hangs" if turn.hangs else "answers"
        statuses = _statuses(turn.checkouts) if turn.hangs else answers(turn.checkouts)
        table.add_row(name, *latencies(turn.holds), answers(turn.holds), statuses)
    return table


def _statuses(load: LoadReport) -> str:
    """Those of a gateway that hangs: nobody can be told that he has paid, so that 202 and 503 are as promised."""
    return ", ".join(f"{count:,} × {status}" for status, count in sorted(load.by_status.items()))


def _lines(report: CheckoutReport) -> list[str]:
    proof = report.proof
    return [
        f"in the end: {proof.completed:,} checkouts completed, {proof.confirmed:,} bookings confirmed, {proof.captured:,} "
        f"payments captured; {proof.told:,} had been told as paid; {proof.astray:,} differ",
        "CPU ms a checkout: " + "; ".join(_processors_line(each.cpu_ms_each) for each in report.full),
        "baseline: there is none that could run here; pretix, measured elsewhere, is told in docs/performance.md",
    ]


def _processors_line(cpu: Processors) -> str:
    return (
        f"workers {cpu.workers:.2f}, gateway {cpu.gateway:.2f}, PostgreSQL {cpu.postgresql:.2f}, others {cpu.others:.2f}, "
        f"together {cpu.total:.2f}"
    )
