"""Everything on one machine: database, migrations, broker and our processes, started in order and kept going.

Who calls me: `onebook up`, and the commands that need a server of their own. What I own: the data folder's claim, the
embedded PostgreSQL and NATS, the simulated gateway, and the processes; I answer no requests. What survives a crash: the processes
end when I am gone (their life-line), database and broker are found and ended by the next start. What bounds me: `MAX_RESTARTS`
restarts of database and workers in `RESTART_WINDOW_SECONDS`; more often than that is not a crash but a fault, and I stop with an
error. Relay, sender, broker and simulator are started again for ever: bookings go on without them, and readiness tells.
"""

import asyncio
import os
import shutil
import socket
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple

import msgspec
import structlog
from msgspec.structs import replace

from onebook.api.tokens import Keys
from onebook.broker.signing import StreamKeys
from onebook.child import Child, DidNotStart
from onebook.config import Settings
from onebook.embedded.errors import EmbeddedError
from onebook.embedded.folder import DataFolder
from onebook.embedded.nats import EmbeddedNats
from onebook.embedded.postgres import EmbeddedPostgres
from onebook.job import Job
from onebook.key_file import secret_key
from onebook.ledger.database import migrate
from onebook.listening import listening_socket
from onebook.simulator.job import SimulatorJob

MAX_RESTARTS = 20
RESTART_WINDOW_SECONDS = 60.0
YOUNG_SECONDS = 5.0
"""Who dies sooner than this, or did not start, is given PAUSE_SECONDS: what it needs may be on its way back."""
PAUSE_SECONDS = 1.0
SIMULATOR_HOST = "127.0.0.1"
SIMULATOR_KEY_FILE = "simulator.key"

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
        self._errors = folder.path / "workers.log" if quiet else None
        self._metrics = folder.path / "metrics"  # what the processes count, so that any of them can tell the sum
        self._postgres = None if settings.database.url else EmbeddedPostgres(folder.path)
        embedded_broker = settings.relay.enabled and not settings.broker.url
        self._nats = EmbeddedNats(folder.path, max_store_mib=settings.broker.max_store_mib) if embedded_broker else None
        self._workers: list[Child] = []
        self._background: list[Child] = []
        self._watchers: list[asyncio.Task[None]] = []
        self._restarts: deque[float] = deque(maxlen=MAX_RESTARTS)
        self._reserved: socket.socket | None = None
        self._status: dict[str, Any] = {}
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def worker_pids(self) -> list[int]:
        """The processes that answer requests."""
        return [worker.pid for worker in self._workers if worker.pid is not None]

    async def start(self) -> Running:
        """Start everything, in order, in a folder that this process has claimed."""
        self._reserved = _reserve(self._settings.server.host, self._settings.server.port)
        host, port = self._settings.server.host, self._reserved.getsockname()[1]
        with self._timed("keys"):
            Keys.open(self._folder.keys)
            StreamKeys.open(self._folder.keys)
        with self._timed("database"):
            url = self._settings.database.url if self._postgres is None else await self._postgres.start()
        with self._timed("migrations"):
            await migrate(url)
        relay_broker, consumer_broker = await self._start_broker()
        shutil.rmtree(self._metrics, ignore_errors=True)
        self._metrics.mkdir()
        base_url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        self._settings = self._with_simulator(base_url)
        job = Job(
            settings=self._settings,
            database_url=url,
            broker_url=consumer_broker,
            keys=str(self._folder.keys),
            port=port,
        )
        if self._settings.relay.enabled:
            relay_job = replace(job, broker_url=relay_broker)
            self._background += [
                self._child("relay", ("onebook.background", "relay"), relay_job),
                self._child("sender", ("onebook.background", "sender"), job),
            ]
        self._workers = [
            self._child("a worker", ("onebook.worker",), job) for _ in range(self._settings.server.workers)
        ]
        with self._timed("processes"):
            await self._start_children()
        self._watch()
        self._status = {"pid": os.getpid(), "url": base_url, "database": url, "broker": consumer_broker}
        if self._settings.payments.simulator_url:
            self._status["gateway"] = self._settings.payments.simulator_url
        self._write_status()
        return Running(base_url=base_url, database_url=url, folder=self._folder, supervisor=self)

    async def stop(self) -> None:
        """Stop everything, in the other order; safe at any moment."""
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        await asyncio.gather(*(worker.end() for worker in self._workers))
        # Before the database: a reader of its WAL holds up its end.
        await asyncio.gather(*(child.end() for child in self._background))
        if self._nats is not None:
            await self._nats.stop()
        if self._postgres is not None:
            await self._postgres.stop()
        if self._reserved is not None:
            self._reserved.close()
        with suppress(OSError):
            self._folder.status_file.unlink(missing_ok=True)
        self._folder.release()

    async def _start_broker(self) -> tuple[str, str]:
        """The broker's URLs: the relay's, who may publish, and the consumers'. Empty without a pipeline."""
        if self._nats is None:
            return self._settings.broker.url, self._settings.broker.url
        with self._timed("broker"):
            credentials = await self._nats.start()
        return credentials.relay_url, credentials.consumer_url

    def _with_simulator(self, base_url: str) -> Settings:
        """The settings with the simulated gateway that is to be started, where none is named and no other one is wanted."""
        payments = self._settings.payments
        if payments.gateway != "simulator" or payments.simulator_url:
            return self._settings
        port, secret = _free_port(), secret_key(self._folder.keys / SIMULATOR_KEY_FILE).hex()
        job = SimulatorJob(
            host=SIMULATOR_HOST,
            port=port,
            folder=str(self._folder.path / "simulator"),
            secret=secret,
            notify_url=f"{base_url}/v1/gateways/simulator/notifications",
            log=self._settings.log,
            notify_all=False,  # a notification costs both sides more than the call whose answer has told the same
        )
        self._background.append(self._child("simulator", ("onebook.simulator",), job))
        known = replace(payments, simulator_url=f"http://{SIMULATOR_HOST}:{port}", simulator_secret=secret)
        return replace(self._settings, payments=known)

    async def _start_children(self) -> None:
        children = [*self._background, *self._workers]
        for failure in await asyncio.gather(*(child.start() for child in children), return_exceptions=True):
            if isinstance(failure, DidNotStart):
                raise CannotServe(str(failure)) from failure
            if isinstance(failure, BaseException):
                raise failure

    def _child(self, name: str, command: tuple[str, ...], job: Job | SimulatorJob) -> Child:
        return Child(
            name,
            command,
            msgspec.json.encode(job) + b"\n",
            metrics=self._metrics,
            errors=self._errors,
            graceful_seconds=self._settings.server.graceful_seconds,
        )

    def _watch(self) -> None:
        parts = [_Part(child.name, child.wait, child.start, is_vital=False) for child in self._background]
        parts += [_Part(worker.name, worker.wait, worker.start) for worker in self._workers]
        if self._postgres is not None:
            parts.append(_Part("the database", self._postgres.wait, self._postgres.start))
        if self._nats is not None:
            parts.append(_Part("the broker", self._nats.wait, self._nats.start, is_vital=False))
        self._watchers = [asyncio.create_task(self._keep(part)) for part in parts]
        for watcher in self._watchers:
            watcher.add_done_callback(self._look_why)

    async def _keep(self, part: "_Part") -> None:
        """Start it again whenever it ends."""
        while True:
            watched_since = time.monotonic()
            code = await part.wait()
            log.error("process_died", process=part.name, code=code)
            if part.is_vital and not self._may_restart(part):
                return
            if time.monotonic() - watched_since < YOUNG_SECONDS:
                await asyncio.sleep(PAUSE_SECONDS)
            try:
                await part.start()
                self._write_status()
            except (DidNotStart, EmbeddedError, OSError) as error:
                log.error("process_did_not_start", process=part.name, reason=str(error))
                if part.is_vital and isinstance(error, EmbeddedError):
                    self._fail(CannotServe(str(error)))
                    return

    def _may_restart(self, part: "_Part") -> bool:
        now = time.monotonic()
        if len(self._restarts) == MAX_RESTARTS and now - self._restarts[0] < RESTART_WINDOW_SECONDS:
            restarts = f"{MAX_RESTARTS} restarts within {RESTART_WINDOW_SECONDS:.0f} s"
            self._fail(CannotServe(f"{part.name} keeps dying: {restarts}; see the logs in the data folder, or above"))
            return False
        self._restarts.append(now)
        return True

    def _look_why(self, watcher: "asyncio.Task[None]") -> None:
        """A watcher that has failed watches nothing any more, so that we cannot go on."""
        if not watcher.cancelled() and (error := watcher.exception()) is not None:
            log.error("watcher_failed", exc_info=error)
            self._fail(CannotServe(f"the processes can no longer be watched: {error!r}"))

    def _fail(self, error: CannotServe) -> None:
        if not self.failed.done():
            self.failed.set_exception(error)

    def _write_status(self) -> None:
        written = self._folder.status_file.with_suffix(".new")
        pids = {child.name: child.pid for child in self._background}
        with os.fdopen(os.open(written, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            # Its owner's alone: the broker's URL has the password of those who only read.
            file.write(msgspec.json.encode({**self._status, "workers": self.worker_pids, **pids}))
        written.replace(self._folder.status_file)

    def _timed(self, name: str) -> "_Timed":
        return _Timed(name, self._step)


class _Part(NamedTuple):
    """What is started again when it ends."""

    name: str
    wait: Callable[[], Awaitable[int]]
    start: Callable[[], Awaitable[object]]
    is_vital: bool = True
    """Whether nothing can be booked without it."""


class _Timed:
    def __init__(self, name: str, step: Callable[[str, float], None]) -> None:
        self._name = name
        self._step = step

    def __enter__(self) -> None:
        self._began = time.monotonic()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._step(self._name, time.monotonic() - self._began)


def _free_port() -> int:
    """A port for the simulator, which keeps it through its restarts."""
    with socket.create_server((SIMULATOR_HOST, 0)) as probe:
        return int(probe.getsockname()[1])


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
