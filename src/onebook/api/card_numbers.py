"""Card numbers are refused wherever they stand in a request, before anything of it is stored, logged or told.

Payments come with tokens of the gateway; whoever sends a card's number has mistaken us for one. Storing it, even as a booking's
reference, would make the whole database subject to PCI DSS. What counts as one: 13 to 19 digits, plain or in the groups that
cards are printed with, not part of a longer word or a UUID, beginning as one of the schemes' numbers do (ISO/IEC 7812 IINs), with
a right check digit (Luhn, ISO/IEC 7812-1, annex B). One number in ten that only looks the part passes that last check, so that a
16-digit reference of somebody's own is refused now and then; shorter ones, and those that begin with 0, 1, 7, 8 or 9, never are.
Digits of other scripts, and spaces and dashes of any width, are read as the plain ones.
"""

import re
import unicodedata
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote_plus

from onebook.api.problems import FieldError, Problem, invalid

CODE = "card-number"
DETAIL = "this looks like a card number, which must not be sent here: send the payment token of the gateway"

# Digits in a row but for what groups them: what has none needs no closer look, and that is nearly everything.
_AS_DIGITS = bytes(ord("0") if chr(byte).isdecimal() else byte for byte in range(128)) + bytes(range(128, 256))
_SEPARATORS = b" -"
_LEAST = b"0" * 13
_PLAIN = {"Zs": " ", "Pd": "-"}  # of Unicode's categories: spaces and dashes

_BEFORE = r"(?<![0-9A-Za-z+])"  # a plus begins a telephone number
_AFTER = r"(?![0-9A-Za-z])"
# Each in a lookahead, so that a number is found also where it begins within what looked like one.
_FORMS = tuple(
    re.compile(f"{_BEFORE}(?=({form}){_AFTER})")
    for form in (
        "[0-9]{13,19}",
        "[0-9]{4}(?:[ -][0-9]{4}){2}[ -][0-9]{1,4}",
        "[0-9]{4}(?:[ -][0-9]{4}){3}[ -][0-9]{1,3}",
        "[0-9]{4}[ -][0-9]{6}[ -][0-9]{4,5}",
    )
)

_PREFIXES: tuple[tuple[str, str, frozenset[int]], ...] = (
    ("4", "4", frozenset({13, 16, 18, 19})),  # Visa
    ("51", "55", frozenset({16})),  # Mastercard
    ("2221", "2720", frozenset({16})),
    ("34", "34", frozenset({15})),  # American Express
    ("37", "37", frozenset({15})),
    ("6011", "6011", frozenset(range(16, 20))),  # Discover
    ("644", "659", frozenset(range(16, 20))),
    ("300", "305", frozenset(range(14, 20))),  # Diners Club
    ("3095", "3095", frozenset(range(14, 20))),
    ("36", "36", frozenset(range(14, 20))),
    ("38", "39", frozenset(range(14, 20))),
    ("3528", "3589", frozenset(range(16, 20))),  # JCB
    ("62", "62", frozenset(range(16, 20))),  # UnionPay
    ("50", "50", frozenset(range(13, 20))),  # Maestro
    ("56", "58", frozenset(range(13, 20))),
    ("63", "63", frozenset(range(13, 20))),
    ("67", "67", frozenset(range(13, 20))),
)

# What a digit counts when it is doubled: the sum of the digits of its double.
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


def looks_like_card(text: str) -> bool:
    """Whether a card number stands anywhere in a text."""
    plain = text if text.isascii() else "".join(map(_plain, text))
    if not _may_hold_card(plain.encode(errors="replace")):
        return False
    numbers = (found[1].replace(" ", "").replace("-", "") for form in _FORMS for found in form.finditer(plain))
    return any(_is_of_a_scheme(number) and _is_checked(number) for number in numbers)


def refuse_cards_in_body(value: Any, canonical: bytes) -> None:
    """Raises Problem 422 for a body with a card number in it, given as a value, and as JSON without needless escapes."""
    if canonical.isascii() and not _may_hold_card(canonical):
        return
    for pointer, text in _texts(value):
        if looks_like_card(text):
            raise _refused(FieldError(detail=DETAIL, pointer=pointer))


def refuse_cards_in_head(path: str, query_string: bytes, idempotency_key: str | None) -> None:
    """Raises Problem 422 for a card number in a request's path or query, both decoded, or in its key."""
    if idempotency_key is not None and looks_like_card(idempotency_key):
        raise _refused(FieldError(detail=DETAIL, parameter="idempotency-key"))
    if looks_like_card(path):
        raise _refused(FieldError(detail=DETAIL, parameter="path"))
    if query_string and looks_like_card(unquote_plus(query_string.decode("latin-1"))):
        raise _refused(FieldError(detail=DETAIL, parameter="query"))


def _plain(character: str) -> str:
    if character.isdecimal():
        return str(unicodedata.decimal(character))
    return _PLAIN.get(unicodedata.category(character), character)


def _may_hold_card(text: bytes) -> bool:
    return _LEAST in text.translate(_AS_DIGITS, _SEPARATORS)


def _refused(error: FieldError) -> Problem:
    return invalid([error], code=CODE)


def _texts(value: Any) -> Iterator[tuple[str, str]]:
    """Every key and every plain value, with a JSON pointer to it; to the object whose key it is. No key is part of a pointer that
    has not been yielded before, so the first that is refused is in no pointer."""
    waiting: list[tuple[str, Any]] = [("", value)]
    while waiting:
        pointer, found = waiting.pop()
        if isinstance(found, dict):
            for key, inner in found.items():
                yield pointer, key
                waiting.append((f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}", inner))
        elif isinstance(found, list):
            waiting += [(f"{pointer}/{number}", inner) for number, inner in enumerate(found)]
        else:
            yield pointer, found if isinstance(found, str) else repr(found)


def _is_of_a_scheme(number: str) -> bool:
    return any(low <= number[: len(low)] <= high and len(number) in lengths for low, high, lengths in _PREFIXES)


def _is_checked(number: str) -> bool:
    digits = [int(digit) for digit in reversed(number)]
    return (sum(digits[::2]) + sum(_DOUBLED[digit] for digit in digits[1::2])) % 10 == 0
