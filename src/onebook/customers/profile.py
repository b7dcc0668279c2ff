"""What is kept about a customer, and how it is changed. Pure.

Every part is sealed for itself (vault.py), the names of attributes and purposes too, since people write anything into them.
"""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType
from msgspec.structs import asdict

from onebook.customers.refusals import Refused, TooMany

MAX_NAMES = 20

T = TypeVar("T")


class Address(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A postal address."""

    street: Annotated[str, Meta(max_length=200)] = ""
    postal_code: Annotated[str, Meta(max_length=20)] = ""
    city: Annotated[str, Meta(max_length=100)] = ""
    region: Annotated[str, Meta(max_length=100)] = ""
    country: Annotated[str, Meta(pattern=r"^([A-Z]{2})?\Z", description="ISO 3166-1, two letters.")] = ""


class AddressChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Parts of an address; null drops one."""

    street: Annotated[str, Meta(max_length=200)] | UnsetType | None = UNSET
    postal_code: Annotated[str, Meta(max_length=20)] | UnsetType | None = UNSET
    city: Annotated[str, Meta(max_length=100)] | UnsetType | None = UNSET
    region: Annotated[str, Meta(max_length=100)] | UnsetType | None = UNSET
    country: Annotated[str, Meta(pattern=r"^([A-Z]{2})?\Z")] | UnsetType | None = UNSET


class Consent(msgspec.Struct, frozen=True):
    """What was said to a purpose, and when it was said first."""

    granted: bool
    at: datetime


class Profile(msgspec.Struct, frozen=True, omit_defaults=True):
    """All that is known of a person, as far as anything is."""

    name: str | None = None
    email: str | None = None
    phone: str | None = None
    address: Address | None = None
    birth_date: date | None = None
    language: str | None = None
    tier: str | None = None
    notes: str | None = None
    consent: dict[str, Consent] = {}
    attributes: dict[str, str] = {}


FIELDS: tuple[str, ...] = Profile.__struct_fields__

_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.Decoder(Profile).decode


def changed(profile: Profile, change: Mapping[str, Any], now: datetime) -> Profile:
    """The profile after a change: a field that is None is dropped, and so is a None in an address, among attributes and purposes.

    Raises Refused with TooMany.
    """
    plain = {name: value for name, value in change.items() if name not in {"consent", "attributes"}}
    if (parts := change.get("address")) is not None:
        plain["address"] = _moved(profile.address or Address(), parts)
    consent = profile.consent if change.get("consent", {}) is not None else {}
    for purpose, granted in (change.get("consent") or {}).items():
        said = consent.get(purpose)
        if granted is None or said is None or said.granted != granted:
            consent = _with(consent, purpose, None if granted is None else Consent(granted, now))
    attributes = profile.attributes if change.get("attributes", {}) is not None else {}
    for name, value in (change.get("attributes") or {}).items():
        attributes = _with(attributes, name, value)
    for field, names in (("consent", consent), ("attributes", attributes)):
        if len(names) > MAX_NAMES:
            raise Refused(TooMany(f"/{field}", MAX_NAMES))
    return msgspec.structs.replace(profile, **plain, consent=consent, attributes=attributes)


def fields_of(profile: Profile) -> dict[str, bytes]:
    """Each field that has a value, as JSON."""
    values = ((name, getattr(profile, name)) for name in FIELDS)
    return {name: _encode(value) for name, value in values if value is not None and value != {}}


def profile_of(fields: Mapping[str, bytes]) -> Profile:
    """The profile of which these are the fields."""
    return _decode(_encode({name: msgspec.Raw(value) for name, value in fields.items()}))


def _moved(address: Address, parts: Address | AddressChange) -> Address | None:
    named = {name: part or "" for name, part in asdict(parts).items() if part is not UNSET}
    moved = msgspec.structs.replace(address, **named)
    return None if moved == Address() else moved


def _with(names: dict[str, T], name: str, value: T | None) -> dict[str, T]:
    rest = {known: kept for known, kept in names.items() if known != name}
    return rest if value is None else {**rest, name: value}
