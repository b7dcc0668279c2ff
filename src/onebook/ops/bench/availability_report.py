"""What `onebook bench availability` measured: reads from memory beside a SELECT each, as figures and as tables for people."""

from collections.abc import Sequence
from typing import Literal

import msgspec
from rich.console import Console
from rich.table import Table

from onebook.ops.bench.report import Hardware, LoadReport, ServerName, answers, hardware_line, latencies
from onebook.ops.bench.targets import Target, at_least, at_most, targets_table

RATIO = 10
P99_MS = 15
SEARCH_P95_MS = 10

Mix = Literal["spread", "popular", "known"]


class Reading(msgspec.Struct, frozen=True):
    """One measured round of reads, while bookings go on."""

    server: ServerName
    mix: Mix
    """Of many queries more than are kept ready; of few; of few whose answers the client knows (If-None-Match)."""
    queries: int
    requests_per_second: float
    cpu_seconds_per_1000_requests: float
    """Of the server's processes and its PostgreSQL, what the bookings cost included."""
    load: LoadReport
    bookings: LoadReport

    @property
    def answered(self) -> int:
        """Reads answered with what was asked for, or with 304."""
        return answered(self.load)


class AvailabilityReport(msgspec.Struct, frozen=True):
    """Availability of one resource for many nights, and searches over many resources."""

    connections: int
    baseline_workers: int
    seconds: int
    nights: int
    bookings_per_second: int
    readings: Sequence[Reading]
    ratio: float | None
    """Of the mix `spread`: Onebook's requests per second over the baseline's, over all rounds."""
    searched_resources: int
    searched_nights: int
    search: LoadReport
    """One client, one search after the other, while bookings go on."""
    targets: Sequence[Target]
    hardware: Hardware
    kind: Literal["availability"] = "availability"


def answered(load: LoadReport) -> int:
    """Reads answered with what was asked for, or with 304."""
    return load.by_status.get("200", 0) + load.by_status.get("304", 0)


def ratio_of(readings: Sequence[Reading]) -> float | None:
    """Onebook's rate over the baseline's; None where one was not measured, or answered nothing."""
    rates = {}
    for server in ("baseline", "onebook"):
        own = [each for each in readings if each.server == server and each.mix == "spread"]
        seconds = sum(each.load.seconds for each in own)
        rates[server] = sum(each.answered for each in own) / seconds if seconds else 0.0
    return rates["onebook"] / rates["baseline"] if all(rates.values()) else None


def availability_targets(
    readings: Sequence[Reading], ratio: float | None, search: LoadReport, resources: int
) -> list[Target]:
    """What was to be shown, and whether it was."""
    spread = [each.load.p99_ms for each in readings if each.server == "onebook" and each.mix == "spread"]
    refused = sum(each.load.broken + each.load.requests - each.answered for each in readings)
    refused += search.broken + search.requests - answered(search)
    return [
        at_least("requests/s over the baseline's", ratio, RATIO, "×"),
        at_most("p99, the worst round", max(spread, default=None), P99_MS, "ms"),
        at_most(f"search over {resources:,} resources, p95", search.p95_ms or None, SEARCH_P95_MS, "ms"),
        at_most("requests that were not answered with 200 or 304", refused, 0),
    ]


def render_availability(report: AvailabilityReport, console: Console) -> None:
    """The report for people."""
    console.print(_table(report))
    meanwhile = sorted({answers(each.bookings) for each in report.readings})
    console.print(
        f"onebook: one worker, baseline: {report.baseline_workers}; meanwhile {report.bookings_per_second} bookings/s, "
        f"in each round {' or '.join(meanwhile)}",
        highlight=False,
    )
    ratio = "not measured" if report.ratio is None else f"{report.ratio:.1f} × the requests/s"
    console.print(f"onebook / baseline (spread): {ratio}", highlight=False)
    p50, p95, p99 = latencies(report.search)
    console.print(
        f"search over {report.searched_resources:,} resources × {report.searched_nights} nights, one client: "
        f"p50 {p50}, p95 {p95}, p99 {p99} ms; {_answers(report.search)}",
        highlight=False,
    )
    console.print(targets_table(report.targets))
    console.print(hardware_line(report.hardware), style="dim", highlight=False)


def _table(report: AvailabilityReport) -> Table:
    title = (
        f"Availability of one resource for {report.nights} nights: {report.connections} connections, "
        f"{report.seconds} s a round"
    )
    caption = (
        "spread: more queries than are kept ready; popular: few; known: few, with If-None-Match\n"
        "(Lua sees each answer of these, which slows the generator). CPU: the server's processes\n"
        "and its PostgreSQL, for the bookings too."
    )
    table = Table(title=title, title_justify="left", caption=caption, caption_justify="left")
    table.add_column("reads")
    for heading in ("requests/s", "p50 ms", "p95 ms", "p99 ms", "CPU s / 1000"):
        table.add_column(heading, justify="right")
    table.add_column("answers")
    for each in report.readings:
        table.add_row(
            f"{each.server}, {each.mix}",
            f"{each.requests_per_second:,.0f}",
            *latencies(each.load),
            f"{each.cpu_seconds_per_1000_requests:.3f}",
            _answers(each.load),
        )
    return table


def _answers(load: LoadReport) -> str:
    """The statuses; whatever is neither 200 nor 304 stands out."""
    parts = [
        f"{count:,} × {status}" if status in {"200", "304"} else f"[red]{count:,} × {status}[/]"
        for status, count in sorted(load.by_status.items())
    ]
    if load.broken:
        parts.append(f"[red]{load.broken:,} without an answer[/]")
    return ", ".join(parts) or "[red]none[/]"
