"""What requests and answers about customers look like."""

from datetime import date
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from onebook.customers.customers import Customer
from onebook.customers.email_address import MAX_LENGTH, normal_form
from onebook.customers.profile import MAX_NAMES, Address, AddressChange
from onebook.ledger.failures import Unprocessable

_LINE = r"^[^\x00-\x1f\x7f]+\Z"

Line = Annotated[str, Meta(pattern=_LINE, min_length=1, max_length=200)]
Email = Annotated[
    str,
    Meta(
        pattern=r"^[^\x00-\x1f\x7f]+@[^\x00-\x1f\x7f]+\Z",
        min_length=3,
        max_length=MAX_LENGTH,
        examples=["ana@example.org"],
    ),
]
Phone = Annotated[str, Meta(pattern=r"^\+?[0-9 ()./-]{3,40}\Z")]
Language = Annotated[
    str, Meta(pattern=r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,4}\Z", max_length=40, description="BCP 47.")
]
Notes = Annotated[str, Meta(min_length=1, max_length=4000)]
Value = Annotated[str, Meta(max_length=500)]
Consents = Annotated[
    dict[Line, bool], Meta(max_length=MAX_NAMES, description="Purposes, and whether they are granted.")
]
Attributes = Annotated[dict[Line, Value], Meta(max_length=MAX_NAMES, description="Anything else that is to be kept.")]
ConsentChange = Annotated[dict[Line, bool | None], Meta(max_length=MAX_NAMES)]
AttributesChange = Annotated[dict[Line, Value | None], Meta(max_length=MAX_NAMES)]


class CustomerRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A profile, as far as it is known. Each field is encrypted for itself; `tier` is the loyalty tier."""

    name: Line | None = None
    email: Email | None = None
    phone: Phone | None = None
    address: Address | None = None
    birth_date: date | None = None
    language: Language | None = None
    tier: Line | None = None
    notes: Notes | None = None
    consent: Consents = {}
    attributes: Attributes = {}


class CustomerChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A merge patch (RFC 7396): what is not named stays, null drops, also in the address, among purposes and attributes."""

    name: Line | UnsetType | None = UNSET
    email: Email | UnsetType | None = UNSET
    phone: Phone | UnsetType | None = UNSET
    address: AddressChange | UnsetType | None = UNSET
    birth_date: date | UnsetType | None = UNSET
    language: Language | UnsetType | None = UNSET
    tier: Line | UnsetType | None = UNSET
    notes: Notes | UnsetType | None = UNSET
    consent: ConsentChange | UnsetType | None = UNSET
    attributes: AttributesChange | UnsetType | None = UNSET


class CustomerChanged(msgspec.Struct, frozen=True):
    """The version that the change brought about; what is held is told to who may read it."""

    id: str
    version: int


class CustomerSearch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom to look for. In a body, since a query ends in the access logs of all that lies between."""

    email: Email


class CustomersFound(msgspec.Struct, frozen=True):
    """One at the most for each channel."""

    customers: list[Customer]


def change_of(wished: CustomerRequest | CustomerChange) -> dict[str, Any]:
    """The fields that a request names. Raises Unprocessable for an e-mail address that is none."""
    named = {name: getattr(wished, name) for name in wished.__struct_fields__}
    change = {name: value for name, value in named.items() if value is not UNSET}
    email = change.get("email")
    if email is not None and normal_form(email) is None:
        raise Unprocessable("bad-email", "this is no e-mail address", "/email")
    return change
