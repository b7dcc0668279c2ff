"""One item while it is being priced: what its lines come to so far."""

from dataclasses import dataclass, field
from datetime import date

from onebook.model.offers.plan import RatePlan
from onebook.model.offers.priced import Asked
from onebook.model.offers.quote import LineKind, QuoteLine
from onebook.model.offers.tariff import Tariff


@dataclass(slots=True)
class Sheet:
    """An item's lines and their sum. `dates` are the venue's local dates on which its cells begin; guests are per unit."""

    index: int
    asked: Asked
    venue: str
    tariff: Tariff
    plan_code: str
    plan: RatePlan
    dates: list[date]
    adults: int
    children: int
    lines: list[QuoteLine] = field(default_factory=list)
    total_minor: int = 0
    gross_minor: int = 0
    """Prices and supplements, before anything is taken off."""
    first_cell_minor: int = 0
    """What the first cell has of them."""
    net_minor: int = 0
    """Prices after the length-of-stay discount: what coupons are measured by."""

    def add_units(self, kind: LineKind, code: str, label: str, quantity: int, unit_minor: int) -> None:
        """A line of so many times an amount."""
        amount_minor = quantity * unit_minor
        self.total_minor += amount_minor
        self.lines.append(QuoteLine(self.index, self.venue, kind, code, label, amount_minor, quantity, unit_minor))

    def add(self, kind: LineKind, code: str, label: str, amount_minor: int) -> None:
        """A line of one amount, if it is any."""
        self.total_minor += amount_minor
        if amount_minor:
            self.lines.append(QuoteLine(self.index, self.venue, kind, code, label, amount_minor))

    def explain(self, kind: LineKind, code: str, label: str, amount_minor: int) -> None:
        """A line that tells what the others contain, if it is anything."""
        if amount_minor:
            self.lines.append(QuoteLine(self.index, self.venue, kind, code, label, amount_minor, included=True))
