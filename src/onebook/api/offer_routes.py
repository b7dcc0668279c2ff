"""Rate plans, taxes, policies and coupons: what things cost. Each is put whole, and putting the same again changes nothing."""

from typing import Any, NamedTuple

import msgspec
from litestar.handlers import HTTPRouteHandler

from onebook.api.answer import Answer, answer
from onebook.api.operation import Call, operation
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
from onebook.checkout.tariffs import Offer
from onebook.ledger.failures import UnknownName
from onebook.model.offers.coupon import CouponTerms
from onebook.model.offers.plan import RatePlan
from onebook.model.offers.policy import Policy
from onebook.model.offers.tax import Tax
from onebook.model.refusals import Refusal

TAG = "Offers"
COUPONS = "/v1/venues/{venue}/coupons"
COUPON = f"{COUPONS}/{{code}}"


class Family(NamedTuple):
    """A kind of offer, and how it is asked for and told."""

    shape: type[Offer]
    answer: type[msgspec.Struct]
    listed: type[msgspec.Struct]
    plural: str
    """In paths and names; the parameter of a path is the kind's own word."""
    parameter: str
    title: str


RATES = Family(RatePlan, RatePlanAnswer, RatePlanList, "rates", "plan", "rate plan")
TAXES = Family(Tax, TaxAnswer, TaxList, "taxes", "tax", "tax or fee")
POLICIES = Family(Policy, PolicyAnswer, PolicyList, "policies", "policy", "cancellation policy")


def routes_of(family: Family) -> tuple[HTTPRouteHandler, ...]:
    """The four routes of a kind of offer."""
    shape, told = family.shape, family.answer
    all_path = f"/v1/venues/{{venue}}/{family.plural}"
    one_path = f"{all_path}/{{{family.parameter}}}"

    async def put(call: Call[Any, None]) -> Answer:
        """201 where it is new, 200 where it replaces."""
        venue, code = existing_code(call.path, "venue"), new_code(call.path, family.parameter)
        created = await call.engine.offers.put(venue, code, call.body)
        return answer(201 if created else 200, coded(told, call.body, code=code))

    async def get(call: Call[None, None]) -> Answer:
        """As it was put."""
        venue, code = existing_code(call.path, "venue"), existing_code(call.path, family.parameter)
        found = await call.engine.offers.one(shape, venue, code)
        if found is None:
            raise UnknownName(family.title, code)
        return answer(200, coded(told, found, code=code))

    async def list_all(call: Call[None, None]) -> Answer:
        """All of them, by code."""
        found = await call.engine.offers.all(shape, existing_code(call.path, "venue"))
        return answer(200, {family.plural: [coded(told, offer, code=code) for code, offer in found.items()]})

    async def delete(call: Call[None, None]) -> Answer:
        """What was quoted by it stands."""
        venue, code = existing_code(call.path, "venue"), existing_code(call.path, family.parameter)
        deleted = await call.engine.offers.delete(shape, venue, code)
        if isinstance(deleted, Refusal):
            raise refusal_problem(deleted)
        if not deleted:
            raise UnknownName(family.title, code)
        return Answer(204, b"")

    for function, name in (
        (put, f"put_{family.parameter}"),
        (get, f"get_{family.parameter}"),
        (list_all, f"list_{family.plural}"),
        (delete, f"delete_{family.parameter}"),
    ):
        function.__name__ = name
    writes, reads = {"tag": TAG, "scope": Scope.INVENTORY_WRITE}, {"tag": TAG, "scope": Scope.INVENTORY_READ}
    return (
        operation(
            method="PUT",
            path=one_path,
            summary=f"Define a {family.title}",
            body=shape,
            answers={201: told, 200: told},
            problems=(404,),
            **writes,
        )(put),
        operation(
            method="GET", path=one_path, summary=f"One {family.title}", answers={200: told}, problems=(404,), **reads
        )(get),
        operation(
            method="GET",
            path=all_path,
            summary=f"Every {family.title} of a venue",
            answers={200: family.listed},
            problems=(404,),
            **reads,
        )(list_all),
        operation(
            method="DELETE",
            path=one_path,
            summary=f"Have a {family.title} no more",
            answers={204: None},
            problems=(404, 409),
            **writes,
        )(delete),
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
    deleted = await call.engine.offers.coupons.delete(venue, code)
    if isinstance(deleted, Refusal):
        raise refusal_problem(deleted)
    if not deleted:
        raise UnknownName("coupon", code)
    return Answer(204, b"")


ROUTES: tuple[HTTPRouteHandler, ...] = (
    *routes_of(RATES),
    *routes_of(TAXES),
    *routes_of(POLICIES),
    put_coupon,
    get_coupon,
    list_coupons,
    delete_coupon,
)
