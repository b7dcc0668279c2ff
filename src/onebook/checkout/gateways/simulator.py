"""The simulated gateway's client (see docs/simulator.md for its API).

Who calls me: the breaker around me. What I own: the connections to it. What bounds me: what bounds the connections.
"""

import base64
import hmac
from collections.abc import AsyncIterator, Mapping
from typing import TypeVar
from urllib.parse import quote

import msgspec
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from onebook.checkout.gateways.http import Connections, NotSent, Unanswered
from onebook.checkout.gateways.protocol import (
    BadNotification,
    GatewayAway,
    GatewayRefused,
    Notification,
    Order,
    OutcomeUnknown,
    Payment,
    PaymentState,
    Refund,
    RefundState,
)

PAGE = 500
UNKNOWN_PAYMENT = "unknown_payment"

Wire = TypeVar("Wire", bound=msgspec.Struct)


class _Payment(msgspec.Struct, frozen=True):
    """A payment as the simulator tells it."""

    key: str
    id: str
    state: PaymentState
    amount_minor: int
    currency: str
    captured_minor: int
    refunded_minor: int
    code: str | None
    challenge_url: str | None

    def told(self) -> Payment:
        return Payment(
            key=self.key,
            reference=self.id,
            state=self.state,
            amount_minor=self.amount_minor,
            currency=self.currency,
            captured_minor=self.captured_minor,
            refunded_minor=self.refunded_minor,
            code=self.code,
            challenge_url=self.challenge_url,
        )


class _Refund(msgspec.Struct, frozen=True):
    key: str
    id: str
    state: RefundState
    amount_minor: int


class _Page(msgspec.Struct, frozen=True):
    payments: list[_Payment]
    next: int | None


class _Problem(msgspec.Struct, frozen=True):
    code: str
    detail: str = ""


_encode = msgspec.json.Encoder().encode
_payment = msgspec.json.Decoder(_Payment)
_refund = msgspec.json.Decoder(_Refund)
_page = msgspec.json.Decoder(_Page)
_problem = msgspec.json.Decoder(_Problem)
_notification = msgspec.json.Decoder(Notification)


class SimulatorGateway:
    """The simulator, as a Gateway."""

    name = "simulator"

    def __init__(self, url: str, secret: str, *, timeout_seconds: float, connections: int) -> None:
        """`url` is http://HOST:PORT, `secret` its password; `connections` is how many calls may be under way at once."""
        self._connections = Connections(
            url, f"Bearer {secret}", connections=connections, timeout_seconds=timeout_seconds
        )
        signing_key = hmac.digest(secret.encode(), b"notifications", "sha256")  # the simulator derives it likewise
        self._webhook = Webhook(base64.b64encode(signing_key).decode())

    async def authorize(self, order: Order) -> Payment:
        """One payment per key of an order."""
        return (await self._call(_payment, "POST", "/payments", order)).told()

    async def find(self, order: Order, reference: str | None) -> Payment | None:
        """By our key, which names the payment there as well."""
        try:
            return (await self._call(_payment, "GET", _path(order))).told()
        except GatewayRefused as refusal:
            if refusal.code == UNKNOWN_PAYMENT:
                return None
            raise

    async def capture(self, order: Order, reference: str, amount_minor: int) -> Payment:
        """May be answered PROCESSING."""
        body = {"amount_minor": amount_minor}
        return (await self._call(_payment, "POST", f"{_path(order)}/capture", body)).told()

    async def void(self, order: Order, reference: str | None) -> Payment:
        """Closes the key there when it was never heard of; such a payment has no amount, and the currency XXX."""
        return (await self._call(_payment, "POST", f"{_path(order)}/void", {})).told()

    async def refund(self, order: Order, reference: str, refund_key: str, amount_minor: int) -> Refund:
        """May be answered FAILED; another key may then succeed."""
        body = {"key": refund_key, "amount_minor": amount_minor}
        refund = await self._call(_refund, "POST", f"{_path(order)}/refunds", body)
        return Refund(refund.key, refund.id, refund.state, refund.amount_minor)

    async def payments(self, since_epoch_seconds: float) -> AsyncIterator[Payment]:
        """Page by page, each asked for when the one before has been read."""
        after: int | None = 0
        while after is not None:
            query = f"/payments?since={since_epoch_seconds:.6f}&after={after}&limit={PAGE}"
            page = await self._call(_page, "GET", query)
            for payment in page.payments:
                yield payment.told()
            after = page.next

    def read_notification(self, headers: Mapping[str, str], body: bytes) -> Notification:
        """Signed by Standard Webhooks, within five minutes."""
        try:
            self._webhook.verify(body, dict(headers), json_parse=False)
            return _notification.decode(body)
        except (WebhookVerificationError, msgspec.DecodeError, ValueError) as error:
            # ValueError: the library lets out those of bad base64 and of bytes that are no text.
            raise BadNotification(str(error)) from error

    async def close(self) -> None:
        """End the connections."""
        self._connections.close()

    async def _call(self, answers: "msgspec.json.Decoder[Wire]", method: str, target: str, body: object = None) -> Wire:
        try:
            answer = await self._connections.request(method, target, None if body is None else _encode(body))
        except NotSent as error:
            raise GatewayAway(str(error)) from error
        except Unanswered as error:
            raise OutcomeUnknown(str(error)) from error
        try:
            if answer.status == 200:
                return answers.decode(answer.body)
            problem = _problem.decode(answer.body)
        except msgspec.DecodeError as error:
            raise OutcomeUnknown(f"{method} was answered {answer.status} with something unreadable") from error
        if answer.status >= 500:
            raise OutcomeUnknown(f"{answer.status} {problem.code}: {problem.detail}")
        raise GatewayRefused(problem.code, problem.detail)


def _path(order: Order) -> str:
    return f"/payments/{quote(order.key, safe='')}"
