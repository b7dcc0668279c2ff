"""Card numbers in bytes, for tests that none lies in what is stored or logged; shares nothing with what refuses them."""

import re

_RUN = re.compile(rb"(?<![0-9A-Za-z])[0-9](?:[ -]?[0-9]){12,18}(?![0-9A-Za-z])")
_BEGINNINGS = re.compile(r"4|5[1-5]|2[2-7]|3[0-9]|6|50|5[678]")


def card_numbers_in(stored: bytes) -> list[str]:
    """The digits of everything that could be a card number: so long, beginning so, and with the right check digit."""
    runs = [re.sub(rb"[ -]", b"", found[0]).decode() for found in _RUN.finditer(stored)]
    return [number for number in runs if _BEGINNINGS.match(number) and check_digit(number[:-1]) == number[-1]]


def check_digit(number: str) -> str:
    """The digit that completes a number by Luhn's rule."""
    total = 0
    for place, digit in enumerate(reversed(number)):
        value = int(digit) * (2 if place % 2 == 0 else 1)
        total += value // 10 + value % 10
    return str(-total % 10)
