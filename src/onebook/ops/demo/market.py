"""The market of the demo: three venues of one city with all six kinds of inventory, opened over HTTP.

Everything the crowd can ask for is written down here, with the arithmetic that turns it into cells: the
crowd's witness counts them without asking the ledger.
"""

import asyncio
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from onebook.ops.demo.prices import CURRENCY, offers
from onebook.ops.http_client import Answer, Client

ZONE = ZoneInfo("Europe/Lisbon")
HORIZON_DAYS = 120
RUSH_AFTER_DAYS = 10
VENUES = ("alfama", "chiado", "opera")
RUSH_UNITS = 5
SEAT_ROWS = "ABCDEFGH"
SEATS_PER_ROW = 40
BUSY = frozenset({429, 503})
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

Cell = tuple[str, str | int]
"""A resource's key and one cell of it: a date, a number of its minute grid, or a session."""


class MarketNotOpened(Exception):
    """The server refused a part of the inventory, or a partner; the message says which and why."""


class Offer(msgspec.Struct, frozen=True):
    """One resource on sale. `cell_minutes` is 0 but for minute grids; `opens` and `closes` are hours."""

    venue: str
    code: str
    kind: str
    name: str
    capacity: int
    unit: str
    cell_minutes: int = 0
    buffer_after_minutes: int = 0
    opens: int | None = None
    closes: int | None = None
    open_days: tuple[str, ...] = WEEKDAYS

    @property
    def key(self) -> str:
        """The resource as bookings name it."""
        return f"{self.venue}/{self.code}"


class Line(msgspec.Struct, frozen=True):
    """One item as it is asked for, and the cells it takes, turnaround included."""

    item: dict[str, Any]
    cells: tuple[Cell, ...]

    @property
    def quantity(self) -> int:
        """The units taken in each cell."""
        return int(self.item["quantity"])


class Market(msgspec.Struct, frozen=True):
    """What is on sale from `opening` on, and the one night that all channels will want at once."""

    name: str
    opening: date
    offers: tuple[Offer, ...]
    seats: tuple[Offer, ...]
    performances: tuple[str, ...]
    sailings: tuple[str, ...]

    @property
    def rush_night(self) -> date:
        """A night beyond the crowd's horizon, so that only the rush wants it."""
        return self.opening + timedelta(days=HORIZON_DAYS + RUSH_AFTER_DAYS)

    @property
    def free_night(self) -> date:
        """A night that nobody in the crowd ever asks for."""
        return self.opening + timedelta(days=HORIZON_DAYS + 60)

    def of_kind(self, kind: str) -> list[Offer]:
        """The offers of a kind, in their order; seats are apart, there are hundreds."""
        return [offer for offer in self.offers if offer.kind == kind]

    def capacities(self) -> dict[str, int]:
        """The units of every resource by its key."""
        return {offer.key: offer.capacity for offer in (*self.offers, *self.seats)}

    def rush_line(self) -> Line:
        """One room for the night of the rush."""
        return nights(self.offers[0], self.rush_night, 1)


def lisboa(opening: date) -> Market:
    """A hotel that also rents cars and scooters, a restaurant with a spa, an opera with a sailing boat."""
    offers = (
        Offer("alfama", "double", "room", "Double room", 24, "night"),
        Offer("alfama", "suite", "room", "River suite", 6, "night"),
        Offer("alfama", "car", "vehicle", "Small car, by the day", 8, "night"),
        Offer("alfama", "scooter", "vehicle", "Scooter, by the hour", 10, "minute", 60),
        Offer("chiado", "table-2", "table", "Table for two", 12, "minute", 30, opens=12, closes=23),
        Offer("chiado", "table-6", "table", "Table for six", 4, "minute", 15, opens=12, closes=23),
        _therapist("ana", "Ana, massage"),
        _therapist("rui", "Rui, massage"),
        _therapist("ines", "Inês, facials"),
        Offer("opera", "sail", "activity", "Sunset sail on the Tejo", 40, "session"),
    )
    seats = tuple(
        Offer("opera", f"{row}-{number}", "seat", f"Row {row}, seat {number}", 1, "session")
        for row in SEAT_ROWS
        for number in range(1, SEATS_PER_ROW + 1)
    )
    return Market(
        name="Lisboa",
        opening=opening,
        offers=offers,
        seats=seats,
        performances=_dated(opening, "evening", every_days=3),
        sailings=_dated(opening, "sunset", every_days=2),
    )


def nights(offer: Offer, first: date, count: int, quantity: int = 1) -> Line:
    """So many nights (or days, for a vehicle) from a date on."""
    dates = [(first + timedelta(days=n)).isoformat() for n in range(count + 1)]
    item = {"resource": offer.key, "from": dates[0], "to": dates[-1], "quantity": quantity}
    return Line(item, tuple((offer.key, night) for night in dates[:-1]))


def minutes(offer: Offer, starts: datetime, length_minutes: int, quantity: int = 1) -> Line:
    """A stretch of a minute grid, with the turnaround that follows it."""
    ends = starts + timedelta(minutes=length_minutes)
    first = int(starts.timestamp()) // 60 // offer.cell_minutes
    count = (length_minutes + offer.buffer_after_minutes) // offer.cell_minutes
    item = {"resource": offer.key, "from": starts.isoformat(), "to": ends.isoformat(), "quantity": quantity}
    return Line(item, tuple((offer.key, number) for number in range(first, first + count)))


def session(offer: Offer, code: str, quantity: int = 1) -> Line:
    """A place in a named session."""
    return Line({"resource": offer.key, "session": code, "quantity": quantity}, ((offer.key, code),))


async def open_market(market: Market, client: Client, admin_token: str, coupon_uses: int) -> None:
    """Write the whole inventory, and what it costs, through the API. Idempotent. Raises MarketNotOpened, ConnectionFailed."""
    put = _Writer(client, admin_token)
    for code, name in zip(VENUES, ("Hotel Alfama", "Casa Chiado", "Ópera do Tejo"), strict=True):
        venue = {"name": name, "timezone": ZONE.key, "currency": CURRENCY, "market": market.name}
        await put("PUT", f"/v1/venues/{code}", venue)
    for offer in market.offers:
        body = _definition(offer)
        await put("PUT", f"/v1/venues/{offer.venue}/resources/{body.pop('code')}", body)
    await put("POST", "/v1/venues/opera/resources:bulk", [_definition(seat) for seat in market.seats])
    await asyncio.gather(*(put("PUT", f"/v1/venues/opera/sessions/{s}", _session(s)) for s in market.performances))
    await asyncio.gather(*(put("PUT", f"/v1/venues/opera/sessions/{s}", _session(s)) for s in market.sailings))
    for code, changes in _restrictions(market):
        await put("PATCH", f"/v1/venues/alfama/resources/{code}/inventory", changes)
    for path, definition in offers(coupon_uses):
        await put("PUT", path, definition)


class _Writer:
    """One admin's requests, each of which must succeed."""

    def __init__(self, client: Client, token: str) -> None:
        self._client = client
        self._token = token

    async def __call__(self, method: str, path: str, body: Any) -> Answer:
        answer = await self._client.request(method, path, json=body, token=self._token)
        if answer.status not in {200, 201}:
            reason = answer.body[:300].decode(errors="replace")
            raise MarketNotOpened(f"{method} {path} was answered {answer.status}: {reason}")
        return answer


def _restrictions(market: Market) -> list[tuple[str, list[dict[str, Any]]]]:
    """A minimum stay for suites, one stop-sell date, one day without arrivals, and few rooms for the rush."""

    def span(first_day: int, last_day: int) -> dict[str, Any]:
        first, end = (market.opening + timedelta(days=day) for day in (first_day, last_day))
        return {"from": first.isoformat(), "to": end.isoformat()}

    rush_day = (market.rush_night - market.opening).days
    doubles = [
        {**span(12, 13), "closed": True},
        {**span(20, 21), "closed_to_arrival": True},
        {**span(rush_day, rush_day + 1), "capacity": RUSH_UNITS},
    ]
    return [("suite", [{**span(0, HORIZON_DAYS), "min_stay": 2}]), ("double", doubles)]


def _therapist(code: str, name: str) -> Offer:
    return Offer(
        "chiado",
        code,
        "staff",
        name,
        capacity=1,
        unit="minute",
        cell_minutes=15,
        buffer_after_minutes=15,
        opens=9,
        closes=19,
        open_days=WEEKDAYS[:6],
    )


def _definition(offer: Offer) -> dict[str, Any]:
    grid: dict[str, Any] = {"unit": offer.unit}
    if offer.unit == "minute":
        grid["minutes"] = offer.cell_minutes
    body: dict[str, Any] = {
        "code": offer.code,
        "kind": offer.kind,
        "name": offer.name,
        "capacity": offer.capacity,
        "grid": grid,
    }
    if offer.buffer_after_minutes:
        body["buffer_after"] = offer.buffer_after_minutes
    if offer.opens is not None:
        opening = [f"{offer.opens:02}:00", f"{offer.closes:02}:00"]
        body["hours"] = {day: [opening] for day in offer.open_days}
    return body


def _dated(opening: date, name: str, every_days: int) -> tuple[str, ...]:
    days: Sequence[int] = range(0, HORIZON_DAYS, every_days)
    return tuple(f"{opening + timedelta(days=day)}-{name}" for day in days)


def _session(code: str) -> dict[str, Any]:
    starts = datetime.combine(date.fromisoformat(code[:10]), time(18, 30), ZONE)
    return {"from": starts.isoformat(), "to": (starts + timedelta(hours=2)).isoformat()}
