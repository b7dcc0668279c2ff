"""What things cost in the demo's market: rate plans, a tax on top and one within, policies, a deposit, and a coupon for few.

Written through the API when the market opens. Arrivals lie one to five months ahead, so that the steps of the policies do too.
"""

from typing import Any

from onebook.model.offers.plan import Weekday

CURRENCY = "EUR"
COUPON_VENUE, COUPON = "alfama", "TEJO20"
CITY_TAX_MINOR = 400
WEEKEND: tuple[Weekday, ...] = ("fri", "sat")


def coupon_uses(seconds: float) -> int:
    """How often the coupon may be used: too seldom for all who want it, however long the demo runs."""
    return max(3, int(2 * seconds))


def offers(uses: int) -> list[tuple[str, dict[str, Any]]]:
    """Every path and what is put there, in an order in which each finds what it names."""
    return [
        ("/v1/venues/alfama/policies/moderate", _policy("Moderate", (90, 1000), (45, 5000))),
        ("/v1/venues/chiado/policies/flexible", _policy("Flexible", (1, 10_000))),
        ("/v1/venues/opera/policies/tickets", _policy("Half of it is kept", (366, 5000))),
        ("/v1/venues/alfama/taxes/city", _city_tax()),
        ("/v1/venues/chiado/taxes/vat", _vat()),
        ("/v1/venues/alfama/rates/rooms", _hotel("Rooms", 14_000, 18_500, "double")),
        ("/v1/venues/alfama/rates/suites", _hotel("Suites", 32_000, 39_000, "suite")),
        ("/v1/venues/alfama/rates/cars", _plan("Cars", 4_500, 5_900, "moderate", "car")),
        ("/v1/venues/alfama/rates/scooters", _plan("Scooters", 900, 1_200, "moderate", "scooter")),
        ("/v1/venues/chiado/rates/tables", _plan("Tables", 1_000, 1_500, "flexible", "table-2", "table-6")),
        ("/v1/venues/chiado/rates/spa", _plan("Spa", 1_850, 2_200, "flexible", "ana", "rui", "ines")),
        ("/v1/venues/opera/rates/seats", _plan("Seats", 6_500, 8_900, "tickets")),
        ("/v1/venues/opera/rates/sail", _plan("Sunset sail", 3_800, 4_500, "tickets", "sail")),
        (f"/v1/venues/{COUPON_VENUE}/coupons/{COUPON}", _coupon(uses)),
    ]


def _plan(name: str, price_minor: int, weekend_minor: int, policy: str, *resources: str) -> dict[str, Any]:
    """Dearer at weekends. Without resources it is for all of the venue that have no plan of their own."""
    return {
        "name": name,
        "currency": CURRENCY,
        "price_minor": price_minor,
        "weekdays": dict.fromkeys(WEEKEND, weekend_minor),
        "resources": resources,
        "policy": policy,
    }


def _hotel(name: str, price_minor: int, weekend_minor: int, room: str) -> dict[str, Any]:
    """Thirty per cent at once, the rest on arrival; ten per cent off from three nights on."""
    return _plan(name, price_minor, weekend_minor, "moderate", room) | {
        "deposit": {"kind": "percent", "basis_points": 3000},
        "length_discounts": [{"min_cells": 3, "basis_points": 1000}],
        "occupancy": {"included": 2},
    }


def _policy(name: str, *steps: tuple[int, int]) -> dict[str, Any]:
    """From so many days before arrival on, this share is kept."""
    return {"name": name, "steps": [{"hours_before": 24 * days, "fee_basis_points": fee} for days, fee in steps]}


def _city_tax() -> dict[str, Any]:
    rate = {"kind": "amount", "amount_minor": CITY_TAX_MINOR, "currency": CURRENCY, "per": "person-night"}
    return {"name": "City tax", "levy": "tax", "rate": rate, "applies_to": ["room"]}


def _vat() -> dict[str, Any]:
    return {"name": "VAT", "levy": "tax", "rate": {"kind": "percent", "basis_points": 1300}, "included": True}


def _coupon(uses: int) -> dict[str, Any]:
    return {
        "name": "A fifth off",
        "currency": CURRENCY,
        "worth": {"kind": "percent", "basis_points": 2000},
        "max_uses": uses,
    }
