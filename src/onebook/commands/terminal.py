"""What all commands share: consoles, exit codes, options, and errors told without a traceback."""

import asyncio
import functools
import re
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NoReturn, ParamSpec, TypeVar

import asyncpg
import msgspec
import rich_click as click
import uvloop
from rich.console import Console
from rich.text import Text

from onebook.config import BadConfig
from onebook.embedded.errors import EmbeddedError
from onebook.embedded.folder import DataFolder
from onebook.ledger.database import RefusedDatabase
from onebook.ops.replay.desk import MarketRefused
from onebook.ops.replay.rows import FileUnusable
from onebook.supervisor import CannotServe

EXIT_FAILURE = 1
EXIT_NOT_READY = 6
EXIT_INVARIANT = 7
EXIT_INTERRUPTED = 130

P = ParamSpec("P")
R = TypeVar("R")

out = Console()
err = Console(stderr=True)

data_option = click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".onebook"),
    show_default=True,
    help="The data folder.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")

_EXPECTED = (EmbeddedError, CannotServe, RefusedDatabase, BadConfig, FileUnusable, MarketRefused)
_DATABASE_AWAY = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError)


class Failed(Exception):
    """An expected end; the message says what, why and what to do next."""

    def __init__(self, message: str, code: int = EXIT_FAILURE) -> None:
        super().__init__(message)
        self.code = code


def fail(message: str, code: int = EXIT_FAILURE) -> NoReturn:
    """Tell people why, and end with a code."""
    err.print(Text("error", "red"), Text(message), soft_wrap=True)
    raise SystemExit(code)


def runs(command: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, R]:
    """Run an async command, and tell what is expected to go wrong as one line."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return uvloop.run(_stoppable(command(*args, **kwargs)))
        except Failed as error:
            fail(str(error), error.code)
        except _EXPECTED as error:
            fail(str(error))
        except _DATABASE_AWAY as error:
            fail(f"The database does not answer: {error}", EXIT_NOT_READY)
        except (KeyboardInterrupt, asyncio.CancelledError):
            raise SystemExit(EXIT_INTERRUPTED) from None

    return run


async def _stoppable(command: Coroutine[Any, Any, R]) -> R:
    """SIGTERM ends a command as Ctrl-C does: what it has started is stopped on the way out."""
    running = asyncio.ensure_future(command)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    return await running


def print_json(report: Any) -> None:
    """A report on stdout, for machines."""
    click.echo(msgspec.json.format(msgspec.json.encode(report)).decode())


def running_server(folder: DataFolder) -> dict[str, Any] | None:
    """What the server that has claimed the folder says of itself: pid, url, database, workers. None when none serves."""
    try:
        written = folder.status_file.read_bytes()
    except FileNotFoundError:
        return None
    return None if folder.holder() is None else msgspec.json.decode(written, type=dict[str, Any])


def database_url(data: Path, database: str | None) -> str:
    """The URL given, or that of the server running in the data folder. Raises Failed."""
    if database is not None:
        return database
    folder = DataFolder(data)
    url = folder.database_url() or (running_server(folder) or {}).get("database")
    if url is None:
        raise Failed(
            f"No database runs in {data}. Start it with `onebook up --data {data}`, or name one with --database",
            EXIT_NOT_READY,
        )
    return url


def seconds_of(text: str) -> int:
    """A duration such as 90s, 15m, 1h or 30d, in seconds. Raises click.BadParameter."""
    match = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if match is None or int(match[1]) == 0:
        raise click.BadParameter(f"{text!r} is not a duration: write 90s, 15m, 1h or 30d")
    return int(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]
