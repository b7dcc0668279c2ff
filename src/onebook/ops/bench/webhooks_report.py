"""What `onebook bench webhooks` measured: how late a partner is told, and how many deliveries there can be, for people too."""

from collections.abc import Sequence
from typing import Literal

import msgspec
from rich.console import Console

from onebook.ops.bench.arrivals import Received
from onebook.ops.bench.passage import Stage, latencies_row, latencies_table, stages_line
from onebook.ops.bench.report import Hardware, LoadReport, answers, hardware_line
from onebook.ops.bench.targets import Target, at_least, at_most, targets_table

PACED_P50_MS = 15
PACED_P99_MS = 75
RATE_SHARE = 0.98


class PacedWebhooks(msgspec.Struct, frozen=True):
    """Bookings at a rate, and what an endpoint received of them."""

    rate: int
    load: LoadReport
    received: Received
    stages: Sequence[Stage]


class Backlog(msgspec.Struct, frozen=True):
    """Bookings faster than deliveries can follow, until all has been delivered."""

    load: LoadReport
    delivered_meanwhile: int
    """While bookings came in."""
    received: Received
    """In the end."""
    drain_seconds: float
    """From the last booking's answer to the last delivery."""

    @property
    def meanwhile_per_second(self) -> float:
        """Deliveries while bookings came in, sharing the processors with them."""
        return self.delivered_meanwhile / self.load.seconds

    @property
    def drained_per_second(self) -> float | None:
        """Deliveries from the backlog alone; None where there was none."""
        left = self.received.deliveries - self.delivered_meanwhile
        return left / self.drain_seconds if left > 0 and self.drain_seconds > 0 else None


class WebhooksReport(msgspec.Struct, frozen=True):
    """From a booking's decision until a partner's endpoint has received it."""

    seconds: int
    workers: int
    paced: PacedWebhooks
    backlog: Backlog
    meanwhile_per_second: float
    drained_per_second: float | None
    targets: Sequence[Target]
    hardware: Hardware
    kind: Literal["webhooks"] = "webhooks"


def webhooks_targets(paced: PacedWebhooks, backlog: Backlog) -> list[Target]:
    """What was to be shown, and whether it was."""
    made = paced.load.placed / paced.load.seconds
    p50, p99 = paced.received.arrivals.all.quantiles
    lacking = sum(max(0, each.load.placed - each.received.deliveries) for each in (paced, backlog))
    return [
        at_least(f"bookings made at {paced.rate}/s", made, RATE_SHARE * paced.rate, "/s"),
        at_most("to the endpoint, p50", p50, PACED_P50_MS, "ms"),
        at_most("to the endpoint, p99", p99, PACED_P99_MS, "ms"),
        at_most("bookings that were not delivered", lacking, 0),
        at_least("signatures verified", paced.received.verified + backlog.received.verified, 1),
        at_most("signatures that were wrong", paced.received.forged + backlog.received.forged, 0),
    ]


def render_webhooks(report: WebhooksReport, console: Console) -> None:
    """The report for people."""
    paced, backlog = report.paced, report.backlog
    table = latencies_table(
        "From a booking's decision to a partner's endpoint",
        "Counted from the event's time, read under the locks a little before the commit: an upper bound from the commit.",
        "deliveries",
    )
    table.add_row(f"{paced.rate} bookings/s", *latencies_row(paced.received.arrivals.all))
    table.add_row("  its last third", *latencies_row(paced.received.arrivals.last_third))
    table.add_row("as many bookings as can be", *latencies_row(backlog.received.arrivals.all))
    console.print(table)
    console.print(*_lines(report), sep="\n", highlight=False)
    console.print(targets_table(report.targets))
    console.print(hardware_line(report.hardware), style="dim", highlight=False)


def _lines(report: WebhooksReport) -> list[str]:
    paced, backlog = report.paced, report.backlog
    drained = backlog.drained_per_second
    alone = "there was no backlog" if drained is None else f"{drained:,.0f}/s from the backlog alone"
    checked = paced.received.verified + backlog.received.verified
    return [
        f"{paced.rate}/s: {answers(paced.load)}; {paced.received.repeated} delivered twice; {stages_line(paced.stages)}",
        f"highest rate: {backlog.meanwhile_per_second:,.0f} deliveries/s while {answers(backlog.load)} came in "
        f"{backlog.load.seconds:.1f} s; {alone}; {backlog.received.repeated} delivered twice",
        f"{checked:,} signatures verified with the official library",
        "baseline: there is none that could run here; `bench sync` shows what an outbox polled every second comes to before "
        "anything is sent",
    ]
