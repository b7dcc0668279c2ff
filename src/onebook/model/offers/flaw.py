"""What is wrong with a definition although each of its fields may be."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Flaw:
    """A definition that means nothing; `pointer` is the JSON pointer of the field (it becomes ledger.failures.Unprocessable)."""

    code: str
    detail: str
    pointer: str


def reversed_period(pointer: str) -> Flaw:
    """A period that ends before it begins, or as it begins."""
    return Flaw("reversed-period", "`to` must come after `from`", pointer)
