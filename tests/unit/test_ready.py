"""Kept answers: they are what an answer made now would be, whatever has happened meanwhile, and keep nothing else alive."""

import gc
import weakref
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from onebook.api.ready import ReadyAnswers
from onebook.views.entries import take_entry
from onebook.views.stock import Stock

NAMED = b"venue=lux&from=2026-12-01&to=2026-12-04&resource=double"
HALL = b"venue=lux&from=2026-12-01&to=2026-12-04&resource=hall"
TABLE = b"venue=lux&from=2026-12-01&to=2026-12-02&resource=table"
QUERIES = (
    b"venue=lux&from=2026-12-01&to=2026-12-04",
    NAMED,
    HALL,
    TABLE,
    NAMED + b"&quantity=2",
    NAMED + b"&resource_version=lux/double:1",
    b"venue=lux&from=2026-12-01&to=2026-12-04&resource=not-yet",
)


def _definition(number: int, code: str, **given: Any) -> dict[str, Any]:
    plain = {"kind": "room", "name": code, "unit": "night", "cell_minutes": 1, "capacity": 3, "overbooking": 0}
    rest = {"hours": None, "min_stay": None, "max_stay": None}
    return {"id": number, "resource": f"lux/{code}", **plain, **rest, **given}


def _defined(version: int, definition: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    touched = {"resource": definition["resource"], "version": version, "cells": [], "available": []}
    return "resource.defined", {"definitions": [definition], "resources": [touched]}


def _taken(resource: str, version: int, cell: str, available: int) -> tuple[str, dict[str, Any]]:
    touched = {"resource": f"lux/{resource}", "version": version, "cells": [cell], "available": [available]}
    return "booking.held", {"resources": [touched]}


def _session(code: str, starts: str) -> tuple[str, dict[str, Any]]:
    told = {"id": int(code[1:]), "session": code, "venue": "lux", "from": starts, "to": "2026-12-09T00:00:00Z"}
    return "session.defined", told


TABLE_GRID = {"unit": "minute", "cell_minutes": 60, "kind": "table"}
CLOSED_IN_DECEMBER: dict[str, Any] = {"weekly": [[] for _ in range(7)], "exceptions": {}}
BEFORE = (
    ("venue.defined", {"id": 1, "venue": "lux", "name": "l", "timezone": "UTC", "currency": "EUR", "market": "m"}),
    _defined(1, _definition(1, "double")),
    _defined(1, _definition(2, "hall", unit="session", kind="activity")),
    _defined(1, _definition(3, "table", **TABLE_GRID)),
    _session("s1", "2026-12-02T20:00:00Z"),
)
CHANGES = {
    "a booking": _taken("double", 2, "2026-12-02", 1),
    "a booking of a session": _taken("hall", 2, "s1", 0),
    "a capacity": _defined(2, _definition(1, "double", capacity=1)),
    "opening hours": _defined(2, _definition(3, "table", **TABLE_GRID, hours=CLOSED_IN_DECEMBER)),
    "a new session": _session("s2", "2026-12-03T20:00:00Z"),
    "a session that moves": _session("s1", "2027-01-02T20:00:00Z"),
    "a resource that was asked for before": _defined(1, _definition(4, "not-yet")),
    "nights closed": (
        "inventory.changed",
        {
            "changes": [{"first": 20788, "end": 20789, "closed": True}],
            "resources": [{"resource": "lux/double", "version": 2, "cells": ["2026-12-01"], "available": [0]}],
        },
    ),
}


def _stock() -> Stock:
    stock = Stock()
    for kind, facts in BEFORE:
        take_entry(stock, kind, msgspec.json.encode(facts).decode(), {})
    return stock


def _answers(stock: Stock) -> tuple[ReadyAnswers, Any]:
    view: Any = SimpleNamespace(stock=stock)
    return ReadyAnswers(view, 100), view


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_reaches_every_kept_answer(change: str) -> None:
    """Whatever is told of a venue, a kept answer is byte for byte the one made anew; and each of these changes one."""
    stock = _stock()
    kept, _ = _answers(stock)
    before = [kept.find(query) for query in QUERIES]
    again = [kept.find(query) for query in QUERIES]
    assert all(one is other for one, other in zip(before, again, strict=True)), "they are kept while nothing moves"
    kind, facts = CHANGES[change]
    wanted: dict[str, int] = {}
    take_entry(stock, kind, msgspec.json.encode(facts).decode(), wanted)
    assert not wanted
    after = [kept.find(query) for query in QUERIES]
    assert after == [_answers(stock)[0].find(query) for query in QUERIES]
    assert after != before


def test_a_stock_that_was_replaced_is_not_kept_alive() -> None:
    """After a reload the first answer lets go of the old stock, also where nobody asks the old questions again."""
    first = _stock()
    kept, view = _answers(first)
    for query in QUERIES:
        kept.find(query)
    gone, view.stock = weakref.ref(first), _stock()
    del first
    kept.find(HALL)
    gc.collect()
    assert gone() is None
