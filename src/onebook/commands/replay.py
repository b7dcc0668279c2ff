"""`onebook replay`: real bookings through the HTTP API."""

from pathlib import Path

import rich_click as click
from msgspec.structs import replace

from onebook.api.roles import Role
from onebook.api.tokens import Keys
from onebook.commands.demo import TOKEN_SECONDS, throw_away_folder
from onebook.commands.status import running_in
from onebook.commands.terminal import err, json_option, out, print_json, runs
from onebook.commands.up import show_step
from onebook.config import load
from onebook.embedded.folder import DataFolder
from onebook.logs import configure_logs
from onebook.ops.replay.desk import Tokens
from onebook.ops.replay.rows import CHANNELS
from onebook.ops.replay.run import DEFAULT_CONCURRENCY, ReplayReport, exit_code, new_run, render
from onebook.ops.replay.run import replay as drive
from onebook.ops.replay.screen import progress_on
from onebook.ops.verify.audit import verify
from onebook.supervisor import serving


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="The data folder of the server; one is started there if none runs.",
)
@click.option("--url", help="A server that runs, instead of one of its own.")
@click.option("--token", help="An admin token for --url.")
@click.option("--concurrency", type=click.IntRange(1, 512), default=DEFAULT_CONCURRENCY, show_default=True)
@json_option
@runs
async def replay(
    file: Path, data: Path | None, url: str | None, token: str | None, concurrency: int, as_json: bool
) -> None:
    """Drive the bookings of FILE (CSV, also .gz) in the order in which they were made.

    Without --data or --url it uses a server and a data folder of its own, which are gone afterwards.
    """
    if (url is None) != (token is None) or (url is not None and data is not None):
        raise click.UsageError("give --url with --token, or --data, or none of them")
    if url is not None and token is not None:
        report = await _drive(file, url, Tokens(setup=token), concurrency)
    elif data is not None:
        report = await _drive_in(file, DataFolder(data), concurrency)
    else:
        with throw_away_folder() as folder:
            report = await _drive_own(file, folder, concurrency)
    if as_json:
        print_json(report)
    else:
        render(report, out)
    raise SystemExit(exit_code(report))


async def _drive_in(file: Path, folder: DataFolder, concurrency: int) -> ReplayReport:
    """Against the server that runs in the folder, or one started there for the while."""
    found = running_in(folder)
    if found is None:
        return await _drive_own(file, folder, concurrency)
    return await _drive_verified(file, found["url"], found["database"], folder, concurrency)


async def _drive_own(file: Path, folder: DataFolder, concurrency: int) -> ReplayReport:
    settings = load(overrides={"server.port": 0})
    configure_logs(settings.log)
    async with serving(settings, folder, show_step, quiet=True) as running:
        return await _drive_verified(file, running.base_url, running.database_url, folder, concurrency)


async def _drive_verified(
    file: Path, base_url: str, database: str, folder: DataFolder, concurrency: int
) -> ReplayReport:
    keys = Keys.open(folder.keys)
    tokens = Tokens(
        setup=keys.mint(Role.ADMIN, ttl_seconds=TOKEN_SECONDS),
        channels={name: keys.mint(Role.CHANNEL, channel=name, ttl_seconds=TOKEN_SECONDS) for name in CHANNELS},
    )
    report = await _drive(file, base_url, tokens, concurrency)
    return replace(report, verification=await verify(database, expect_sweeper=True))


async def _drive(file: Path, base_url: str, tokens: Tokens, concurrency: int) -> ReplayReport:
    with progress_on(err) as progress:
        return await drive(
            file, base_url=base_url, tokens=tokens, run=new_run(), progress=progress, concurrency=concurrency
        )
