"""What strikes a pipeline under load, from the kill of a process to a client that does not read."""

import asyncio
import json
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import nats
import psutil

from onebook.broker.nats import open_nats
from onebook.broker.nats_stream import EXPECTED_SEQUENCE, ID, headers_of
from onebook.embedded.folder import DataFolder
from onebook.embedded.nats_settings import SUBJECT, passwords_in
from onebook.embedded.processes import read_postmaster
from onebook.log.read import Cursor
from tests.acceptance.crowd import OPENING
from tests.acceptance.mirror import answered
from tests.acceptance.pipeline import ANSWER_SECONDS, NIGHTS, POLL_SECONDS, PROMISED_SECONDS, ROOMS, VENUE, Pipeline
from tests.conftest import onebook

Fault = Callable[[Pipeline], Awaitable[None]]
"""Returns when it is over; what follows is recovery."""
RELAY_KILLS = 3
SMALL_BYTES = 4096
BROAD_CHANGES = 50
REPLAYED = 100
WORDS_OF_POISON = json.dumps({"resources": "none of this can be read"})
REPETITIONS = 10


async def broker_process(pipeline: Pipeline) -> psutil.Process:
    """The nats-server that the supervisor has started, or is about to: mirrors are right again before it is back."""
    supervisor = psutil.Process(pipeline.server.process.pid)
    found: list[psutil.Process] = []

    async def is_there() -> bool:
        found[:] = [child for child in supervisor.children() if child.name() == "nats-server"]
        return bool(found)

    await pipeline.until(is_there, PROMISED_SECONDS)
    return found[0]


@contextmanager
def frozen(*pids: int) -> Iterator[None]:
    """These processes stand still while the block runs; their connections stay, half open."""
    processes = [psutil.Process(pid) for pid in pids]
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


async def relay_killed(pipeline: Pipeline) -> None:
    """Several times, at moments that nobody chose: before, between and after publishing and acknowledgement."""
    for _ in range(RELAY_KILLS):
        await asyncio.sleep(pipeline.random.random() / 2)  # the moment of the blow, not a wait for anything
        await _killed(pipeline, "relay")


async def sender_killed(pipeline: Pipeline) -> None:
    """With deliveries under way."""
    await _killed(pipeline, "sender")


async def workers_killed(pipeline: Pipeline) -> None:
    """One after the other."""
    for worker in pipeline.server.status["workers"]:
        await worker_killed(pipeline, worker)


async def worker_killed(pipeline: Pipeline, worker: int) -> None:
    """With requests and streams on it."""
    os.kill(worker, signal.SIGKILL)
    await _until(lambda: worker not in pipeline.server.status["workers"])


async def broker_killed(pipeline: Pipeline) -> None:
    """It comes back with its store."""
    (await broker_process(pipeline)).kill()


async def broker_and_store_lost(pipeline: Pipeline) -> None:
    """It comes back with nothing, and begins a new stream."""
    broker = await broker_process(pipeline)
    os.kill(pipeline.server.process.pid, signal.SIGSTOP)  # or it would be back before the store is gone
    try:
        broker.kill()
        store = pipeline.server.data / "nats"
        store.rename(store.with_name(f"lost-{uuid4().hex}"))
    finally:
        os.kill(pipeline.server.process.pid, signal.SIGCONT)


async def database_killed(pipeline: Pipeline) -> None:
    """Its first process, and with it all the others."""
    cluster = DataFolder(pipeline.server.data).postgres
    killed = read_postmaster(cluster)
    assert killed is not None
    os.kill(killed.pid, signal.SIGKILL)


async def broker_frozen(pipeline: Pipeline) -> None:
    """Nobody is told that it is away: connections stay, and nothing comes. Bookings go on."""
    broker = await broker_process(pipeline)
    with frozen(broker.pid):
        await _unheard(pipeline)


async def relay_frozen(pipeline: Pipeline) -> None:
    """It holds the slot and does nothing. Bookings go on."""
    with frozen(pipeline.server.status["relay"]):
        await _unheard(pipeline)


def broker_away(seconds: float) -> Fault:
    """No broker at all for a while; nobody starts it, since its supervisor stands still. Bookings go on."""

    async def fault(pipeline: Pipeline) -> None:
        began = time.monotonic()
        broker = await broker_process(pipeline)
        with frozen(pipeline.server.process.pid):
            broker.kill()
            await _unheard(pipeline)
            while time.monotonic() < began + seconds:
                await pipeline.market.after(50)
            assert await pipeline.is_stuck()

    return fault


async def poison(pipeline: Pipeline) -> None:
    """An entry that nobody can read is forced into the log; every consumer parks it, whoever reads the log passes it by."""
    database = await asyncpg.connect(pipeline.database_url)
    try:
        row = await database.fetchrow(
            "INSERT INTO log (txn, time, type, subject, venues, data) VALUES (log_txn(), clock_timestamp(), 'booking.held',"
            " 'bookings/poison', $1, $2) RETURNING txn, position",
            [VENUE],
            WORDS_OF_POISON,
        )
        assert row is not None
        parked = "SELECT consumer FROM dead_letter WHERE position = $1"

        async def is_parked() -> bool:
            return {each["consumer"] for each in await database.fetch(parked, row["position"])} >= {
                "view",
                "push",
                "webhooks",
            }

        await pipeline.until(is_parked, PROMISED_SECONDS)
        listed = await asyncio.to_thread(onebook, "dlq", "list", "--data", str(pipeline.server.data), "--json")
        assert {each["consumer"] for each in json.loads(listed.stdout)} == {"view", "push", "webhooks"}
        await _killed(pipeline, "sender")  # its successor looks through the log
        await pipeline.webhooks.read_again()
        await pipeline.market.after(50)
        await _resumed(pipeline, Cursor(row["txn"], row["position"] - 1))
        async with database.transaction():
            await database.execute("SET LOCAL session_replication_role = replica")  # past the trigger that forbids it
            await database.execute("DELETE FROM log WHERE (txn, position) = ($1, $2)", row["txn"], row["position"])
            await database.execute("DELETE FROM dead_letter WHERE position = $1", row["position"])
    finally:
        await database.close()


async def slow_client(pipeline: Pipeline) -> None:
    """One who listens and does not read is dropped, and holds up nobody."""
    address = urlsplit(pipeline.server.url)
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BYTES)
    listening.setblocking(False)
    try:
        loop = asyncio.get_running_loop()
        await loop.sock_connect(listening, (address.hostname, address.port))
        token = pipeline.server.token("admin")
        question = f"GET /v1/stream?venue={VENUE} HTTP/1.1\r\nhost: slow\r\nauthorization: Bearer {token}\r\n\r\n"
        await loop.sock_sendall(listening, question.encode())
        for number in range(BROAD_CHANGES):
            whole = {"from": str(OPENING), "to": str(OPENING + timedelta(days=NIGHTS)), "capacity": 50 + number % 2}
            answers = await asyncio.gather(*(pipeline.market.change(room, whole) for room in range(ROOMS)))
            assert {answer.status for answer in answers} == {200}
        await pipeline.until(pipeline.has_dropped_one, PROMISED_SECONDS)
    finally:
        listening.close()


async def everything_repeated(pipeline: Pipeline) -> None:
    """The last minute comes again, ten times over: from the broker as from a relay gone mad, and as webhooks."""
    await _republish(pipeline)
    received = pipeline.webhooks.received
    wanted = dict.fromkeys(list(received)[-REPLAYED:], 1)
    async with pipeline.market.closed():
        for _ in range(REPETITIONS):
            await pipeline.until(partial(_have_settled, pipeline), PROMISED_SECONDS)
            wanted = {identity: received[identity] + 1 for identity in wanted}
            path = f"/v1/webhooks/{pipeline.endpoint}/replay"
            answer = await pipeline.market.send("POST", path, {"deliveries": list(wanted)})
            assert (answer.status, answer.json()["queued"]) == (202, len(wanted))
            await pipeline.until(partial(_have_come, received, wanted), PROMISED_SECONDS)


async def _have_come(received: dict[str, int], wanted: dict[str, int]) -> bool:
    return all(received[identity] >= times for identity, times in wanted.items())


async def _have_settled(pipeline: Pipeline) -> bool:
    """Whether what has come is also written down as delivered: what is pending is not replayed."""
    path = f"/v1/webhooks/{pipeline.endpoint}/deliveries?status=pending"
    answer = await pipeline.market.send("GET", path)
    return not answer.json()["deliveries"]


async def _republish(pipeline: Pipeline) -> None:
    """Say again what the stream has, with the relay's own credentials. JetStream compares ids as texts, we as numbers."""
    passwords = passwords_in(pipeline.server.data / "keys" / "nats.json")
    port = urlsplit(pipeline.server.status["broker"]).port
    url = f"nats://relay:{passwords.relay}@127.0.0.1:{port}"
    broker = await open_nats(url)
    raw = await nats.connect(url)
    try:
        heard = await (await broker.subscribe(after=0)).fetch(ANSWER_SECONDS)
        for number in range(1, REPETITIONS + 1):
            for message in (delivery.message for delivery in heard[-REPLAYED:]):
                headers = headers_of(message, 0, None)
                del headers[EXPECTED_SEQUENCE]
                headers[ID] = "0" * number + headers[ID]
                await raw.publish(SUBJECT, message.body, headers=headers)
        await raw.flush()
    finally:
        await raw.close()
        await broker.close()


async def slot_dropped(pipeline: Pipeline) -> None:
    """The WAL that was kept for the relay is gone; it says so, and makes another slot."""
    database = await asyncpg.connect(pipeline.database_url)
    times_lost = "SELECT times_lost FROM relay_slot WHERE name = 'onebook'"
    try:
        before = await database.fetchval(times_lost)
        os.kill(pipeline.server.process.pid, signal.SIGSTOP)  # nobody starts another relay meanwhile
        try:
            os.kill(pipeline.server.status["relay"], signal.SIGKILL)

            async def is_dropped() -> bool:
                try:
                    await database.execute("SELECT pg_drop_replication_slot('onebook')")
                except asyncpg.ObjectInUseError:  # by the connection of the killed one, for a moment
                    return False
                return True

            await pipeline.until(is_dropped, PROMISED_SECONDS)
            await pipeline.market.after(50)
        finally:
            os.kill(pipeline.server.process.pid, signal.SIGCONT)

        async def is_announced() -> bool:
            return bool(await database.fetchval(times_lost) == before + 1)

        await pipeline.until(is_announced, PROMISED_SECONDS)
    finally:
        await database.close()


async def _killed(pipeline: Pipeline, name: str) -> None:
    killed = pipeline.server.status[name]
    os.kill(killed, signal.SIGKILL)
    await _until(lambda: pipeline.server.status[name] not in {killed, None})


async def _resumed(pipeline: Pipeline, cursor: Cursor) -> None:
    """Who comes with this cursor is told what follows."""
    async with answered(pipeline.server, f"/v1/stream?venue={VENUE}&after={cursor}") as (wire, _):
        async for line in wire.lines():
            if line.startswith('data: {"id":'):
                return
    raise AssertionError("the stream ended without an event")


async def _unheard(pipeline: Pipeline) -> None:
    """/readyz names the relay as what is not heard, while nobody's booking is refused."""
    refusals = pipeline.market.refusals
    await pipeline.until(pipeline.is_stuck, PROMISED_SECONDS)
    await pipeline.market.after(50)
    assert pipeline.market.refusals == refusals


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PROMISED_SECONDS):
        while not condition():  # noqa: ASYNC110 - a file, nobody tells us
            await asyncio.sleep(POLL_SECONDS)
