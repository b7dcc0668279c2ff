"""`onebook bench`: Onebook beside a baseline, or beside itself with a ledger that has grown, in one run."""

from typing import get_args

import rich_click as click

from onebook.commands.terminal import Failed, err, json_option, out, print_json, runs
from onebook.ops.bench.grown import run_grown
from onebook.ops.bench.grown_report import render_grown
from onebook.ops.bench.rounds import BaselineLock
from onebook.ops.bench.run import BenchPlan, BenchUnavailable, Kind, render, run_bench

KINDS: tuple[Kind, ...] = get_args(Kind)


@click.command()
@click.argument("what", type=click.Choice([*KINDS, "all", "grown"]), default="all")
@click.option("--seconds", type=click.IntRange(1, 600), default=10, show_default=True, help="Of each measured round.")
@click.option("--rounds", type=click.IntRange(1, 20), default=2, show_default=True, help="For each server, in turns.")
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
    what: str, seconds: int, rounds: int, bookings: int, baseline_lock: BaselineLock, as_json: bool
) -> None:
    """Measure holds a second: over many resources (holds), on one (hot), or before and after millions of bookings (grown).

    `all` is holds and hot.
    """
    plan = BenchPlan(seconds=seconds, rounds=rounds, baseline_lock=baseline_lock)
    try:
        if what == "grown":
            await _grown(bookings, plan, as_json)
        else:
            await _beside_the_baseline([kind for kind in KINDS if what in {kind, "all"}], plan, as_json)
    except BenchUnavailable as error:
        raise Failed(str(error)) from error


async def _beside_the_baseline(kinds: list[Kind], plan: BenchPlan, as_json: bool) -> None:
    reports = [await run_bench(kind, plan, _tell) for kind in kinds]
    if as_json:
        print_json(reports)
    else:
        for report in reports:
            render(report, out)


async def _grown(bookings: int, plan: BenchPlan, as_json: bool) -> None:
    report = await run_grown(bookings, plan, _tell)
    if as_json:
        print_json(report)
    else:
        render_grown(report, out)


def _tell(line: str) -> None:
    err.print(line, highlight=False)
