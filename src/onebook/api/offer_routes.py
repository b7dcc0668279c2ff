"""Rate plans, taxes, policies and coupons: what things cost. Each is put whole, and putting the same again changes nothing."""

from dataclasses import dataclass
from typing import Any

import msgspec
from litestar.handlers import HTTPRouteHandler

from onebook.api.answer import Answer, answer
from onebook.api.operation import Call, Function, operation
from onebook.api.path import existing_code, new_code
from onebook.api.problems import refusal_problem
from onebook.api.roles import Scope
from onebook.api.wire_offers import (
    CouponAnswer,
    CouponList,
    CouponsQuery,
    PolicyAnswer,
    PolicyList,
    RatePlanAnswer,
    RatePlanList,
    TaxAnswer,
    TaxList,
    coded,
    coupon_answer,
)
from onebook.checkout.prices.tariffs import Offer
from onebook.ledger.failures import UnknownName
from onebook.model.offers.coupon import CouponTerms
from onebook.model.offers.plan import RatePlan
from onebook.model.offers.policy import Policy
from onebook.model.offers.tax import Tax
from onebook.model.refusals import Refusal

TAG = "Offers"
COUPONS = "/v1/venues/{venue}/coupons"
COUPON = f"{COUPONS}/{{code}}"


@dataclass(frozen=True, slots=True)
class Family:
    """A kind of offer: how it is asked for and told, and what requests about it do."""

    shape: type[Offer]
    told: type[msgspec.Struct]
    listed: type[msgspec.Struct]
    plural: str
    """In paths, and in lists."""
    parameter: str
    """Of the path of one."""
    title: str

    @property
    def path(self) -> str:
        """Of all of a venue."""
        return f"/v1/venues/{{venue}}/{self.plural}"

    async def put(self, call: Call[Any, None]) -> Answer:
        """201 where it is new, 200 where it replaces."""
        venue, code = existing_code(call.path, "venue"), new_code(call.path, self.parameter)
        created = await call.engine.offers.put(venue, code, call.body)
        return answer(201 if created else 200, coded(self.told, call.body, code=code))

    async def get(self, call: Call[None, None]) -> Answer:
        """As it was put."""
        venue, code = self._named(call)
        found = await call.engine.offers.one(self.shape, venue, code)
        if found is None:
            raise UnknownName(self.title, code)
        return answer(200, coded(self.told, found, code=code))

    async def all(self, call: Call[None, None]) -> Answer:
        """By code."""
        found = await call.engine.offers.all(self.shape, existing_code(call.path, "venue"))
        return answer(200, {self.plural: [coded(self.told, offer, code=code) for code, offer in found.items()]})

    async def delete(self, call: Call[None, None]) -> Answer:
        """What was quoted by it stands."""
        venue, code = self._named(call)
        deleted = await call.engine.offers.delete(self.shape, venue, code)
        return _deleted(deleted, self.title, code)

    def _named(self, call: Call[None, None]) -> tuple[str, str]:
        return existing_code(call.path, "venue"), existing_code(call.path, self.parameter, self.title)


def routes_of(family: Family) -> tuple[HTTPRouteHandler, ...]:
    """The four routes of a kind of offer."""
    one = f"{family.path}/{{{family.parameter}}}"
    title, name, told = family.title, family.title.replace(" ", "_"), family.told

    return (
        _route(
            "PUT",
            one,
            f"Define a {title}",
            f"put_{name}",
            family.put,
            body=family.shape,
            answers={201: told, 200: told},
            problems=(404,),
        ),
        _route("GET", one, f"One {title}", f"get_{name}", family.get, answers={200: told}, problems=(404,)),
        _route(
            "GET",
            family.path,
            f"Every {title} of a venue",
            f"list_{family.plural}",
            family.all,
            answers={200: family.listed},
            problems=(404,),
        ),
        _route(
            "DELETE",
            one,
            f"Have a {title} no more",
            f"delete_{name}",
            family.delete,
            answers={204: None},
            problems=(404, 409),
        ),
    )


@operation(
    method="PUT",
    path=COUPON,
    summary="Define a coupon; how often it was used stays",
    tag=TAG,
    scope=Scope.INVENTORY_WRITE,
    body=CouponTerms,
    answers={201: CouponAnswer, 200: CouponAnswer},
    problems=(404, 409),
)
async def put_coupon(call: Call[CouponTerms, None]) -> Answer:
    """201 where it is new. Fewer uses than there were already are refused."""
    venue, code = existing_code(call.path, "venue"), new_code(call.path, "code")
    put = await call.engine.offers.coupons.put(venue, code, call.body)
    if isinstance(put, Refusal):
        raise refusal_problem(put)
    return answer(201 if put.is_new else 200, coupon_answer(put.coupon))


@operation(
    method="GET",
    path=COUPON,
    summary="One coupon, and how often it is used",
    tag=TAG,
    scope=Scope.INVENTORY_WRITE,
    answers={200: CouponAnswer},
    problems=(404,),
)
async def get_coupon(call: Call[None, None]) -> Answer:
    """Only who defines coupons may read them: to know a code is to have it."""
    venue, code = existing_code(call.path, "venue"), existing_code(call.path, "code", "coupon")
    found = await call.engine.offers.coupons.one(venue, code)
    if found is None:
        raise UnknownName("coupon", code)
    return answer(200, coupon_answer(found))


@operation(
    method="GET",
    path=COUPONS,
    summary="Coupons of a venue, page by page",
    tag=TAG,
    scope=Scope.INVENTORY_WRITE,
    query=CouponsQuery,
    answers={200: CouponList},
    problems=(404,),
)
async def list_coupons(call: Call[None, CouponsQuery]) -> Answer:
    """By code."""
    venue, query = existing_code(call.path, "venue"), call.query
    found = await call.engine.offers.coupons.page(venue, query.cursor or "", query.limit + 1)
    page = [coupon_answer(kept) for kept in found[: query.limit]]
    return answer(200, CouponList(page, None if len(found) == len(page) else page[-1].code))


@operation(
    method="DELETE",
    path=COUPON,
    summary="Forget a coupon that was never taken",
    tag=TAG,
    scope=Scope.INVENTORY_WRITE,
    answers={204: None},
    problems=(404, 409),
)
async def delete_coupon(call: Call[None, None]) -> Answer:
    """One that was taken stays for the books: end its time instead."""
    venue, code = existing_code(call.path, "venue"), existing_code(call.path, "code", "coupon")
    return _deleted(await call.engine.offers.coupons.delete(venue, code), "coupon", code)


def _route(method: str, path: str, summary: str, name: str, function: Function, **record: Any) -> HTTPRouteHandler:
    async def called(call: Call[Any, Any]) -> Answer:
        return await function(call)

    called.__name__ = name
    scope = Scope.INVENTORY_READ if method == "GET" else Scope.INVENTORY_WRITE
    return operation(method=method, path=path, summary=summary, tag=TAG, scope=scope, **record)(called)


def _deleted(deleted: bool | Refusal, title: str, code: str) -> Answer:
    if isinstance(deleted, Refusal):
        raise refusal_problem(deleted)
    if not deleted:
        raise UnknownName(title, code)
    return Answer(204, b"")


RATES = Family(RatePlan, RatePlanAnswer, RatePlanList, "rates", "plan", "rate plan")
TAXES = Family(Tax, TaxAnswer, TaxList, "taxes", "tax", "tax")
POLICIES = Family(Policy, PolicyAnswer, PolicyList, "policies", "policy", "cancellation policy")

ROUTES: tuple[HTTPRouteHandler, ...] = (
    *routes_of(RATES),
    *routes_of(TAXES),
    *routes_of(POLICIES),
    put_coupon,
    get_coupon,
    list_coupons,
    delete_coupon,
)
