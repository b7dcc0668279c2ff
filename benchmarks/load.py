"""Drives any server that speaks `POST /v1/bookings`, and prints what it saw as one JSON line.

Three-night holds on random resources (`bench/r0`, `bench/r1`, ...) and dates, each with an idempotency key
that no other request of any run has; with --pays each is paid for, and what counts is the checkout's answer, from when the hold
was asked for; or, with --reads, GETs of random lines of a file. Two drivers make the same
requests: wrk with load.lua or read.lua, and the asyncio one (crowd.py) for machines without wrk, for a single
connection, for a number of requests instead of a time, and for a rate.

wrk counts what it was answered within the time, so up to one request per connection is placed but not
counted; the asyncio driver waits for these, so its 201s are the holds in the database. wrk's percentiles
are corrected for coordinated omission, the asyncio driver's are as measured: at a rate from when a request was due.
"""

import argparse
import asyncio
import json
import math
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from crowd import ANSWER_SECONDS, Crowd
from mix import Load, new_run, stays
from onebook.ops.bench.report import LoadReport

WRK_THREADS = 2
SCRIPTS = Path(__file__).parent


def main() -> None:
    """Drive, and print the report."""
    load, driver = _options()
    report = drive_with_wrk(load) if driver == "wrk" else drive_with_asyncio(load)
    print(msgspec.json.encode(report).decode())


def drive_with_wrk(load: Load) -> LoadReport:
    """Let wrk drive; `load.requests` and `load.rate` are not for it."""
    if load.reads is not None:
        return _wrk(load, "read.lua", load.token, str(load.seed), str(load.reads))
    with tempfile.NamedTemporaryFile("w", suffix=".stays") as file:
        file.write("\n".join(stays(load)))
        file.flush()
        return _wrk(load, "load.lua", load.token, new_run(), str(load.seed), str(load.resources), file.name)


def drive_with_asyncio(load: Load) -> LoadReport:
    """Drive from this process, on one core."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        crowd = Crowd(load)
        broken = runner.run(crowd.run())
    ordered = sorted(crowd.latencies_ms)
    return LoadReport(
        driver="asyncio",
        requests=len(ordered),
        seconds=crowd.seconds,
        by_status=dict(crowd.by_status),
        broken=broken,
        p50_ms=_percentile(ordered, 50),
        p95_ms=_percentile(ordered, 95),
        p99_ms=_percentile(ordered, 99),
        cpu_seconds=_cpu_seconds(),
    )


def _wrk(load: Load, script: str, *arguments: str) -> LoadReport:
    wrk = shutil.which("wrk")
    if wrk is None:
        raise SystemExit("wrk is not installed: install it (Debian: apt install wrk) or use --driver asyncio")
    command = [
        wrk,
        f"-t{min(WRK_THREADS, load.connections)}",
        f"-c{load.connections}",
        f"-d{load.seconds}s",
        f"--timeout={ANSWER_SECONDS}s",
        f"-s{SCRIPTS / script}",
        load.url,
        "--",
        *arguments,
    ]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode != 0 or not finished.stderr.startswith("{"):
        raise SystemExit(f"wrk failed with {finished.returncode}:\n{finished.stderr}{finished.stdout}")
    seen: dict[str, Any] = json.loads(finished.stderr)
    return LoadReport(driver="wrk", cpu_seconds=_cpu_seconds(), **seen)


def _percentile(ordered: Sequence[float], percent: int) -> float:
    """The smallest latency that `percent` of all do not exceed."""
    return ordered[math.ceil(len(ordered) * percent / 100) - 1] if ordered else 0.0


def _cpu_seconds() -> float:
    """What this process and wrk have used so far."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _options() -> tuple[Load, str]:
    parser = argparse.ArgumentParser(prog="load", description="Drives POST /v1/bookings, or GETs of a list.")
    parser.add_argument("--url", required=True)
    parser.add_argument("--token", required=True)
    parser.add_argument("--driver", choices=["auto", "wrk", "asyncio"], default="auto")
    parser.add_argument("--connections", type=int, default=128)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--requests", type=int, help="stop after so many (asyncio driver)")
    parser.add_argument("--rate", type=int, help="so many a second, whatever they are answered (asyncio driver)")
    parser.add_argument("--reads", type=Path, help="a file of what to GET, a target a line, instead of holds")
    parser.add_argument("--pays", action="store_true", help="pay for each hold (asyncio driver)")
    parser.add_argument("--resources", type=int, default=1000)
    parser.add_argument("--first-night", type=date.fromisoformat, required=True)
    parser.add_argument("--nights", type=int, default=365)
    parser.add_argument("--seed", type=int, default=1)
    options = vars(parser.parse_args())
    driver = options.pop("driver")
    needs_asyncio = options["requests"] is not None or options["rate"] is not None or options["pays"]
    if driver == "auto":
        driver = "wrk" if shutil.which("wrk") and not needs_asyncio else "asyncio"
    if driver == "wrk" and needs_asyncio:
        parser.error("--requests, --rate and --pays need --driver asyncio")
    return Load(**options), driver


if __name__ == "__main__":
    main()
