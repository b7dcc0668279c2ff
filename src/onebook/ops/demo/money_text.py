"""Amounts of money as the demo tells them."""

from collections.abc import Mapping
from decimal import Decimal

from onebook.model.money import EXPONENTS


def amounts(by_currency: Mapping[str, int]) -> str:
    """Minor units by currency, for people: "12,340.50 EUR, 900 JPY"."""
    told = (f"{Decimal(minor).scaleb(-EXPONENTS[currency]):,f} {currency}" for currency, minor in by_currency.items())
    return ", ".join(told) or "nothing"
