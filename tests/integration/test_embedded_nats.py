"""The embedded NATS: private, with one owner, and back after every kind of crash."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from tests.conftest import data_folder
from tests.integration.broker_conformance import anything

from onebook.broker.nats import open_nats
from onebook.broker.protocol import Message
from onebook.embedded.errors import EmbeddedError
from onebook.embedded.nats import EmbeddedNats

DEADLINE_SECONDS = 20

# A supervisor as a process of its own, which serves until its stdin ends.
SUPERVISOR = """
import asyncio, sys
from pathlib import Path
from onebook.embedded.nats import EmbeddedNats

async def main():
    nats = EmbeddedNats(Path(sys.argv[1]))
    await nats.start()
    print(nats.pid, flush=True)
    await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


@pytest.fixture
def data() -> Iterator[Path]:
    """A data folder of this test's own."""
    with data_folder() as path:
        yield path


async def test_it_starts_stops_and_starts_again_as_it_was(data: Path) -> None:
    """A life of a server: port and passwords stay, and so do the messages."""
    nats = EmbeddedNats(data)
    credentials = await nats.start()
    assert await nats.start() == credentials
    assert nats.pid is not None
    assert os.getsid(nats.pid) != os.getsid(0), "Ctrl-C in the terminal would reach the server"
    await publish(credentials.relay_url, 1)
    await nats.stop()
    assert await nats.wait() == 0
    assert nats.pid is None
    assert await nats.start() == credentials
    assert await last_lsn(credentials.relay_url) == 1
    await nats.stop()
    await nats.stop()


async def test_passwords_survive_and_differ(data: Path) -> None:
    """Another object on the same folder has the same users; their passwords are random and long."""
    first, second = EmbeddedNats(data), EmbeddedNats(data)
    one = await first.start()
    await first.stop()
    other = await second.start()
    await second.stop()
    password = one.relay_url.split("@")[0]
    assert password == other.relay_url.split("@")[0]
    assert len(password) > len("nats://relay:") + 32
    assert one.relay_url.split(":")[2] != one.consumer_url.split(":")[2]


async def test_everything_is_private_and_local(data: Path) -> None:
    """Passwords, settings, log and store are closed to others, and it listens on loopback alone."""
    nats = EmbeddedNats(data)
    await nats.start()
    for private in (data / "keys" / "nats.json", data / "nats.conf", data / "nats.log", data / "nats"):
        assert private.stat().st_mode & 0o077 == 0, private
    addresses = {c.laddr.ip for c in psutil.Process(nats.pid).net_connections() if c.status == psutil.CONN_LISTEN}
    assert addresses == {"127.0.0.1"}
    await nats.stop()


async def test_a_server_that_outlived_its_supervisor_is_replaced(data: Path) -> None:
    """After kill -9 of the supervisor the next start ends its server and takes over the store."""
    with supervisor_of(data) as supervisor:
        assert supervisor.stdout is not None
        orphan = psutil.Process(int(await asyncio.to_thread(supervisor.stdout.readline)))
        with pytest.raises(EmbeddedError, match=f"process {supervisor.pid} holds it"):
            await EmbeddedNats(data).start()
        assert orphan.is_running()
        supervisor.kill()
    assert orphan.is_running()

    nats = EmbeddedNats(data)
    await publish((await nats.start()).relay_url, 1)
    assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE
    await nats.stop()


async def test_a_killed_server_is_noticed(data: Path) -> None:
    """`wait` tells the signal that killed it."""
    nats = EmbeddedNats(data)
    await nats.start()
    assert nats.pid is not None
    os.kill(nats.pid, signal.SIGKILL)
    async with asyncio.timeout(DEADLINE_SECONDS):
        assert await nats.wait() == -signal.SIGKILL
    assert nats.pid is None
    await nats.stop()


@pytest.mark.parametrize("damage", ["delete", "fill with zeros", "cut", "replace by a file"])
async def test_a_damaged_store_does_not_stand_in_the_way(data: Path, damage: str) -> None:
    """Whatever happened to the store while it was away, the server starts, and takes messages."""
    nats = EmbeddedNats(data)
    url = (await nats.start()).relay_url
    await publish(url, 1)
    await nats.stop()
    spoil(data / "nats", damage)
    await nats.start()
    await publish(url, 2)
    assert await last_lsn(url) == 2
    await nats.stop()


async def test_a_server_that_cannot_start_says_why(data: Path) -> None:
    """The error quotes the server's own last words, and the folder is free again."""
    nats, stranger = EmbeddedNats(data), socket.socket()
    port = int((await nats.start()).relay_url.rpartition(":")[2])
    await nats.stop()
    with stranger:
        stranger.bind(("127.0.0.1", port))
        stranger.listen()
        with pytest.raises(EmbeddedError, match=r"(?s)ended with 1.*address already in use"):
            await nats.start()
    await nats.start()
    await nats.stop()


def supervisor_of(data: Path) -> "subprocess.Popen[str]":
    """Runs SUPERVISOR."""
    return subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(data)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def spoil(store: Path, damage: str) -> None:
    """Do to a store what disks and people do."""
    files = [path for path in store.rglob("*") if path.is_file()]
    assert any(path.suffix == ".blk" for path in files)
    if damage in ("delete", "replace by a file"):
        shutil.rmtree(store)
    if damage == "replace by a file":
        store.touch()
    for path in files if damage in ("fill with zeros", "cut") else []:
        size = path.stat().st_size
        path.write_bytes(bytes(size) if damage == "fill with zeros" else path.read_bytes()[: size // 2])


async def publish(url: str, lsn: int) -> None:
    """One message."""
    broker = await open_nats(url)
    async with broker.publisher() as publisher:
        await publisher.publish(Message(lsn, lsn - 1, 0))
    await broker.close()


async def last_lsn(url: str) -> int | None:
    """The latest message's."""
    broker = await open_nats(url)
    async with broker.publisher() as publisher:
        last = await publisher.last(anything)
    await broker.close()
    return last.lsn if last else None
