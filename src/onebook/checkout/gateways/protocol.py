"""What the checkout asks of a payment gateway. Stripe and the simulator both stand behind it (see the conformance suite).

Every call may be repeated: it carries our key, and a gateway does one thing once per key. Three kinds of failure are told apart,
since each means something else for the money:

- `GatewayRefused`: the gateway has answered that it will not. Final; asking again brings the same.
- `GatewayAway`: the request has certainly not been carried out (nobody listens, too many requests, the breaker is open).
- `OutcomeUnknown`: it may or may not have been carried out. Ask with `find`, never guess.
"""

from collections.abc import AsyncIterator, Mapping
from enum import StrEnum
from typing import Protocol

import msgspec


class PaymentState(StrEnum):
    """What has become of a payment at the gateway."""

    PROCESSING = "processing"
    """The gateway itself does not know yet: ask again."""
    CHALLENGED = "challenged"
    """The payer has to do something at `challenge_url` (3-D Secure)."""
    AUTHORIZED = "authorized"
    CAPTURED = "captured"
    DECLINED = "declined"
    VOIDED = "voided"
    """Ended before capture; nothing was or will be taken."""


class Order(msgspec.Struct, frozen=True):
    """What is to be paid. `key` is ours, one per checkout, and names the payment at the gateway as well."""

    key: str
    amount_minor: int
    currency: str
    token: str
    """The payment method's token, made by the gateway's own form in the payer's browser. Never a card number."""
    booking: str
    description: str = ""


class Payment(msgspec.Struct, frozen=True):
    """A payment as the gateway tells it. Amounts in minor units of `currency` (upper-case ISO 4217)."""

    key: str
    reference: str
    """The gateway's own id."""
    state: PaymentState
    amount_minor: int
    """What was authorized, which the checkout compares with what it asked for."""
    currency: str
    captured_minor: int = 0
    refunded_minor: int = 0
    code: str | None = None
    """Why it was declined, in the gateway's words: `insufficient_funds`."""
    challenge_url: str | None = None


class RefundState(StrEnum):
    """What has become of a refund."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class Refund(msgspec.Struct, frozen=True):
    """Money given back. `key` is ours."""

    key: str
    reference: str
    state: RefundState
    amount_minor: int


class Notification(msgspec.Struct, frozen=True):
    """The gateway says that something has happened to a payment. A hint only: what happened is asked with `find`."""

    id: str
    """Its own id, by which a repeated one is known."""
    key: str | None
    """Our key of the payment; None where it concerns none of ours."""


class GatewayRefused(Exception):
    """The gateway will not do this; `code` is its reason."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(detail or code)
        self.code = code


class GatewayAway(Exception):
    """The request was certainly not carried out; `retry_after_seconds` says when to try again."""

    def __init__(self, detail: str, retry_after_seconds: float = 1.0) -> None:
        super().__init__(detail)
        self.retry_after_seconds = retry_after_seconds


class OutcomeUnknown(Exception):
    """The request may have been carried out."""


class BadNotification(Exception):
    """A notification that the gateway has not signed, or not lately."""


class Gateway(Protocol):
    """A payment gateway. All methods raise GatewayRefused, GatewayAway and OutcomeUnknown as explained above."""

    name: str

    async def authorize(self, order: Order) -> Payment:
        """Set the money aside without taking it. Repeating it finds the same payment; a declined one is no exception."""

    async def find(self, order: Order, reference: str | None) -> Payment | None:
        """The payment of an order as it is now; None when the gateway has never heard of it."""

    async def capture(self, order: Order, reference: str, amount_minor: int) -> Payment:
        """Take the money that was set aside."""

    async def void(self, order: Order, reference: str | None) -> Payment:
        """Set the money free, and see to it that no `authorize` of this order still under way can take effect afterwards.

        Returns the payment VOIDED or DECLINED; one that is captured already is returned CAPTURED and left as it is.
        """

    async def refund(self, order: Order, reference: str, refund_key: str, amount_minor: int) -> Refund:
        """Give back money that was taken, once per `refund_key`. A failed refund may be tried again under another key."""

    def payments(self, since_epoch_seconds: float) -> AsyncIterator[Payment]:
        """The gateway's own list of payments made since, for reconciliation."""

    def read_notification(self, headers: Mapping[str, str], body: bytes) -> Notification:
        """A notification whose signature is good. Header names are lower-case. Raises BadNotification."""

    async def close(self) -> None:
        """End the connections."""
