"""`onebook verify`: the independent auditor."""

from pathlib import Path

import rich_click as click

from onebook.api.roles import Role
from onebook.api.tokens import Keys
from onebook.commands.terminal import (
    EXIT_INVARIANT,
    data_option,
    database_url,
    json_option,
    out,
    print_json,
    running_server,
    runs,
)
from onebook.embedded.folder import DataFolder
from onebook.ops.verify.audit import Served
from onebook.ops.verify.audit import verify as audit
from onebook.ops.verify.report import render

TOKEN_SECONDS = 3600


@click.command()
@data_option
@click.option("--database", help="URL of the database, instead of the one running in the data folder.")
@json_option
@runs
async def verify(data: Path, database: str | None, as_json: bool) -> None:
    """Recompute every invariant from the rows; exit 7 if one is violated."""
    served = "only a database was named" if database is not None else served_in(DataFolder(data))
    report = await audit(database_url(data, database), served=served)
    if as_json:
        print_json(report)
    else:
        render(report, out)
    if not report.ok:
        raise SystemExit(EXIT_INVARIANT)


def served_in(folder: DataFolder) -> Served | str:
    """The server of a data folder, with a token that may read there; or why there is none to ask."""
    found = running_server(folder)
    if found is None:
        return f"no server runs in {folder.path}"
    token = Keys.open(folder.keys).mint(Role.READER, ttl_seconds=TOKEN_SECONDS)
    return Served(found["url"], token, len(found["workers"]))
