"""Makes quotes, signs them, and knows its own again.

Who calls me: the route of quotes; checkouts, settlements. What I own: nothing; a quote lives in its token, and in the checkout
that was begun with it. What bounds me: MAX_TOKEN_BYTES, and the bounds of a basket (model/commands.py). A coupon is looked at
here, and taken only when a checkout begins.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from onebook.checkout.failures import CheckoutRefused, SpentCoupon
from onebook.checkout.prices.offers import Offers
from onebook.checkout.prices.seal import MAX_TOKEN_BYTES, Seal, TooLong
from onebook.ledger.catalog import Catalog
from onebook.ledger.failures import Unprocessable
from onebook.ledger.identity import new_id
from onebook.ledger.resolve import resolve, resolve_known
from onebook.model.booking import Booking, BookingId, Item
from onebook.model.commands import Line, Wanted
from onebook.model.offers.priced import Asked, CouponInvalid, NotPriced, Priced
from onebook.model.offers.pricing import price
from onebook.model.offers.quote import Guests, Quote
from onebook.model.offers.tariff import Coupon


class Wish(NamedTuple):
    """An item as a client wants it priced. Without guests the included ones come, without a plan the closest one is taken."""

    wanted: Wanted
    guests: Guests | None = None
    rate_plan: str | None = None


class Quotes:
    """Prices baskets and bookings.

    Raised by all that makes a quote: UnknownName and Unprocessable for what means nothing; CheckoutRefused for what has no price.
    """

    def __init__(self, offers: Offers, catalog: Catalog, seal: Seal, *, quote_seconds: float) -> None:
        self._tariffs = offers.tariffs
        self._coupons = offers.coupons
        self._catalog = catalog
        self._seal = seal
        self._lasts = timedelta(seconds=quote_seconds)

    async def of_items(
        self, wishes: Sequence[Wish], now: datetime, *, coupons: Sequence[str] = (), customer: str | None = None
    ) -> Quote:
        """A quote for a basket. A coupon is named "CODE" or "venue/CODE"."""
        asked = await self._asked(wishes)
        return self._quote(await self._priced(asked, coupons, now), now, customer=customer)

    async def instead_of(self, former: Quote, wanted: Sequence[Wanted], now: datetime) -> Quote:
        """A quote for other items than those that were paid for: for the same guests, and with the coupons that were taken."""
        known = {item.resource: item for item in former.items}
        wishes = [
            Wish(item, known[item.resource].guests, known[item.resource].rate_plan)
            if item.resource in known
            else Wish(item)
            for item in wanted
        ]
        priced = await self._priced(await self._asked(wishes), former.coupons, now, are_taken=True)
        return self._quote(priced, now, customer=former.customer)

    async def of_booking(
        self, booking: Booking, now: datetime, *, coupons: Sequence[str] = (), customer: str | None = None
    ) -> Quote:
        """A quote for what a booking has, which holds as long as the hold lives. Without coupons it mostly awaits nothing."""
        asked = [Asked(line) for line in await self.lines([_wanted(item) for item in booking.lines])]
        priced = await self._priced(asked, coupons, now)
        return self._quote(priced, now, booking=booking.id, customer=customer or booking.customer)

    async def lines(self, wanted: Sequence[Wanted]) -> tuple[Line, ...]:
        """Items with their resources found, which have no price yet. Mostly awaits nothing."""
        known = resolve_known(wanted, self._catalog)
        return await resolve(wanted, self._catalog) if known is None else known

    def token(self, quote: Quote) -> str:
        """The quote as text that `read` takes back. Raises Unprocessable for one that is too large."""
        try:
            return self._seal.close(quote)
        except TooLong:
            detail = f"a quote has at most {MAX_TOKEN_BYTES} bytes when it is signed; ask for parts of the basket"
            raise Unprocessable("basket-too-large", detail, "/items") from None

    def read(self, token: str) -> Quote:
        """The quote of a token; whether it stands for a booking is another question (standing.py). Raises BadQuote."""
        return self._seal.read(token)

    async def _asked(self, wishes: Sequence[Wish]) -> list[Asked]:
        lines = await self.lines([wish.wanted for wish in wishes])
        return [Asked(line, wish.guests, wish.rate_plan) for line, wish in zip(lines, wishes, strict=True)]

    async def _priced(
        self, asked: Sequence[Asked], coupons: Sequence[str], now: datetime, *, are_taken: bool = False
    ) -> Priced:
        venues = list(dict.fromkeys(item.line.resource.venue.code for item in asked))
        if len({item.line.resource.venue.currency for item in asked}) > 1:
            raise Unprocessable("mixed-currencies", "one basket has one currency", "/items")
        tariffs = await self._tariffs.of(venues)
        found = await self._found(coupons, venues, are_taken=are_taken) if coupons else []
        priced = price(asked, tariffs, found, now)
        if isinstance(priced, NotPriced):
            raise CheckoutRefused(priced)
        return priced

    async def _found(self, coupons: Sequence[str], venues: Sequence[str], *, are_taken: bool) -> list[Coupon]:
        """The coupons, in their order. A name without a venue is that of the one venue of the basket that has it."""
        names = [
            [(venue, code)] if venue else [(each, code) for each in venues] for venue, code in map(_parted, coupons)
        ]
        kept = {(k.venue, k.code): k for k in await self._coupons.find({name for these in names for name in these})}
        found: list[Coupon] = []
        for index, (asked_for, candidates) in enumerate(zip(coupons, names, strict=True)):
            matching = [kept[name] for name in candidates if name in kept]
            if not matching:
                raise CheckoutRefused(CouponInvalid(coupon=asked_for))
            if len(matching) > 1:
                detail = "several venues of the basket have it: name it as venue/CODE"
                raise Unprocessable("ambiguous-coupon", detail, f"/coupons/{index}")
            if not (matching[0].is_left or are_taken):
                raise CheckoutRefused(SpentCoupon())
            found.append(Coupon(matching[0].venue, matching[0].code, matching[0].terms))
        return found

    def _quote(
        self, priced: Priced, now: datetime, *, booking: BookingId | None = None, customer: str | None = None
    ) -> Quote:
        return Quote(
            id=new_id(),
            made_at=now,
            valid_until=now + self._lasts,
            currency=priced.currency,
            items=priced.items,
            lines=priced.lines,
            policies=priced.policies,
            total_minor=priced.total_minor,
            due_now_minor=priced.due_now_minor,
            coupons=priced.coupons,
            booking=booking,
            customer=customer,
        )


def _wanted(item: Item) -> Wanted:
    if item.session is not None:
        return Wanted(item.resource, session=item.session, quantity=item.quantity)
    return Wanted(item.resource, starts=item.starts, ends=item.ends, quantity=item.quantity)


def _parted(coupon: str) -> tuple[str, str]:
    venue, _, code = coupon.rpartition("/")
    return venue, code
