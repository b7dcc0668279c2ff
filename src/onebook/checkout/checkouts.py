"""The public face of checkouts: paying for a booking, and asking what has become of it.

A request for a checkout waits for its end, but not for ever; the checkout goes on without it. Sent again it finds the same one.
Refusals are raised as CheckoutRefused; also raised are BadQuote, GatewayClosed and LedgerUnavailable, of which none has begun
anything that was not begun before.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from onebook.checkout.books.postings import dues_minor
from onebook.checkout.change import Change, beginning
from onebook.checkout.driver import Driver
from onebook.checkout.failures import (
    AlreadyPaid,
    CheckoutRefused,
    CheckoutUnderWay,
    CouponSpent,
    GatewayClosed,
    SpentCoupon,
    TokenNeeded,
    TooManyCheckouts,
)
from onebook.checkout.gateways.breaker import Guarded
from onebook.checkout.gateways.protocol import Notification
from onebook.checkout.openings import Opening
from onebook.checkout.prices.quotes import Quotes
from onebook.checkout.prices.standing import QuoteExpired, QuoteMismatch, is_anothers, stands
from onebook.checkout.record import FINAL, Checkout, Purpose, State
from onebook.checkout.store import Store
from onebook.ledger.failures import Overloaded, Unprocessable
from onebook.ledger.identity import new_id
from onebook.model.booking import Booking, BookingId, Status
from onebook.model.commands import Wanted
from onebook.model.items import keys_of
from onebook.model.offers.quote import Quote
from onebook.model.refusals import HoldExpired, KeyReused, Refusal, UnknownBooking, WrongState

MAX_CHECKOUTS = 100
"""Of one booking, failed ones too: all of them are read whenever somebody pays."""
LOOK_SECONDS = 0.1
"""When a request first looks for the end of its checkout once another round, or worker, has it; then less and less often."""


class Paying(msgspec.Struct, frozen=True):
    """How somebody wants to pay. Without a quote the price is today's; `pay` chooses between what is due now and all of it."""

    idempotency_key: str
    token: str | None = None
    quote: str | None = None
    pay: Literal["due", "all"] = "due"
    on_decline: Literal["release", "keep"] = "release"
    traceparent: str | None = None

    @property
    def request_hash(self) -> str:
        """What tells one payload from another under one key."""
        payload = msgspec.json.encode([self.token, self.quote, self.pay, self.on_decline])
        return hashlib.blake2b(payload, digest_size=16).hexdigest()


class Found(msgspec.Struct, frozen=True):
    """A checkout as it is now; `is_replayed` if this request has not begun it."""

    checkout: Checkout
    is_replayed: bool = False


class Amending(msgspec.Struct, frozen=True):
    """Other items for a booking that was paid: where it stands, what was paid for, and what it shall be instead."""

    opening: Opening
    former: Checkout
    quote: Quote

    @property
    def difference_minor(self) -> int:
        """How much more it costs; negative where it costs less."""
        return self.quote.total_minor - self.former.quote.total_minor


class Checkouts:
    """Begins checkouts and waits for them."""

    def __init__(
        self,
        store: Store,
        driver: Driver,
        quotes: Quotes,
        gateway: Guarded,
        *,
        answer_seconds: float,
        resume_seconds: float,
    ) -> None:
        self._store = store
        self._driver = driver
        self._quotes = quotes
        self._gateway = gateway
        self._answer_seconds = answer_seconds
        self._lease = timedelta(seconds=resume_seconds)

    async def pay(self, identity: BookingId, paying: Paying, *, only_channel: str | None) -> Found:
        """Pay for a hold, or for what a confirmed booking still owes."""
        opening = await self._opening(identity, only_channel)
        if (earlier := _begun_with(paying, opening)) is not None:
            return Found(await self._waited(earlier), is_replayed=True)
        self._refuse_closed()
        _refuse_unpayable(opening)
        checkout = await self._payment(opening, paying)
        return await self._begin(checkout, opening)

    async def quote_instead(
        self, identity: BookingId, wanted: Sequence[Wanted], token: str | None, *, only_channel: str | None
    ) -> Amending | None:
        """What other items cost, beside what was paid for: by a quote of theirs, or at today's prices.

        None where they are what was paid for: nothing changes, and nothing is priced anew, whatever prices have done since.
        """
        opening = await self._opening(identity, only_channel)
        former = paid_checkout(opening.earlier)
        if former is None or opening.booking.status is not Status.CONFIRMED:
            raise CheckoutRefused(WrongState(state=opening.booking.status))
        is_at_rest = all(earlier.state in FINAL for earlier in opening.earlier)
        if is_at_rest and keys_of(await self._quotes.lines(wanted)) == keys_of(former.quote.items):
            return None
        quote = await self._quotes.instead_of(former.quote, wanted, opening.now)
        if token is not None:
            quote = _standing(self._quotes.read(token), quote, opening.booking)
        if quote.currency != former.quote.currency:
            raise Unprocessable("mixed-currencies", f"the booking was paid for in {former.quote.currency}", "/items")
        return Amending(opening, former, quote)

    async def pay_difference(self, amending: Amending, wanted: Sequence[Wanted], paying: Paying) -> Found:
        """Give a booking that was paid for other items that cost more: the difference is charged, or nothing changes.

        The booking's revision is part of the key: the same request finds its checkout, until it has changed the booking.
        """
        opening, former, quote = amending.opening, amending.former, amending.quote
        key = f"amend {opening.booking.revision} {paying.idempotency_key}"
        paying = msgspec.structs.replace(paying, idempotency_key=key, token=paying.token or former.token)
        if (earlier := _begun_with(paying, opening)) is not None:
            return Found(await self._waited(earlier), is_replayed=True)
        self._refuse_closed()
        _refuse_unpayable(opening)
        _refuse_tokenless(paying.token, amending.difference_minor, quote.currency)
        row = _first_row(opening, paying, quote, amending.difference_minor, self._gateway.name, self._lease)
        checkout = msgspec.structs.replace(row, purpose=Purpose.AMENDMENT, amended=tuple(wanted), former=former.quote)
        return await self._begin(checkout, opening)

    async def of_booking(self, identity: BookingId, only_channel: str | None) -> tuple[Checkout, ...]:
        """The checkouts of a booking, the latest last. Raises CheckoutRefused for a booking that cannot be seen."""
        return (await self._opening(identity, only_channel)).earlier

    async def refuse_while_paying(self, identity: BookingId) -> None:
        """Raises CheckoutRefused while somebody is paying: then only the checkout moves the booking."""
        checkout = await self._store.under_way(identity)
        if checkout is not None:
            raise CheckoutRefused(CheckoutUnderWay(checkout))

    @property
    def gateway(self) -> Guarded:
        """Who charges, and signs the notifications."""
        return self._gateway

    async def notified(self, notification: Notification) -> None:
        """Have the checkout that a notification is about looked at, now. A repeated one does nothing."""
        await self._store.hear(notification, self._gateway.name)

    async def _opening(self, identity: BookingId, only_channel: str | None) -> Opening:
        opening = await self._store.opening(identity)
        if opening is None or only_channel not in {None, opening.booking.channel}:
            raise CheckoutRefused(UnknownBooking())
        return opening

    async def _payment(self, opening: Opening, paying: Paying) -> Checkout:
        """The first row of a checkout: what is paid for, and how much."""
        booking, now = opening.booking, opening.now
        former = paid_checkout(opening.earlier)
        if former is not None:
            owed_minor = dues_minor(await self._store.entries(booking.id))
            if owed_minor <= 0:
                raise CheckoutRefused(AlreadyPaid())
            _refuse_tokenless(paying.token or former.token, owed_minor, former.currency)
            row = _first_row(opening, paying, former.quote, owed_minor, self._gateway.name, self._lease)
            return msgspec.structs.replace(row, purpose=Purpose.BALANCE, token=paying.token or former.token)
        quote = await self._quote(booking, paying, now)
        amount_minor = quote.total_minor if paying.pay == "all" else quote.due_now_minor
        _refuse_tokenless(paying.token, amount_minor, quote.currency)
        return _first_row(opening, paying, quote, amount_minor, self._gateway.name, self._lease)

    async def _quote(self, booking: Booking, paying: Paying, now: datetime) -> Quote:
        if paying.quote is None:
            return await self._quotes.of_booking(booking, now)
        quote = self._quotes.read(paying.quote)
        if (refusal := stands(quote, booking, now)) is not None:
            raise CheckoutRefused(refusal)
        return quote

    async def _begin(self, checkout: Checkout, opening: Opening) -> Found:
        if self._driver.room <= 0:
            raise Overloaded("more checkouts are under way than are taken on")
        if not await self._written(beginning(checkout), opening):
            # Somebody was faster: the same request, or another one.
            later = await self._opening(checkout.booking, None)
            return Found(await self._waited(_same_or_refused(checkout, later)), is_replayed=True)
        return Found(await self._waited(checkout, self._driver.start(checkout)))

    async def _written(self, change: Change, opening: Opening) -> bool:
        quote = change.checkout.quote
        # Coupons are taken with what they made cheaper: a balance has them already.
        if not quote.coupons or change.checkout.purpose is not Purpose.BOOKING:
            return await self._store.write(change)
        if quote.customer is None and opening.booking.customer is not None:
            quote = msgspec.structs.replace(quote, customer=opening.booking.customer)
            change = msgspec.structs.replace(change, checkout=msgspec.structs.replace(change.checkout, quote=quote))
        try:
            return await self._store.begin_with_coupons(change)
        except CouponSpent:
            # Its last use may have gone to this very request, which was sent twice: then that one is found.
            later = await self._opening(change.checkout.booking, None)
            if not any(_is_same(earlier, change.checkout) for earlier in later.earlier):
                raise CheckoutRefused(SpentCoupon()) from None
            return False

    async def _waited(self, checkout: Checkout, driving: "asyncio.Task[Checkout] | None" = None) -> Checkout:
        """The checkout at its end, or where it is when the time for an answer is over, or when the payer is to act."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._answer_seconds
        if driving is not None:
            await asyncio.wait({driving}, timeout=self._answer_seconds)
            checkout = driving.result() if driving.done() else checkout
        look_seconds = LOOK_SECONDS
        while not _is_told(checkout) and (left_seconds := deadline - loop.time()) > 0:
            await asyncio.sleep(min(look_seconds, left_seconds))
            checkout = await self._store.read(checkout.id) or checkout
            look_seconds *= 2  # while a gateway hangs many wait here, and every look is a query
        return checkout

    def _refuse_closed(self) -> None:
        seconds = self._gateway.open_for_seconds
        if seconds > 0:
            raise GatewayClosed(max(1, round(seconds)))


def paid_checkout(checkouts: Sequence[Checkout]) -> Checkout | None:
    """The last one that was completed: what the booking costs, and with what it was paid."""
    return next((checkout for checkout in reversed(checkouts) if checkout.state is State.COMPLETED), None)


def _first_row(
    opening: Opening, paying: Paying, quote: Quote, amount_minor: int, gateway: str, lease: timedelta
) -> Checkout:
    booking = opening.booking
    return Checkout(
        id=new_id(),
        revision=1,
        booking=booking.id,
        purpose=Purpose.BOOKING,
        confirms=booking.status is Status.HELD,
        channel=booking.channel,
        venues=tuple(dict.fromkeys(item.resource.partition("/")[0] for item in booking.lines)),
        idempotency_key=paying.idempotency_key,
        request_hash=paying.request_hash,
        state=State.AUTHORIZING if amount_minor else State.COMMITTING,
        attempts=0,
        due_at=opening.now + lease,
        gateway=gateway,
        token=paying.token or "",
        amount_minor=amount_minor,
        currency=quote.currency,
        on_decline=paying.on_decline,
        quote=quote,
        begun_at=opening.now,
        traceparent=paying.traceparent,
    )


def _begun_with(paying: Paying, opening: Opening) -> Checkout | None:
    """The checkout that a key has begun already. Raises CheckoutRefused where it was another payload."""
    for earlier in opening.earlier:
        if earlier.booking == opening.booking.id and earlier.idempotency_key == paying.idempotency_key:
            if earlier.request_hash != paying.request_hash:
                raise CheckoutRefused(KeyReused())
            return earlier
    return None


def _refuse_unpayable(opening: Opening) -> None:
    refusal: Refusal | None = None
    booking = opening.booking
    live = next((earlier for earlier in opening.earlier if earlier.state not in FINAL), None)
    if live is not None:
        refusal = CheckoutUnderWay(live.id)
    elif len(opening.earlier) >= MAX_CHECKOUTS:
        refusal = TooManyCheckouts(MAX_CHECKOUTS)
    elif booking.status is Status.EXPIRED or (booking.status is Status.HELD and not booking.alive(opening.now)):
        refusal = HoldExpired()
    elif booking.status not in {Status.HELD, Status.CONFIRMED}:
        refusal = WrongState(state=booking.status)
    if refusal is not None:
        raise CheckoutRefused(refusal)


def _refuse_tokenless(token: str | None, amount_minor: int, currency: str) -> None:
    """Raises CheckoutRefused where something is to be paid and nobody has said with what: what cost nothing left no token."""
    if amount_minor > 0 and not token:
        raise CheckoutRefused(TokenNeeded(amount_minor, currency))


def _same_or_refused(checkout: Checkout, later: Opening) -> Checkout:
    for other in later.earlier:
        if _is_same(other, checkout):
            if other.request_hash != checkout.request_hash:
                raise CheckoutRefused(KeyReused())
            return other
    live = next((other for other in later.earlier if other.state not in FINAL), None)
    raise CheckoutRefused(CheckoutUnderWay("" if live is None else live.id))


def _is_same(one: Checkout, other: Checkout) -> bool:
    """Whether two rows were begun by one request, or one of them by another under its key."""
    return (one.booking, one.idempotency_key) == (other.booking, other.idempotency_key)


def _standing(given: Quote, todays: Quote, booking: Booking) -> Quote:
    """The quote that was given, if it is for the same items as today's. Raises CheckoutRefused."""
    if (refusal := is_anothers(given, booking)) is not None:
        raise CheckoutRefused(refusal)
    if not set(given.coupons) <= set(todays.coupons):
        # Coupons are taken when a booking is first paid for, and with an amendment no more.
        raise CheckoutRefused(QuoteMismatch("it has coupons that were not taken for this booking"))
    if keys_of(given.items) != keys_of(todays.items):
        raise CheckoutRefused(QuoteMismatch("it is for other items than those that are wanted"))
    if todays.made_at > given.valid_until:
        raise CheckoutRefused(QuoteExpired(given.valid_until))
    return given


def _is_told(checkout: Checkout) -> bool:
    """Whether there is nothing more to wait for: it has ended, or it is the payer's turn."""
    return checkout.state in FINAL or checkout.state is State.CHALLENGED
