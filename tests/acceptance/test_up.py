"""`onebook up` and the commands beside it, as people and scripts use them."""

import asyncio
import base64
import csv
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest

from onebook.api.roles import SCOPES_OF_ROLE, Role
from onebook.embedded.postgres import EmbeddedPostgres
from onebook.ops.http_client import Client, ConnectionFailed
from tests.conftest import Server, data_folder, onebook

DEADLINE_SECONDS = 30
STAY = {
    "hotel": "City Hotel",
    "is_canceled": 0,
    "lead_time": 10,
    "arrival_date_year": 2016,
    "arrival_date_month": "May",
    "arrival_date_day_of_month": 1,
    "stays_in_weekend_nights": 1,
    "stays_in_week_nights": 1,
    "adults": 2,
    "children": 0,
    "babies": 0,
    "distribution_channel": "Direct",
    "reserved_room_type": "A",
    "adr": 80,
    "reservation_status": "Check-Out",
    "reservation_status_date": "2016-05-03",
}
VENUE = {"name": "Alfama", "timezone": "Europe/Lisbon", "currency": "EUR", "market": "lisboa"}


def family(server: Server) -> list[psutil.Process]:
    """The server's processes, PostgreSQL's included."""
    first = psutil.Process(server.process.pid)
    return [first, *first.children(recursive=True)]


def until(condition: Callable[[], bool]) -> None:
    """Return as soon as the condition holds; fail after a bounded time."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


async def put_venue(server: Server, code: str) -> int:
    """Define a venue; the status of the answer."""
    async with Client(server.url) as http:
        return (await http.request("PUT", f"/v1/venues/{code}", json=VENUE, token=server.token("admin"))).status


def refused(*arguments: str, code: int, environment: dict[str, str] | None = None) -> str:
    """What a command that cannot be done says: on stderr, without a traceback."""
    run = subprocess.run(
        [sys.executable, "-m", "onebook.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
        env={**os.environ, **(environment or {})},
    )
    assert run.returncode == code, run.stderr
    assert "Traceback" not in run.stderr
    assert run.stdout == ""
    return " ".join(run.stderr.split())


def test_it_tells_each_step_and_then_that_it_is_ready() -> None:
    """Each step has a line with its duration on stderr; stdout has one line, with the URL; SIGTERM ends it with 0."""
    with data_folder() as folder:
        command = [sys.executable, "-m", "onebook.cli", "up", "--data", str(folder / "data"), "--port", "0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            ready = process.stdout.readline()
            process.terminate()
            rest, steps = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 0
    assert re.fullmatch(r"ready http://127\.0\.0\.1:\d+\n", ready)
    assert rest == ""
    told = re.findall(r"^(\w+) +\d+\.\d\d s$", steps, re.M)
    assert told == ["keys", "database", "migrations", "broker", "processes"]


def test_a_second_up_is_told_who_has_the_folder(server: Server) -> None:
    """A second `up` on a folder is refused with the pid of the first, which goes on, its status too."""
    told = refused("up", "--data", str(server.data), "--port", "0", code=1)
    assert f"process {server.process.pid} holds it" in told
    assert json.loads(onebook("status", "--data", str(server.data), "--json").stdout)["url"] == server.url


def test_a_taken_port_is_told() -> None:
    """A port that somebody else listens on is refused by its number, and nothing is left running."""
    with data_folder() as folder, socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        told = refused("up", "--data", str(folder), "--port", str(port), code=1)
        assert f"Cannot listen on 127.0.0.1 port {port}: Address already in use" in told
        assert onebook("status", "--data", str(folder), check=False).returncode == 6


async def test_stopping_stops_everything_and_keeps_everything(new_server: Callable[..., Server]) -> None:
    """After Ctrl-C, SIGTERM or a closed terminal no process is left, the exit code is 0, and the next start has all."""
    for number, status in ((signal.SIGINT, 201), (signal.SIGTERM, 200), (signal.SIGHUP, 200)):
        server = await asyncio.to_thread(new_server)
        assert await put_venue(server, "alfama") == status
        processes = family(server)
        server.process.send_signal(number)
        assert await asyncio.to_thread(server.process.wait, DEADLINE_SECONDS) == 0
        assert not [process for process in processes if process.is_running()]
        assert not (server.data / "status.json").exists()


async def test_a_killed_worker_is_replaced(new_server: Callable[..., Server]) -> None:
    """After kill -9 of a worker the others go on serving, and `status` soon names another one."""
    server = await asyncio.to_thread(new_server, workers=2)
    killed = server.status["workers"][0]
    os.kill(killed, signal.SIGKILL)
    with suppress(ConnectionFailed):  # a connection that the kernel had given to the dead one already
        assert await put_venue(server, "alfama") == 201
    assert await put_venue(server, "alfama") in {200, 201}
    await asyncio.to_thread(until, lambda: killed not in server.status["workers"])
    assert len(server.status["workers"]) == 2
    assert all(psutil.Process(pid).is_running() for pid in server.status["workers"])


async def test_workers_end_with_their_supervisor(new_server: Callable[..., Server]) -> None:
    """After kill -9 of the supervisor its workers end, and the same port can be had again."""
    server = await asyncio.to_thread(new_server, workers=2)
    workers = [psutil.Process(pid) for pid in server.status["workers"]]
    server.kill()
    again = await asyncio.to_thread(new_server, "--port", server.url.rpartition(":")[2])
    assert again.url == server.url
    await asyncio.to_thread(psutil.wait_procs, workers, DEADLINE_SECONDS)
    assert not [worker for worker in workers if worker.is_running()]


def test_interrupted_commands_stop_what_they_started(tmp_path: Path) -> None:
    """A demo and a replay that are interrupted end with 130 and leave no process behind."""
    bookings = tmp_path / "bookings.csv"
    with bookings.open("w", newline="") as text:
        rows = csv.DictWriter(text, tuple(STAY))
        rows.writeheader()
        rows.writerows(STAY for _ in range(50_000))
    assert interrupted(signal.SIGINT, "demo", "--headless", "--seconds", "600") == 130
    assert interrupted(signal.SIGTERM, "replay", str(bookings)) == 130


def interrupted(number: signal.Signals, *arguments: str) -> int:
    """Start a command, send it a signal once its server has workers, and see that no process is left."""
    with subprocess.Popen(
        [sys.executable, "-m", "onebook.cli", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stderr is not None
        while not process.stderr.readline().startswith("processes"):
            assert process.poll() is None
        processes = psutil.Process(process.pid).children(recursive=True)
        assert processes
        process.send_signal(number)
        process.communicate(timeout=DEADLINE_SECONDS)
    assert not [child for child in processes if child.is_running()]
    return process.returncode


@pytest.fixture
async def postgres() -> AsyncIterator[EmbeddedPostgres]:
    """A PostgreSQL beside, that is not Onebook's."""
    with data_folder() as folder:
        beside = EmbeddedPostgres(folder)
        await beside.start()
        yield beside
        await beside.stop()


async def test_a_database_of_ones_own(new_server: Callable[..., Server], postgres: EmbeddedPostgres) -> None:
    """With --database the tables are made there, no other PostgreSQL is started, and `verify --data` finds it."""
    url = await postgres.start()
    server = await asyncio.to_thread(new_server, "--database", url)
    assert await put_venue(server, "alfama") == 201
    assert not (server.data / "postgres").exists()
    assert await fetch(url, "SELECT code FROM venue") == "alfama"
    assert (await asyncio.to_thread(onebook, "verify", "--data", str(server.data))).returncode == 0


@pytest.mark.parametrize(
    ("setting", "value"), [("fsync", "off"), ("wal_level", "replica"), ("synchronous_commit", "off")]
)
async def test_an_unfit_database_is_refused(postgres: EmbeddedPostgres, setting: str, value: str) -> None:
    """A PostgreSQL that could lose what it acknowledged, or keeps the log to itself, is refused by the setting's name."""
    url = await postgres.start()
    await fetch(url, f"ALTER SYSTEM SET {setting} = '{value}'")
    await postgres.stop()
    await postgres.start()
    with data_folder() as folder:
        told = await asyncio.to_thread(refused, "up", "--data", str(folder), "--port", "0", "--database", url, code=1)
    assert f"{setting}={value}" in told
    assert await fetch(url, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0


async def fetch(url: str, query: str) -> Any:
    """One value."""
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


@pytest.mark.parametrize("role", list(Role))
def test_tokens_carry_their_role(server: Server, role: Role) -> None:
    """A token has the scopes of its role, the channel it sells for, and the life asked for."""
    told = onebook("token", "--data", str(server.data), "--role", role, "--channel", "atlas", "--ttl", "15m").stdout
    part = told.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    assert set(claims["scope"].split()) == {scope.value for scope in SCOPES_OF_ROLE[role]}
    assert claims["channel"] == "atlas"
    assert claims["exp"] - claims["iat"] == 15 * 60


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (("--role", "king"), 2, "king"),
        (("--role", "channel"), 2, "--channel"),
        (("--role", "admin", "--ttl", "soon"), 2, "soon"),
        (("--role", "admin", "--ttl", "31d"), 2, "auth.max_ttl"),
        ((), 2, "--role"),
    ],
)
def test_tokens_that_cannot_be(server: Server, arguments: tuple[str, ...], code: int, named: str) -> None:
    """A role, channel or life that cannot be is refused by name."""
    assert named in refused("token", "--data", str(server.data), *arguments, code=code)


@pytest.mark.parametrize("command", [("token", "--role", "admin"), ("status",), ("verify",), ("migrate",)])
def test_a_folder_where_nothing_ran(tmp_path: Path, command: tuple[str, ...]) -> None:
    """Commands on a folder without a server end with 6 and say how to start one."""
    assert f"onebook up --data {tmp_path}" in refused(*command, "--data", str(tmp_path), code=6)
    assert list(tmp_path.iterdir()) == []


def test_status_for_other_tools(server: Server) -> None:
    """`status --json` has the pid, the URL, the database and the workers."""
    found = json.loads(onebook("status", "--data", str(server.data), "--json").stdout)
    assert found["pid"] == server.process.pid
    assert found["url"] == server.url
    assert found["database"] == server.database_url
    assert all(psutil.pid_exists(pid) for pid in found["workers"])


async def test_the_auditors_exit_codes(new_server: Callable[..., Server]) -> None:
    """`verify` ends with 0 on a sound ledger, and with 7 and the place of it once damage is planted."""
    server = await asyncio.to_thread(new_server)
    assert await put_venue(server, "alfama") == 201
    room = {"kind": "room", "name": "Double", "capacity": 2, "grid": {"unit": "night"}}
    stay = {"items": [{"resource": "alfama/double", "from": "2030-03-01", "to": "2030-03-02"}], "confirm": True}
    async with Client(server.url) as http:
        token, key = server.token("admin"), {"Idempotency-Key": "one"}
        await http.request("PUT", "/v1/venues/alfama/resources/double", json=room, token=token)
        assert (await http.request("POST", "/v1/bookings", json=stay, token=token, headers=key)).status == 201
    sound = await asyncio.to_thread(onebook, "verify", "--data", str(server.data), "--json")
    assert json.loads(sound.stdout)["ok"]
    await fetch(server.database_url, "UPDATE cell SET booked = 2")
    damaged = await asyncio.to_thread(onebook, "verify", "--data", str(server.data), "--json", check=False)
    assert damaged.returncode == 7
    wrong = [check["name"] for check in json.loads(damaged.stdout)["checks"] if not check["ok"]]
    assert "cells" in wrong


@pytest.mark.parametrize("arguments", [("sell",), ("up", "--colour", "red"), ("up", "--port", "70000"), ("replay",)])
def test_wrong_usage(arguments: tuple[str, ...]) -> None:
    """An unknown command or option, a value out of range or a missing argument end with 2."""
    assert "Usage" in refused(*arguments, code=2)


def test_bad_settings(tmp_path: Path) -> None:
    """A setting that cannot be, in a file or in the environment, is refused by name, and nothing starts."""
    file = tmp_path / "own.toml"
    file.write_text("[kitchen]\nport = 1\n")
    up = ("up", "--data", str(tmp_path / "data"))
    assert "[kitchen]" in refused(*up, "--config", str(file), code=1)
    assert "ONEBOOK_SERVER_PORT" in refused(*up, code=1, environment={"ONEBOOK_SERVER_PORT": "eighty"})
    assert not (tmp_path / "data").exists()
