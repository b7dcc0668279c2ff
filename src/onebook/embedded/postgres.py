"""PostgreSQL for one data folder, started and watched by us.

`onebook up` calls it, and decides what happens when `wait()` returns. It owns the server process, the
cluster in the data folder, its settings, log and socket. What was committed survives any crash: of the
server, of us, of the machine; `start()` finds the pieces, ends a server that outlived its supervisor, and
PostgreSQL replays its WAL. Every wait has a bound, in seconds, below. The log is cut at each start.
"""

import asyncio
import os
import signal
import subprocess
import time
from concurrent.futures import Future
from pathlib import Path

import asyncpg

from onebook.embedded.account import Account, account_for
from onebook.embedded.child import last_lines, watch
from onebook.embedded.cluster import ensure_cluster
from onebook.embedded.errors import EmbeddedError
from onebook.embedded.folder import DATABASE, PORT, ROLE, DataFolder, socket_url
from onebook.embedded.processes import PID_FILE, drop_misleading_pid_file, stop_survivors
from onebook.embedded.programs import find_programs
from onebook.embedded.settings import server_settings, usable_memory_bytes

START_SECONDS = 300  # recovery replays up to max_wal_size
RETRY_SECONDS = 0.02
CONNECT_SECONDS = 5
COMMAND_SECONDS = 60
FAST_STOP_SECONDS = 30  # ends in a checkpoint
FORCED_STOP_SECONDS = 5
LOG_BYTES = 10_000_000


class EmbeddedPostgres:
    """One server, its life: start, wait, stop; and start again, after an end of whatever kind."""

    def __init__(self, data: Path) -> None:
        self._folder = DataFolder(data)
        self._process: subprocess.Popen[bytes] | None = None
        self._exit_code: Future[int] = Future()

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return self._process.pid if self._process is not None and not self._exit_code.done() else None

    async def start(self) -> str:
        """Starts the server, creating cluster and database where missing; returns the URL of the database.

        Claims the data folder unless this process has claimed it. Returns at once when the server runs.
        Raises EmbeddedError.
        """
        if self.pid is not None:
            return socket_url(self._folder.socket_dir)
        if self._folder.holder() != os.getpid():
            self._folder.claim()
        try:
            account, programs = await asyncio.to_thread(self._prepare)
            self._launch(account, programs)
            await self._create_database()
        except BaseException as error:
            explained = self._explained(error)
            await self.stop()
            if explained is error:
                raise
            raise explained from error
        return socket_url(self._folder.socket_dir)

    async def wait(self) -> int:
        """Returns the exit code of the started server when it ends; negative: the signal that killed it."""
        return await asyncio.wrap_future(self._exit_code)

    async def stop(self) -> None:
        """Ends the server: fast, then immediate, then by force. Does nothing when it has ended."""
        for number, seconds in (
            (signal.SIGINT, FAST_STOP_SECONDS),
            (signal.SIGQUIT, FORCED_STOP_SECONDS),
            (signal.SIGKILL, FORCED_STOP_SECONDS),
        ):
            if self._process is None or self.pid is None:
                break
            self._process.send_signal(number)
            await asyncio.wait([asyncio.wrap_future(self._exit_code)], timeout=seconds)
        if self._folder.holder() == os.getpid():  # else it was never ours
            self._folder.remove_borrowed_socket_dir()
            self._folder.release()

    def _prepare(self) -> tuple[Account, Path]:
        """Everything that must be in place before the server starts; blocks."""
        folder = self._folder
        account = account_for(folder.postgres)
        _check_reachable(folder.path, account)
        programs = find_programs(account, folder.programs)
        stop_survivors(folder.postgres)
        ensure_cluster(folder, account, programs)
        socket_dir = folder.make_socket_dir(account)
        for pid_file in (folder.postgres / PID_FILE, socket_dir / f".s.PGSQL.{PORT}.lock"):
            drop_misleading_pid_file(pid_file)
        folder.postgres_conf.write_text(server_settings(socket_dir, PORT, usable_memory_bytes()))
        folder.postgres_conf.chmod(0o644)  # root may have a stricter umask, and the account must read it
        if folder.postgres_log.exists() and folder.postgres_log.stat().st_size > LOG_BYTES:
            folder.postgres_log.replace(folder.postgres_log.with_suffix(".log.1"))
        folder.postgres_log.touch(mode=0o600)
        return account, programs

    def _launch(self, account: Account, programs: Path) -> None:
        cluster, conf = self._folder.postgres, self._folder.postgres_conf
        command: list[str | Path] = [programs / "postgres", "-D", cluster, "-c", f"config_file={conf}"]
        with self._folder.postgres_log.open("ab") as log:
            self._process = account.spawn(command, cwd=cluster, output=log)
        self._exit_code = watch(self._process)

    async def _create_database(self) -> None:
        """Waits until the server answers, and creates our database if a first start did not get that far."""
        connection = await self._connect()
        try:
            found = await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE)
            if found is None:
                await connection.execute(f"CREATE DATABASE {DATABASE}")
        finally:
            await connection.close(timeout=CONNECT_SECONDS)

    async def _connect(self) -> asyncpg.Connection:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                return await asyncpg.connect(
                    host=str(self._folder.socket_dir),
                    port=PORT,
                    user=ROLE,
                    database="postgres",
                    timeout=CONNECT_SECONDS,
                    command_timeout=COMMAND_SECONDS,
                )
            except (OSError, asyncpg.CannotConnectNowError, asyncpg.PostgresConnectionError) as error:
                if self.pid is None or time.monotonic() > deadline:
                    raise self._did_not_start() from error
            await asyncio.sleep(RETRY_SECONDS)

    def _explained(self, error: BaseException) -> BaseException:
        match error:
            case OSError():
                return self._folder.unusable(error)
            case asyncpg.PostgresError() | asyncpg.InterfaceError():
                return self._did_not_start()
            case _:
                return error

    def _did_not_start(self) -> EmbeddedError:
        log = self._folder.postgres_log
        state = "did not get ready" if self.pid else f"ended with {self._exit_code.result()}"
        return EmbeddedError(
            "PostgreSQL did not start",
            f"it {state}",
            f"Its log {log} ends with:\n{last_lines(log)}",
        )


def _check_reachable(data: Path, account: Account) -> None:
    if barrier := account.barrier(data):
        raise EmbeddedError(
            f"PostgreSQL cannot reach the data folder {data}",
            f"it refuses root, so it runs as {account.name}, who may not enter {barrier}",
            f"Choose another folder (--data /var/lib/onebook), or let everyone pass: chmod o+x {barrier}",
        )
