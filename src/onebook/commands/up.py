"""`onebook up`: everything on one machine, until it is stopped."""

import asyncio
import signal
from pathlib import Path
from typing import Any

import rich_click as click

from onebook.commands.terminal import data_option, err, runs
from onebook.config import load
from onebook.embedded.folder import DataFolder
from onebook.logs import configure_logs
from onebook.supervisor import serving


@click.command()
@data_option
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="Port; 0 takes a free one.  [default: 8080]")
@click.option("--workers", type=click.IntRange(1, 64), help="Processes that answer requests.  [default: 2]")
@click.option("--database", help="URL of a PostgreSQL 16 or newer, instead of the embedded one.")
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="A file of settings.")
@runs
async def up(data: Path, config: Path | None, **given: Any) -> None:
    """Serve. One line per step on stderr, and `ready http://HOST:PORT` on stdout when it answers."""
    settings = load(
        config,
        overrides={
            "server.host": given["host"],
            "server.port": given["port"],
            "server.workers": given["workers"],
            "database.url": given["database"],
        },
    )
    configure_logs(settings.log)
    stopped = stop_signal()
    async with serving(settings, DataFolder(data), show_step) as running:
        click.echo(f"ready {running.base_url}")
        await asyncio.wait({stopped, running.supervisor.failed}, return_when=asyncio.FIRST_COMPLETED)
        if running.supervisor.failed.done():
            running.supervisor.failed.result()
        err.print("stopping", highlight=False)


def show_step(name: str, seconds: float) -> None:
    """One line for a step done."""
    err.print(f"{name:<12}{seconds:6.2f} s", highlight=False)


def stop_signal() -> "asyncio.Future[None]":
    """Done when the process is asked to stop."""
    loop = asyncio.get_running_loop()
    stopped: asyncio.Future[None] = loop.create_future()

    def stop() -> None:
        if not stopped.done():
            stopped.set_result(None)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop)
    return stopped
