"""`onebook verify`: the independent auditor."""

from pathlib import Path

import rich_click as click

from onebook.commands.terminal import EXIT_INVARIANT, data_option, database_url, json_option, out, print_json, runs
from onebook.ops.verify.audit import verify as audit
from onebook.ops.verify.report import render


@click.command()
@data_option
@click.option("--database", help="URL of the database, instead of the one running in the data folder.")
@json_option
@runs
async def verify(data: Path, database: str | None, as_json: bool) -> None:
    """Recompute every invariant from the rows; exit 7 if one is violated."""
    report = await audit(database_url(data, database))
    if as_json:
        print_json(report)
    else:
        render(report, out)
    if not report.ok:
        raise SystemExit(EXIT_INVARIANT)
