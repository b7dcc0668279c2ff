"""Webhooks from the log to a partner: complete, in order per resource, signed, and honest about what failed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from random import Random
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from aiohttp import web
from standardwebhooks import Webhook
from tests.conftest import Bench
from tests.integration.receiver import QUICK, Partner, Receiver, answering, open_receiver, unreliable

from onebook.channels.endpoints import EndpointId, message_id
from onebook.channels.subscriptions import DeliveryPage

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A partner that accepts."""
    async with open_receiver() as opened:
        yield opened


@pytest.fixture
async def partner(bench: Bench, receiver: Receiver) -> Partner:
    """Webhooks on a ledger with two rooms."""
    await bench.room("alfama/double", capacity=9)
    await bench.room("baixa/single", capacity=9)
    return Partner(bench, receiver)


async def deliveries(partner: Partner, endpoint: str, status: str | None = None) -> DeliveryPage:
    """The delivery log."""
    page = await partner.subscriptions.deliveries(EndpointId(endpoint), None, status=status, limit=200)
    assert page is not None
    return page


async def finished(partner: Partner, endpoint: str, count: int, status: str = "delivered") -> DeliveryPage:
    """The delivery log once so many have come to such an end."""

    async def are_there() -> bool:
        return len((await deliveries(partner, endpoint, status)).deliveries) >= count

    await eventually(are_there)
    return await deliveries(partner, endpoint, status)


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for something that only the database tells. Raises TimeoutError."""
    async with asyncio.timeout(30):
        while not await condition():  # noqa: ASYNC110  # another session's commit sets no event of ours
            await asyncio.sleep(0.01)


async def campaign(partner: Partner, seed: int, *, endpoints: int, holds: int, rooms: int) -> None:
    """Holds while a receiver fails at random and the sender is killed midway; each endpoint gets all, in order."""
    print(f"seed {seed}")
    receiver, random = partner.receiver, Random(seed)
    receiver.behave = unreliable(random)
    for index in range(rooms):
        await partner.bench.room(f"alfama/r{index}", capacity=1000)
    paths = [f"/p{index}" for index in range(endpoints)]
    for path in paths:
        await partner.subscribe(path, venues=["alfama"], types=["booking.held"])
    numbers = iter(range(holds))

    async def sell() -> None:
        for number in numbers:
            await partner.hold(f"alfama/r{random.randrange(rooms)}", random.randrange(1, 28), key=f"k{number}")

    async with AsyncExitStack() as killed:
        await killed.enter_async_context(partner.sending())
        await asyncio.gather(*(sell() for _ in range(64)))
        half = endpoints * holds // 2
        await receiver.until(lambda: sum(len(receiver.paths[p].accepted) for p in paths) >= half, 600)
    async with partner.sending():
        await receiver.until(lambda: all(len(receiver.paths[p].accepted) == holds for p in paths), 600)
    for path in paths:
        received = receiver.paths[path]
        assert sum(len(versions) for versions in received.versions.values()) == holds
        for resource, versions in received.versions.items():
            assert versions == sorted(set(versions)), (path, resource)


@pytest.mark.parametrize("seed", [1, 2])
async def test_nothing_is_missing_and_order_is_kept(partner: Partner, seed: int) -> None:
    """2,000 deliveries to endpoints that fail 30 % at random, the sender killed midway: all arrive, per resource in order."""
    await campaign(partner, seed, endpoints=4, holds=500, rooms=12)


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_a_hundred_thousand_deliveries(partner: Partner) -> None:
    """The same with 100,000."""
    await campaign(partner, 7, endpoints=5, holds=20_000, rooms=200)


async def test_an_event_reaches_only_who_wants_it(partner: Partner) -> None:
    """Venues and types choose; the header carries the trace; the first event after the 201 is not missed."""
    await partner.subscribe("/alfama", venues=["alfama"], types=["booking.held"])
    await partner.subscribe("/baixa", venues=["baixa"], types=["*"])
    await partner.subscribe("/moves", venues=["*"], types=["onebook.booking.confirmed.v1"])
    async with partner.sending():
        await partner.subscribe("/late")
        await partner.hold("alfama/double", trace=TRACE)
        await partner.hold("baixa/single")
        paths = partner.receiver.paths
        await partner.receiver.until(lambda: len(paths["/late"].accepted) == 2 and len(paths["/baixa"].accepted) == 1)
        await partner.receiver.until(lambda: len(paths["/alfama"].accepted) == 1)
    assert [event["subject"].partition("/")[0] for _, event in paths["/alfama"].requests] == ["bookings"]
    assert paths["/alfama"].headers[0]["traceparent"] == TRACE
    assert not paths["/moves"].requests


async def test_a_channel_learns_of_others_only_what_anybody_may(partner: Partner) -> None:
    """An endpoint of a channel gets its own bookings whole, and of others' only the availability."""
    await partner.subscribe("/web", channel="web")
    async with partner.sending():
        mine = await partner.hold("alfama/double", 1, channel="web", trace=TRACE)
        await partner.hold("alfama/double", 2, channel="rival", trace=TRACE)
        received = partner.receiver.paths["/web"]
        await partner.receiver.until(lambda: len(received.accepted) == 2)
    (_, own), (_, other) = received.requests
    assert own["data"]["booking"] == mine
    assert other["type"] == "onebook.availability.changed.v1"
    assert set(other["data"]) == {"resources"}
    assert ["traceparent" in headers for headers in received.headers] == [True, False]


async def test_a_rotated_secret_signs_beside_the_new_one(partner: Partner) -> None:
    """After a rotation both secrets verify; when the overlap is over only the new one does."""
    endpoint = await partner.subscribe()
    identity = EndpointId(endpoint.id)
    partner.receiver.secrets["/hook"].clear()
    rotated = await partner.subscriptions.rotate(identity, None)
    assert rotated is not None and rotated.secret != endpoint.secret
    partner.receiver.trust("/hook", rotated)
    signatures: list[int] = []
    received = partner.receiver.paths["/hook"]
    async with partner.sending():
        await partner.hold("alfama/double", 1)
        await partner.receiver.until(lambda: len(received.accepted) == 1)
        signatures.append(len(received.headers[-1]["webhook-signature"].split()))
        await partner.bench.reader.execute("UPDATE webhook_endpoint SET previous_until = now(), woken = woken + 1")
        await partner.bench.reader.execute("UPDATE webhook_endpoint SET previous_secret = NULL, previous_until = NULL")
        delivery = await partner.subscriptions.test(identity, None)
        await partner.receiver.until(lambda: delivery in received.accepted)
        signatures.append(len(received.headers[-1]["webhook-signature"].split()))
    assert signatures == [2, 1]


async def test_both_signatures_are_good(partner: Partner) -> None:
    """While secrets overlap, a partner who only knows the old one verifies, too."""
    endpoint = await partner.subscribe()
    rotated = await partner.subscriptions.rotate(EndpointId(endpoint.id), None)
    assert rotated is not None
    verified: list[str] = []

    async def behave(request: web.Request, _identity: str) -> web.Response:
        body = await request.read()
        for secret in (endpoint.secret, rotated.secret):
            Webhook(secret).verify(body, dict(request.headers))
            verified.append(secret)
        return web.Response(status=204)

    partner.receiver.behave = behave
    async with partner.sending():
        await partner.hold("alfama/double")
        await partner.receiver.until(lambda: len(verified) == 2)


async def test_gone_disables(partner: Partner) -> None:
    """410 disables the endpoint and says so; enabled again it gets what happens from then on."""
    endpoint = await partner.subscribe()

    partner.receiver.behave = answering(410)
    async with partner.sending() as webhooks:
        await partner.hold("alfama/double", 1)
        await finished(partner, endpoint.id, 1, "dead")
        identity = EndpointId(endpoint.id)

        async def is_disabled() -> bool:
            found = await partner.subscriptions.one(identity, None)
            return found is not None and (found.status, found.reason) == ("disabled", "it answered 410 Gone")

        await eventually(is_disabled)

        async def is_heard() -> bool:
            return not webhooks.handler.endpoints[identity].is_active

        await eventually(is_heard)
        await partner.hold("alfama/double", 2)
        assert await partner.subscriptions.test(identity, None) is None
        partner.receiver.behave = answering(204)
        await partner.subscriptions.change(identity, None, status="active")
        await partner.hold("alfama/double", 3)
        page = await finished(partner, endpoint.id, 1)
    assert [delivery.status for delivery in page.deliveries] == ["delivered"]
    assert len((await deliveries(partner, endpoint.id)).deliveries) == 2


async def test_retry_after_is_honoured(partner: Partner) -> None:
    """An endpoint that asks for a second gets nothing at all for a second."""
    endpoint = await partner.subscribe()
    at: list[float] = []

    async def busy_once(_request: web.Request, _identity: str) -> web.Response:
        at.append(asyncio.get_running_loop().time())
        return web.Response(status=204) if len(at) > 1 else web.Response(status=429, headers={"retry-after": "1"})

    partner.receiver.behave = busy_once
    async with partner.sending():
        await partner.hold("alfama/double")
        await partner.receiver.until(lambda: len(at) == 1)
        await partner.hold("baixa/single")
        await partner.receiver.until(lambda: len(at) == 3)
        assert at[1] - at[0] >= 1.0
        page = await finished(partner, endpoint.id, 2)
    assert [[tried.status_code for tried in delivery.tried] for delivery in page.deliveries] == [[204], [429, 204]]


async def test_an_open_breaker_lets_one_through(partner: Partner, receiver: Receiver) -> None:
    """A dead endpoint is probed by one delivery at a time; the first success brings everything at once."""
    settings = msgspec.structs.replace(QUICK, breaker_failures=3, breaker_seconds=0.3, first_retry_seconds=60)
    patient = Partner(partner.bench, receiver, settings)
    is_back, under_way, most, probes = False, 0, 0, 0

    async def behave(_request: web.Request, _identity: str) -> web.Response:
        nonlocal under_way, most, probes
        under_way += 1
        if not is_back:
            probes += 1
        most = max(most, under_way) if probes > 12 else 0
        await asyncio.sleep(0)
        under_way -= 1
        return web.Response(status=204 if is_back else 500)

    receiver.behave = behave
    endpoint = await patient.subscribe()
    for night in range(1, 13):
        await patient.bench.room(f"alfama/b{night}")
    async with patient.sending():
        for night in range(1, 13):
            await patient.hold(f"alfama/b{night}", night)
        await receiver.until(lambda: probes >= 15)
        assert most == 1
        is_back = True
        began = asyncio.get_running_loop().time()
        await receiver.until(lambda: len(receiver.paths["/hook"].accepted) == 12 + 12)
        assert asyncio.get_running_loop().time() - began < 5, "sixty seconds' retries were not hurried"
        assert len((await finished(patient, endpoint.id, 24)).deliveries) == 24


async def test_a_dead_delivery_is_a_letter_that_can_be_replayed(partner: Partner, receiver: Receiver) -> None:
    """Given up, it lies with the dead letters; replayed from there it goes out under the same id."""
    settings = msgspec.structs.replace(QUICK, give_up_hours=0.000001)
    hasty = Partner(partner.bench, receiver, settings)

    async def fail(_request: web.Request, _identity: str) -> web.Response:
        return web.Response(status=500, text="no\0pe" + "x" * 5000)

    receiver.behave = fail
    endpoint = await hasty.subscribe()
    async with hasty.sending():
        await hasty.hold("alfama/double")
        [dead] = (await finished(hasty, endpoint.id, 1, "dead")).deliveries
        excerpt = dead.tried[0].excerpt
        assert excerpt is not None and excerpt.startswith("no\ufffdpe") and len(excerpt) == 1024
        reader = hasty.bench.reader
        letter = await reader.fetchrow("SELECT * FROM dead_letter")
        assert letter is not None
        assert (letter["consumer"], letter["reason"]) == (f"webhook/{endpoint.id}", "answered 500")
        receiver.behave = answering(204)
        await reader.execute("UPDATE dead_letter SET replay_requested_at = now()")
        await receiver.until(lambda: dead.id in receiver.paths["/hook"].accepted)
        await finished(hasty, endpoint.id, 1)
        assert await reader.fetchval("SELECT count(*) FROM dead_letter") == 0


async def test_a_replay_keeps_the_ids(partner: Partner) -> None:
    """Deliveries named, or of the last minutes, go out once more under the ids they had, with a fresh timestamp."""
    endpoint = await partner.subscribe()
    identity = EndpointId(endpoint.id)
    received = partner.receiver.paths["/hook"]
    async with partner.sending():
        for night in (1, 2, 3):
            await partner.hold("alfama/double", night)
        page = await finished(partner, endpoint.id, 3)
        named = await partner.subscriptions.replay(identity, None, deliveries=[page.deliveries[0].id])
        assert named is not None and named.queued == 1
        await partner.receiver.until(lambda: len(received.requests) == 4)
        await finished(partner, endpoint.id, 3)
        everything = await partner.subscriptions.replay(identity, None, since=page.deliveries[-1].created_at)
        assert everything is not None and (everything.queued, everything.is_all) == (3, True)
        await partner.receiver.until(lambda: len(received.requests) == 7)
        await finished(partner, endpoint.id, 3)
    ids = [identity for identity, _ in received.requests]
    assert ids[:3] == ids[4:] and ids[3] == page.deliveries[0].id
    assert len(received.seen) == 3


async def test_a_test_event_arrives(partner: Partner) -> None:
    """It goes out under the id that the answer names."""
    endpoint = await partner.subscribe(types=["booking.held"])
    async with partner.sending():
        delivery = await partner.subscriptions.test(EndpointId(endpoint.id), None)
        received = partner.receiver.paths["/hook"]
        await partner.receiver.until(lambda: delivery in received.accepted)
    assert received.requests[0][1]["type"] == "onebook.webhook.test.v1"


async def test_one_sender_at_a_time(partner: Partner) -> None:
    """A second sender stands by, and goes on where the first one ends."""
    await partner.subscribe()
    received = partner.receiver.paths["/hook"]
    async with AsyncExitStack() as first:
        sending = await first.enter_async_context(partner.sending())
        await partner.hold("alfama/double", 1)
        await partner.receiver.until(lambda: len(received.accepted) == 1)
        async with partner.sending() as standby:
            await partner.hold("alfama/double", 2)
            await partner.receiver.until(lambda: len(received.accepted) == 2)
            assert (sending.is_sending, standby.is_sending) == (True, False)
            await first.aclose()
            await partner.hold("alfama/double", 3)
            await partner.receiver.until(lambda: len(received.accepted) == 3)
            assert standby.is_sending
    assert len(received.seen) == 3


async def test_a_backlog_larger_than_the_window_is_sent_whole(
    partner: Partner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not fit in memory waits in the table, and its order is kept."""
    monkeypatch.setattr("onebook.channels.sender.WINDOW", 7)
    await partner.subscribe()
    received = partner.receiver.paths["/hook"]
    async with partner.sending():
        for night in range(1, 28):
            await partner.hold("alfama/double", night)
        await partner.receiver.until(lambda: len(received.accepted) == 27)
        await asyncio.gather(*(partner.hold("baixa/single", night) for night in range(1, 28)))
        await partner.receiver.until(lambda: len(received.accepted) == 54)
    assert all(versions == sorted(versions) for versions in received.versions.values())


async def test_what_is_old_is_purged(partner: Partner) -> None:
    """Past keep_days a finished delivery and its attempts are gone; one that is still pending stays."""
    endpoint = await partner.subscribe()
    reader = partner.bench.reader
    async with partner.sending():
        await partner.hold("alfama/double", 1)
        await finished(partner, endpoint.id, 1)
    await partner.subscriptions.test(EndpointId(endpoint.id), None)
    await reader.execute("UPDATE webhook_delivery SET created_at = now() - interval '31 days'")
    await reader.execute("UPDATE webhook_attempt SET at = now() - interval '31 days'")

    async def are_gone() -> bool:
        kept = await reader.fetch("SELECT status FROM webhook_delivery")
        old = await reader.fetchval("SELECT count(*) FROM webhook_attempt WHERE at < now() - interval '30 days'")
        return [row["status"] for row in kept] == ["pending"] and old == 0

    partner.receiver.behave = answering(500)
    async with partner.sending():
        await eventually(are_gone)


async def test_another_channels_endpoint_does_not_exist(partner: Partner) -> None:
    """Whatever a channel asks about another's endpoint, there is none."""
    endpoint = await partner.subscribe(channel="web")
    identity, desk = EndpointId(endpoint.id), partner.subscriptions
    answers: list[Any] = [
        await desk.one(identity, "rival"),
        await desk.change(identity, "rival", types=["*"]),
        await desk.rotate(identity, "rival"),
        await desk.test(identity, "rival"),
        await desk.deliveries(identity, "rival"),
        await desk.replay(identity, "rival", deliveries=[message_id(identity, 1)]),
        await desk.all("rival") or None,
        await desk.delete(identity, "rival") or None,
    ]
    assert answers == [None] * len(answers)
    assert await desk.one(identity, "web") is not None
    assert await desk.delete(identity, "web")
    assert await desk.one(EndpointId(str(uuid4())), None) is None
