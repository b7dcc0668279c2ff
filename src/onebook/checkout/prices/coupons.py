"""Coupons as they were put, and how often each was used. They are taken and given back with a checkout's rows, not here.

Who calls me: the routes of coupons, and Quotes, which only looks whether one is left. What I own: the terms in payment.coupon.
A change is no entry of the log: it would tell everybody the code. What bounds me: the pages of lists.
"""

from collections.abc import Collection
from typing import NamedTuple

import asyncpg
import msgspec

from onebook.checkout.prices.tariffs import SQL
from onebook.ledger.catalog import Catalog
from onebook.ledger.failures import Unprocessable
from onebook.model.offers.coupon import CouponTerms, flaw_of_coupon
from onebook.model.refusals import Refusal


class CouponUsed(Refusal, frozen=True):
    """It was taken more often than the new terms allow; or, when it is to be deleted, at all."""

    used: int
    max_uses: int | None

    code = "coupon-used"
    title = "The coupon has been used"


class KeptCoupon(msgspec.Struct, frozen=True):
    """A coupon as it is now."""

    venue: str
    code: str
    terms: CouponTerms
    used: int

    @property
    def is_left(self) -> bool:
        """Whether it can be taken once more."""
        return self.terms.max_uses is None or self.used < self.terms.max_uses


class PutCoupon(NamedTuple):
    """A coupon that was put."""

    coupon: KeptCoupon
    is_new: bool


class Coupons:
    """Keeps coupons. Raises UnknownName for a venue that does not exist."""

    def __init__(self, pool: asyncpg.Pool, catalog: Catalog) -> None:
        self._pool = pool
        self._catalog = catalog

    async def put(self, venue: str, code: str, terms: CouponTerms) -> PutCoupon | CouponUsed:
        """The coupon, and whether it is new; how often it was used stays. Raises Unprocessable for terms that mean nothing."""
        found = await self._catalog.venue(venue)
        if terms.currency != found.currency:
            raise Unprocessable("wrong-currency", f"{venue} sells in {found.currency}", "/currency")
        if flaw := flaw_of_coupon(terms):
            raise Unprocessable(flaw.code, flaw.detail, flaw.pointer)
        document = msgspec.json.encode(terms).decode()
        row = await self._pool.fetchrow(SQL["put_coupon"], venue, code, document, terms.max_uses)
        if row is None:
            return CouponUsed(used=await self._used(venue, code), max_uses=terms.max_uses)
        return PutCoupon(KeptCoupon(venue, code, terms, row["used"]), is_new=bool(row["created"]))

    async def one(self, venue: str, code: str) -> KeptCoupon | None:
        """A coupon as it is now; None if there is none."""
        await self._catalog.venue(venue)
        return next(iter(await self.find([(venue, code)])), None)

    async def page(self, venue: str, after: str, limit: int) -> list[KeptCoupon]:
        """Coupons of a venue by code, those after a code."""
        await self._catalog.venue(venue)
        return [_kept(row) for row in await self._pool.fetch(SQL["coupons"], venue, after, limit)]

    async def find(self, names: Collection[tuple[str, str]]) -> list[KeptCoupon]:
        """Those of the (venue, code) pairs that exist."""
        venues, codes = [venue for venue, _ in names], [code for _, code in names]
        return [_kept(row) for row in await self._pool.fetch(SQL["find_coupons"], venues, codes)]

    async def delete(self, venue: str, code: str) -> bool | CouponUsed:
        """Whether there was one. One that was ever taken stays, for the books; let its time end instead."""
        await self._catalog.venue(venue)
        try:
            return await self._pool.fetchrow(SQL["delete_coupon"], venue, code) is not None
        except asyncpg.ForeignKeyViolationError:
            return CouponUsed(used=await self._used(venue, code), max_uses=None)

    async def _used(self, venue: str, code: str) -> int:
        kept = await self.find([(venue, code)])
        return kept[0].used if kept else 0


def _kept(row: asyncpg.Record) -> KeptCoupon:
    return KeptCoupon(row["venue"], row["code"], msgspec.json.decode(row["terms"], type=CouponTerms), row["used"])
