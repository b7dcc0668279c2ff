"""`onebook migrate`: bring a database to this version's schema, under a lock."""

from pathlib import Path

import rich_click as click

from onebook.commands.terminal import data_option, database_url, runs
from onebook.ledger.database import migrate as apply_migrations


@click.command()
@data_option
@click.option("--database", help="URL of the database, instead of the one running in the data folder.")
@runs
async def migrate(data: Path, database: str | None) -> None:
    """Apply what the database has not seen; prints the name of each migration applied."""
    for name in await apply_migrations(database_url(data, database)):
        click.echo(name)
