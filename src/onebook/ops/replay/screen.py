"""What `onebook replay` shows to people: a bar while it runs, then tables by room type and channel."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date

from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from onebook.ops.replay.report import Count, ReplayReport

LINES_PER_REASON = 4
TROUBLES_SHOWN = 10

# Stays asked for so far, of how many, and the day that the calendar shows.
ShowProgress = Callable[[int, int, date], None]


@contextmanager
def progress_on(console: Console) -> Iterator[ShowProgress]:
    """A progress bar on a terminal, and nothing anywhere else."""
    if not console.is_terminal:
        yield lambda done, total, day: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("reading", total=None)

        def show(done: int, total: int, day: date) -> None:
            bar.update(task, completed=done, total=total, description=day.isoformat())

        yield show


def render(report: ReplayReport, console: Console) -> None:
    """The report for people."""
    rejected = len(report.rejected)
    console.print(
        Text(f"{report.file}: {report.rows:,} rows = {report.total.asked:,} asked + {rejected:,} rejected"),
        highlight=False,
    )
    console.print(f"capacity of a room type: {report.capacity_rule}", style="dim", highlight=False)
    console.print(_table_of_room_types(report))
    console.print(_table_of_channels(report))
    if report.rejected:
        console.print(_table_of_rejected(report))
    for trouble in report.troubles[:TROUBLES_SHOWN]:
        console.print(Text(f"line {trouble.line}: {trouble.request} failed: {trouble.what}", "red"))
    if (more := len(report.troubles) - TROUBLES_SHOWN) > 0:
        console.print(f"… and {more:,} more failed (all of them with --json)", style="red")
    console.print(_verdict(report))
    if (verification := report.verification) is not None:
        wrong = sum(check.total for check in verification.checks if not check.ok)
        found = Text("every invariant holds", "bold green") if verification.ok else Text(f"{wrong:,} wrong", "bold red")
        console.print("onebook verify:", found)


def _table_of_room_types(report: ReplayReport) -> Table:
    table = _table(report, "room type", "units")
    for each in report.room_types:
        table.add_row(Text(f"{each.hotel} {each.room_type}"), f"{each.capacity:,}", *_cells(report, each.count))
    table.add_section()
    table.add_row("all", f"{sum(each.capacity for each in report.room_types):,}", *_cells(report, report.total))
    return table


def _table_of_channels(report: ReplayReport) -> Table:
    table = _table(report, "channel")
    for each in report.channels:
        table.add_row(each.channel, *_cells(report, each.count))
    table.caption = "occupied: the channel's share of all nights of all units"
    table.caption_justify = "left"
    return table


def _table(report: ReplayReport, key: str, *figures: str) -> Table:
    # Narrow enough for 80 columns: that is what a pipe has.
    table = Table(key, box=SIMPLE, padding=0)
    refused = (f"refused\n{code}" for code in report.total.refused)
    failed = ("failed",) if report.total.failed else ()
    for heading in (*figures, "asked", "sold", *refused, *failed, "cancelled", "occupied", "ms p50 p95 p99"):
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _cells(report: ReplayReport, count: Count) -> list[str | Text]:
    latency = count.latency
    return [
        f"{count.asked:,}",
        f"{count.sold:,}",
        *(f"{count.refused.get(code, 0):,}" for code in report.total.refused),
        *((Text(f"{count.failed:,}", "red" if count.failed else ""),) if report.total.failed else ()),
        f"{count.cancelled:,}",
        f"{count.occupancy_percent:.1f} %",
        "" if latency is None else f"{latency.p50_ms:.1f} {latency.p95_ms:.1f} {latency.p99_ms:.1f}",
    ]


def _table_of_rejected(report: ReplayReport) -> Table:
    table = Table("rejected for", box=SIMPLE, padding=0)
    table.add_column("rows", justify="right")
    table.add_column("lines (all: --json)")
    table.add_column("the first of them")
    for reason, number in report.rejected_by_reason.items():
        rows = [row for row in report.rejected if row.reason == reason]
        lines = ", ".join(str(row.line) for row in rows[:LINES_PER_REASON])
        # Text, not str: what stands in the file must not be read as markup.
        table.add_row(reason, f"{number:,}", lines + (", …" if number > LINES_PER_REASON else ""), Text(rows[0].detail))
    return table


def _verdict(report: ReplayReport) -> Text:
    audit = report.audit
    wrong = bool(audit.oversold_nights or audit.needlessly_refused)
    needless = "unknown, as requests failed" if audit.needlessly_refused is None else f"{audit.needlessly_refused:,}"
    verdict = Text(
        f"recounted from the answers: oversold nights {audit.oversold_nights:,}, refused though free {needless}",
        "bold red" if wrong else "bold green",
    )
    verdict.append(f"\n{report.seconds:.1f} s, {report.retries:,} retries", "dim")
    return verdict
