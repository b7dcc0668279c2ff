"""`onebook demo`: a live market, the verdict, and a server to go on with."""

import asyncio
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import rich_click as click
import structlog
from msgspec.structs import replace

from onebook.api.roles import Role
from onebook.api.tokens import Keys
from onebook.commands.terminal import err, fail, json_option, out, print_json, runs
from onebook.commands.up import show_step, stop_signal
from onebook.config import load
from onebook.embedded.folder import DataFolder
from onebook.key_file import secret_key
from onebook.logs import configure_logs
from onebook.ops.demo.gateway import open_pages
from onebook.ops.demo.market import MarketNotOpened
from onebook.ops.demo.report import DemoReport
from onebook.ops.demo.run import CHANNELS, run_demo
from onebook.ops.demo.verdict import next_booking_curl, render_verdict
from onebook.ops.http_client import ConnectionFailed
from onebook.ops.verify.audit import verify
from onebook.supervisor import SIMULATOR_KEY_FILE, Running, serving

TOKEN_SECONDS = 24 * 3600
PARTNERS_NEARBY = {
    "webhooks.allow_loopback": True,
    "webhooks.first_retry_seconds": 0.25,
    "webhooks.breaker_failures": 5,
    "webhooks.breaker_seconds": 0.5,
}
"""Partners' endpoints lie on this machine, and what happens over hours elsewhere is to be seen within seconds."""
OWN_GATEWAY = {"payments.gateway": "simulator", "payments.simulator_url": "", "payments.breaker_seconds": 0.5}
"""Whatever the settings say, nobody is charged by a demo."""


@click.command()
@click.option("--headless", is_flag=True, help="No screen; end after the verdict.")
@click.option("--seconds", type=click.FloatRange(1, 3600), default=20, show_default=True, help="How long they compete.")
@click.option("--seed", type=int, default=1, show_default=True, help="What each channel wants, and in which order.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port; 0 takes a free one.  [default: 0]")
@json_option
@runs
async def demo(headless: bool, seconds: float, seed: int, port: int, as_json: bool) -> None:
    """Six channels compete for three venues, each with its own mirror of what is left; an auditor and a proof at the end.

    Nothing may be sold twice, every mirror must equal the ledger, and the books the payment gateway's list, although the relay is
    killed, the gateway fails and a partner's endpoint dies in the middle. Runs in a throw-away data folder, and moves no money.
    Exit 7 if an invariant is violated, a mirror differs or money does not add up.
    """
    settings = load(overrides={"server.port": port, **PARTNERS_NEARBY, **OWN_GATEWAY})
    stopped = stop_signal()
    with throw_away_folder() as folder, (folder.path / "demo.log").open("w") as logs:
        configure_logs(settings.log)
        # A process is killed in the middle of the show: what the supervisor says of it must not tear the screen.
        structlog.configure(logger_factory=structlog.PrintLoggerFactory(logs))
        async with serving(settings, folder, show_step, quiet=True) as running:
            running_demo = asyncio.ensure_future(_compete(running, seconds, seed, watched=not headless))
            both: set[asyncio.Future[Any]] = {stopped, running_demo}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if stopped.done():
                running_demo.cancel()
                raise asyncio.CancelledError
            report = running_demo.result()
            if as_json:
                print_json(report)
            else:
                render_verdict(report, out)
            if report.exit_code:
                raise SystemExit(report.exit_code)
            if not headless:
                _invite(running, report)
                await asyncio.wait({stopped, running.supervisor.failed}, return_when=asyncio.FIRST_COMPLETED)


async def _compete(running: Running, seconds: float, seed: int, *, watched: bool) -> DemoReport:
    keys = Keys.open(running.folder.keys)
    try:
        report = await _run(running, keys, seconds, seed, watched=watched)
    except (MarketNotOpened, ConnectionFailed) as error:
        fail(f"The market could not be opened: {error}. If the machine is very busy, try again later")
    return replace(report, verification=await verify(running.database_url, expect_sweeper=True))


async def _run(running: Running, keys: Keys, seconds: float, seed: int, *, watched: bool) -> DemoReport:
    secret = secret_key(running.folder.keys / SIMULATOR_KEY_FILE).hex()
    async with open_pages(_status(running.folder)["gateway"], secret) as gateway:
        return await run_demo(
            running.base_url,
            running.database_url,
            {name: keys.mint(Role.CHANNEL, channel=name, ttl_seconds=TOKEN_SECONDS) for name in CHANNELS},
            keys.mint(Role.ADMIN, ttl_seconds=TOKEN_SECONDS),
            gateway,
            opening=(datetime.now(UTC) + timedelta(days=30)).date(),
            seconds=seconds,
            seed=seed,
            screen=err if watched else None,
            kill=lambda: _kill_relay(running.folder),
            step=show_step,
        )


def _kill_relay(folder: DataFolder) -> None:
    """As a crash would end it; the supervisor starts another."""
    os.kill(_status(folder)["relay"], signal.SIGKILL)


def _status(folder: DataFolder) -> dict[str, Any]:
    status: dict[str, Any] = json.loads(folder.status_file.read_bytes())
    return status


def _invite(running: Running, report: DemoReport) -> None:
    keys = Keys.open(running.folder.keys)
    token = keys.mint(Role.ADMIN, ttl_seconds=TOKEN_SECONDS)
    out.print(
        f"\nIt goes on serving: {running.base_url}  (API: {running.base_url}/docs, stop with Ctrl-C)", highlight=False
    )
    out.print(f"\nA token that may do everything:\n{token}", highlight=False, soft_wrap=True)
    out.print("\nBook the next room:", highlight=False)
    out.print(next_booking_curl(running.base_url, token, report), highlight=False, soft_wrap=True, markup=False)


@contextmanager
def throw_away_folder() -> Iterator[DataFolder]:
    """A data folder that is gone afterwards."""
    path = Path(tempfile.mkdtemp(prefix="onebook-"))
    try:
        yield DataFolder(path)
    finally:
        shutil.rmtree(path, ignore_errors=True)
