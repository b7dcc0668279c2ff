"""Traces for people: each a waterfall, one line a span, with where in time it lies."""

from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.style import Style
from rich.table import Table
from rich.text import Text

from onebook.ops.tracing.find import Bar, Found, Waterfall

BAR_CELLS = 32
PLAIN_WIDTH = 160
_COLOURS = {"request": "cyan", "queue": "yellow", "lock": "yellow", "decide": "green", "commit": "green"}
_LATER = "magenta"

HOW_TO_FOLLOW = (
    "Send the request with a traceparent header whose flags are 01, or set tracing.sample_ratio"
    " (ONEBOOK_TRACING_SAMPLE_RATIO) to the share of requests to follow."
)


def render(found: Found, out: Console) -> None:
    """Print every waterfall, and what was not followed."""
    # What goes to a file or a pipe is not cut to the width of a terminal that is not there.
    wide = out if out.is_terminal else Console(file=out.file, width=PLAIN_WIDTH)
    for waterfall in found.waterfalls:
        _print_waterfall(waterfall, wide)
    kept = {waterfall.trace_id for waterfall in found.waterfalls}
    for command in found.commands:
        if command.trace_id not in kept:
            out.print(Text(f"{command.type} at {command.time.isoformat()}: {_why(command.trace_id)}", "dim"))


def why_nothing(found: Found) -> str:
    """Why there is no waterfall at all, and what to do."""
    if found.commands:
        followed = [command for command in found.commands if command.trace_id]
        if not followed:
            return f"Booking {found.subject} was not followed. {HOW_TO_FOLLOW}"
        return (
            f"Booking {found.subject} was followed (trace {followed[0].trace_id}), but none of its spans is here: they are"
            " kept for tracing.keep_hours, and may take a second to arrive"
        )
    return f"There is neither a booking nor a trace {found.subject} here. Its id is in the answer that placed it"


def _why(trace_id: str | None) -> str:
    return "not followed" if trace_id is None else f"followed (trace {trace_id}), but no span is kept"


def _print_waterfall(waterfall: Waterfall, out: Console) -> None:
    title = Text.assemble(
        (", ".join(waterfall.commands) or "trace", "bold"),
        f"  {waterfall.started_at.isoformat(timespec='milliseconds')}  {waterfall.duration_ms:.1f} ms  ",
        (waterfall.trace_id, "dim"),
    )
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("ms", justify="right", no_wrap=True)
    table.add_column("took", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True, width=BAR_CELLS)
    table.add_column("span", no_wrap=True)
    table.add_column("process", no_wrap=True)
    table.add_column("", overflow="fold")
    for bar in waterfall.spans:
        table.add_row(
            f"{bar.offset_ms:.2f}",
            f"{bar.duration_ms:.2f}",
            _Line(bar, waterfall.duration_ms),
            "  " * bar.depth + bar.name,
            Text(bar.process, "dim"),
            Text(" ".join(f"{name}={value}" for name, value in bar.attributes.items() if value != ""), "dim"),
        )
    out.print(title, soft_wrap=True)
    out.print(table)
    out.print()


class _Line:
    """The part of the whole time that a span took, to an eighth of a cell; never so short that it cannot be seen."""

    def __init__(self, bar: Bar, whole_ms: float) -> None:
        self._bar = bar
        self._whole_ms = whole_ms or 1.0

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        cells = min(options.max_width, BAR_CELLS)
        first = min(int(self._bar.offset_ms / self._whole_ms * cells), cells - 1)
        length = self._bar.duration_ms / self._whole_ms * cells
        full = min(int(length), cells - first)
        text = "█" * full if full else "▏▎▍▌▋▊▉"[min(int(length * 8), 6)]
        yield Segment(" " * first)
        yield Segment(text, Style.parse(_COLOURS.get(self._bar.name, _LATER)))
