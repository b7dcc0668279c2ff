"""JSON from outside: one meaning for each body, bounds on everything, and the wrong field named."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.luhn import card_numbers_in

from onebook.api.json_body import decode_json, pointer_of, request_hash
from onebook.api.problems import Problem
from onebook.api.wire import BookingRequest
from onebook.api.wire_definitions import (
    ResourceRequest,
    SessionRequest,
    VenueRequest,
    check_session,
    check_venue,
    definition_of,
)
from onebook.ledger.failures import Unprocessable

ITEM = {"resource": "alfama/double", "from": "2026-12-01", "to": "2026-12-04"}
RESOURCE = {"kind": "staff", "name": "Ana", "capacity": 1, "grid": {"unit": "minute", "minutes": 15}}

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=20,
)


def booking(**changes: Any) -> bytes:
    """A good request to book, changed."""
    return json.dumps({"items": [ITEM]} | changes).encode()


def refusal_of(body: bytes, shape: Any = BookingRequest) -> Problem:
    """The problem that a body is."""
    with pytest.raises(Problem) as raised:
        decode_json(body, shape)
    return raised.value


@given(values)
def test_json_of_any_value_is_taken(value: Any) -> None:
    """Whatever JSON says with distinct keys is decoded as it is, escaped or not."""
    for ascii_only in (True, False):
        body = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
        assert decode_json(body, object)[0] == value


@given(st.dictionaries(st.text(max_size=3), values, min_size=1, max_size=4), st.data())
def test_a_key_given_twice_is_refused(value: dict[str, Any], data: st.DataObject) -> None:
    """An object with one key twice is refused wherever it stands, even when both have the same value."""
    key = data.draw(st.sampled_from(sorted(value)))
    twice = json.dumps(value)[:-1] + f", {json.dumps(key)}: {json.dumps(value[key])}}}"
    for body in (twice, f'{{"outer": [{twice}]}}'):
        assert refusal_of(body.encode(), object).status == 422


def test_a_key_hidden_by_an_escape_is_refused() -> None:
    """Two spellings of one key are one key."""
    assert refusal_of(b'{"a": 1, "\\u0061": 2}', object).status == 422


@given(values)
def test_the_hash_is_of_the_meaning(value: Any) -> None:
    """Spaces, escapes and the order of keys do not change a request's hash."""
    assume(not card_numbers_in(json.dumps(value).encode()))
    plain = decode_json(json.dumps(value).encode(), object)[1]
    other = decode_json(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False).encode(), object)[1]
    assert request_hash(plain) == request_hash(other)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nothing",
        b'{"items": [NaN]}',
        b'{"items": Infinity}',
        b"[" * 30_000,
        b'{"a": 1} 2',
        b"\xff\xfe",
        b'{"a": "\xff"}',
        b'{"a": "\\ud800"}',
        b'{"a": 1e999}',
        b"1" * 5000,
        b"'single'",
        b'{"a": 1,}',
    ],
)
def test_what_is_not_json_is_a_bad_request(body: bytes) -> None:
    """Bytes that are not JSON are 400, however they fail."""
    assert (refusal_of(body).status, refusal_of(body).code) == (400, "not-json")


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"items": []}, "/items"),
        ({"items": [ITEM] * 101}, "/items"),
        ({"items": [ITEM | {"quantity": 0}]}, "/items/0/quantity"),
        ({"items": [ITEM, ITEM | {"quantity": -1}]}, "/items/1/quantity"),
        ({"items": [ITEM | {"quantity": 1_000_001}]}, "/items/0/quantity"),
        ({"items": [ITEM | {"quantity": 2**70}]}, "/items/0/quantity"),
        ({"items": [ITEM | {"quantity": "1"}]}, "/items/0/quantity"),
        ({"items": [ITEM | {"quantity": True}]}, "/items/0/quantity"),
        ({"items": [ITEM | {"quantity": 1.5}]}, "/items/0/quantity"),
        ({"items": [ITEM | {"color": "red"}]}, "/items/0/color"),
        ({"items": [{"from": "2026-12-01"}]}, "/items/0/resource"),
        ({"items": [ITEM | {"resource": "a\nb"}]}, "/items/0/resource"),
        ({"items": [ITEM | {"session": "late\n"}]}, "/items/0/session"),
        ({"ttl_seconds": 0}, "/ttl_seconds"),
        ({"ttl_seconds": 86_401}, "/ttl_seconds"),
        ({"confirm": 1}, "/confirm"),
        ({"confirm": None}, "/confirm"),
        ({"reference": "x" * 201}, "/reference"),
        ({"customer": "nul\u0000"}, "/customer"),
        ({"a~b/c": 1}, "/a~0b~1c"),
    ],
)
def test_a_wrong_field_is_named(changes: dict[str, Any], pointer: str) -> None:
    """JSON that is no booking is 422, with a JSON pointer to the field."""
    problem = refusal_of(booking(**changes))
    assert (problem.status, problem.members["pointer"]) == (422, pointer)


def test_a_hundred_items_are_taken() -> None:
    """A basket may have a hundred items, as the document says."""
    assert len(decode_json(booking(items=[ITEM] * 100), BookingRequest)[0].items) == 100


def test_paths_become_pointers() -> None:
    """The place that msgspec names is told as a JSON pointer, as far as it is named."""
    assert pointer_of("[17].kind") == "/17/kind"
    assert pointer_of(".hours.exceptions[...][0]") == "/hours/exceptions"


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"grid": {"unit": "minute", "minutes": 7}}, "/grid/minutes"),
        ({"grid": {"unit": "night"}, "buffer_after": 15}, "/buffer_after"),
        ({"grid": {"unit": "session"}, "hours": {"mon": [["09:00", "18:00"]]}}, "/hours"),
        ({"grid": {"unit": "session"}, "min_stay": 2}, "/min_stay"),
        ({"min_stay": 3, "max_stay": 2}, "/max_stay"),
        ({"hours": {"mon": [["24:00", "01:00"]]}}, "/hours/mon/0/0"),
    ],
)
def test_parts_of_a_resource_must_go_together(changes: dict[str, Any], pointer: str) -> None:
    """A definition whose parts contradict each other is refused with the part that is too much."""
    request = msgspec.convert(RESOURCE | changes, ResourceRequest)
    with pytest.raises(Unprocessable) as raised:
        definition_of("ana", request)
    assert raised.value.pointer == pointer


@pytest.mark.parametrize(
    "changes",
    [
        {"grid": {"unit": "hour"}},
        {"grid": {"unit": "minute"}},
        {"grid": {"unit": "night", "minutes": 15}},
        {"kind": "boat"},
        {"capacity": -1},
        {"hours": {"mon": [["9:00", "18:00"]]}},
        {"hours": {"mon": [["09:00"]]}},
        {"hours": {"exceptions": {"2026-02-30": []}}},
        {"hours": {"monday": []}},
    ],
)
def test_what_is_no_resource_is_refused(changes: dict[str, Any]) -> None:
    """Unknown kinds, grids, times and dates are refused."""
    assert refusal_of(json.dumps(RESOURCE | changes).encode(), ResourceRequest).status == 422


def test_hours_reach_over_midnight() -> None:
    """An end that is not after its beginning lies on the next day; 24:00 is midnight."""
    hours = {"fri": [["18:00", "02:00"]], "sat": [["09:00", "24:00"]], "exceptions": {"2026-12-25": []}}
    request = msgspec.convert(RESOURCE | {"hours": hours}, ResourceRequest)
    opening = definition_of("ana", request).hours
    assert opening is not None
    assert opening.weekly[4] == ((1080, 1560),)
    assert opening.weekly[5] == ((540, 1440),)
    assert opening.weekly[0] == ()
    assert list(opening.exceptions.values()) == [()]


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"timezone": "Europe/Atlantis"}, "/timezone"),
        ({"timezone": "../etc/passwd"}, "/timezone"),
        ({"currency": "EURO"[:3].lower()}, "/currency"),
        ({"currency": "XAU"}, "/currency"),
    ],
)
def test_zone_and_currency_must_exist(changes: dict[str, str], pointer: str) -> None:
    """A venue has an IANA time zone and an active ISO 4217 currency."""
    lisbon = VenueRequest(name="Alfama", timezone="Europe/Lisbon", currency="EUR", market="lisboa")
    request = replace(lisbon, **changes)
    with pytest.raises(Unprocessable) as raised:
        check_venue(request)
    assert raised.value.pointer == pointer


@pytest.mark.parametrize(
    ("starts", "ends", "pointer"),
    [
        ("2026-12-24T20:00:00Z", "2026-12-24T20:00:00Z", "/to"),
        ("2026-12-24T20:00:00Z", "2026-12-24T20:30:00+01:00", "/to"),
        ("0001-01-01T00:00:00Z", "2026-12-24T20:00:00Z", "/from"),
        ("2026-12-24T20:00:00Z", "9999-12-31T23:59:59Z", "/to"),
    ],
)
def test_a_session_has_a_length(starts: str, ends: str, pointer: str) -> None:
    """A session's end comes after its beginning, both within the calendar."""
    request = msgspec.convert({"from": starts, "to": ends}, SessionRequest)
    with pytest.raises(Unprocessable) as raised:
        check_session(request)
    assert raised.value.pointer == pointer


def test_a_naive_time_is_refused() -> None:
    """An instant without its offset is refused."""
    body = b'{"from": "2026-12-24T20:00:00", "to": "2026-12-24T22:00:00Z"}'
    assert refusal_of(body, SessionRequest).members["pointer"] == "/from"
