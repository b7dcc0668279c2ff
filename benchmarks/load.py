"""Drives `POST /v1/bookings` of any server that speaks it, and prints what it saw as one JSON line.

Three-night holds on random resources (`bench/r0`, `bench/r1`, ...) and dates, each with an idempotency key
that no other request of any run has. Two drivers make the same requests: wrk with load.lua, and the asyncio
one below for machines without wrk, for a single connection, and for a number of requests instead of a time.

wrk counts what it was answered within the time, so up to one request per connection is placed but not
counted; the asyncio driver waits for these, so its 201s are the holds in the database. wrk's percentiles
are corrected for coordinated omission, the asyncio driver's are as measured.
"""

import argparse
import asyncio
import json
import math
import random
import re
import resource
import secrets
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import msgspec
import uvloop

from onebook.ops.bench.report import LoadReport

STAY_NIGHTS = 3
WRK_THREADS = 2
ANSWER_SECONDS = 30
WRK_SCRIPT = Path(__file__).with_name("load.lua")
CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Load:
    """What to send where, and when to stop: after `seconds`, or after `requests` if that is sooner."""

    url: str
    token: str
    connections: int
    seconds: int
    requests: int | None
    resources: int
    first_night: date
    nights: int
    seed: int


def main() -> None:
    """Drive, and print the report."""
    load, driver = _options()
    report = drive_with_wrk(load) if driver == "wrk" else drive_with_asyncio(load)
    print(msgspec.json.encode(report).decode())


def stays(load: Load) -> list[str]:
    """The end of a request's body, for each date of arrival within the window."""
    arrivals = (load.first_night + timedelta(days=n) for n in range(load.nights - STAY_NIGHTS + 1))
    return [
        f'"from":"{arrival}","to":"{arrival + timedelta(days=STAY_NIGHTS)}","quantity":1}}]}}' for arrival in arrivals
    ]


def drive_with_wrk(load: Load) -> LoadReport:
    """Let wrk drive; `load.requests` is not for it."""
    wrk = shutil.which("wrk")
    if wrk is None:
        raise SystemExit("wrk is not installed: install it (Debian: apt install wrk) or use --driver asyncio")
    with tempfile.NamedTemporaryFile("w", suffix=".stays") as file:
        file.write("\n".join(stays(load)))
        file.flush()
        command = [
            wrk,
            f"-t{min(WRK_THREADS, load.connections)}",
            f"-c{load.connections}",
            f"-d{load.seconds}s",
            f"--timeout={ANSWER_SECONDS}s",
            f"-s{WRK_SCRIPT}",
            load.url,
            "--",
            *(load.token, _new_run(), str(load.seed), str(load.resources), file.name),
        ]
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode != 0 or not finished.stderr.startswith("{"):
        raise SystemExit(f"wrk failed with {finished.returncode}:\n{finished.stderr}{finished.stdout}")
    seen: dict[str, Any] = json.loads(finished.stderr)
    return LoadReport(driver="wrk", cpu_seconds=_cpu_seconds(), **seen)


def drive_with_asyncio(load: Load) -> LoadReport:
    """Drive from this process, on one core."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        crowd = _Crowd(load)
        began = time.perf_counter()
        broken = runner.run(crowd.run())
        seconds = time.perf_counter() - began
    ordered = sorted(crowd.latencies_ms)
    return LoadReport(
        driver="asyncio",
        requests=len(ordered),
        seconds=seconds,
        by_status=dict(crowd.by_status),
        broken=broken,
        p50_ms=_percentile(ordered, 50),
        p95_ms=_percentile(ordered, 95),
        p99_ms=_percentile(ordered, 99),
        cpu_seconds=_cpu_seconds(),
    )


class _Crowd:
    """The connections of one run: what they send next, and what they were answered."""

    def __init__(self, load: Load) -> None:
        self.by_status: Counter[str] = Counter()
        self.latencies_ms: list[float] = []
        self._load = load
        self._random = random.Random(load.seed)
        self._stays = [stay.encode() for stay in stays(load)]
        self._run = _new_run()
        self._heads = [self._head(number) for number in range(load.resources)]
        self._sent = 0
        self._deadline = math.inf

    async def run(self) -> int:
        """Drive until the time or the requests are used up and all is answered; how many were not."""
        target = urlsplit(self._load.url)
        loop = asyncio.get_running_loop()
        connections = [_Connection(self, loop.create_future()) for _ in range(self._load.connections)]
        self._deadline = time.monotonic() + self._load.seconds
        for connection in connections:
            await loop.create_connection(partial(_itself, connection), target.hostname or "", target.port or 80)
        _, unanswered = await asyncio.wait(
            [connection.closed for connection in connections], timeout=self._load.seconds + ANSWER_SECONDS
        )
        failed = sum(connection.failed for connection in connections)
        return failed + len(unanswered)

    def next_request(self) -> bytes | None:
        """The next hold to ask for, or None when it is enough."""
        if time.monotonic() >= self._deadline or self._sent == self._load.requests:
            return None
        self._sent += 1
        head, body = self._random.choice(self._heads)
        return b"%s%d\r\n\r\n%s%s" % (head, self._sent, body, self._random.choice(self._stays))

    def answered(self, status: str, latency_ms: float) -> None:
        """Count an answer."""
        self.by_status[status] += 1
        self.latencies_ms.append(latency_ms)

    def _head(self, number: int) -> tuple[bytes, bytes]:
        """A request up to the last digits of its key, and the beginning of its body."""
        body = f'{{"items":[{{"resource":"bench/r{number}",'
        lines = (
            "POST /v1/bookings HTTP/1.1",
            f"Host: {urlsplit(self._load.url).netloc}",
            f"Authorization: Bearer {self._load.token}",
            "Content-Type: application/json",
            f"Content-Length: {len(body) + len(self._stays[0])}",
            f"Idempotency-Key: {self._run}-0-",
        )
        return "\r\n".join(lines).encode(), body.encode()


class _Connection(asyncio.Protocol):
    """One keep-alive connection: it asks for the next hold when the last one is answered."""

    def __init__(self, crowd: _Crowd, closed: asyncio.Future[None]) -> None:
        self.closed = closed
        self.failed = False
        self._crowd = crowd
        self._transport: asyncio.WriteTransport | None = None
        self._received = b""
        self._asked_at = 0.0
        self._waiting = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the first hold."""
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's class is not a subclass of it
        self._ask()

    def data_received(self, data: bytes) -> None:
        """Take an answer, whole or in parts; one is under way at a time."""
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator:
            return
        length = CONTENT_LENGTH.search(head)
        if length is None:
            raise ValueError("an answer without Content-Length")
        if len(body) < int(length[1]):
            return
        self._received = b""
        self._waiting = False
        self._crowd.answered(head[9:12].decode(), (time.perf_counter() - self._asked_at) * 1000)
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        """The server closed it, or we did; a request without an answer is a failure."""
        self.failed = self._waiting
        if not self.closed.done():
            self.closed.set_result(None)

    def _ask(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        request = self._crowd.next_request()
        if request is None:
            self._transport.close()
            return
        self._waiting = True
        self._asked_at = time.perf_counter()
        self._transport.write(request)


def _itself(connection: _Connection) -> _Connection:
    return connection


def _percentile(ordered: Sequence[float], percent: int) -> float:
    """The smallest latency that `percent` of all do not exceed."""
    return ordered[math.ceil(len(ordered) * percent / 100) - 1] if ordered else 0.0


def _new_run() -> str:
    """Makes the idempotency keys of this run different from those of every other."""
    return secrets.token_hex(8)


def _cpu_seconds() -> float:
    """What this process and wrk have used so far."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _options() -> tuple[Load, str]:
    parser = argparse.ArgumentParser(prog="load", description="Drives POST /v1/bookings.")
    parser.add_argument("--url", required=True)
    parser.add_argument("--token", required=True)
    parser.add_argument("--driver", choices=["auto", "wrk", "asyncio"], default="auto")
    parser.add_argument("--connections", type=int, default=128)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--requests", type=int, help="stop after so many (asyncio driver)")
    parser.add_argument("--resources", type=int, default=1000)
    parser.add_argument("--first-night", type=date.fromisoformat, required=True)
    parser.add_argument("--nights", type=int, default=365)
    parser.add_argument("--seed", type=int, default=1)
    options = vars(parser.parse_args())
    driver = options.pop("driver")
    if driver == "auto":
        driver = "wrk" if shutil.which("wrk") and options["requests"] is None else "asyncio"
    if driver == "wrk" and options["requests"] is not None:
        parser.error("--requests needs --driver asyncio")
    return Load(**options), driver


if __name__ == "__main__":
    main()
