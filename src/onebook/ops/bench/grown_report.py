"""What `onebook bench grown` measured: one ledger before and after it has grown, as figures and as tables for people."""

from collections.abc import Sequence

import msgspec
from rich.console import Console
from rich.table import Table

from onebook.ops.bench.report import Hardware, Round, Total, answers, hardware_line, latencies


class TableSize(msgspec.Struct, frozen=True):
    """What one table takes on disk."""

    name: str
    table_bytes: int
    index_bytes: int


class Stage(msgspec.Struct, frozen=True):
    """The ledger as it was, and the rate of holds that it bore."""

    bookings: int
    """In the ledger as the first round began; every hold of the rounds comes on top."""
    sizes: Sequence[TableSize]
    rounds: Sequence[Round]
    total: Total


class Fill(msgspec.Struct, frozen=True):
    """The bookings generated between the stages, straight into the tables."""

    bookings: int
    seconds: float
    vacuum_seconds: float
    """VACUUM (ANALYZE) and CHECKPOINT after it."""
    waited_seconds: float
    """Until no hold of the first stage could fall due within the second, and be paid for there."""


class GrownReport(msgspec.Struct, frozen=True):
    """The rate of holds before and after the ledger has grown, in one run on one server."""

    connections: int
    workers: int
    resources: int
    nights: int
    seconds: int
    before: Stage
    fill: Fill
    after: Stage
    ratio: float | None
    """Holds per second after over before; None when nothing was placed before."""
    cpu_ratio: float | None
    """Processor time per hold after over before."""
    hardware: Hardware


def render_grown(report: GrownReport, console: Console) -> None:
    """The report for people."""
    console.print(_rounds_table(report))
    console.print(_verdict(report), highlight=False)
    console.print(_sizes_table(report))
    console.print(hardware_line(report.hardware), style="dim", highlight=False)


def _rounds_table(report: GrownReport) -> Table:
    title = (
        f"Three-night holds on {report.resources:,} resources within {report.nights} nights: {report.connections} "
        f"connections, {report.workers} workers, {report.seconds} s a round"
    )
    table = Table(title=title, title_justify="left")
    for heading in ("bookings", "holds/s", "p50 ms", "p95 ms", "p99 ms", "CPU s / 1000 holds"):
        table.add_column(heading, justify="right")
    table.add_column("answers")
    for stage in (report.before, report.after):
        for each in stage.rounds:
            table.add_row(
                f"{stage.bookings:,}",
                f"{each.holds_per_second:,.0f}",
                *latencies(each.load),
                f"{each.cpu_seconds_per_1000_holds:.3f}",
                answers(each.load),
            )
        table.add_section()
    return table


def _verdict(report: GrownReport) -> str:
    lines = [
        f"{stage.bookings:,} bookings: {stage.total.holds_per_second:,.0f} holds/s, "
        f"{stage.total.cpu_seconds_per_1000_holds:.3f} CPU s per 1000 holds"
        for stage in (report.before, report.after)
    ]
    if report.ratio is not None and report.cpu_ratio is not None:
        lines.append(f"after / before: {report.ratio:.2f} × the holds/s, {report.cpu_ratio:.2f} × the CPU per hold")
    fill = report.fill
    lines.append(
        f"{fill.bookings:,} bookings generated in {fill.seconds:,.0f} s, vacuumed and analyzed in "
        f"{fill.vacuum_seconds:,.0f} s, {fill.waited_seconds:,.0f} s waited for earlier holds to expire"
    )
    return "\n".join(lines)


def _sizes_table(report: GrownReport) -> Table:
    table = Table(title="On disk, in MiB", title_justify="left")
    table.add_column("table")
    for heading in ("rows before", "rows after", "indexes before", "indexes after"):
        table.add_column(heading, justify="right")
    for before, after in zip(report.before.sizes, report.after.sizes, strict=True):
        sizes = (before.table_bytes, after.table_bytes, before.index_bytes, after.index_bytes)
        table.add_row(before.name, *(f"{size / 2**20:,.1f}" for size in sizes))
    return table
