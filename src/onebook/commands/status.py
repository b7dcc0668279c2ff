"""`onebook status`: what runs in a data folder."""

from pathlib import Path
from typing import Any

import msgspec
import rich_click as click

from onebook.commands.terminal import (
    EXIT_NOT_READY,
    Failed,
    data_option,
    json_option,
    out,
    print_json,
    running_server,
    runs,
)
from onebook.embedded.folder import DataFolder


@click.command()
@data_option
@json_option
@runs
async def status(data: Path, as_json: bool) -> None:
    """Print where the server and its database are; exit 6 when none runs."""
    found = running_server(DataFolder(data))
    if found is None:
        raise Failed(f"Nothing runs in {data}. Start it with `onebook up --data {data}`", EXIT_NOT_READY)
    if as_json:
        print_json(found)
    else:
        for name, value in found.items():
            out.print(f"{name:<10}{value}", highlight=False, soft_wrap=True)


def running_in(folder: DataFolder) -> dict[str, Any] | None:
    """What runs in a data folder: pid, url, database, workers; None where nothing does."""
    if folder.holder() is None or not folder.status_file.exists():
        return None
    found: dict[str, Any] = msgspec.json.decode(folder.status_file.read_bytes())
    return found
