"""The running demo as people see it: one calm frame on a terminal, a plain line every few seconds elsewhere.

Called by `run_demo` beside the crowd, in the same process: it reads the board, owns nothing else, and draws seldom,
because the time it takes to draw is time in which the crowd hears no answers.
"""

import asyncio
from time import perf_counter

from rich import box
from rich.console import Console, Group, RenderableType
from rich.constrain import Constrain
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from onebook.ops.demo.tally import Board, Rush

FRAME_SECONDS = 0.25
LINE_SECONDS = 2.0
WIDTH_CELLS = 100

_SPARKS = "▁▂▃▄▅▆▇█"


async def show(board: Board, console: Console | None, over: asyncio.Event) -> None:
    """Keep people informed until the crowd has gone home; nothing at all without a console."""
    if console is None:
        await over.wait()
    elif console.is_terminal and not console.is_dumb_terminal:
        await _show_frames(board, console, over)
    else:
        await _show_lines(board, console, over)


async def _show_frames(board: Board, console: Console, over: asyncio.Event) -> None:
    with Live(frame(board, perf_counter()), console=console, auto_refresh=False) as live:
        while not await _over_within(over, FRAME_SECONDS):
            live.update(frame(board, perf_counter()), refresh=True)
        live.update(frame(board, perf_counter()), refresh=True)


async def _show_lines(board: Board, console: Console, over: asyncio.Event) -> None:
    while not await _over_within(over, LINE_SECONDS):
        console.print(plain_line(board, perf_counter()), highlight=False, soft_wrap=True)


async def _over_within(over: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            return await over.wait()
    except TimeoutError:
        return False


def plain_line(board: Board, now: float) -> str:
    """The state of the market in one line of words and figures."""
    latencies = board.latencies()
    p50, p99 = (latencies.percentile_seconds(percent) * 1000 for percent in (50, 99))
    return (
        f"{min(now - board.started, board.seconds):4.1f} s  {board.total('attempts'):,} attempts, "
        f"{board.total('sold'):,} sold, {board.refused().total():,} refused, "
        f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, double bookings {len(board.witness.double_booked)}"
    )


def frame(board: Board, now: float) -> RenderableType:
    """One picture of the market."""
    elapsed = min(now - board.started, board.seconds)
    picture = Group(_header(board, elapsed), Text(), _channels(board), Text(), _facts(board, now, elapsed))
    return Constrain(Padding(picture, (1, 2, 0, 2)), WIDTH_CELLS)


def _header(board: Board, elapsed: float) -> RenderableType:
    header = Table.grid(padding=(0, 2))
    title = Text.assemble(
        ("onebook", "bold cyan"), "  ", (board.market, "bold"), (f"  {board.resources} resources", "dim")
    )
    clock = f"{elapsed:4.1f} of {board.seconds:g} s"
    if elapsed == board.seconds:
        clock = "closed" if board.closed else "closing: the last holds run out"
    bar = ProgressBar(board.seconds, elapsed, width=24, complete_style="cyan", finished_style="cyan")
    header.add_row(title, bar, Text(clock, "dim"))
    return header


def _channels(board: Board) -> RenderableType:
    table = Table(
        box=box.SIMPLE_HEAD,
        header_style="dim",
        border_style="dim",
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        expand=True,
    )
    table.add_column("channel", no_wrap=True)
    table.add_column("", ratio=1, min_width=4)
    for heading in ("sold", "attempts", "refused", "let go", "p50 ms", "p99 ms"):
        table.add_column(heading, justify="right", no_wrap=True, min_width=6)
    most = max(1, *(tally.sold for tally in board.tallies.values()))
    for name, tally in board.tallies.items():
        p50, p99 = (tally.latencies.percentile_seconds(percent) * 1000 for percent in (50, 99))
        table.add_row(
            name,
            ProgressBar(most, tally.sold, complete_style="cyan", finished_style="cyan"),
            Text(f"{tally.sold:,}", "bold"),
            f"{tally.attempts:,}",
            f"{tally.refused.total():,}",
            f"{tally.released + tally.expired + tally.cancelled:,}",
            Text(f"{p50:.1f}", "dim"),
            Text(f"{p99:.1f}", "dim"),
        )
    return table


def _facts(board: Board, now: float, elapsed: float) -> RenderableType:
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column()
    sold = board.total("sold")
    pace = Text.assemble((_sparkline(board, elapsed), "cyan"), f"  {sold / max(elapsed, 0.1):,.0f} bookings/s")
    facts.add_row("pace", pace)
    facts.add_row("refused", _refusals(board))
    facts.add_row("rush", _rush(board.rush, now))
    facts.add_row("mishaps", _mishaps(board))
    double = len(board.witness.double_booked)
    style = "bold green" if double == 0 else "bold red"
    told = Text.assemble((f"{double:,}", style), ("  counted cell by cell, from the answers alone", "dim"))
    facts.add_row("double bookings", told)
    return facts


def _sparkline(board: Board, elapsed: float) -> str:
    """Bookings of each finished slot of the run, against the best of them."""
    finished = int(elapsed / board.seconds * len(board.sold_by_slot))
    slots = board.sold_by_slot[:finished]
    best = max(slots, default=0) or 1
    return "".join(_SPARKS[sold * (len(_SPARKS) - 1) // best] for sold in slots)


def _refusals(board: Board) -> Text:
    codes = board.refused().most_common(3)
    return Text(" · ".join(f"{code} {count:,}" for code, count in codes) or "none yet")


def _rush(rush: Rush, now: float) -> Text:
    if rush.began is None:
        wait = max(0.0, rush.starts_at - now)
        return Text(f"in {wait:.0f} s all channels want {rush.what}", "dim")
    text = Text(f"{rush.attempts:,} want {rush.what}: ")
    style = "bold green" if rush.sold <= rush.units else "bold red"
    return text.append(f"{rush.sold} sold", style).append(f", {rush.refused:,} refused in {rush.seconds:.2f} s")


def _mishaps(board: Board) -> Text:
    wrong = board.total("duplicates_wrong")
    text = Text(
        f"{board.total('duplicates'):,} repeats, {board.total('lost_answers'):,} lost answers, "
        f"{board.total('misused_keys'):,} misused keys: "
    )
    text.append(f"{wrong:,} wrong", "" if wrong == 0 else "bold red")
    if retries := board.total("retries"):
        text.append(f", {retries:,} sent again", "yellow")
    if unexpected := board.total("unexpected"):
        text.append(f", {unexpected:,} unexpected answers", "bold red")
    return text
