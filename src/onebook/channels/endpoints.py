"""An endpoint: where a partner wants to be told, of what, and under which secrets. Pure; see subscriptions.py for the table."""

import base64
import os
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NewType

import msgspec
from standardwebhooks import Webhook

from onebook.log.stream import StreamEvent

EndpointId = NewType("EndpointId", str)

EVERYTHING = "*"
TEST_TYPE = "onebook.webhook.test.v1"
_SECRET_BYTES = 32


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint as the sender needs it. `channel` is the one whose bookings alone it is told of in full."""

    id: EndpointId
    url: str
    venues: frozenset[str]
    types: frozenset[str]
    channel: str | None
    secret: str
    previous_secret: str | None
    previous_until: datetime | None
    is_active: bool
    revision: int
    filled_revision: int
    since_txn: int
    first_txn: int
    woken: int

    def wants(self, event: StreamEvent) -> bool:
        """Whether it is to be told of an event."""
        kind = event.type if self.sees_all_of(event) else event.public_type
        return (
            self.is_active
            and event.txn >= self.first_txn
            and (self.sees_all_of(event) or not event.is_secret)
            and (EVERYTHING in self.types or kind in self.types)
            and (EVERYTHING in self.venues or not self.venues.isdisjoint(event.venues))
        )

    def sees_all_of(self, event: StreamEvent) -> bool:
        """Whether it may know more than what anybody may."""
        return self.channel is None or not event.is_private or event.channel == self.channel

    def body_of(self, event: StreamEvent) -> bytes:
        """What it is told of an event that it wants."""
        return event.body if self.sees_all_of(event) else event.public_body

    def signatures(self, message_id: str, at: datetime, body: bytes) -> str:
        """The webhook-signature header: of the secret, and of the one before it while that still counts."""
        secrets = [self.secret]
        if self.previous_secret is not None and self.previous_until is not None and at < self.previous_until:
            secrets.append(self.previous_secret)
        text = body.decode()
        return " ".join(_signer(secret).sign(message_id, at, text) for secret in secrets)


def endpoint_of(row: Any) -> Endpoint:
    """The endpoint of a row."""
    return Endpoint(
        id=EndpointId(str(row["id"])),
        url=row["url"],
        venues=frozenset(row["venues"]),
        types=frozenset(row["types"]),
        channel=row["channel"],
        secret=row["secret"],
        previous_secret=row["previous_secret"],
        previous_until=row["previous_until"],
        is_active=row["status"] == "active",
        revision=row["revision"],
        filled_revision=row["filled_revision"],
        since_txn=row["since_txn"],
        first_txn=row["first_txn"],
        woken=row["woken"],
    )


def new_secret() -> str:
    """A secret as Standard Webhooks writes it."""
    return "whsec_" + base64.b64encode(os.urandom(_SECRET_BYTES)).decode()


def message_id(endpoint: EndpointId, position: int) -> str:
    """The webhook-id of an event at an endpoint: the same at every attempt and every replay."""
    return f"msg_{endpoint.replace('-', '')}_{position}"


def position_of(identity: str, endpoint: EndpointId) -> int | None:
    """The position that a webhook-id of this endpoint names; None for any other text."""
    prefix = message_id(endpoint, 0)[:-1]
    number = identity.removeprefix(prefix)
    is_ours = identity.startswith(prefix) and number.isascii() and number.isdecimal() and len(number) <= 18
    return int(number) if is_ours else None


def full_types(types: Sequence[str]) -> list[str]:
    """The names as events carry them, each once: `booking.held` is `onebook.booking.held.v1`."""
    return list(dict.fromkeys(_full(name) for name in types))


def _full(name: str) -> str:
    return name if name == EVERYTHING or name.startswith("onebook.") else f"onebook.{name}.v1"


@lru_cache(maxsize=1024)
def _signer(secret: str) -> Webhook:
    return Webhook(secret)
