"""Entries that touch nothing on sale (of checkouts, customers, offers) pass through everything that reads the log."""

from collections.abc import AsyncIterator
from random import Random

import msgspec
import pytest
from tests.conftest import Bench
from tests.integration.receiver import Partner, Receiver, open_receiver, unreliable

from onebook.log.read import START, read_events
from onebook.log.stream import event_of_row
from onebook.relay.rows import event_of_texts
from onebook.views.view import AvailabilityView

COLUMNS = ("txn", "position", "time", "type", "subject", "venues", "traceparent", "data")
CHECKOUTS = 12
STATES = ("started", "challenged", "completed", "settled")


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A partner that accepts."""
    async with open_receiver() as opened:
        yield opened


@pytest.fixture
async def partner(bench: Bench, receiver: Receiver) -> Partner:
    """Webhooks on a ledger with a room."""
    await bench.room("alfama/double", capacity=9)
    return Partner(bench, receiver)


async def tell(bench: Bench, kind: str, subject: str, venues: list[str], **data: str) -> None:
    """An entry without resources."""
    told = msgspec.json.encode({"resources": [], "venues": venues, **data}).decode()
    await bench.reader.execute(
        "INSERT INTO log (txn, time, type, subject, venues, data) VALUES (log_txn(), clock_timestamp(), $1, $2, $3, $4)",
        kind,
        subject,
        venues,
        told,
    )


async def test_webhooks_keep_each_checkouts_order(partner: Partner) -> None:
    """Every event of every checkout arrives at an endpoint that fails at random, those of one checkout in their order."""
    partner.receiver.behave = unreliable(Random(4))
    await partner.subscribe("/all")
    await partner.subscribe("/completed", types=["checkout.completed"])
    for state in STATES:
        for number in range(CHECKOUTS):
            await tell(
                partner.bench, f"checkout.{state}", f"checkouts/{number}", ["alfama"], channel="web", state=state
            )
    received, completed = partner.receiver.paths["/all"], partner.receiver.paths["/completed"]
    async with partner.sending():
        for number in range(CHECKOUTS):
            await tell(
                partner.bench, "checkout.refunded", f"checkouts/{number}", ["alfama"], channel="web", state="refunded"
            )
        await partner.receiver.until(lambda: len(received.accepted) >= CHECKOUTS * (len(STATES) + 1))
        await partner.receiver.until(lambda: len(completed.accepted) == CHECKOUTS)
    events = dict(received.requests)
    for number in range(CHECKOUTS):
        states = [e["data"]["state"] for e in events.values() if e["subject"] == f"checkouts/{number}"]
        assert states == [*STATES, "refunded"]


async def test_webhooks_tell_nobody_of_others_checkouts_and_customers(partner: Partner) -> None:
    """An endpoint of a channel hears of its own checkouts and of offers; of customers, one that sees all channels alone."""
    await partner.subscribe("/web", channel="web")
    await partner.subscribe("/all")
    for channel in ("rival", "web"):
        await tell(partner.bench, "checkout.completed", f"checkouts/{channel}", ["alfama"], channel=channel)
    await tell(partner.bench, "customer.changed", "customers/1", [])
    await tell(partner.bench, "offer.changed", "offers/1", ["alfama"])
    async with partner.sending():
        web, everything = partner.receiver.paths["/web"], partner.receiver.paths["/all"]
        await partner.receiver.until(lambda: len(everything.accepted) == 4 and len(web.accepted) == 2)
    assert {event["subject"] for _, event in web.requests} == {"checkouts/web", "offers/1"}
    (of_a_customer,) = (event for _, event in everything.requests if event["subject"] == "customers/1")
    assert of_a_customer["source"] == "/customers"


async def test_readers_of_the_log_cope(bench: Bench) -> None:
    """The log's reader, the relay and the view take entries without venue or resource; who may not, reads none of customers."""
    await bench.room("alfama/double")
    view = AvailabilityView(bench.reader)
    await view.start()
    await tell(bench, "customer.changed", "customers/1", [])
    await tell(bench, "offer.changed", "offers/1", ["alfama"])
    rows = await bench.reader.fetch("SELECT * FROM log ORDER BY txn, position")
    await view.handle([event_of_row(row) for row in rows])
    texts = await bench.reader.fetch(f"SELECT {', '.join(f'{name}::text' for name in COLUMNS)} FROM log")
    relayed = [event_of_texts(COLUMNS, list(row.values())) for row in texts]
    assert [event.source for event in relayed][-2:] == ["/customers", "/venues/alfama"]
    async with bench.reader.acquire() as connection:
        read = [
            [
                event.subject
                for event in (await read_events(connection, START, venue=None, limit=9, with_customers=sees))[0]
            ]
            for sees in (True, False)
        ]
    assert set(read[0]) - set(read[1]) == {"customers/1"}
    assert "offers/1" in read[1]
