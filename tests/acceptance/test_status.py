"""`onebook status`: what runs, and how the pipeline flows, as people and scripts ask for it."""

import json
import os
import subprocess
import sys
from typing import Any
from uuid import uuid4

import pytest

from onebook.api.roles import Role
from tests.acceptance.conftest import Api, nights
from tests.acceptance.test_up import DEADLINE_SECONDS, refused, until
from tests.conftest import Server, onebook

CONSUMERS = {"relay", "view", "push", "webhooks"}


def reading(server: Server) -> dict[str, Any]:
    """One status, as JSON."""
    found: dict[str, Any] = json.loads(onebook("status", "--data", str(server.data), "--json").stdout)
    return found


def consumers(pipeline: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The consumers of a reading, by name."""
    return {each["name"]: each for each in pipeline["consumers"]}


def test_status_names_every_part_and_every_consumer(server: Server) -> None:
    """JSON has the URLs of database and broker for other tools, the processes, and a reading of all four consumers."""
    until(lambda: set(consumers(reading(server)["pipeline"])) == CONSUMERS)
    found = reading(server)
    assert found["url"] == server.url
    assert found["database"].startswith("postgresql://") and found["broker"].startswith("nats://")
    assert isinstance(found["relay"], int) and isinstance(found["sender"], int) and found["workers"]
    assert 0.5 < found["pipeline"]["window_seconds"] < DEADLINE_SECONDS


def test_a_booking_is_seen_to_pass_every_consumer(server: Server, api: Api, venue: str) -> None:
    """After a booking each consumer that has counted it has its place in the WAL, and the lag is small again."""
    assert api.book([nights(venue)]).status == 201

    def is_even() -> bool:
        found = consumers(reading(server)["pipeline"])
        return set(found) == CONSUMERS and all(
            each["offset"] > 0 and each["lag_seconds"] < 1 for each in found.values()
        )

    until(is_even)


def test_people_are_shown_the_pipeline_without_the_password_of_the_broker(server: Server) -> None:
    """The human view names consumers, and where the broker is, but not its password."""
    until(lambda: set(consumers(reading(server)["pipeline"])) == CONSUMERS)
    password = reading(server)["broker"].partition("://")[2].partition("@")[0].partition(":")[2]
    shown = onebook("status", "--data", str(server.data)).stdout
    assert all(name in shown for name in CONSUMERS)
    assert not password or password not in shown


def test_watching_without_a_terminal_is_a_line_a_second(server: Server) -> None:
    """With --json each line is a reading of its own; --seconds ends it with exit code 0."""
    run = onebook("status", "--data", str(server.data), "--watch", "--seconds", "3", "--json")
    readings = [json.loads(line) for line in run.stdout.splitlines()]
    assert 1 <= len(readings) <= 4
    assert all(each["window_seconds"] >= 0.9 for each in readings)
    lines = onebook("status", "--data", str(server.data), "--watch", "--seconds", "1").stdout.splitlines()
    assert lines and all(line.startswith("holds/s ") for line in lines)


def test_a_server_elsewhere_is_asked_with_a_token(server: Server, api: Api) -> None:
    """--url and --token give the same reading through the API."""
    token = api.token(Role.READER)
    found = json.loads(onebook("status", "--url", server.url, "--token", token, "--json").stdout)
    assert found["url"] == server.url and found["pipeline"]["window_seconds"] >= 0.9


def test_a_token_that_may_not_look_is_refused(server: Server, api: Api) -> None:
    """A channel's token ends with exit code 4, also when it wants to watch."""
    token = api.token(Role.CHANNEL)
    for more in ((), ("--watch",)):
        assert "ops:read" in refused("status", "--url", server.url, "--token", token, *more, code=4)


@pytest.mark.parametrize(
    "arguments",
    [("--url", "http://127.0.0.1:1"), ("--token", "t"), ("--seconds", "3"), ("--url", "ftp://x", "--token", "t")],
)
def test_options_that_make_no_sense_are_refused(arguments: tuple[str, ...]) -> None:
    """A URL comes with a token, --seconds with --watch; exit code 2."""
    refused("status", *arguments, code=2)


def test_nobody_answering_is_not_ready() -> None:
    """Exit code 6, and one line that says why."""
    said = refused("status", "--url", "http://127.0.0.1:1", "--token", "t", code=6)
    assert "cannot be read" in said


@pytest.mark.parametrize("query", ["seconds=0", "seconds=3.5", "seconds=nan", "seconds=a", "since=1"])
def test_a_window_that_cannot_be_is_refused(api: Api, query: str) -> None:
    """The window is between 0.1 and 3 seconds, for the answer takes as long."""
    assert api.request("GET", f"/v1/pipeline?{query}").status == 422


def test_a_reading_of_a_pipeline_is_not_kept_by_caches(api: Api) -> None:
    """It is over as soon as it is told."""
    answered = api.request("GET", "/v1/pipeline?seconds=0.1", headers={"x-request-id": str(uuid4())})
    assert answered.status == 200
    assert answered.headers["cache-control"] == "no-store"


def test_watching_ends_with_ctrl_c(server: Server) -> None:
    """SIGINT ends it with exit code 130, after whole lines."""
    with subprocess.Popen(
        [sys.executable, "-m", "onebook.cli", "status", "--data", str(server.data), "--watch", "--json"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as watching:
        assert watching.stdout is not None
        json.loads(watching.stdout.readline())
        watching.send_signal(2)
        assert watching.wait(timeout=DEADLINE_SECONDS) == 130
