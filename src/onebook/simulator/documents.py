"""What the simulator's API takes and tells, and what it writes down of a payment."""

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

Text = Annotated[str, Meta(min_length=1, max_length=255)]
Minor = Annotated[int, Meta(ge=1, le=2**53)]
Currency = Annotated[str, Meta(pattern="^[A-Z]{3}$")]
Token = Annotated[str, Meta(pattern="^tok_[A-Za-z0-9_-]{1,200}$")]

NO_CURRENCY = "XXX"
"""ISO 4217 for a payment without one: voided before it was heard of."""


class State(StrEnum):
    """What has become of a payment."""

    PROCESSING = "processing"
    CHALLENGED = "challenged"
    AUTHORIZED = "authorized"
    CAPTURED = "captured"
    DECLINED = "declined"
    VOIDED = "voided"


class RefundState(StrEnum):
    """What has become of a refund."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"


class NewPayment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /payments."""

    key: Text
    amount_minor: Minor
    currency: Currency
    token: Token
    booking: Text
    description: Annotated[str, Meta(max_length=500)] = ""


class NewCapture(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /payments/{key}/capture."""

    amount_minor: Minor


class NewRefund(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /payments/{key}/refunds."""

    key: Text
    amount_minor: Minor


class Refund(msgspec.Struct, frozen=True):
    """Money given back."""

    key: str
    id: str
    state: RefundState
    amount_minor: int
    created: float


class Payment(msgspec.Struct, frozen=True):
    """A payment as it is told."""

    key: str
    id: str
    state: State
    amount_minor: int
    """What was authorized."""
    currency: str
    created: float
    """Seconds of the epoch."""
    captured_minor: int = 0
    refunded_minor: int = 0
    code: str | None = None
    """Why it was declined, or ended by itself."""
    challenge_url: str | None = None
    booking: str = ""
    description: str = ""
    refunds: tuple[Refund, ...] = ()


class PaymentList(msgspec.Struct, frozen=True):
    """A page of payments in the order in which they were made; `next` is `after` of the page behind it, if there is one."""

    payments: list[Payment]
    next: int | None


class Pending(msgspec.Struct, frozen=True):
    """What a payment that is processing becomes, and when."""

    state: State
    due: float
    captured_minor: int = 0


class Record(msgspec.Struct, frozen=True):
    """All that is known of a payment; a line of the journal."""

    payment: Payment
    token: str = ""
    asked_minor: int = 0
    """What its order asked for."""
    challenge: str | None = None
    pending: Pending | None = None


class Refused(Exception):
    """The API will not do this; `code` says why."""

    def __init__(self, status: int, code: str, detail: str = "") -> None:
        super().__init__(detail or code)
        self.status = status
        self.code = code
