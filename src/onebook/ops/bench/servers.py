"""The two servers of a benchmark: each a process with a PostgreSQL of its own, started and stopped here.

`onebook bench` calls it. Both PostgreSQLs come from one wheel with one set of settings, and everything lives
in the folder that the caller names and throws away. A server that does not serve in time is an error with its
last words; one that does not stop in time is ended by force.
"""

import asyncio
import importlib.util
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import msgspec
import psutil

import onebook
from onebook.embedded.folder import DataFolder
from onebook.embedded.postgres import EmbeddedPostgres
from onebook.embedded.processes import read_postmaster
from onebook.ops.bench.report import ServerName
from onebook.ops.http_client import Client, ConnectionFailed

START_SECONDS = 120
STOP_SECONDS = 30
HEALTHY_POLLS = 100
POLL_SECONDS = 0.1
RESOURCES_PER_CALL = 2000  # some 300 KiB: well below the limit of a bulk call
CAPACITY = 1_000_000  # no hold of a benchmark is ever refused


class BenchUnavailable(Exception):
    """The benchmark cannot run here; the message says what is missing and what to do."""


@dataclass(frozen=True, slots=True)
class Server:
    """One server under test."""

    name: ServerName
    url: str
    token: str
    database: str
    """The URL of the database it writes to."""
    roots: tuple[int, ...]
    """The pids whose process trees do the work: the server's and its PostgreSQL's."""
    admin_token: str = ""
    """The baseline has none."""
    worker_pids: tuple[int, ...] = ()
    """Of Onebook, the processes that answer requests."""

    def cpu_seconds(self) -> float:
        """Processor time of both trees so far, with that of children that have ended and were waited for."""
        return sum(map(_cpu_seconds, {process for root in self.roots for process in _tree(root)}))


class _Status(msgspec.Struct, frozen=True):
    """Of what a server says of itself."""

    workers: tuple[int, ...]


def benchmarks_folder() -> Path:
    """Where the baseline and the load generator are. Raises BenchUnavailable where they are not."""
    folder = Path(onebook.__file__).parents[2] / "benchmarks"
    missing = [name for name in ("fastapi", "sqlalchemy") if importlib.util.find_spec(name) is None]
    if not (folder / "load.py").is_file():
        missing.insert(0, "the folder `benchmarks`")
    if missing:
        raise BenchUnavailable(
            f"The benchmark needs {' and '.join(missing)}, which an installed package does not have: the "
            "baseline is part of the repository and its development tools. Clone the repository and run "
            "`make bench` there."
        )
    return folder


@asynccontextmanager
async def baseline(
    data: Path, *, workers: int, resources: int, first_night: date, nights: int, lock: str
) -> AsyncIterator[Server]:
    """The baseline on a PostgreSQL in `data`, with its inventory."""
    postgres = EmbeddedPostgres(data)
    database = await postgres.start()
    options = {
        "--database": database,
        "--workers": workers,
        "--resources": resources,
        "--first-night": first_night,
        "--nights": nights,
        "--lock": lock,
    }
    command = [
        sys.executable,
        "-m",
        "baseline",
        *(str(word) for option in options.items() for word in option),
    ]
    try:
        async with _serving(command, data.with_suffix(".log"), cwd=benchmarks_folder()) as (pid, said):
            yield Server("baseline", said["ready"], said["token"], said["database"], (pid, _postmaster_pid(data)))
    finally:
        await postgres.stop()


@asynccontextmanager
async def onebook_server(
    data: Path, *, workers: int, resources: int, settings: Mapping[str, str] | None = None
) -> AsyncIterator[Server]:
    """`onebook up` on `data` as users start it, with its inventory created over HTTP.

    `settings` are ONEBOOK_... variables for it, beside those that are set for us.
    """
    program = str(Path(sys.executable).with_name("onebook"))
    command = [program, "up", "--data", str(data), "--port", "0", "--workers", str(workers)]
    environment = {**os.environ, **(settings or {})}
    async with _serving(command, data.with_suffix(".log"), cwd=data.parent, environment=environment) as (pid, said):
        url = said["ready"]
        admin_token = await _token(program, data, "--role", "admin")
        await _create_inventory(url, admin_token, resources)
        token = await _token(program, data, "--role", "channel", "--channel", "bench")
        database = DataFolder(data).database_url()
        if database is None:
            raise BenchUnavailable(f"`onebook up` serves at {url}, but no PostgreSQL runs in its folder {data}.")
        pids = msgspec.json.decode(DataFolder(data).status_file.read_bytes(), type=_Status).workers
        yield Server("onebook", url, token, database, (pid, _postmaster_pid(data)), admin_token, pids)


async def _create_inventory(url: str, token: str, resources: int) -> None:
    venue = {"name": "Bench", "timezone": "UTC", "currency": "EUR", "market": "bench"}
    async with Client(url, timeout_seconds=START_SECONDS) as client:
        await _must_succeed(client, "PUT", "/v1/venues/bench", token, venue)
        for first in range(0, resources, RESOURCES_PER_CALL):
            rooms = [
                {
                    "code": f"r{number}",
                    "kind": "room",
                    "name": f"Room {number}",
                    "capacity": CAPACITY,
                    "grid": {"unit": "night"},
                }
                for number in range(first, min(first + RESOURCES_PER_CALL, resources))
            ]
            await _must_succeed(client, "POST", "/v1/venues/bench/resources:bulk", token, rooms)


async def _must_succeed(client: Client, method: str, path: str, token: str, body: object) -> None:
    try:
        answer = await client.request(method, path, json=body, token=token)
    except ConnectionFailed as error:
        raise BenchUnavailable(f"{method} {path} was not answered: {error}") from error
    if answer.status >= 300:
        raise BenchUnavailable(f"{method} {path} was answered with {answer.status}: {answer.body[:500]!r}")


async def _token(program: str, data: Path, *role: str) -> str:
    process = await asyncio.create_subprocess_exec(
        program, "token", "--data", str(data), *role, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(START_SECONDS):
        output, _ = await process.communicate()
    if process.returncode != 0:
        raise BenchUnavailable(f"`onebook token {' '.join(role)}` failed with {process.returncode}.")
    return output.decode().strip()


@asynccontextmanager
async def _serving(
    command: Sequence[str], log: Path, cwd: Path, environment: Mapping[str, str] | None = None
) -> AsyncIterator[tuple[int, dict[str, str]]]:
    """The process of `command` once it is healthy: its pid, and its lines up to `ready URL`, by first word."""
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=cwd,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
        )
    try:
        said = await _said_until_ready(process)
        if said is None:
            raise BenchUnavailable(f"`{' '.join(command[:3])}` did not serve. Its last words:\n{_last_words(log)}")
        await _until_healthy(said["ready"])
        yield process.pid, said
    finally:
        await _stop(process)


async def _said_until_ready(process: asyncio.subprocess.Process) -> dict[str, str] | None:
    said: dict[str, str] = {}
    with suppress(TimeoutError):
        async with asyncio.timeout(START_SECONDS):
            while process.stdout is not None and (line := await process.stdout.readline()):
                word, _, rest = line.decode().strip().partition(" ")
                said[word] = rest
                if word == "ready":
                    return said
    return None


async def _until_healthy(url: str) -> None:
    """Wait until a worker answers: the port is bound before the workers are up."""
    async with Client(url) as client:
        for _ in range(HEALTHY_POLLS):
            with suppress(ConnectionFailed):
                if (await client.request("GET", "/healthz")).status == 200:
                    return
            await asyncio.sleep(POLL_SECONDS)
    raise BenchUnavailable(f"{url}/healthz did not answer within {HEALTHY_POLLS * POLL_SECONDS:.0f} s.")


async def _stop(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(STOP_SECONDS):
            # Read on while it stops, so that it cannot block on a full pipe.
            await process.communicate()
    except TimeoutError:
        for survivor in _tree(process.pid):
            with suppress(psutil.NoSuchProcess):
                survivor.kill()
        await process.wait()


def tree_cpu_seconds(root: int) -> float:
    """Processor time of a process and of those that it has started, so far."""
    return sum(map(_cpu_seconds, _tree(root)))


def _postmaster_pid(data: Path) -> int:
    postmaster = read_postmaster(DataFolder(data).postgres)
    if postmaster is None:
        raise BenchUnavailable(f"No PostgreSQL runs in {data}.")
    return postmaster.pid


def _tree(root: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(root)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _cpu_seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:  # ended meanwhile: its parent has its time
        return 0.0
    return float(times.user + times.system + times.children_user + times.children_system)


def _last_words(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-10:])
