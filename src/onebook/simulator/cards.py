"""What looks like a card number, which nobody may send here: it is refused and written nowhere."""

import re

_DIGITS = re.compile(
    r"(?<![0-9A-Fa-f])\d{13,19}(?![0-9A-Fa-f])"  # bare, and no part of a hexadecimal id
    r"|(?<![0-9A-Za-z-])\d(?:[ -]?\d){12,18}(?![0-9A-Za-z-])"  # in groups, and no part of a UUID
)


def looks_like_card(text: str) -> bool:
    """Whether 13 to 19 digits in it pass the check digit of ISO/IEC 7812-1 (Luhn)."""
    return any(_passes_luhn(found.group()) for found in _DIGITS.finditer(text))


def _passes_luhn(grouped: str) -> bool:
    digits = [int(character) for character in reversed(grouped) if character.isdigit()]
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[1::2])
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0
