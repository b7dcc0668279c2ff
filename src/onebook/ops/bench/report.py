"""What `onebook bench` measured, as figures (the JSON form) and as tables for people.

Every figure here was measured in the run that it reports; the derived ones say how they are derived.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec
from rich.console import Console
from rich.table import Table

Kind = Literal["holds", "hot"]
ServerName = Literal["baseline", "onebook"]


class LoadReport(msgspec.Struct, frozen=True):
    """What one run of the load generator saw."""

    driver: str
    requests: int
    seconds: float
    by_status: dict[str, int]
    """How many answers had each HTTP status."""
    broken: int
    """Connections and requests without an answer."""
    p50_ms: float
    p95_ms: float
    p99_ms: float
    cpu_seconds: float
    """Processor time of the generator itself."""

    @property
    def placed(self) -> int:
        """Holds placed: the answers 201, and nothing else."""
        return self.by_status.get("201", 0)


class Round(msgspec.Struct, frozen=True):
    """One measured run against one server."""

    server: ServerName
    holds_per_second: float
    cpu_seconds_per_1000_holds: float
    """Of the server's processes and its PostgreSQL; 0 when nothing was placed."""
    load: LoadReport


class Total(msgspec.Struct, frozen=True):
    """A server over all of its rounds: its holds over its seconds, its processor time over its holds."""

    server: ServerName
    holds_per_second: float
    cpu_seconds_per_1000_holds: float


class Lone(msgspec.Struct, frozen=True):
    """One client on one connection, one hold after the other."""

    server: ServerName
    load: LoadReport
    bare_commit_p50_ms: float | None
    """One commit of the same rows, sent straight to the same database; not measured for the baseline."""


class Hardware(msgspec.Struct, frozen=True):
    """Where it was measured."""

    cpu_model: str
    cores: int
    memory_gib: float
    kernel: str
    fsync_p50_ms: float
    """An 8 KiB write with fdatasync, on the disk that holds the databases."""
    postgresql: str
    driver: str


class BenchReport(msgspec.Struct, frozen=True):
    """Onebook and the baseline under one load, in turns."""

    kind: Kind
    connections: int
    workers: int
    resources: int
    nights: int
    seconds: int
    rounds: Sequence[Round]
    totals: Sequence[Total]
    ratio: float | None
    """Onebook's holds per second over the baseline's; None when the baseline placed nothing."""
    cpu_ratio: float | None
    """Onebook's processor time per hold over the baseline's."""
    lone: Sequence[Lone]
    hardware: Hardware


def total(server: ServerName, rounds: Sequence[Round]) -> Total:
    """The rounds of one server as one figure each."""
    own = [each for each in rounds if each.server == server]
    placed = sum(each.load.placed for each in own)
    seconds = sum(each.load.seconds for each in own)
    cpu_seconds = sum(each.cpu_seconds_per_1000_holds * each.load.placed / 1000 for each in own)
    return Total(server, placed / seconds, 1000 * cpu_seconds / placed if placed else 0.0)


def render(report: BenchReport, console: Console) -> None:
    """The report for people."""
    console.print(_rounds_table(report))
    console.print(_verdict(report), highlight=False)
    if report.lone:
        console.print(_lone_table(report.lone))
    console.print(hardware_line(report.hardware), style="dim", highlight=False)


def _rounds_table(report: BenchReport) -> Table:
    table = Table(title=_title(report), title_justify="left", caption=_CAPTION, caption_justify="left")
    table.add_column("server")
    for heading in ("holds/s", "p50 ms", "p95 ms", "p99 ms", "CPU s / 1000 holds", "generator CPU s"):
        table.add_column(heading, justify="right")
    table.add_column("answers")
    for each in report.rounds:
        table.add_row(
            each.server,
            f"{each.holds_per_second:,.0f}",
            *latencies(each.load),
            f"{each.cpu_seconds_per_1000_holds:.3f}",
            f"{each.load.cpu_seconds:.1f}",
            answers(each.load),
        )
    return table


_CAPTION = "CPU: the server's processes and its PostgreSQL. The generator shares the processors with them."


def _title(report: BenchReport) -> str:
    what = "one hot resource" if report.kind == "hot" else f"{report.resources:,} resources"
    return (
        f"Three-night holds on {what} within {report.nights} nights: {report.connections} connections, "
        f"{report.workers} workers, {report.seconds} s a round"
    )


def _verdict(report: BenchReport) -> str:
    lines = [
        f"{each.server}: {each.holds_per_second:,.0f} holds/s, "
        f"{each.cpu_seconds_per_1000_holds:.3f} CPU s per 1000 holds"
        for each in report.totals
    ]
    if report.ratio is not None and report.cpu_ratio is not None:
        lines.append(f"onebook / baseline: {report.ratio:.1f} × the holds/s, {report.cpu_ratio:.3f} × the CPU per hold")
    return "\n".join(lines)


def _lone_table(lone: Sequence[Lone]) -> Table:
    table = Table(title="A lone client, one hold after the other", title_justify="left")
    table.add_column("server")
    for heading in ("p50 ms", "p95 ms", "p99 ms", "bare commit p50 ms", "p50 / bare commit"):
        table.add_column(heading, justify="right")
    table.add_column("answers")
    for each in lone:
        bare = each.bare_commit_p50_ms
        table.add_row(
            each.server,
            *latencies(each.load),
            "" if bare is None else f"{bare:.2f}",
            "" if bare is None else f"{each.load.p50_ms / bare:.2f}",
            answers(each.load),
        )
    return table


def latencies(load: LoadReport) -> tuple[str, str, str]:
    """p50, p95 and p99 as cells of a table, in milliseconds."""
    return f"{load.p50_ms:.2f}", f"{load.p95_ms:.2f}", f"{load.p99_ms:.2f}"


def answers(load: LoadReport) -> str:
    """The statuses; whatever is not a hold placed stands out."""
    parts = [
        f"{count:,} × {status}" if status == "201" else f"[red]{count:,} × {status}[/]"
        for status, count in sorted(load.by_status.items())
    ]
    if load.broken:
        parts.append(f"[red]{load.broken:,} without an answer[/]")
    return ", ".join(parts) or "[red]none[/]"


def hardware_line(hardware: Hardware) -> str:
    """The machine in one line."""
    return (
        f"{hardware.cpu_model}, {hardware.cores} cores, {hardware.memory_gib:.0f} GiB, {hardware.kernel}, "
        f"fsync {hardware.fsync_p50_ms:.2f} ms, PostgreSQL {hardware.postgresql}, driver {hardware.driver}"
    )
