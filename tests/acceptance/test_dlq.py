"""`onebook dlq` and /v1/dlq, as operators use them."""

import asyncio
import json
import subprocess
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from onebook.api.roles import Role
from onebook.broker.dead_letters import DeadLetters
from tests.acceptance.conftest import Api, nights
from tests.conftest import Server, onebook


@pytest.fixture
def consumer(server: Server, api: Api, venue: str) -> Iterator[str]:
    """A consumer that nobody runs, with two letters: one of a booking's event, one of nothing known."""
    name = f"test-{uuid4().hex}"
    assert api.book([nights(venue)]).status == 201
    asyncio.run(_park(server.database_url, name))
    yield name
    dlq("purge", "--all", "--consumer", name, data=server)


async def _park(url: str, name: str) -> None:
    async with asyncpg.create_pool(url, min_size=0, max_size=1) as pool:
        (row,) = await pool.fetch("SELECT txn, position, subject FROM log ORDER BY txn DESC, position DESC LIMIT 1")
        letters = DeadLetters(pool)
        await letters.park(
            name, row["txn"], row["position"], "onebook.booking.held.v1", row["subject"], "[red]answered 500"
        )
        await letters.park(name, 1, 1, "onebook.test.v1", "bookings/none", "answered 410")


def dlq(*arguments: str, data: Server) -> "subprocess.CompletedProcess[str]":
    """Run `onebook dlq …` on the server's data folder."""
    return onebook("dlq", *arguments, "--data", str(data.data), check=False)


def listed(server: Server, consumer: str) -> list[dict[str, Any]]:
    """What `list` prints as JSON."""
    found: list[dict[str, Any]] = json.loads(dlq("list", "--consumer", consumer, "--json", data=server).stdout)
    return found


def test_letters_are_listed_and_shown(server: Server, consumer: str) -> None:
    """`list` has each letter with its reason as it was given; `show` has the event too, where the log has one."""
    known, unknown = listed(server, consumer)
    assert "[red]answered 500" in dlq("show", str(known["id"]), data=server).stdout
    shown = json.loads(dlq("show", str(known["id"]), "--json", data=server).stdout)
    assert shown["letter"] == known
    assert shown["event"]["id"] == str(known["position"])
    assert json.loads(dlq("show", str(unknown["id"]), "--json", data=server).stdout)["event"] is None
    assert dlq("list", data=server).returncode == 0


def test_a_replay_is_requested_and_a_purge_is_done(server: Server, consumer: str) -> None:
    """`replay` marks the letters named, `purge` removes them, and both tell which IDs do not exist with exit code 1."""
    first, second = (letter["id"] for letter in listed(server, consumer))
    assert dlq("replay", str(first), data=server).returncode == 0
    marked = {letter["id"]: letter["replay_requested_at"] is not None for letter in listed(server, consumer)}
    assert marked == {first: True, second: False}
    gone = dlq("purge", str(first), str(10**15), "--json", data=server)
    assert gone.returncode == 1
    assert json.loads(gone.stdout) == {"ids": [first]}
    assert str(10**15) in gone.stderr
    assert dlq("show", str(first), data=server).returncode == 1
    assert dlq("replay", "--all", "--consumer", consumer, data=server).returncode == 0
    assert [letter["replay_requested_at"] is not None for letter in listed(server, consumer)] == [True]


@pytest.mark.parametrize(
    "arguments", [("replay",), ("purge", "1", "--all"), ("purge", "1", "--consumer", "view"), ("show", "x")]
)
def test_unclear_wishes_are_refused(server: Server, arguments: tuple[str, ...]) -> None:
    """Neither IDs nor --all, both, or no number: exit code 2, and nothing is done."""
    assert dlq(*arguments, data=server).returncode == 2


def test_without_a_database_it_says_so() -> None:
    """Nothing runs there: exit code 6."""
    assert onebook("dlq", "list", "--data", "/nowhere", check=False).returncode == 6


def test_letters_over_http(api: Api, consumer: str) -> None:
    """Pages of one consumer's letters, one with its event, a replay, a removal; afterwards it is unknown."""
    reader, admin = api.token(Role.READER), api.token(Role.ADMIN)
    first = api.request("GET", f"/v1/dlq?consumer={consumer}&limit=1", token=reader).json()
    rest = api.request("GET", f"/v1/dlq?consumer={consumer}&cursor={first['next_cursor']}", token=reader).json()
    assert len(first["letters"]) == len(rest["letters"]) == 1 and rest["next_cursor"] is None
    path = f"/v1/dlq/{first['letters'][0]['id']}"
    assert api.request("GET", path, token=reader).json()["event"]["type"] == "onebook.booking.held.v1"
    assert api.request("POST", f"{path}/replay", token=reader).status == 403
    replayed = api.request("POST", f"{path}/replay", token=admin)
    assert replayed.status == 202 and replayed.json()["replay_requested_at"] is not None
    assert api.request("DELETE", path, token=reader).status == 403
    assert api.request("DELETE", path, token=admin).status == 204
    assert api.request("GET", path, token=reader).code == "not-found"
    assert api.request("DELETE", "/v1/dlq/none", token=admin).status == 404
