"""One process of ours: started with a job, waited for, ended.

Who calls me: the supervisor, which decides what an end means. What I own: the process and its standard input, which is its
life-line: it ends by itself when I am gone. What bounds me: START_SECONDS to get ready, the graceful time to stop.
"""

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from prometheus_client.multiprocess import mark_process_dead

from onebook.job import READY

START_SECONDS = 30.0
KILL_MARGIN_SECONDS = 2.0


class DidNotStart(Exception):
    """A process did not get ready; what it wrote says why."""


class Child:
    """A process that runs a module of ours."""

    def __init__(
        self,
        name: str,
        command: tuple[str, ...],
        job: bytes,
        *,
        metrics: Path,
        errors: Path | None,
        graceful_seconds: float,
    ) -> None:
        """`command` is the module with its arguments; `errors` is where it writes, None where we do."""
        self.name = name
        self._command = command
        self._job = job
        self._metrics = metrics
        self._errors = errors
        self._end_seconds = graceful_seconds + KILL_MARGIN_SECONDS
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def start(self) -> None:
        """Returns when it does its work. Raises DidNotStart."""
        with self._open_errors() as errors:
            process = self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(self._metrics)},
                start_new_session=True,  # Ctrl-C is for the supervisor, which stops its children in order
            )
        try:
            async with asyncio.timeout(START_SECONDS):
                if process.stdin is not None:
                    process.stdin.write(self._job)  # not on the command line, where everybody reads passwords
                line = await process.stdout.readline() if process.stdout is not None else b""
        except TimeoutError:
            line = b""
        if line.decode().strip() != READY:
            await self.end()
            raise DidNotStart(f"{self.name} did not start; what it wrote says why (workers.log, or above)")

    async def wait(self) -> int:
        """Its exit code, once it has ended; negative: the signal that killed it."""
        if self._process is None:
            raise RuntimeError(f"{self.name} was never started")
        code = await self._process.wait()
        mark_process_dead(self._process.pid, str(self._metrics))  # type: ignore[no-untyped-call]  # gauges of the living only
        return code

    async def end(self) -> None:
        """Stop it, by force when it does not stop in time; safe at any moment."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), self._end_seconds)
        except TimeoutError:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    @contextmanager
    def _open_errors(self) -> Iterator[IO[bytes] | None]:
        if self._errors is None:
            yield None
            return
        with self._errors.open("ab") as log_file:
            yield log_file
