"""Everything on one machine: the database, the migrations and the workers, started in order and kept going.

Who calls me: `onebook up`, and the commands that need a server of their own. What I own: the data folder's claim, the
embedded PostgreSQL and the worker processes; I answer no requests. What survives a crash: workers end when I am gone
(their life-line), the database is found and taken over by the next start. What bounds me: `MAX_RESTARTS` restarts in
`RESTART_WINDOW_SECONDS`; more often than that is not a crash but a fault, and I stop with an error.
"""

import asyncio
import os
import shutil
import socket
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import IO, Any

import msgspec
import structlog

from onebook.api.tokens import Keys
from onebook.config import Settings
from onebook.embedded.errors import EmbeddedError
from onebook.embedded.folder import DataFolder
from onebook.embedded.postgres import EmbeddedPostgres
from onebook.ledger.database import migrate
from onebook.worker import READY, Job, listening_socket

WORKER_START_SECONDS = 30.0
MAX_RESTARTS = 20
RESTART_WINDOW_SECONDS = 60.0

log = structlog.get_logger()


class CannotServe(Exception):
    """The server cannot start or go on; the message says what, why and what to do."""


class Running(msgspec.Struct, frozen=True):
    """A server that serves."""

    base_url: str
    database_url: str
    folder: DataFolder
    supervisor: "Supervisor"


@asynccontextmanager
async def serving(
    settings: Settings,
    folder: DataFolder,
    step: Callable[[str, float], None] = lambda _name, _seconds: None,
    *,
    quiet: bool = False,
) -> AsyncIterator[Running]:
    """A server for as long as the block runs; `step` is told what was done and how many seconds it took.

    With `quiet` the workers write to workers.log in the data folder, and not between what is shown on the terminal.

    Raises EmbeddedError, CannotServe, and the database's own errors, with everything stopped again.
    """
    folder.claim()  # before the block: who is refused must not tidy up the holder's files
    supervisor = Supervisor(settings, folder, step, quiet=quiet)
    try:
        yield await supervisor.start()
    finally:
        await supervisor.stop()


class Supervisor:
    """Starts, watches and stops the processes."""

    def __init__(
        self, settings: Settings, folder: DataFolder, step: Callable[[str, float], None], *, quiet: bool
    ) -> None:
        self._settings = settings
        self._folder = folder
        self._step = step
        self._quiet = quiet
        self._metrics = folder.path / "metrics"  # what the workers count, so that any of them can tell the sum
        self._postgres = None if settings.database.url else EmbeddedPostgres(folder.path)
        self._workers: list[asyncio.subprocess.Process] = []
        self._watchers: list[asyncio.Task[None]] = []
        self._restarts: deque[float] = deque(maxlen=MAX_RESTARTS)
        self._reserved: socket.socket | None = None
        self._job = b""
        self._status: dict[str, Any] = {}
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def worker_pids(self) -> list[int]:
        """The processes that answer requests."""
        return [worker.pid for worker in self._workers if worker.returncode is None]

    async def start(self) -> Running:
        """Start everything, in order, in a folder that this process has claimed."""
        self._reserved = _reserve(self._settings.server.host, self._settings.server.port)
        host, port = self._settings.server.host, self._reserved.getsockname()[1]
        with self._timed("keys"):
            Keys.open(self._folder.keys)
        with self._timed("database"):
            url = self._settings.database.url if self._postgres is None else await self._postgres.start()
        with self._timed("migrations"):
            await migrate(url)
        job = Job(settings=self._settings, database_url=url, keys=str(self._folder.keys), port=port)
        self._job = msgspec.json.encode(job) + b"\n"
        shutil.rmtree(self._metrics, ignore_errors=True)
        self._metrics.mkdir()
        with self._timed("workers"):
            await self._spawn_all()
        self._watchers = [asyncio.create_task(self._keep_worker(i)) for i in range(len(self._workers))]
        if self._postgres is not None:
            self._watchers.append(asyncio.create_task(self._keep_postgres(self._postgres)))
        base_url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        self._status = {"pid": os.getpid(), "url": base_url, "database": url}
        self._write_status()
        return Running(base_url=base_url, database_url=url, folder=self._folder, supervisor=self)

    async def stop(self) -> None:
        """Stop everything, in the other order; safe at any moment."""
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        await asyncio.gather(*(self._end(worker) for worker in self._workers))
        if self._postgres is not None:
            await self._postgres.stop()
        if self._reserved is not None:
            self._reserved.close()
        with suppress(OSError):
            self._folder.status_file.unlink(missing_ok=True)
        self._folder.release()

    async def _spawn_all(self) -> None:
        spawned = await asyncio.gather(
            *(self._spawn() for _ in range(self._settings.server.workers)), return_exceptions=True
        )
        self._workers = [worker for worker in spawned if not isinstance(worker, BaseException)]
        for failure in spawned:
            if isinstance(failure, BaseException):
                raise failure

    async def _spawn(self) -> asyncio.subprocess.Process:
        with self._errors() as errors:
            worker = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "onebook.worker",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(self._metrics)},
                start_new_session=True,  # Ctrl-C is for the supervisor, which stops its workers in order
            )
        try:
            async with asyncio.timeout(WORKER_START_SECONDS):
                if worker.stdin is not None:
                    worker.stdin.write(self._job)  # not on the command line, where everybody reads passwords
                line = await worker.stdout.readline() if worker.stdout is not None else b""
        except TimeoutError:
            line = b""
        except asyncio.CancelledError:  # stopped meanwhile, and nobody else knows of this worker yet
            worker.kill()
            raise
        if line.decode().strip() != READY:
            await self._end(worker)
            raise CannotServe("a worker did not start; what it wrote says why (workers.log, or above)")
        return worker

    @contextmanager
    def _errors(self) -> Iterator[IO[bytes] | None]:
        """Where a worker's stderr goes; None is where ours goes."""
        if not self._quiet:
            yield None
            return
        with (self._folder.path / "workers.log").open("ab") as log_file:
            yield log_file

    async def _end(self, worker: asyncio.subprocess.Process) -> None:
        if worker.returncode is not None:
            return
        with suppress(ProcessLookupError):
            worker.terminate()
        try:
            await asyncio.wait_for(worker.wait(), self._settings.server.graceful_seconds + 2)
        except TimeoutError:
            with suppress(ProcessLookupError):
                worker.kill()
            await worker.wait()

    async def _keep_worker(self, index: int) -> None:
        while True:
            code = await self._workers[index].wait()
            log.error("worker_died", pid=self._workers[index].pid, code=code)
            if not await self._may_restart("workers keep dying"):
                return
            try:
                self._workers[index] = await self._spawn()
            except CannotServe as error:
                log.error("worker_did_not_start", reason=str(error))
            else:
                self._write_status()

    async def _keep_postgres(self, postgres: EmbeddedPostgres) -> None:
        while True:
            code = await postgres.wait()
            log.error("database_died", code=code)
            if not await self._may_restart("the database keeps dying; see postgres.log in the data folder"):
                return
            try:
                await postgres.start()
            except EmbeddedError as error:
                self._fail(CannotServe(str(error)))
                return

    async def _may_restart(self, otherwise: str) -> bool:
        now = time.monotonic()
        if len(self._restarts) == MAX_RESTARTS and now - self._restarts[0] < RESTART_WINDOW_SECONDS:
            self._fail(CannotServe(f"{otherwise}: {MAX_RESTARTS} restarts within {RESTART_WINDOW_SECONDS:.0f} s"))
            return False
        self._restarts.append(now)
        return True

    def _fail(self, error: CannotServe) -> None:
        if not self.failed.done():
            self.failed.set_exception(error)

    def _write_status(self) -> None:
        written = self._folder.status_file.with_suffix(".new")
        written.write_bytes(msgspec.json.encode({**self._status, "workers": self.worker_pids}))
        written.replace(self._folder.status_file)

    def _timed(self, name: str) -> "_Timed":
        return _Timed(name, self._step)


class _Timed:
    def __init__(self, name: str, step: Callable[[str, float], None]) -> None:
        self._name = name
        self._step = step

    def __enter__(self) -> None:
        self._began = time.monotonic()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._step(self._name, time.monotonic() - self._began)


def _reserve(host: str, port: int) -> socket.socket:
    """Hold the port for the workers to share. Raises CannotServe when somebody else has it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))  # without SO_REUSEPORT, so that another server's port is refused
            port = probe.getsockname()[1]
        return listening_socket(host, port)
    except OSError as error:
        raise CannotServe(
            f"Cannot listen on {host} port {port}: {error.strerror}. Choose another with --port, or --port 0"
        ) from error
