"""A rate plan: what a resource costs per cell, and on which terms it is sold.

A cell is a night, a step of a minute grid, or a session. Its price is that of the local date of the venue on which it
begins: the last override of the list that covers the date, else the date's weekday, else the plan's price. Where none of
them has one, it is not sold.
"""

from datetime import date
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from onebook.model.offers.bounds import PERIOD, Amount, BasisPoints, Code, Currency, Label
from onebook.model.offers.flaw import Flaw, reversed_period
from onebook.model.offers.quote import MAX_GUESTS

MAX_OVERRIDES = 400

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


class WeekdayPrices(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Prices by weekday; null leaves the plan's own."""

    mon: Amount | None = None
    tue: Amount | None = None
    wed: Amount | None = None
    thu: Amount | None = None
    fri: Amount | None = None
    sat: Amount | None = None
    sun: Amount | None = None


class Override(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, rename=PERIOD):
    """Another price for the dates from `from` until before `to`, or only for these weekdays. The last in the list wins."""

    starts: date
    ends: date
    price_minor: Amount
    weekdays: Annotated[tuple[Weekday, ...], Meta(max_length=7)] = ()


class Occupancy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How many guests the price of one unit includes, and what each further one costs per cell. Adults count first."""

    included: Annotated[int, Meta(ge=0, le=MAX_GUESTS)] = 2
    adult_minor: Amount = 0
    child_minor: Amount = 0


class LengthDiscount(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """This share off prices and supplements of an item of at least so many cells. Of several the longest one reached counts."""

    min_cells: Annotated[int, Meta(ge=1, le=1500)]
    basis_points: BasisPoints


class ShareDeposit(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="percent"):
    """So much of the item's total is due at once."""

    basis_points: BasisPoints


class FixedDeposit(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="fixed"):
    """So much for each unit is due at once, in the plan's currency, and never more than the item's total."""

    amount_minor: Amount


class FirstNightDeposit(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="first-night"):
    """What the first cell contributes to the item's total is due at once."""


Deposit = ShareDeposit | FixedDeposit | FirstNightDeposit


class RatePlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Prices of some resources of a venue, or of all of them where none is named, per cell and unit.

    Without a deposit the whole is due at once; without a policy cancelling costs nothing.
    """

    name: Label
    currency: Currency
    price_minor: Amount | None = None
    resources: Annotated[tuple[Code, ...], Meta(max_length=1000, description="Codes of the venue's resources.")] = ()
    weekdays: WeekdayPrices | None = None
    overrides: Annotated[tuple[Override, ...], Meta(max_length=MAX_OVERRIDES)] = ()
    occupancy: Occupancy | None = None
    length_discounts: Annotated[tuple[LengthDiscount, ...], Meta(max_length=20)] = ()
    deposit: Deposit | None = None
    policy: Code | None = None


def flaw_of_plan(plan: RatePlan) -> Flaw | None:
    """What is wrong with a plan although each of its fields may be."""
    for index, override in enumerate(plan.overrides):
        if override.ends <= override.starts:
            return reversed_period(f"/overrides/{index}/to")
    return None
