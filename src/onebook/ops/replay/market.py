"""The hotels of a bookings file as venues and resources of one replay, and the requests about them. Pure."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from onebook.ops.replay.calendar import Room, room_of
from onebook.ops.replay.rows import Stay

TIMEZONE = "Europe/Lisbon"
CURRENCY = "EUR"
# Where the two hotels of the published file stand; any other is its own market.
MARKETS = {"Resort Hotel": "algarve", "City Hotel": "lisboa"}


class Market(msgspec.Struct, frozen=True):
    """What is on sale in one replay. `run` sets its venues and keys apart from those of all other replays."""

    run: str
    capacity: Mapping[Room, int]

    def venue(self, hotel: str) -> str:
        """The venue that stands for a hotel."""
        return f"{_slug(hotel)}-{_slug(self.run)}"

    def venues(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Path and body of the request for each venue."""
        for hotel in sorted({room.hotel for room in self.capacity}):
            market = MARKETS.get(hotel, _slug(hotel))
            body = {"name": hotel, "timezone": TIMEZONE, "currency": CURRENCY, "market": market}
            yield f"/v1/venues/{self.venue(hotel)}", body

    def resources(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Path and body of the request for each room type."""
        for room, capacity in self.capacity.items():
            body = {
                "kind": "room",
                "name": f"Room type {room.room_type}",
                "capacity": capacity,
                "grid": {"unit": "night"},
            }
            yield f"/v1/venues/{self.venue(room.hotel)}/resources/{_code(room)}", body

    def booking(self, stay: Stay) -> dict[str, Any]:
        """The body of the request that books a stay at once."""
        item = {
            "resource": f"{self.venue(stay.hotel)}/{_code(room_of(stay))}",
            "from": stay.arrival.isoformat(),
            "to": stay.departure.isoformat(),
            "quantity": 1,
        }
        return {"items": [item], "confirm": True, "reference": f"line {stay.line}"}

    def key(self, stay: Stay) -> str:
        """The idempotency key of a stay: its line, so that a retry can never book it twice."""
        return f"replay-{_slug(self.run)}-{stay.line}"


def _code(room: Room) -> str:
    return f"room-{_slug(room.room_type)}"


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
