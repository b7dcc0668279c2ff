"""A card number sent to a running server is refused, and is found neither in its answer nor in anything that it keeps."""

import json
from random import Random
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest

from tests.acceptance.conftest import Api, nights
from tests.conftest import Server
from tests.luhn import card_numbers_in, check_digit


def new_card(random: Random) -> str:
    """A Visa number that nobody else has sent."""
    number = "4" + "".join(random.choices("0123456789", k=14))
    return number + check_digit(number)


@pytest.mark.parametrize("long_way", [False, True], ids=["express", "route"])
def test_a_card_number_leaves_no_trace(api: Api, server: Server, venue: str, long_way: bool) -> None:
    """In a body, a key, a query or a path: 422 card-number, not repeated, and nothing of it in the data folder or the logs."""
    card = new_card(Random(uuid4().int))
    printed = " ".join(card[start : start + 4] for start in range(0, 16, 4))
    place: dict[str, Any] = {"name": printed, "timezone": "Europe/Lisbon", "currency": "EUR", "market": "m"}
    replies = [
        api.book([nights(venue)], reference=card, long_way=long_way),
        api.book([nights(venue)], customer=printed, long_way=long_way),
        api.book([nights(venue)], long_way=long_way, **{card: "x"}),
        api.book([nights(venue)], key=f"order-{card}", long_way=long_way),
        api.request("PUT", f"/v1/venues/v-{uuid4().hex[:8]}", place, long_way=long_way),
        api.request("GET", f"/v1/bookings/{card}", long_way=long_way),
        api.request("GET", f"/v1/availability?venue={quote(printed)}", long_way=long_way),
    ]
    for reply in replies:
        assert (reply.status, reply.code) == (422, "card-number"), reply
        told = json.dumps([reply.json(), dict(reply.headers)]).encode()
        assert card.encode() not in told and not card_numbers_in(reply.body)
    assert replies[0].json()["pointer"] == "/reference"
    assert api.book([nights(venue)], long_way=long_way).status == 201
    digits = (card.encode(), printed.encode())
    for file in server.data.rglob("*"):
        if file.is_file():
            assert not any(number in file.read_bytes() for number in digits), file
