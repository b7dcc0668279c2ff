"""Shared ground of all tests: one PostgreSQL for the run, a database of its own for each test, servers as users start them."""

import asyncio
import inspect
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import msgspec
import pytest

from onebook.api.roles import Role
from onebook.api.tokens import Keys
from onebook.embedded.folder import DataFolder
from onebook.embedded.postgres import EmbeddedPostgres
from onebook.ledger.catalog import Catalog
from onebook.ledger.committer import Committer
from onebook.ledger.database import migrate, open_reader, open_writer
from onebook.ledger.definitions import Definitions, ResourceDefinition
from onebook.ledger.ledger import Ledger
from onebook.model.resource import Kind, Unit
from onebook.views.reads import Reads
from onebook.views.view import AvailabilityView

TEMPLATE = "onebook_template"
ENDING_TURNS = 20


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every async test begins with `connections_end`, which is therefore the last to be torn down."""
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
            item.fixturenames.insert(0, "connections_end")


@pytest.fixture
async def connections_end() -> AsyncIterator[None]:
    """What a test has closed ends in the loop's next turns; a loop that stops before leaves it to be complained of elsewhere."""
    yield
    for _ in range(ENDING_TURNS):
        await asyncio.sleep(0)


@contextmanager
def data_folder() -> Iterator[Path]:
    """A data folder that every account may pass through (pytest's own tmp_path is closed to PostgreSQL's when root)."""
    path = Path(tempfile.mkdtemp(prefix="onebook-test-"))
    path.chmod(0o711)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The URL of a PostgreSQL that lives as long as the run, with a migrated template database."""
    with data_folder() as folder:
        postgres = EmbeddedPostgres(folder)

        async def start() -> str:
            url = await postgres.start()
            await _execute(url, f"CREATE DATABASE {TEMPLATE}")
            await migrate(with_database(url, TEMPLATE))
            return url

        url = asyncio.run(start())
        try:
            yield url
        finally:
            asyncio.run(postgres.stop())


@pytest.fixture
async def database_url(postgres_url: str) -> AsyncIterator[str]:
    """A migrated database of this test's own."""
    name = f"test_{uuid4().hex}"
    await _execute(postgres_url, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    try:
        yield with_database(postgres_url, name)
    finally:
        await _execute(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


@dataclass(frozen=True)
class Bench:
    """A ledger with its loop running, and ways to look behind it."""

    url: str
    ledger: Ledger
    committer: Committer
    catalog: Catalog
    definitions: Definitions
    reads: Reads
    view: AvailabilityView
    reader: "asyncpg.Pool[Any]"

    async def room(self, key: str, capacity: int = 1, **options: Any) -> None:
        """Define a resource sold by the night, with its venue in Lisbon."""
        await self.resource(key, kind=Kind.ROOM, unit=Unit.NIGHT, capacity=capacity, **options)

    async def resource(self, key: str, **options: Any) -> None:
        """Define a resource of any kind, with its venue in Lisbon."""
        venue, _, code = key.partition("/")
        await self.definitions.put_venue(venue, venue, "Europe/Lisbon", "EUR", "lisboa")
        given = {"name": code, "cell_minutes": 1, "capacity": 1, **options}
        await self.definitions.put_resources(venue, [ResourceDefinition(code=code, **given)])


@asynccontextmanager
async def open_bench(url: str, *, max_batch: int = 128, timeout_seconds: float = 4.0) -> AsyncIterator[Bench]:
    """A ledger on a database; several on one database are what several workers are."""
    writer, reader = await open_writer(url, 2), await open_reader(url, 4)
    catalog, view = Catalog(reader), AvailabilityView(reader)
    committer = Committer(
        writer, catalog, max_batch=max_batch, max_waiting=100_000, command_timeout_seconds=timeout_seconds
    )
    running = asyncio.create_task(committer.run())
    try:
        yield Bench(
            url=url,
            ledger=Ledger(catalog, committer),
            committer=committer,
            catalog=catalog,
            definitions=Definitions(reader, catalog),
            reads=Reads(reader, catalog, view),
            view=view,
            reader=reader,
        )
    finally:
        committer.stop()
        await running
        await writer.close()
        await reader.close()


@pytest.fixture
async def bench(database_url: str) -> AsyncIterator[Bench]:
    """One ledger on a database of its own."""
    async with open_bench(database_url) as opened:
        yield opened


@dataclass
class Server:
    """`onebook up` as a process of its own, in its own process group."""

    data: Path
    process: "subprocess.Popen[str]"
    url: str
    tokens: dict[str, str] = field(default_factory=dict)

    @property
    def database_url(self) -> str:
        """Its database."""
        url = DataFolder(self.data).database_url()
        assert url is not None
        return url

    @property
    def status(self) -> dict[str, Any]:
        """What `onebook status` knows: pid, url, database, workers."""
        found: dict[str, Any] = msgspec.json.decode((self.data / "status.json").read_bytes())
        return found

    def token(self, role: str, channel: str | None = None) -> str:
        """A token for a role, minted with the server's own key, as `onebook token` does in a process of its own."""
        name = f"{role}:{channel}"
        if name not in self.tokens:
            keys = Keys.open(DataFolder(self.data).keys)
            self.tokens[name] = keys.mint(Role(role), channel=channel, ttl_seconds=3600)
        return self.tokens[name]

    def stop(self) -> int:
        """Stop it as Ctrl-C does; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        code = self.process.wait(timeout=60)
        self._close()
        return code

    def kill(self) -> None:
        """kill -9 of the supervisor alone."""
        self.process.kill()
        self.process.wait(timeout=10)
        self._close()

    def _close(self) -> None:
        if self.process.stdout is not None:
            self.process.stdout.close()


def onebook(*arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
    """Run an `onebook` command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "onebook.cli", *arguments], capture_output=True, text=True, timeout=120, check=check
    )


def start_server(data: Path, *arguments: str, workers: int = 1, environment: dict[str, str] | None = None) -> Server:
    """Start `onebook up` on a free port and wait until it says that it is ready."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "onebook.cli",
            "up",
            "--data",
            str(data),
            "--port",
            "0",
            "--workers",
            str(workers),
            *arguments,
        ],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
        start_new_session=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("ready "), f"it did not start: {line!r}"
    return Server(data=data, process=process, url=line.split()[1])


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A server that all acceptance tests of a run may share; use venues of your own."""
    with data_folder() as data:
        running = start_server(data)
        try:
            yield running
        finally:
            assert running.stop() == 0


@pytest.fixture
def new_server() -> Iterator[Callable[..., Server]]:
    """Starts servers of this test's own: `new_server(workers=2)`; all are stopped afterwards."""
    started: list[Server] = []
    with data_folder() as folder:

        def start(*arguments: str, name: str = "data", **options: Any) -> Server:
            started.append(start_server(folder / name, *arguments, **options))
            return started[-1]

        yield start
        for running in started:
            running.stop()


def with_database(url: str, name: str) -> str:
    """The same server, another database."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"/{name}"))


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
