"""`onebook trace`: where the time of a booking went."""

from pathlib import Path

import rich_click as click

from onebook.commands.terminal import Failed, data_option, database_url, json_option, out, print_json, runs
from onebook.ops.tracing.find import NotNamed, find
from onebook.ops.tracing.waterfall import render, why_nothing


@click.command()
@click.argument("subject", metavar="BOOKING")
@data_option
@click.option("--database", help="URL of the database, instead of the one running in the data folder.")
@json_option
@runs
async def trace(subject: str, data: Path, database: str | None, as_json: bool) -> None:
    """Print the waterfall of each command of BOOKING, from its request to the webhooks; or of a trace, by its id."""
    try:
        found = await find(database_url(data, database), subject)
    except NotNamed as error:
        raise click.UsageError(f"{str(error)!r} is neither a booking's id nor a trace's") from None
    if as_json:
        print_json(found)
    elif found.waterfalls:
        render(found, out)
    if not found.waterfalls:
        raise Failed(why_nothing(found))
