"""`onebook rebuild`: the view made anew from the log, proved equal to the ledger, and then by every running worker."""

from pathlib import Path
from time import monotonic

import asyncpg
import rich_click as click

from onebook.commands.terminal import EXIT_INVARIANT, data_option, database_url, err, json_option, out, print_json, runs
from onebook.views.rebuild import Progress, Rebuilt
from onebook.views.rebuild import rebuild as rebuild_from_log

REPORT_SECONDS = 1.0

# In the WAL itself, so that it comes to every worker after all that was committed before it.
_ASK_WORKERS = """SELECT pg_logical_emit_message(true, 'onebook', '{"kind":"rebuild"}')"""


@click.command()
@data_option
@click.option("--database", help="URL of the database, instead of the one running in the data folder.")
@json_option
@runs
async def rebuild(data: Path, database: str | None, as_json: bool) -> None:
    """Replay the log from zero into a fresh view and compare it with the tables; exit 7 if they differ."""
    connection = await asyncpg.connect(database_url(data, database), timeout=5)
    try:
        rebuilt = await rebuild_from_log(connection, _teller())
        if rebuilt.equal:
            await connection.execute(_ASK_WORKERS)
    finally:
        await connection.close()
    if as_json:
        print_json(rebuilt)
    else:
        _render(rebuilt)
    if not rebuilt.equal:
        raise SystemExit(EXIT_INVARIANT)


def _teller() -> Progress:
    """Progress on stderr, about once a second."""
    told_at = monotonic()

    def tell(events: int, seconds: float) -> None:
        nonlocal told_at
        if monotonic() - told_at >= REPORT_SECONDS:
            told_at = monotonic()
            err.print(f"{events:,} events, {events / seconds:,.0f} a second", highlight=False)

    return tell


def _render(rebuilt: Rebuilt) -> None:
    out.print(
        f"{rebuilt.events:,} events in {rebuilt.seconds:.1f} s: {rebuilt.events_per_second:,} a second;"
        f" {rebuilt.resources:,} resources, {rebuilt.cells_mib:,.1f} MiB of cells",
        highlight=False,
    )
    for difference in rebuilt.differences:
        out.print(f"{difference.what}: the log says {difference.view}, the tables {difference.ledger}", markup=False)
    if rebuilt.equal:
        out.print(
            "equal to the ledger in every version and every cell; running workers rebuild theirs", highlight=False
        )
