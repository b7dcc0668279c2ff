"""`onebook bench`: Onebook beside a baseline, in one run."""

from typing import get_args

import rich_click as click

from onebook.commands.terminal import Failed, err, json_option, out, print_json, runs
from onebook.ops.bench.run import BenchPlan, BenchUnavailable, Kind, render, run_bench

KINDS: tuple[Kind, ...] = get_args(Kind)


@click.command()
@click.argument("what", type=click.Choice([*KINDS, "all"]), default="all")
@click.option("--seconds", type=click.IntRange(1, 600), default=10, show_default=True, help="Of each measured round.")
@click.option("--rounds", type=click.IntRange(1, 20), default=2, show_default=True, help="For each server, in turns.")
@json_option
@runs
async def bench(what: str, seconds: int, rounds: int, as_json: bool) -> None:
    """Measure holds a second: over many resources (holds) or on one (hot). `all` is both."""
    plan = BenchPlan(seconds=seconds, rounds=rounds)
    reports = []
    for kind in KINDS:
        if what in {kind, "all"}:
            try:
                reports.append(await run_bench(kind, plan, lambda line: err.print(line, highlight=False)))
            except BenchUnavailable as error:
                raise Failed(str(error)) from error
    if as_json:
        print_json(reports)
    else:
        for report in reports:
            render(report, out)
