"""`onebook status`: what runs in a data folder, and how its pipeline flows."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import msgspec
import rich_click as click
from rich.live import Live

from onebook.commands.terminal import (
    EXIT_NOT_READY,
    Failed,
    data_option,
    err,
    json_option,
    out,
    print_json,
    running_server,
    runs,
)
from onebook.embedded.folder import DataFolder
from onebook.ops.http_client import Client, ConnectionFailed
from onebook.ops.lag.screen import line_of, screen_of
from onebook.ops.lag.source import WINDOW_SECONDS, Api, Metrics, NoReading, Source
from onebook.readings.pipeline import Pipeline

EXIT_NOT_AUTHORISED = 4
MAX_FAILURES = 60  # readings in a row: a server that starts again is back long before


@click.command()
@data_option
@click.option("--url", help="A server elsewhere, instead of the one in the data folder.")
@click.option("--token", help="A token with the scope ops:read, for --url.")
@click.option("--watch", is_flag=True, help="Go on, a reading a second: live on a terminal, a line each elsewhere.")
@click.option("--seconds", type=click.IntRange(1), help="End --watch after so long.")
@json_option
@runs
async def status(
    data: Path, url: str | None, token: str | None, watch: bool, seconds: int | None, as_json: bool
) -> None:
    """Print where the server and its parts are, and how the pipeline flows; exit 6 when none runs."""
    if (url is None) != (token is None):
        raise click.UsageError("give --url and --token together")
    if seconds is not None and not watch:
        raise click.UsageError("--seconds is for --watch")
    found = {"url": url} if url is not None else _found_in(data)
    async with _client(found["url"]) as http:
        source = Metrics(http) if token is None else Api(http, token)
        if watch:
            await _watch(source, seconds, as_json)
        else:
            await _once(source, found, as_json)


def running_in(folder: DataFolder) -> dict[str, Any] | None:
    """What runs in a data folder: pid, url, database, broker, workers, relay, sender; None where nothing does."""
    if folder.holder() is None or not folder.status_file.exists():
        return None
    found: dict[str, Any] = msgspec.json.decode(folder.status_file.read_bytes())
    return found


def _client(url: str) -> Client:
    try:
        return Client(url, connections=1)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--url") from error


def _found_in(data: Path) -> dict[str, Any]:
    found = running_server(DataFolder(data))
    if found is None:
        raise Failed(f"Nothing runs in {data}. Start it with `onebook up --data {data}`", EXIT_NOT_READY)
    return found


async def _once(source: Source, found: dict[str, Any], as_json: bool) -> None:
    """What a data folder says is told also when its server does not answer."""
    pipeline, failure = None, None
    try:
        pipeline = await source.next()
    except (NoReading, ConnectionFailed) as error:
        if isinstance(source, Api):
            raise _failed(error) from error
        failure = error
    if as_json:
        print_json({**found, "pipeline": pipeline})
    else:
        for name, value in found.items():
            out.print(f"{name:<10}{without_password(value)}", highlight=False, soft_wrap=True)
        if pipeline is not None:
            out.print(screen_of(pipeline), highlight=False)
    if failure is not None:
        raise _failed(failure)


async def _watch(source: Source, seconds: int | None, as_json: bool) -> None:
    """A reading that fails is told, and the next one is tried: a server may be starting again."""
    live = None if as_json or not out.is_terminal else Live(console=out, auto_refresh=False)
    showing: AbstractContextManager[Any] = nullcontext() if live is None else live
    with showing:
        async for pipeline in _readings(source, seconds):
            if live is not None:
                live.update(screen_of(pipeline), refresh=True)
            elif as_json:
                click.echo(msgspec.json.encode(pipeline))
            else:
                click.echo(line_of(pipeline))


async def _readings(source: Source, seconds: int | None) -> AsyncIterator[Pipeline]:
    """Readings until the time is over. Raises Failed where the server refuses us, or the last one failed."""
    ends = None if seconds is None else monotonic() + seconds
    failure: NoReading | ConnectionFailed | None = None
    failures = 0
    while failures < MAX_FAILURES and (ends is None or monotonic() < ends):
        try:
            yield await source.next()
            failure, failures = None, 0
        except (NoReading, ConnectionFailed) as error:
            if isinstance(error, NoReading) and error.is_refusal:
                raise _failed(error) from error
            failure, failures = error, failures + 1
            err.print(f"no reading: {error}", style="yellow", markup=False)
            await asyncio.sleep(WINDOW_SECONDS)
    if failure is not None:
        raise _failed(failure)


def _failed(error: NoReading | ConnectionFailed) -> Failed:
    if isinstance(error, NoReading) and error.is_refusal:
        return Failed(
            f"The token is refused: {error}. Mint one with `onebook token --role reader`", EXIT_NOT_AUTHORISED
        )
    return Failed(f"The pipeline cannot be read: {error}. Look at the server's own output", EXIT_NOT_READY)


def without_password(value: Any) -> Any:
    """A URL as people may see it on a screen; anything else as it is."""
    if not isinstance(value, str) or "://" not in value:
        return value
    password = urlsplit(value).password
    return value if not password else value.replace(f":{password}@", ":…@", 1)
