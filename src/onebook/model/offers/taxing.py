"""Taxes and fees of an item. Percentages are of its price after discounts and coupons, never of one another.

What comes on top adds a line to pay. What prices contain already adds a line that explains: fixed amounts first, no more than the
price; of the rest P, included percentages that sum to s are P · s / (1 + s), rounded once and divided among them by their rates.
"""

from collections.abc import Sequence

from onebook.model.money import WHOLE_BASIS_POINTS, proportion, share, split
from onebook.model.offers.priced import CannotBePriced, MixedCurrencies
from onebook.model.offers.quote import LineKind
from onebook.model.offers.sheet import Sheet
from onebook.model.offers.tax import AmountRate, Levy, Per, Tax

_KINDS = {Levy.TAX: LineKind.TAX, Levy.FEE: LineKind.FEE}


def levy(sheets: Sequence[Sheet]) -> None:
    """Add what each item owes. What is owed once per booking falls to the first item that owes it. Raises CannotBePriced."""
    charged_once: set[tuple[str, str]] = set()
    for sheet in sheets:
        owed = [
            (code, tax)
            for code, tax in sheet.tariff.taxes.items()
            if not tax.applies_to or sheet.asked.line.resource.kind in tax.applies_to
        ]
        if owed:
            _levy(sheet, owed, charged_once)


def _levy(sheet: Sheet, owed: Sequence[tuple[str, Tax]], charged_once: set[tuple[str, str]]) -> None:
    price_minor = contained_minor = sheet.total_minor
    percentages: list[tuple[str, Tax, int]] = []
    for code, tax in owed:
        kind, rate = _KINDS[tax.levy], tax.rate
        if isinstance(rate, AmountRate):
            times = _times(sheet, rate, code, charged_once)
            if tax.included:
                amount_minor = min(times * rate.amount_minor, contained_minor)
                contained_minor -= amount_minor
                sheet.explain(kind, code, tax.name, amount_minor)
            elif times:
                sheet.add_units(kind, code, tax.name, times, rate.amount_minor)
        elif tax.included:
            percentages.append((code, tax, rate.basis_points))
        else:
            sheet.add(kind, code, tax.name, share(price_minor, rate.basis_points))
    if percentages:
        _explain_percentages(sheet, percentages, contained_minor)


def _explain_percentages(sheet: Sheet, percentages: Sequence[tuple[str, Tax, int]], price_minor: int) -> None:
    rates = [basis_points for _, _, basis_points in percentages]
    contained_minor = proportion(price_minor, sum(rates), WHOLE_BASIS_POINTS + sum(rates))
    for (code, tax, _), part_minor in zip(percentages, split(contained_minor, rates), strict=True):
        sheet.explain(_KINDS[tax.levy], code, tax.name, part_minor)


def _times(sheet: Sheet, rate: AmountRate, code: str, charged_once: set[tuple[str, str]]) -> int:
    if rate.currency != sheet.plan.currency:
        raise CannotBePriced(MixedCurrencies(currencies=tuple(sorted((rate.currency, sheet.plan.currency)))))
    if rate.per is Per.BOOKING:
        first_time = (sheet.venue, code) not in charged_once
        charged_once.add((sheet.venue, code))
        return int(first_time)
    units = sheet.asked.line.quantity
    nights = 1 if rate.per is Per.PERSON else len(set(sheet.dates))
    persons = 1 if rate.per is Per.NIGHT else sheet.adults + sheet.children
    return units * nights * persons
