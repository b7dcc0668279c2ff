"""JSON from outside, strictly: one meaning for each body, and the field named that is wrong."""

import hashlib
import json
import re
from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec

from onebook.api.card_numbers import refuse_cards_in_body
from onebook.api.problems import FieldError, Problem, invalid

T = TypeVar("T")

_decode = msgspec.json.Decoder().decode
_encode_sorted = msgspec.json.Encoder(order="sorted").encode
_PLACE = re.compile(r" - at `(?:key in )?\$(?P<path>[^`]*)`$")
_NAMED_FIELD = re.compile(r"(?:unknown|required) field `(?P<name>.*)`$")
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+)\]")


def decode_json(body: bytes, shape: type[T]) -> tuple[T, bytes]:
    """The value of a body, and its canonical form: bodies that differ only in spaces, escapes or key order share it.

    Raises Problem: 400 for what is not JSON, 422 for duplicate keys, for what does not have the shape, and, before anything of
    the body is told or kept, for a card number.
    """
    try:
        value = _decode(body)
        canonical = _encode_sorted(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError) as error:
        raise Problem(400, "not-json", "The body is not JSON", detail=_reason(error)) from error
    refuse_cards_in_body(value, canonical)
    # A decoder keeps the last of several equal keys, so the quotes of the others are missing in the canonical form;
    # without a backslash in the body nothing else can change their number.
    if b"\\" in body or canonical.count(b'"') != body.count(b'"'):
        _refuse_duplicate_keys(body)
    return to_shape(value, shape), canonical


def to_shape(value: Any, shape: type[T], *, strict: bool = True, in_query: bool = False) -> T:
    """The value as a struct. Raises Problem 422 with the offending field; `strict=False` reads numbers from text."""
    try:
        return msgspec.convert(value, shape, strict=strict)
    except msgspec.ValidationError as error:
        raise invalid([_field_error(str(error), in_query)]) from error


def request_hash(canonical: bytes) -> bytes:
    """What tells one payload from another under one idempotency key."""
    return hashlib.blake2b(canonical, digest_size=16).digest()


def pointer_of(path: str) -> str:
    """A JSON pointer (RFC 6901) from the path of a msgspec error, such as `.items[0].quantity`."""
    steps = (name or index for name, index in _STEP.findall(path.partition("[...]")[0]))
    return "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps)


def _field_error(message: str, in_query: bool) -> FieldError:
    place = _PLACE.search(message)
    detail = message[: place.start()] if place else message
    pointer = pointer_of(place["path"]) if place else ""
    if named := _NAMED_FIELD.search(detail):
        pointer += "/" + named["name"].replace("~", "~0").replace("/", "~1")
    if in_query:
        return FieldError(detail=detail, parameter=pointer.removeprefix("/").partition("/")[0])
    return FieldError(detail=detail, pointer=pointer)


def _refuse_duplicate_keys(body: bytes) -> None:
    try:
        json.loads(body, object_pairs_hook=_without_duplicates, parse_int=str, parse_float=str)
    except RecursionError as error:
        raise Problem(400, "not-json", "The body is not JSON", detail="nested too deeply") from error


def _without_duplicates(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise invalid([FieldError(detail=f"the key {key[:100]!r} stands in one object twice", pointer="")])
        found[key] = value
    return found


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return "text is not UTF-8"
    return str(error)
