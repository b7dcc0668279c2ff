"""The machine that a benchmark ran on: its figures mean nothing without it."""

import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

import psutil

from onebook.ops.bench.report import Hardware

FSYNC_WRITES = 200
FSYNC_SECONDS = 2.0
PAGE_BYTES = 8192


def hardware(data: Path, postgresql: str, driver: str) -> Hardware:
    """This machine, with the time of an fsync on the disk of `data`; blocks for up to two seconds."""
    return Hardware(
        cpu_model=_cpu_model(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_gib=round(psutil.virtual_memory().total / 2**30, 1),
        kernel=f"{platform.system()} {platform.release()}",
        fsync_p50_ms=round(_fsync_p50_seconds(data) * 1000, 3),
        postgresql=postgresql,
        driver=driver,
    )


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _fsync_p50_seconds(data: Path) -> float:
    """The median of up to 200 synced writes of one page, as PostgreSQL's WAL makes them."""
    sync = getattr(os, "fdatasync", os.fsync)
    seconds: list[float] = []
    deadline = time.monotonic() + FSYNC_SECONDS
    with tempfile.TemporaryFile(dir=data, buffering=0) as file:
        file.write(bytes(PAGE_BYTES))  # so that no later write extends the file
        while len(seconds) < FSYNC_WRITES and time.monotonic() < deadline:
            began = time.perf_counter()
            os.pwrite(file.fileno(), os.urandom(PAGE_BYTES), 0)
            sync(file.fileno())
            seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)
