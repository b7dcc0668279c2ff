"""Everything a venue charges by, as one value: what pricing is handed, and what its keeper loads whole."""

from dataclasses import dataclass, field

import msgspec

from onebook.model.offers.coupon import CouponTerms
from onebook.model.offers.plan import RatePlan
from onebook.model.offers.policy import DEFAULT_CHECK_IN, WITHOUT_POLICY, Policy, item_policy
from onebook.model.offers.quote import ItemPolicy
from onebook.model.offers.tax import Tax


@dataclass(frozen=True, slots=True)
class Tariff:
    """Rate plans, taxes and policies of one venue, by their codes. Taxes are charged in the order given: keep it, by code."""

    plans: dict[str, RatePlan]
    taxes: dict[str, Tax]
    policies: dict[str, Policy]
    _item_policies: dict[str | None, ItemPolicy] = field(init=False, repr=False, default_factory=dict)
    _closest: dict[str | None, str] = field(init=False, repr=False, default_factory=dict)
    """The plan of a resource where none is asked for: one that names it before one for all, of several the first by code."""

    def __post_init__(self) -> None:
        self._item_policies[None] = WITHOUT_POLICY
        self._item_policies.update((code, item_policy(code, policy)) for code, policy in self.policies.items())
        for code in sorted(self.plans, reverse=True):
            for resource in self.plans[code].resources or (None,):
                self._closest[resource] = code

    def plan_of(self, resource: str, named: str | None) -> str | None:
        """The code of the plan by which a resource is sold: the one named, if it sells the resource, or the closest."""
        code = named or self._closest.get(resource) or self._closest.get(None)
        plan = None if code is None else self.plans.get(code)
        if plan is None or (plan.resources and resource not in plan.resources):
            return None
        # On unknown terms nothing is sold; whoever keeps tariffs refuses a plan without its policy.
        return code if plan.policy in self._item_policies else None

    def policy_of(self, plan: RatePlan) -> ItemPolicy:
        """The policy of a plan that `plan_of` has found."""
        return self._item_policies[plan.policy]

    def check_in_of(self, plan: RatePlan) -> str:
        """The wall time at which a plan's nights begin, for its policy."""
        return DEFAULT_CHECK_IN if plan.policy is None else self.policies[plan.policy].check_in


class Coupon(msgspec.Struct, frozen=True):
    """A coupon that was found: where it is taken, its code and its terms."""

    venue: str
    code: str
    terms: CouponTerms
