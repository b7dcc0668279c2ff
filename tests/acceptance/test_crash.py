"""kill -9 under load: what was acknowledged is there, what was not has one effect when it is repeated, holds still end."""

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime

import psutil
import pytest

from onebook.embedded.folder import DataFolder
from onebook.embedded.processes import read_postmaster
from tests.acceptance.crowd import Outage, assert_all_kept, crowd_at
from tests.conftest import Server

ANSWERS_BETWEEN = 300
WORKERS = 2
REPLACED_SECONDS = 30
Blow = Callable[[Server, Callable[..., Server]], Server]


def kill_a_worker(server: Server, _start: Callable[..., Server]) -> Server:
    """One of the processes that answer; the supervisor replaces it."""
    worker = random.choice(server.status["workers"])
    os.kill(worker, signal.SIGKILL)
    until(lambda: worker not in server.status["workers"])
    return server


def kill_the_database(server: Server, _start: Callable[..., Server]) -> Server:
    """PostgreSQL's first process; the supervisor starts it again."""
    cluster = DataFolder(server.data).postgres
    killed = read_postmaster(cluster)
    assert killed is not None
    os.kill(killed.pid, signal.SIGKILL)
    until(lambda: (now := read_postmaster(cluster)) is not None and now.pid != killed.pid and now.ready)
    return server


def kill_the_supervisor(server: Server, start: Callable[..., Server]) -> Server:
    """Only the process that was started by hand; the others have to notice, and make room for the next start."""
    server.kill()
    return start(workers=WORKERS)


def kill_everything(server: Server, start: Callable[..., Server]) -> Server:
    """Every process at once, as a power cut would, but for the disk."""
    supervisor = psutil.Process(server.process.pid)
    for process in [supervisor, *supervisor.children(recursive=True)]:
        process.kill()
    server.process.wait(timeout=10)
    return start(workers=WORKERS)


BLOWS: tuple[Blow, ...] = (kill_a_worker, kill_the_database, kill_the_supervisor, kill_everything)


@pytest.mark.parametrize("rounds", [1, pytest.param(10, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
async def test_what_was_acknowledged_survives(new_server: Callable[..., Server], rounds: int) -> None:
    """Kill -9 of every kind of process under load loses nothing acknowledged, doubles nothing, and holds end in time."""
    server = await asyncio.to_thread(new_server, workers=WORKERS)
    seed = random.randrange(2**32)
    blows = random.Random(seed).sample(BLOWS * rounds, k=rounds * len(BLOWS))
    outages: list[Outage] = []
    async with crowd_at(server, seed) as crowd:
        for blow in blows:
            await crowd.after(ANSWERS_BETWEEN)
            began = datetime.now(UTC)
            server = await asyncio.to_thread(blow, server, new_server)
            crowd.talk_to(server)
            await crowd.after(1)
            outages.append((began, datetime.now(UTC)))
            print(f"{blow.__name__}: away for {(outages[-1][1] - began).total_seconds():.1f} s at most")
    await assert_all_kept(crowd, server.database_url, outages)


def until(condition: Callable[[], bool]) -> None:
    """Return as soon as the condition holds; fail after a bounded time."""
    deadline = time.monotonic() + REPLACED_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it was not replaced"
        time.sleep(0.02)
