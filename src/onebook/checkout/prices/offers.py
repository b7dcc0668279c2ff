"""What things cost, as it was put: rate plans, taxes and policies of venues. Each is put whole; the same again changes nothing.

Who calls me: the routes of offers; who prices asks `tariffs` (see tariffs.py), who looks for coupons `coupons`. What I own: the
tables of 0006_offers.sql. Changes are rare and go one at a time, each with its entry of the log in one transaction. What bounds
me: MAX_OFFERS of a kind in a venue.
"""

from typing import TypeVar

import asyncpg
import msgspec

from onebook.checkout.prices.coupons import Coupons
from onebook.checkout.prices.tariffs import KINDS, SQL, Offer, Tariffs
from onebook.ledger.catalog import SQL as LEDGER_SQL
from onebook.ledger.catalog import Catalog
from onebook.ledger.database import Connection
from onebook.ledger.failures import Unprocessable
from onebook.model.offers.plan import RatePlan, flaw_of_plan
from onebook.model.offers.policy import Policy
from onebook.model.offers.tax import AmountRate, Tax
from onebook.model.refusals import InUse
from onebook.model.resource import Venue

MAX_OFFERS = 500
CONNECTION_SECONDS = 2

S = TypeVar("S", bound=Offer)

_encode = msgspec.json.Encoder().encode


class Offers:
    """Keeps rate plans, taxes and policies. Raises UnknownName for a venue that does not exist."""

    def __init__(
        self,
        changes: asyncpg.Pool,
        reader: asyncpg.Pool,
        payments: asyncpg.Pool,
        catalog: Catalog,
        *,
        fresh_seconds: float = 1.0,
    ) -> None:
        self._changes = changes
        self._reader = reader
        self._catalog = catalog
        self.tariffs = Tariffs(reader, fresh_seconds=fresh_seconds)
        self.coupons = Coupons(payments, catalog)

    async def put(self, venue: str, code: str, offer: Offer) -> bool:
        """Whether it is new. Raises Unprocessable for what means nothing or names what is not there."""
        found = await self._catalog.venue(venue)
        await self._check(found, offer)
        async with self._changes.acquire(timeout=CONNECTION_SECONDS) as connection, connection.transaction():
            await connection.execute(SQL["lock_offers"])
            if isinstance(offer, RatePlan) and offer.policy is not None:
                await self._check_policy(connection, venue, offer.policy)
            kind = KINDS[type(offer)]
            row = await connection.fetchrow(SQL[f"put_{kind}"], found.id, code, _encode(offer).decode())
            if row is not None:
                await self._changed(connection, found, kind, code)
            if row is not None and row["created"]:
                await self._check_number(connection, found, kind)
        self.tariffs.look_again()
        return row is not None and bool(row["created"])

    async def one(self, shape: type[S], venue: str, code: str) -> S | None:
        """An offer as it is now; None if there is none."""
        found = await self._catalog.venue(venue)
        row = await self._reader.fetchrow(SQL["offers"], [found.code], KINDS[shape], code)
        return None if row is None else msgspec.json.decode(row["document"], type=shape)

    async def all(self, shape: type[S], venue: str) -> dict[str, S]:
        """All offers of a kind, by their codes."""
        found = await self._catalog.venue(venue)
        rows = await self._reader.fetch(SQL["offers"], [found.code], KINDS[shape], None)
        return {row["code"]: msgspec.json.decode(row["document"], type=shape) for row in rows}

    async def delete(self, shape: type[Offer], venue: str, code: str) -> bool | InUse:
        """Whether there was one. Quotes that were made by it stand. A policy that a rate plan names stays."""
        found = await self._catalog.venue(venue)
        kind = KINDS[shape]
        async with self._changes.acquire(timeout=CONNECTION_SECONDS) as connection, connection.transaction():
            await connection.execute(SQL["lock_offers"])
            if shape is Policy and (plan := await connection.fetchval(SQL["plan_with_policy"], found.id, code)):
                return InUse(what=f"policy {code}", field=f"policy of rate plan {plan}")
            row = await connection.fetchrow(SQL[f"delete_{kind}"], found.id, code)
            if row is not None:
                await self._changed(connection, found, kind, code)
        self.tariffs.look_again()
        return row is not None

    async def _changed(self, connection: Connection, venue: Venue, kind: str, code: str) -> None:
        await connection.execute(SQL["raise_version"], venue.id)
        facts = {"venue": venue.code, "offers": [{"kind": kind, "code": code}], "resources": []}
        subject = f"offers/{venue.code}/{kind}/{code}"
        await connection.execute(LEDGER_SQL["append"], "offer.changed", subject, [venue.code], _encode(facts).decode())

    async def _check(self, venue: Venue, offer: Offer) -> None:
        if isinstance(offer, RatePlan):
            check_currency(offer.currency, venue, "/currency")
            if flaw := flaw_of_plan(offer):
                raise Unprocessable(flaw.code, flaw.detail, flaw.pointer)
            await self._check_resources(venue, offer)
        elif isinstance(offer, Tax) and isinstance(offer.rate, AmountRate):
            check_currency(offer.rate.currency, venue, "/rate/currency")

    async def _check_resources(self, venue: Venue, plan: RatePlan) -> None:
        keys = [f"{venue.code}/{code}" for code in plan.resources]
        await self._catalog.read_resources(keys)
        for index, key in enumerate(keys):
            try:
                self._catalog.resource(key)
            except KeyError:
                raise Unprocessable(
                    "unknown-resource", f"there is no resource {key!r}", f"/resources/{index}"
                ) from None

    async def _check_policy(self, connection: Connection, venue: str, code: str) -> None:
        if await connection.fetchrow(SQL["offers"], [venue], KINDS[Policy], code) is None:
            raise Unprocessable("unknown-policy", f"there is no policy {code!r} in {venue}", "/policy")

    async def _check_number(self, connection: Connection, venue: Venue, kind: str) -> None:
        if await connection.fetchval(SQL["number_of_offers"], venue.id, kind) > MAX_OFFERS:
            raise Unprocessable("too-many", f"a venue has at most {MAX_OFFERS} of each kind of offer", "")


def check_currency(currency: str, venue: Venue, pointer: str) -> None:
    """Raises Unprocessable for another currency than the venue's."""
    if currency != venue.currency:
        raise Unprocessable("wrong-currency", f"{venue.code} sells in {venue.currency}", pointer)
