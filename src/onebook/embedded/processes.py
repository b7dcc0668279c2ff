"""PostgreSQL's processes on a cluster: which one serves it, and how those that a crash left behind end.

A process belongs to a cluster when its program is PostgreSQL's and its working directory is the cluster:
a number in a file proves nothing, since numbers are used again.
"""

import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from onebook.embedded.errors import EmbeddedError

PROGRAMS = {"postgres", "initdb"}
PID_FILE = "postmaster.pid"
POLL_SECONDS = 0.05
LEAVE_SECONDS = 1  # for children of a dead server, which leave by themselves unless they compute
FAST_SECONDS = 30  # for a fast shutdown: it ends in a checkpoint
FORCED_SECONDS = 5  # for an immediate shutdown, and for the kernel to end a process


@dataclass(frozen=True, slots=True)
class Postmaster:
    """What a running server says of itself in `postmaster.pid`."""

    pid: int
    socket_dir: Path
    ready: bool


def read_postmaster(cluster: Path) -> Postmaster | None:
    """The server that runs on `cluster`, or None; a stale file of a killed one counts as none."""
    try:
        lines = (cluster / PID_FILE).read_text().splitlines()
    except FileNotFoundError:
        return None
    # pid, cluster, start time, port, socket folder, TCP address, shared memory, state: one a line, in this
    # order (miscadmin.h), written bit by bit during a start.
    if len(lines) < 8 or not _serves(int(lines[0]), cluster):
        return None
    return Postmaster(int(lines[0]), Path(lines[4]), ready=lines[7].strip() == "ready")


def stop_survivors(cluster: Path) -> None:
    """Ends every process that a killed `onebook up` or a killed server left on `cluster`.

    Gently first: the server gets a fast shutdown, and children without a server leave by themselves. Only the
    claim on the data folder makes this safe: with it, whatever runs here has no supervisor any more.
    """
    survivors = _survivors(cluster)
    server = [process for process in survivors if process.pid == _recorded_pid(cluster / PID_FILE)]
    _signal(server, signal.SIGINT)
    if _all_gone(cluster, FAST_SECONDS if server else LEAVE_SECONDS):
        return
    for forced in (signal.SIGQUIT, signal.SIGKILL):
        _signal(_survivors(cluster), forced)
        if _all_gone(cluster, FORCED_SECONDS):
            return
    pids = ", ".join(str(process.pid) for process in _survivors(cluster))
    raise EmbeddedError(
        "A PostgreSQL from an earlier run does not end",
        f"the processes {pids} still use {cluster}, even after SIGKILL",
        "Look at what they wait for (a disk that does not answer?), then start again",
    )


def drop_misleading_pid_file(file: Path) -> None:
    """Removes a killed server's pid file when its number now belongs to somebody else.

    PostgreSQL would take that process for a running server and refuse to start; in a container, where numbers
    are few, this happens. Only safe after `stop_survivors`. Every other stale file PostgreSQL judges itself.
    """
    pid = _recorded_pid(file)
    if pid is not None and psutil.pid_exists(pid):
        file.unlink()


def _survivors(cluster: Path) -> list[psutil.Process]:
    return [process for process in psutil.process_iter() if _belongs(process, cluster)]


def _belongs(process: psutil.Process, cluster: Path) -> bool:
    try:
        return process.name() in PROGRAMS and Path(process.cwd()) == cluster
    except psutil.Error:  # ended meanwhile, a zombie, or somebody else's
        return False


def _serves(pid: int, cluster: Path) -> bool:
    try:
        return _belongs(psutil.Process(pid), cluster)
    except psutil.NoSuchProcess:
        return False


def _recorded_pid(file: Path) -> int | None:
    try:
        first_line = file.read_text().partition("\n")[0]
    except FileNotFoundError:
        return None
    return int(first_line) if first_line.isdigit() else None


def _signal(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def _all_gone(cluster: Path, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while _survivors(cluster):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True
