"""A tax or a fee of a venue."""

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from onebook.model.offers.bounds import Amount, BasisPoints, Currency, Label
from onebook.model.resource import Kind


class Levy(StrEnum):
    """Whether the state takes it or the venue."""

    TAX = "tax"
    FEE = "fee"


class Per(StrEnum):
    """What a fixed amount is charged for. A night is a local date on which a cell of the item begins: one for a session."""

    NIGHT = "night"
    PERSON = "person"
    PERSON_NIGHT = "person-night"
    BOOKING = "booking"


class PercentRate(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="percent"):
    """A share of what the item costs after discounts and coupons."""

    basis_points: BasisPoints


class AmountRate(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="amount"):
    """A fixed amount for each unit and night, each person, each person and night, or once for the venue's items in a booking."""

    amount_minor: Amount
    currency: Currency
    per: Per


class Tax(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is owed on items of the kinds named, or of all. `included`: prices contain it already; otherwise it comes on top."""

    name: Label
    levy: Levy
    rate: PercentRate | AmountRate
    included: bool = False
    applies_to: Annotated[tuple[Kind, ...], Meta(max_length=len(Kind))] = ()
