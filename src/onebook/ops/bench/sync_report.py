"""What `onebook bench sync` measured: how late others know of a booking, as figures and as tables for people."""

from collections.abc import Sequence
from typing import Literal

import msgspec
from rich.console import Console

from onebook.ops.bench.arrivals import Heard, Polled
from onebook.ops.bench.passage import Stage, latencies_row, latencies_table, stages_line
from onebook.ops.bench.report import Hardware, LoadReport, Round, answers, hardware_line
from onebook.ops.bench.targets import Target, at_least, at_most, targets_table

PACED_P50_MS = 4
PACED_P99_MS = 20
RATE_SHARE = 0.98  # below that, what was measured is not what was asked for
GROWTH = 1.5  # two thirds of a minute apart: a backlog that grows makes it tenfold, noise does not make it more
FULL_P99_MS = 75
KEPT = 0.70
CROWD_P99_MS = 250
CROWD_KB = 40


class Paced(msgspec.Struct, frozen=True):
    """Bookings at a rate, and what clients of the stream heard of them."""

    rate: int
    load: LoadReport
    heard: Heard
    stages: Sequence[Stage]

    @property
    def missing(self) -> int:
        """Events that some client did not get: the most that any one lacks."""
        return max(0, self.load.placed - self.heard.fewest)


class PolledOutbox(msgspec.Struct, frozen=True):
    """The baseline: bookings at a rate that it bears, and what a poller of its outbox saw of them."""

    rate: int
    load: LoadReport
    polled: Polled


class Full(msgspec.Struct, frozen=True):
    """One round of holds at full speed with the pipeline, and one without it."""

    with_pipeline: Round
    without_pipeline: Round
    heard: Heard
    stages: Sequence[Stage]


class Crowd(msgspec.Struct, frozen=True):
    """Many clients of one worker's stream."""

    wanted: int
    """Clients that were asked for; fewer were connected where the machine allows no more open files."""
    paced: Paced
    rss_before: int
    """The worker's resident memory in bytes, before the first of them, after a warm-up."""
    rss_after: int

    @property
    def kb_per_client(self) -> float:
        """In thousands of bytes."""
        return (self.rss_after - self.rss_before) / self.paced.heard.clients / 1000


class SyncReport(msgspec.Struct, frozen=True):
    """From a booking's decision until others know of it."""

    seconds: int
    workers: int
    polled: PolledOutbox
    paced: Paced
    full: Sequence[Full]
    kept: float | None
    """Holds per second with the pipeline over those without it, over all rounds."""
    crowd: Crowd
    kb_per_client: float
    targets: Sequence[Target]
    hardware: Hardware
    kind: Literal["sync"] = "sync"


def sync_targets(paced: Paced, full: Sequence[Full], kept: float | None, crowd: Crowd) -> list[Target]:
    """What was to be shown, and whether it was."""
    p50, p99 = paced.heard.arrivals.all.quantiles
    _, crowd_p99 = crowd.paced.heard.arrivals.all.quantiles
    made = paced.load.placed / paced.load.seconds
    lacking = paced.missing + crowd.paced.missing + sum(_missing(each) for each in full)
    lost = paced.heard.lost + crowd.paced.heard.lost + sum(each.heard.lost for each in full)
    return [
        at_least(f"bookings made at {paced.rate}/s", made, RATE_SHARE * paced.rate, "/s"),
        at_most(f"to a client of the stream at {paced.rate}/s, p50", p50, PACED_P50_MS, "ms"),
        at_most(f"to a client of the stream at {paced.rate}/s, p99", p99, PACED_P99_MS, "ms"),
        at_most("its growth: p99 of the last third over the first's", paced.heard.arrivals.growth, GROWTH, "×"),
        at_most("at the highest rate of holds, p99", _worst(full), FULL_P99_MS, "ms"),
        at_least("holds/s with the pipeline over those without", kept, KEPT, "×"),
        at_least("clients on one worker", crowd.paced.heard.clients, crowd.wanted),
        at_most("to all clients of one worker, p99", crowd_p99, CROWD_P99_MS, "ms"),
        at_most("memory a client", crowd.kb_per_client, CROWD_KB, "kB"),
        at_most("events that a client did not get", lacking, 0),
        at_most("streams lost", lost, 0),
    ]


def render_sync(report: SyncReport, console: Console) -> None:
    """The report for people."""
    crowd = report.crowd
    table = latencies_table(
        "From a booking's decision to its arrival elsewhere",
        "Counted from the event's time, read under the locks a little before the commit: an upper bound from the commit.\n"
        f"The poller asks every {report.polled.polled.interval_seconds:g} s; from it to a client would come on top.",
        "who hears of it",
    )
    polled = report.polled
    table.add_row(f"baseline: outbox polled, {polled.rate}/s", *latencies_row(polled.polled.arrivals.all))
    table.add_section()
    heard = report.paced.heard
    table.add_row(f"stream, {heard.clients} clients, {report.paced.rate}/s", *latencies_row(heard.arrivals.all))
    table.add_row("  its first third", *latencies_row(heard.arrivals.first_third))
    table.add_row("  its last third", *latencies_row(heard.arrivals.last_third))
    for each in report.full:
        rate = f"{each.with_pipeline.holds_per_second:,.0f}/s"
        table.add_row(f"stream, {each.heard.clients} clients, {rate}", *latencies_row(each.heard.arrivals.all))
    heard = crowd.paced.heard
    table.add_row(
        f"stream, {heard.clients:,} clients of one worker, {crowd.paced.rate}/s", *latencies_row(heard.arrivals.all)
    )
    console.print(table)
    console.print(*_lines(report), sep="\n", highlight=False)
    console.print(targets_table(report.targets))
    console.print(hardware_line(report.hardware), style="dim", highlight=False)


def _lines(report: SyncReport) -> list[str]:
    polled, crowd = report.polled, report.crowd
    lines = [
        f"baseline: {answers(polled.load)}; the poller never saw {polled.polled.missed} of {polled.polled.rows:,} rows",
        f"{report.paced.rate}/s: {answers(report.paced.load)}; {stages_line(report.paced.stages)}",
    ]
    for number, each in enumerate(report.full, 1):
        with_it, without = each.with_pipeline, each.without_pipeline
        lines.append(
            f"round {number} at full speed: {with_it.holds_per_second:,.0f} holds/s with the pipeline "
            f"({answers(with_it.load)}), {without.holds_per_second:,.0f} without ({answers(without.load)}); "
            f"{stages_line(each.stages)}"
        )
    lines.append(
        f"{crowd.paced.heard.clients:,} clients: the worker's memory {crowd.rss_before / 1e6:,.0f} → "
        f"{crowd.rss_after / 1e6:,.0f} MB; {answers(crowd.paced.load)}; {stages_line(crowd.paced.stages)}"
    )
    return lines


def _missing(full: Full) -> int:
    return max(0, full.with_pipeline.load.placed - full.heard.fewest)


def _worst(full: Sequence[Full]) -> float | None:
    """None where one round has heard nothing."""
    measured = [p99 for each in full if (p99 := each.heard.arrivals.all.quantiles[1]) is not None]
    return max(measured) if measured and len(measured) == len(full) else None
