"""Stripe, by its HTTP API: a payment is a PaymentIntent with manual capture.

Who calls me: the checkout, through breaker.py. What I own: a pool of connections. What survives a crash: nothing is kept here,
Stripe has it all. What bounds me: `timeout_seconds` a request; how many there are at once is the breaker's business.

Setting money aside takes two requests. The first makes an intent, under the idempotency key `KEY:create`; it moves nothing. The
second confirms it with the payer's token, under `KEY:confirm`. So there is something to cancel even when nobody knows whether the
second has arrived: voiding repeats the first, which finds the intent or makes it, and cancels it, and Stripe refuses to confirm
what is cancelled, however late that comes.

Stripe keeps the first answer to an idempotency key, errors too, for at least a day. From that follows:

- An answer that is marked as repeated is old. The intent itself is read then.
- Capturing and cancelling go without a key: an intent is captured or cancelled once anyhow, and a kept error would last a day.
- A payment whose reference is not known is found by repeating the first request. Its list by metadata would not do: it lags by up
  to a minute, or more. Once the key is forgotten, that makes a new intent; so when it was new, the list is looked at for an older
  one. For the same reason `authorize` must not be repeated after a day without `find` before it.
- A refund is looked for among the refunds of its payment first, which Stripe lists without a lag.
"""

import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TypeVar

import aiohttp
import msgspec
import structlog

from onebook.checkout.gateways.protocol import (
    GatewayAway,
    GatewayRefused,
    Notification,
    Order,
    OutcomeUnknown,
    Payment,
    PaymentState,
    Refund,
)
from onebook.checkout.gateways.stripe_wire import (
    KEY,
    REFUND_KEY,
    FailureBody,
    Intent,
    StripeRefund,
    notification_of,
    payment_of,
    refund_of,
    stripe_amount,
)

VERSION = "2025-09-30.clover"
PAGE = 100
MAX_PAGES = 10_000
_BUSY = frozenset({409, 429})
_LOCKED_OUT = frozenset({401, 403})
_LATEST_CHARGE = ("expand[]", "latest_charge")

Form = tuple[tuple[str, str], ...]
T = TypeVar("T")

log = structlog.get_logger()


class OrderChanged(Exception):
    """An idempotency key was used for two different requests: an order has changed under its key, which must never be."""


class _Page(msgspec.Struct, frozen=True):
    data: list[msgspec.Raw]
    has_more: bool = False


class _Identified(msgspec.Struct, frozen=True):
    id: str


class StripeGateway:
    """A Stripe account. `return_url` is where Stripe sends payers back to after 3-D Secure."""

    name = "stripe"

    def __init__(
        self,
        url: str,
        key: str,
        webhook_secret: str,
        *,
        timeout_seconds: float,
        return_url: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._url = url.rstrip("/")
        self._webhook_secret = webhook_secret
        self._return_url = return_url
        self._clock = clock
        self._session = aiohttp.ClientSession(
            headers={"authorization": f"Bearer {key}", "stripe-version": VERSION},
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=timeout_seconds),
        )

    async def authorize(self, order: Order) -> Payment:
        """Make the intent, and confirm it. A declined card is an answer, not an error."""
        made, _ = await self._make(order)
        form: Form = (("payment_method", order.token),)
        if self._return_url:
            form += (("return_url", self._return_url),)
        intent, refusal = await self._move(made.id, "confirm", form, f"{order.key}:confirm")
        payment = payment_of(intent)
        if payment is None:
            raise refusal or OutcomeUnknown("Stripe has not confirmed the payment, and not said why")
        return payment

    async def find(self, order: Order, reference: str | None) -> Payment | None:
        """The payment; an intent that was never confirmed is none."""
        identities = (reference,) if reference else await self._identities(order)
        for identity in identities:
            payment = payment_of(await self._intent(identity))
            if payment is not None:
                return payment
        return None

    async def capture(self, order: Order, reference: str, amount_minor: int) -> Payment:
        """Take the money; what was set aside beyond it is set free."""
        form = (("amount_to_capture", str(stripe_amount(amount_minor, order.currency))),)
        intent, refusal = await self._move(reference, "capture", form)
        payment = payment_of(intent)
        if payment is None or (refusal is not None and payment.state is not PaymentState.CAPTURED):
            raise refusal or OutcomeUnknown("Stripe has not captured the payment, and not said why")
        return payment

    async def void(self, order: Order, reference: str | None) -> Payment:
        """Cancel every intent that the order may have; the oldest is the payment. What Stripe will not make cannot be paid."""
        identities = (reference,) if reference else await self._identities(order)
        payment = Payment(order.key, "", PaymentState.VOIDED, order.amount_minor, order.currency)
        for identity in reversed(identities):
            payment = await self._cancel(identity)
        return payment

    async def refund(self, order: Order, reference: str, refund_key: str, amount_minor: int) -> Refund:
        """Give money back, once per key, also when the key is older than a day."""
        query = (("payment_intent", reference),)
        async for found in self._listed("/v1/refunds", query, StripeRefund):
            if (found.metadata or {}).get(REFUND_KEY) == refund_key:
                return refund_of(found, refund_key, order.currency)
        form = (
            *query,
            ("amount", str(stripe_amount(amount_minor, order.currency))),
            (f"metadata[{KEY}]", order.key),
            (f"metadata[{REFUND_KEY}]", refund_key),
        )
        made, _ = await self._ask("POST", "/v1/refunds", StripeRefund, form, refund_key)
        return refund_of(made, refund_key, order.currency)

    async def payments(self, since_epoch_seconds: float) -> AsyncIterator[Payment]:
        """Those of ours, the latest first, page by page."""
        query = (("created[gte]", str(int(since_epoch_seconds))), ("expand[]", "data.latest_charge"))
        async for intent in self._listed("/v1/payment_intents", query, Intent):
            if payment := payment_of(intent):
                yield payment

    def read_notification(self, headers: Mapping[str, str], body: bytes) -> Notification:
        """An event that Stripe has signed."""
        return notification_of(headers.get("stripe-signature"), body, self._webhook_secret, self._clock())

    async def close(self) -> None:
        """End the connections."""
        await self._session.close()

    async def _make(self, order: Order) -> tuple[Intent, bool]:
        """The order's intent, made unless it is there, and whether it was. The token has no part in it: voiding needs none."""
        form: Form = (
            ("amount", str(stripe_amount(order.amount_minor, order.currency))),
            ("currency", order.currency.lower()),
            ("capture_method", "manual"),
            ("payment_method_types[]", "card"),
            (f"metadata[{KEY}]", order.key),
            ("metadata[booking]", order.booking),
        )
        if order.description:
            form += (("description", order.description),)
        return await self._ask("POST", "/v1/payment_intents", Intent, form, f"{order.key}:create")

    async def _identities(self, order: Order) -> tuple[str, ...]:
        """The order's intents, the oldest first: one, unless Stripe has forgotten its key, or will not make it at all."""
        made = None
        try:
            made, is_repeated = await self._make(order)
        except GatewayRefused as refusal:
            log.info("stripe_makes_no_intent", key=order.key, code=refusal.code)
        if made is not None and is_repeated:
            return (made.id,)
        query = (("query", f"metadata['{KEY}']:'{order.key}'"),)
        page, _ = await self._ask("GET", "/v1/payment_intents/search", _Page, query)
        listed = [_read(raw, _Identified).id for raw in reversed(page.data)]
        return tuple(listed) if made is None else (*(each for each in listed if each != made.id), made.id)

    async def _cancel(self, identity: str) -> Payment:
        """Raises no refusal: as long as it is not cancelled, it has to be tried again."""
        intent, refusal = await self._move(identity, "cancel")
        payment = payment_of(intent)
        if payment is not None and payment.state in {PaymentState.VOIDED, PaymentState.CAPTURED}:
            return payment
        if payment is not None and payment.state is PaymentState.PROCESSING:
            raise GatewayAway("Stripe is still at the payment, and cannot cancel it yet")
        raise OutcomeUnknown(f"Stripe has not cancelled the payment: {refusal or 'it does not say why'}")

    async def _move(
        self, identity: str, step: str, form: Form = (), key: str | None = None
    ) -> tuple[Intent, GatewayRefused | None]:
        """One step of an intent. Where Stripe refuses it, or answers from memory, the intent itself tells what has become."""
        refusal = None
        try:
            path = f"/v1/payment_intents/{identity}/{step}"
            intent, is_repeated = await self._ask("POST", path, Intent, (*form, _LATEST_CHARGE), key)
            if not is_repeated:
                return intent, None
        except GatewayRefused as error:
            refusal = error
        return await self._intent(identity), refusal

    async def _intent(self, identity: str) -> Intent:
        intent, _ = await self._ask("GET", f"/v1/payment_intents/{identity}", Intent, (_LATEST_CHARGE,))
        return intent

    async def _listed(self, path: str, query: Form, shape: type[T]) -> AsyncIterator[T]:
        """A list, page by page, each from behind the last of the one before it."""
        place: Form = ()
        for _ in range(MAX_PAGES):
            page, _ = await self._ask("GET", path, _Page, (*query, ("limit", str(PAGE)), *place))
            for raw in page.data:
                yield _read(raw, shape)
            if not page.has_more or not page.data:
                return
            place = (("starting_after", _read(page.data[-1], _Identified).id),)
        raise OutcomeUnknown(f"Stripe's list has more than {MAX_PAGES * PAGE} entries; ask for a shorter time")

    async def _ask(
        self, method: str, path: str, shape: type[T], form: Form = (), key: str | None = None
    ) -> tuple[T, bool]:
        """One request; whether its answer is one that Stripe has repeated. Raises the protocol's errors."""
        try:
            async with self._session.request(
                method,
                self._url + path,
                params=form if method == "GET" else None,
                data=None if method == "GET" else aiohttp.FormData(form),
                headers={} if key is None else {"idempotency-key": key},
                allow_redirects=False,
            ) as response:
                body = await response.read()
        except aiohttp.ClientConnectorError as error:
            raise GatewayAway("Stripe cannot be reached") from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise OutcomeUnknown(f"Stripe has not answered {method} {path}: {type(error).__name__}") from error
        if response.status != 200:
            raise _failure(response.status, response.headers, body)
        return _read(body, shape), response.headers.get("idempotent-replayed") == "true"


def _read(body: bytes | msgspec.Raw, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        log.error("stripe_not_understood", reason=str(error))
        raise OutcomeUnknown("Stripe's answer is not what its documentation says") from error


def _failure(status: int, headers: Mapping[str, str], body: bytes) -> Exception:
    """What an answer other than 200 means (docs.stripe.com/error-low-level). Of 5xx Stripe says: treat them as indeterminate."""
    if status in _BUSY:
        return GatewayAway("Stripe is busy with this, or with too much", _retry_after_seconds(headers))
    if status in _LOCKED_OUT:
        log.error("stripe_key_refused", status=status)
        return GatewayAway("Stripe does not take our key; see payments.stripe_key", 30.0)
    if not 400 <= status < 500:
        return OutcomeUnknown(f"Stripe answered {status}")
    try:
        error = msgspec.json.decode(body, type=FailureBody).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return OutcomeUnknown(f"Stripe answered {status}, and not in its own words")
    if error.type == "idempotency_error":
        log.error("stripe_key_reused", reason=error.message)
        return OrderChanged(error.message)
    return GatewayRefused(error.decline_code or error.code or error.type or "refused", error.message)


def _retry_after_seconds(headers: Mapping[str, str]) -> float:
    value = headers.get("retry-after", "")
    return float(value) if value.isascii() and value.isdecimal() and len(value) <= 4 else 1.0
