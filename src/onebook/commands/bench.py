"""`onebook bench`: Onebook beside a baseline, or beside itself with a ledger that has grown, in one run."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, NamedTuple

import rich_click as click
from rich.console import Console

from onebook.commands.terminal import Failed, err, json_option, out, print_json, runs
from onebook.ops.bench.availability import run_availability
from onebook.ops.bench.availability_report import render_availability
from onebook.ops.bench.checkout import run_checkout
from onebook.ops.bench.checkout_report import render_checkout
from onebook.ops.bench.grown import run_grown
from onebook.ops.bench.grown_report import render_grown
from onebook.ops.bench.report import render
from onebook.ops.bench.rounds import BaselineLock, BenchPlan
from onebook.ops.bench.run import run_bench
from onebook.ops.bench.servers import BenchUnavailable
from onebook.ops.bench.sync import run_sync
from onebook.ops.bench.sync_report import render_sync
from onebook.ops.bench.webhooks import run_webhooks
from onebook.ops.bench.webhooks_report import render_webhooks


class _Benchmark(NamedTuple):
    """How one is run, and how its report is shown."""

    run: Callable[[BenchPlan, Callable[[str], None]], Awaitable[Any]]
    render: Callable[[Any, Console], None]


BENCHMARKS = {
    "holds": _Benchmark(partial(run_bench, "holds"), render),
    "hot": _Benchmark(partial(run_bench, "hot"), render),
    "sync": _Benchmark(run_sync, render_sync),
    "availability": _Benchmark(run_availability, render_availability),
    "webhooks": _Benchmark(run_webhooks, render_webhooks),
    "checkout": _Benchmark(run_checkout, render_checkout),
}
"""What `all` is; `grown` takes too long for that."""


@click.command()
@click.argument("what", type=click.Choice([*BENCHMARKS, "all", "grown"]), default="all")
@click.option("--seconds", type=click.IntRange(1, 600), default=10, show_default=True, help="Of each measured round.")
@click.option("--rounds", type=click.IntRange(1, 20), default=2, show_default=True, help="For each server, in turns.")
@click.option(
    "--clients",
    type=click.IntRange(1, 5_000),
    default=2_000,
    show_default=True,
    help="On one worker's stream, in `sync`.",
)
@click.option(
    "--bookings",
    type=click.IntRange(1_000, 20_000_000),
    default=10_000_000,
    show_default=True,
    help="Generated between the rounds of `grown`.",
)
@click.option(
    "--baseline-lock",
    type=click.Choice(["nights", "resource"]),
    default="nights",
    show_default=True,
    help="What the baseline locks: the nights alone, or the resource's row before them.",
)
@json_option
@runs
async def bench(
    what: str, seconds: int, rounds: int, clients: int, bookings: int, baseline_lock: BaselineLock, as_json: bool
) -> None:
    """Measure holds a second over many resources (holds), on one (hot), or before and after millions of bookings (grown);
    how late others know of a booking (sync), or a partner's endpoint (webhooks); answers about availability (availability);
    whole checkouts, and holds beside a gateway that hangs (checkout).

    `all` is everything but `grown`.
    """
    plan = BenchPlan(seconds=seconds, rounds=rounds, clients=clients, baseline_lock=baseline_lock)
    grown = _Benchmark(lambda plan, tell: run_grown(bookings, plan, tell), render_grown)
    chosen = [grown] if what == "grown" else [each for name, each in BENCHMARKS.items() if what in {name, "all"}]
    reports = []
    try:
        for each in chosen:
            reports.append(await each.run(plan, _tell))
            if not as_json:
                each.render(reports[-1], out)  # each as it ends: a later one may find that it cannot run
    except BenchUnavailable as error:
        raise Failed(str(error)) from error
    if as_json:
        print_json(reports[0] if what == "grown" else reports)


def _tell(line: str) -> None:
    err.print(line, highlight=False)
