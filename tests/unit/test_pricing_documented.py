"""docs/pricing.md works an example: what it says is what the program computes."""

import re
from datetime import datetime
from pathlib import Path

import msgspec
from tests.unit.offering import nights, priced, quote_of

from onebook.model.money import text
from onebook.model.offers.coupon import CouponTerms
from onebook.model.offers.policy import cancellation_fees, no_show_fees
from onebook.model.offers.priced import Priced
from onebook.model.offers.quote import Guests, QuoteLine
from onebook.model.offers.tariff import Coupon, Tariff

PAGE = (Path(__file__).parents[2] / "docs" / "pricing.md").read_text("utf-8")


def test_the_worked_example_is_computed() -> None:
    """Every row of the example's table, to the cent."""
    answer = _example()
    rows = [_row(line) for line in answer.lines]
    rows.append(["**total**", "", "", "", "", text(answer.total_minor, "EUR")])
    rows.append(["**due now**", "", "", "", "", text(answer.due_now_minor, "EUR")])
    assert _table("kind") == rows


def test_the_cancellation_table_is_computed() -> None:
    """Every row of the table of what is kept."""
    quote = quote_of(_example())
    rows = _table("cancelled at")
    assert len(rows) == 4
    for when, kept in rows:
        fees = no_show_fees(quote) if when == "no show" else cancellation_fees(quote, datetime.fromisoformat(when))
        assert (when, kept) == (when, text(sum(fees), "EUR"))


def _example() -> Priced:
    tariff = msgspec.json.decode(_block("tariff"), type=Tariff)
    winter = Coupon("alfama", "WINTER", msgspec.json.decode(_block("coupon"), type=CouponTerms))
    return priced(nights("2026-12-03", "2026-12-06", guests=Guests(adults=2, children=2)), tariff, winter)


def _row(line: QuoteLine) -> list[str]:
    kind = f"{line.kind}, included" if line.included else str(line.kind)
    unit = "" if line.unit_minor is None else text(line.unit_minor, "EUR")
    return [kind, line.code, line.label, str(line.quantity), unit, text(line.amount_minor, "EUR")]


def _block(name: str) -> str:
    found = re.search(rf"```json {name}\n(.*?)```", PAGE, re.S)
    assert found is not None
    return found[1]


def _table(first_column: str) -> list[list[str]]:
    """The rows below the head of the table that begins with a column."""
    found = re.search(rf"^\| {first_column} \|.*\n\|[-|:]+\|\n((?:\|.*\n?)+)", PAGE, re.M)
    assert found is not None
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in found[1].splitlines()]
