"""What requests about money look like, and how a settlement is told; folios and reports are those of checkout/books/report.py."""

from datetime import date
from typing import Annotated

import msgspec
from msgspec import Meta

from onebook.api.wire import PERIOD, SettlementAnswer, Text
from onebook.checkout.books.report import By
from onebook.checkout.settling.settlement import Settlement
from onebook.model.offers.bounds import MAX_AMOUNT_MINOR


class RefundRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Money to give back beyond what any policy asks for, out of what was paid."""

    amount_minor: Annotated[int, Meta(ge=1, le=MAX_AMOUNT_MINOR, description="Minor units, cents for EUR.")]
    reason: Text | None = None


class MoneyQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename=PERIOD):
    """Which days, [from, to) in UTC, and what to tell apart."""

    starts: date | None = None
    ends: date | None = None
    by: By = By.DAY


class SettlementList(msgspec.Struct, frozen=True):
    """The oldest first."""

    settlements: list[SettlementAnswer]


def settlement_answer(settlement: Settlement) -> SettlementAnswer:
    """A settlement as it is told."""
    return SettlementAnswer(**{name: getattr(settlement, name) for name in SettlementAnswer.__struct_fields__})
