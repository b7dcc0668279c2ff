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

from onebook.ops.demo.board import Board, Phase
from onebook.ops.demo.follower import Follower
from onebook.ops.demo.money_text import amounts
from onebook.ops.demo.partner import Partner
from onebook.ops.demo.tally import Rush
from onebook.ops.demo.till import Till

FRAME_SECONDS = 0.25
LINE_SECONDS = 2.0
WIDTH_CELLS = 108
NARROW_CELLS = 98
"""With less than this there is no room for everything that is told of a channel."""
BAR_CELLS = 6

_SPARKS = "▁▂▃▄▅▆▇█"
_TOLD = "  each knows only what it was told"


async def show(board: Board, console: Console | None, over: asyncio.Event) -> None:
    """Keep people informed until the crowd has gone home; nothing at all without a console."""
    if console is None:
        await over.wait()
    elif console.is_terminal and not console.is_dumb_terminal:
        await _show_frames(board, console, over)
    else:
        await _show_lines(board, console, over)


async def _show_frames(board: Board, console: Console, over: asyncio.Event) -> None:
    with Live(frame(board, perf_counter(), console.width), console=console, auto_refresh=False) as live:
        while not await _over_within(over, FRAME_SECONDS):
            live.update(frame(board, perf_counter(), console.width), refresh=True)
        live.update(frame(board, perf_counter(), console.width), refresh=True)


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
    in_step = sum(follower.is_in_step(now) for follower in board.followers)
    return (
        f"{min(now - board.started, board.seconds):4.1f} s  {board.total('attempts'):,} attempts, "
        f"{board.total('sold'):,} sold, {board.refused().total():,} refused, "
        f"{board.till.paid:,} paid, p50 {p50:.1f} ms, p99 {p99:.1f} ms, double bookings {len(board.witness.double_booked)}, "
        f"mirrors in step {in_step} of {len(board.followers)}"
    )


def frame(board: Board, now: float, width: int = WIDTH_CELLS) -> RenderableType:
    """One picture of the market, for a terminal so wide."""
    elapsed = min(now - board.started, board.seconds)
    picture = Group(
        _header(board, elapsed),
        Text(),
        _channels(board, now, is_narrow=width < NARROW_CELLS),
        Text(),
        _facts(board, now, elapsed),
    )
    return Constrain(Padding(picture, (1, 2, 0, 2)), WIDTH_CELLS)


def _header(board: Board, elapsed: float) -> RenderableType:
    header = Table.grid(padding=(0, 2))
    title = Text.assemble(
        ("onebook", "bold cyan"), "  ", (board.market, "bold"), (f"  {board.resources} resources", "dim")
    )
    clock = f"{elapsed:4.1f} of {board.seconds:g} s"
    if elapsed == board.seconds:
        clock = (Phase.CLOSING if board.phase is Phase.SELLING else board.phase).value
    bar = ProgressBar(board.seconds, elapsed, width=24, complete_style="cyan", finished_style="cyan")
    header.add_row(title, bar, Text(clock, "dim"))
    return header


def _channels(board: Board, now: float, *, is_narrow: bool) -> RenderableType:
    """What each channel sells, and beside it how its mirror stands."""
    table = Table(
        box=box.SIMPLE_HEAD,
        header_style="dim",
        border_style="dim",
        show_edge=False,
        pad_edge=False,
        padding=0,
    )
    table.add_column("channel", no_wrap=True)
    if not is_narrow:
        table.add_column("", width=BAR_CELLS)
    for heading in ("sold", "refused"):
        table.add_column(heading, justify="right", no_wrap=True, min_width=5)
    if not is_narrow:
        table.add_column("  told by", no_wrap=True)
    for heading in ("events", "lag p50", "p99 ms"):
        table.add_column(heading, justify="right", no_wrap=True, min_width=6)
    table.add_column("  mirror", no_wrap=True, min_width=22)
    most = max(1, *(tally.sold for tally in board.tallies.values()))
    for follower in board.followers:
        tally = board.tallies[follower.name]
        bar = ProgressBar(most, tally.sold, complete_style="cyan", finished_style="cyan")
        table.add_row(
            follower.name,
            *(() if is_narrow else (bar,)),
            Text(f"{tally.sold:,}", "bold"),
            f"{tally.refused.total():,}",
            *(() if is_narrow else (Text(f"  {follower.via}", "dim"),)),
            f"{follower.heard:,}",
            _lag(follower, 50, now),
            _lag(follower, 99, now),
            _standing(follower, now),
        )
    return table


def _lag(follower: Follower, percent: int, now: float) -> Text:
    lag = follower.lag.recent_ms(percent, now)
    return Text("–", "dim") if lag is None else Text(f"{lag:,.0f}" if lag >= 100 else f"{lag:.1f}")


def _standing(follower: Follower, now: float) -> Text:
    behind = follower.mirror.behind
    if follower.is_away:
        return Text(f"  ○ away, {behind:,} behind", "bold red")
    if not follower.is_whole.is_set():
        return Text("  ◐ catching up", "yellow")
    if not follower.is_in_step(now):
        return Text(f"  ◐ {behind:,} behind", "yellow")
    return Text("  ● in step", "bold green")


def _facts(board: Board, now: float, elapsed: float) -> RenderableType:
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True, min_width=15)
    facts.add_column(no_wrap=True)  # a line each, so that the frame keeps its height in a terminal of 24 lines
    sold = board.total("sold")
    pace = Text.assemble((_sparkline(board, elapsed), "cyan"), f"  {sold / max(elapsed, 0.1):,.0f} bookings/s")
    facts.add_row("pace", pace)
    facts.add_row("refused", _refusals(board))
    facts.add_row("rush", _rush(board.rush, now))
    facts.add_row("checkouts", _checkouts(board))
    facts.add_row("money", _money(board.till))
    facts.add_row("gateway", _gateway(board.till, now))
    facts.add_row("mishaps", _mishaps(board))
    facts.add_row("relay", _relay(board, now))
    facts.add_row("endpoint", _endpoint(board, now))
    double = len(board.witness.double_booked)
    style = "bold green" if double == 0 else "bold red"
    told = Text.assemble((f"{double:,}", style), ("  counted cell by cell, from the answers alone", "dim"))
    facts.add_row("double bookings", told)
    facts.add_row("mirrors", _lock_step(board, now))
    return facts


def _lock_step(board: Board, now: float) -> Text:
    in_step = sum(follower.is_in_step(now) for follower in board.followers)
    style = "bold green" if in_step == len(board.followers) else "bold yellow"
    return Text.assemble((f"{in_step} of {len(board.followers)} in step", style), (_TOLD, "dim"))


def _relay(board: Board, now: float) -> Text:
    if board.relay.at is None:
        return Text("hands on every event", "dim")
    if board.relay.recovered_seconds is None:
        return Text(f"killed {now - board.relay.at:.1f} s ago: another starts, the mirrors catch up", "yellow")
    return Text(f"killed; every mirror had what was missing {board.relay.recovered_seconds:.1f} s later")


def _endpoint(board: Board, now: float) -> Text:
    partner = next((one for one in board.followers if isinstance(one, Partner) and one.left_at is not None), None)
    if partner is None or partner.left_at is None:
        return Text("all partners answer", "dim")
    waiting = max(follower.heard for follower in board.followers) - partner.heard
    if partner.is_away:
        text = Text(f"{partner.name} dead {now - partner.left_at:.1f} s, breaker {partner.breaker}: ", "yellow")
        return text.append(f"{waiting:,} webhooks wait", "bold yellow")
    text = Text(f"{partner.name} back, ")
    if partner.restored_seconds is None:
        return text.append("catching up", "yellow")
    late = f"{waiting:,} come late" if waiting > 0 else f"{partner.older:,} came late"
    return text.append(f"right {partner.restored_seconds * 1000:,.0f} ms later; {late}")


def _checkouts(board: Board) -> Text:
    till = board.till
    counts = {
        "paid": till.paid,
        "declined": board.total("declined"),
        "challenged": till.challenged,
        "refunded": till.books.refunds,
    }
    return Text(" · ".join(f"{count:,} {what}" for what, count in counts.items()))


def _money(till: Till) -> Text:
    books = till.books
    text = Text.assemble((amounts(books.taken_minor), "bold"), " taken · ", amounts(books.given_back_minor), " back · ")
    style = "bold red" if books.coupon_used > till.coupon_limit else ""
    return text.append(f"{till.coupon} {books.coupon_used} of {till.coupon_limit}", style)


def _gateway(till: Till, now: float) -> Text:
    outage, waiting = till.outage, till.books.unfinished
    if outage.at is not None and outage.seconds is None:
        return Text(f"has failed for {now - outage.at:.1f} s: {waiting:,} checkouts wait", "bold yellow")
    if outage.at is not None and outage.ended_seconds is None:
        return Text(f"failed {outage.seconds:.1f} s: {waiting:,} checkouts go on", "yellow")
    p99 = f"checkout p99 {till.latencies.percentile_seconds(99) * 1000:,.0f} ms"
    if outage.at is None:
        return Text(f"answers · {p99}", "dim")
    return Text(f"failed {outage.seconds:.1f} s, all ended {outage.ended_seconds:.1f} s later · {p99}")


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
