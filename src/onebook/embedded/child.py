"""A server as our child process: what it said last, and when it ends."""

import subprocess
from concurrent.futures import Future
from pathlib import Path
from threading import Thread


def watch(process: subprocess.Popen[bytes]) -> Future[int]:
    """The exit code to come. A thread waits for it: any event loop will do, and may end before it."""
    exit_code: Future[int] = Future()
    exit_code.set_running_or_notify_cancel()  # whoever stops waiting does not stop the watching
    Thread(target=lambda: exit_code.set_result(process.wait()), name=f"exit-{process.pid}", daemon=True).start()
    return exit_code


def last_lines(log: Path) -> str:
    """The end of a server's log, for an error that explains itself."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 2000))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-8:])
