"""A request with a traceparent is followed from the socket on, whichever way it is answered."""

import asyncio
import time
from uuid import uuid4

import pytest

from onebook.ops.tracing.find import Bar, find
from tests.acceptance.conftest import Api, Reply, nights
from tests.conftest import Server, onebook

CALLER = "b7ad6b7169203331"
WAIT_SECONDS = 20.0


@pytest.mark.parametrize("long_way", [False, True])
def test_a_request_is_followed(api: Api, server: Server, venue: str, long_way: bool) -> None:
    """The request's span hangs below its sender's, has the status, and the ledger's steps lie within it."""
    trace = uuid4().hex
    reply = place(api, venue, trace, long_way=long_way)
    assert reply.status == 201
    request, *steps = spans(server, trace, "commit")[:5]
    assert (request.name, request.parent_id) == ("request", CALLER)
    assert request.attributes == {"operation": "create_booking", "status": 201}
    assert [bar.name for bar in steps] == ["queue", "lock", "decide", "commit"]
    assert all(bar.offset_ms + bar.duration_ms <= request.duration_ms + 0.01 for bar in steps)
    told = onebook("trace", reply.json()["id"], "--data", str(server.data))
    assert "operation=create_booking status=201" in told.stdout


def test_a_trace_changes_no_answer(api: Api, server: Server, venue: str) -> None:
    """The repeat of a key under another trace is answered byte by byte as the first, and is followed as the repeat it is."""
    first, second, key = uuid4().hex, uuid4().hex, str(uuid4())
    placed = place(api, venue, first, key=key)
    again = place(api, venue, second, key=key)
    assert (placed.status, again.status) == (201, 200)
    assert again.body == placed.body
    decided = next(bar for bar in spans(server, second, "decide") if bar.name == "decide")
    assert decided.attributes["outcome"] == "replayed"


def test_strangers_leave_no_spans(api: Api, server: Server, venue: str) -> None:
    """Who has no good token is not followed, whatever flags are sent."""
    trace = uuid4().hex
    assert place(api, venue, trace, token="nonsense").status == 401  # no secret, that is the point
    assert place(api, venue, trace).status == 201
    assert [bar.attributes["status"] for bar in spans(server, trace, "request") if bar.name == "request"] == [201]


def place(
    api: Api, venue: str, trace: str, *, key: str | None = None, token: str = "", long_way: bool = False
) -> Reply:
    """Hold a room for some nights, in a trace."""
    headers = {"idempotency-key": key or str(uuid4()), "traceparent": f"00-{trace}-{CALLER}-01"}
    return api.request(
        "POST", "/v1/bookings", {"items": [nights(venue)]}, headers=headers, token=token, long_way=long_way
    )


def spans(server: Server, trace: str, awaited: str) -> list[Bar]:
    """The trace's spans, once a request and the awaited one have been written."""
    ends = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < ends:
        found = asyncio.run(find(server.database_url, trace))
        bars = [bar for fall in found.waterfalls for bar in fall.spans]
        if {"request", awaited} <= {bar.name for bar in bars}:
            return bars
        time.sleep(0.05)
    raise AssertionError(f"{awaited} was not written within {WAIT_SECONDS} s")
