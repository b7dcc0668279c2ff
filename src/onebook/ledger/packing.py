"""Columns of a batch as one text each, which PostgreSQL takes apart.

The driver encodes an array element by element, at 0.35 µs for a number and 0.8 µs for a text (measured); a batch sends some
forty values a hold. A joined text costs a tenth of that, and PostgreSQL takes it apart as fast as it reads binary.
"""

from collections.abc import Sequence

from onebook.ledger.failures import BrokenInvariant

# RS and US, as in JSON text sequences (RFC 7464): no JSON text contains them raw, and names may not.
SEPARATOR = "\x1e"
NULL = "\x1f"


def numbers(values: Sequence[int]) -> str:
    """Integers as an array literal, for `$n::text::integer[]`."""
    return f"{{{str(values)[1:-1]}}}" if values else "{}"


def flags(values: Sequence[bool]) -> str:
    """Truth values as an array literal, for `$n::text::boolean[]`."""
    return numbers([int(value) for value in values])


def numbers_or_null(values: Sequence[int | None]) -> str:
    """Integers, some of them missing, as an array literal."""
    return "{" + ",".join(["NULL" if value is None else str(value) for value in values]) + "}"


def texts(values: Sequence[str]) -> str:
    """Texts for `string_to_array($n, SEPARATOR, NULL)`. Raises BrokenInvariant for one that would be taken apart wrongly.

    A single empty text would be no text at all: the wire refuses empty ones.
    """
    joined = SEPARATOR.join(values)
    if joined.count(SEPARATOR) != max(len(values) - 1, 0) or (values and not joined):
        raise BrokenInvariant("a text contains the separator of the batch")
    return joined


def texts_or_null(values: Sequence[str | None]) -> str:
    """Texts, some of them missing. Raises BrokenInvariant."""
    if NULL in values:
        raise BrokenInvariant("a text is the mark of a missing one")
    return texts([NULL if value is None else value for value in values])
