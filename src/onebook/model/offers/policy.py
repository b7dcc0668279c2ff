"""Cancellation policies: what is kept of an item's total when its booking is cancelled, or nobody comes."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated

import msgspec
from msgspec import Meta

from onebook.model.money import WHOLE_BASIS_POINTS, share
from onebook.model.offers.bounds import BasisPoints, Label
from onebook.model.offers.quote import ItemPolicy, PolicyStep, Quote, QuoteLine

DEFAULT_CHECK_IN = "15:00"


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What cancelling costs, step by step; their order does not matter, and of two steps at the same hour the dearer one counts.

    `check_in` is the venue's wall time from which hours are counted back for what is sold by the night; all else arrives when
    it begins.
    """

    name: Label
    steps: Annotated[tuple[PolicyStep, ...], Meta(max_length=20)] = ()
    no_show_basis_points: BasisPoints = WHOLE_BASIS_POINTS
    check_in: Annotated[str, Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]\Z")] = DEFAULT_CHECK_IN


WITHOUT_POLICY = ItemPolicy(code="none", steps=(), no_show_basis_points=WHOLE_BASIS_POINTS)
"""Of a plan that names none: cancelling costs nothing, staying away everything."""


def item_policy(code: str, policy: Policy) -> ItemPolicy:
    """The policy as a quote holds it, its steps in order."""
    steps = sorted(policy.steps, key=lambda step: (-step.hours_before, step.fee_basis_points))
    return ItemPolicy(code=code, steps=tuple(steps), no_show_basis_points=policy.no_show_basis_points)


def item_totals(lines: Sequence[QuoteLine], items: int) -> tuple[int, ...]:
    """What each item of a quote costs; they sum to the quote's total."""
    totals = [0] * items
    for line in lines:
        if not line.included:
            totals[line.item] += line.amount_minor
    return tuple(totals)


def cancellation_fees(quote: Quote, cancelled_at: datetime) -> tuple[int, ...]:
    """What is kept of each item when its booking is cancelled at an instant; never more than the item's total."""
    totals = item_totals(quote.lines, len(quote.items))
    return tuple(
        [
            cancellation_fee(total, policy, item.arrives_at, cancelled_at)
            for total, policy, item in zip(totals, quote.policies, quote.items, strict=True)
        ]
    )


def no_show_fees(quote: Quote) -> tuple[int, ...]:
    """What is kept of each item when nobody comes."""
    totals = item_totals(quote.lines, len(quote.items))
    return tuple(
        [share(total, policy.no_show_basis_points) for total, policy in zip(totals, quote.policies, strict=True)]
    )


def cancellation_fee(total_minor: int, policy: ItemPolicy, arrives_at: datetime, cancelled_at: datetime) -> int:
    """The share of one item's total that the last step reached demands; exactly on a step's hour it is not reached yet."""
    left = arrives_at - cancelled_at
    reached = [step for step in policy.steps if left < timedelta(hours=step.hours_before)]
    return share(total_minor, reached[-1].fee_basis_points) if reached else 0
