"""Amounts: rounded by one rule, divided without loss, written in every currency."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onebook.model.money import proportion, share, split, text

AMOUNTS = st.integers(-(10**18), 10**18)
BASIS_POINTS = st.integers(0, 10_000)
WEIGHTS = st.lists(st.integers(0, 10**12), min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("amount_minor", "basis_points", "rounded"),
    [(1, 5000, 1), (-1, 5000, -1), (3, 5000, 2), (1, 4999, 0), (-1, 4999, 0), (333, 1000, 33), (0, 10_000, 0)],
)
def test_halves_are_rounded_away_from_zero(amount_minor: int, basis_points: int, rounded: int) -> None:
    """Half a unit becomes a whole one, of charges and of refunds."""
    assert share(amount_minor, basis_points) == rounded


@given(AMOUNTS, BASIS_POINTS)
def test_a_share_is_the_nearest_amount(amount_minor: int, basis_points: int) -> None:
    """A share is off the exact one by half a unit at most, even where no float could hold it."""
    assert abs(share(amount_minor, basis_points) - Fraction(amount_minor * basis_points, 10_000)) <= Fraction(1, 2)


@given(AMOUNTS, BASIS_POINTS)
def test_rounding_is_symmetrical(amount_minor: int, basis_points: int) -> None:
    """What is given back of an amount is what was charged of it."""
    assert share(-amount_minor, basis_points) == -share(amount_minor, basis_points)


@given(AMOUNTS, AMOUNTS, BASIS_POINTS, BASIS_POINTS)
def test_rounding_is_monotone(one: int, other: int, few: int, many: int) -> None:
    """A share of more is not less, nor is a larger share of what is above zero."""
    assert share(min(one, other), few) <= share(max(one, other), few)
    assert share(abs(one), min(few, many)) <= share(abs(one), max(few, many)) <= abs(one)


@given(AMOUNTS, st.integers(0, 10**12), st.integers(1, 10**12))
def test_a_proportion_is_the_nearest_amount(amount_minor: int, part: int, whole: int) -> None:
    """Any proportion is rounded as shares are."""
    exact = Fraction(amount_minor * part, whole)
    assert abs(proportion(amount_minor, part, whole) - exact) <= Fraction(1, 2)


@given(AMOUNTS, WEIGHTS)
def test_a_divided_amount_sums_to_itself(total_minor: int, weights: list[int]) -> None:
    """Nothing is lost and nothing made; every part is off its exact part by less than one unit, and has the amount's sign."""
    parts = split(total_minor, weights)
    assert sum(parts) == total_minor
    assert len(parts) == len(weights)
    if any(weights):
        for part, weight in zip(parts, weights, strict=True):
            assert abs(part - Fraction(total_minor * weight, sum(weights))) < 1
            assert part * total_minor >= 0


@given(WEIGHTS, st.integers(0, 10_000))
def test_no_part_is_larger_than_its_weight(weights: list[int], basis_points: int) -> None:
    """Of an amount no larger than all weights no part is larger than its own: what is taken off an item is there."""
    for part, weight in zip(split(share(sum(weights), basis_points), weights), weights, strict=True):
        assert 0 <= part <= weight


def test_what_is_left_goes_to_those_who_lost_most() -> None:
    """Units that rounding down leaves go to the largest remainders, of equal ones to the first."""
    assert split(100, (1, 1, 1)) == (34, 33, 33)
    assert split(10, (15, 25, 60)) == (2, 2, 6)
    assert split(10, (14, 26, 60)) == (1, 3, 6)
    assert split(-5, (1, 1)) == (-3, -2)
    assert split(7, (0, 0)) == (7, 0)


@pytest.mark.parametrize(
    ("amount_minor", "currency", "written"),
    [
        (123450, "EUR", "1234.50 EUR"),
        (-5, "EUR", "-0.05 EUR"),
        (0, "EUR", "0.00 EUR"),
        (500, "JPY", "500 JPY"),
        (1234, "KWD", "1.234 KWD"),
        (10**17 + 1, "USD", "1000000000000000.01 USD"),
    ],
)
def test_amounts_are_written_with_their_currencys_decimals(amount_minor: int, currency: str, written: str) -> None:
    """Yen have no decimals, Kuwaiti dinars three."""
    assert text(amount_minor, currency) == written
