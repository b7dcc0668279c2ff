"""The public face of webhooks: what partners and operators may ask about endpoints and their deliveries.

`owner` is the channel whose endpoints alone are seen, None where all are; what is not seen does not exist (None is returned).
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import msgspec

from onebook.channels.endpoints import TEST_TYPE, EndpointId, full_types, message_id, new_secret, position_of
from onebook.channels.guard import ForbiddenAddress, check_url
from onebook.channels.handler import SQL
from onebook.config import WebhookSettings
from onebook.ledger.failures import UnknownName, Unprocessable
from onebook.ledger.identity import new_id

MAX_ENDPOINTS = 1000
MAX_REPLAYED = 50_000


class EndpointView(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint as its owner sees it. `reason` says why it is disabled; `previous_until`, how long a rotated secret signs."""

    id: str
    url: str
    venues: list[str]
    types: list[str]
    channel: str | None
    status: str
    reason: str | None
    previous_until: datetime | None
    created_at: datetime


class SecretView(EndpointView, frozen=True, kw_only=True):
    """An endpoint with its new secret, which is told this once."""

    secret: str


class AttemptView(msgspec.Struct, frozen=True):
    """How an attempt went: either they answered, or `error` says why not."""

    at: datetime
    status_code: int | None
    latency_ms: float
    excerpt: str | None
    error: str | None


class DeliveryView(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery; `id` is its webhook-id. `attempts` counts since it was last queued; `tried` has the last 20 of all."""

    id: str
    event: str
    type: str
    status: str
    attempts: int
    created_at: datetime
    next_at: datetime | None
    finished_at: datetime | None
    tried: list[AttemptView]


class DeliveryPage(msgspec.Struct, frozen=True):
    """Deliveries, the latest first; `next_cursor` is null on the last page."""

    deliveries: list[DeliveryView]
    next_cursor: str | None


class Replayed(msgspec.Struct, frozen=True):
    """How many were queued again; where not all of them were, ask again for the rest."""

    queued: int
    is_all: bool


class Subscriptions:
    """Endpoints and their deliveries. Raises UnknownName, Unprocessable, and asyncpg's errors when the database is away."""

    def __init__(self, pool: asyncpg.Pool, settings: WebhookSettings) -> None:
        self._pool = pool
        self._settings = settings

    async def create(self, url: str, venues: Sequence[str], types: Sequence[str], *, channel: str | None) -> SecretView:
        """A new endpoint; with a channel, of others' bookings it is told only what anybody may know."""
        checked = await self._checked(url)
        [row] = await self._pool.fetch(
            SQL["create_endpoint"], new_id(), checked, _each_once(venues), full_types(types), channel, new_secret()
        )
        if row["unknown_venue"] is not None:
            raise UnknownName("venue", row["unknown_venue"], "/venues")
        return SecretView(**_view(row), secret=row["secret"])

    async def all(self, owner: str | None) -> list[EndpointView]:
        """The oldest first."""
        return [EndpointView(**_view(row)) for row in await self._pool.fetch(SQL["endpoints_of"], owner, MAX_ENDPOINTS)]

    async def one(self, identity: EndpointId, owner: str | None) -> EndpointView | None:
        """One endpoint."""
        row = await self._pool.fetchrow(SQL["endpoint"], identity, owner)
        return None if row is None else EndpointView(**_view(row))

    async def change(
        self,
        identity: EndpointId,
        owner: str | None,
        *,
        url: str | None = None,
        venues: Sequence[str] | None = None,
        types: Sequence[str] | None = None,
        status: str | None = None,
    ) -> EndpointView | None:
        """What is None stays. An endpoint that is enabled again wants what happens from then on; a replay brings older ones."""
        if await self.one(identity, owner) is None:
            return None
        checked = None if url is None else await self._checked(url)
        wished = None if venues is None else _each_once(venues)
        if wished is not None and (unknown := await self._pool.fetchval(SQL["unknown_venue"], wished)) is not None:
            raise UnknownName("venue", unknown, "/venues")
        row = await self._pool.fetchrow(
            SQL["change_endpoint"],
            identity,
            owner,
            checked,
            wished,
            None if types is None else full_types(types),
            status,
        )
        return None if row is None else EndpointView(**_view(row))

    async def delete(self, identity: EndpointId, owner: str | None) -> bool:
        """Whether there was one."""
        return await self._pool.fetchval(SQL["delete_endpoint"], identity, owner) is not None

    async def rotate(self, identity: EndpointId, owner: str | None) -> SecretView | None:
        """A new secret; the one before it goes on signing for `secret_overlap_hours`."""
        overlap = timedelta(hours=self._settings.secret_overlap_hours)
        row = await self._pool.fetchrow(SQL["rotate_secret"], identity, owner, new_secret(), overlap)
        return None if row is None else SecretView(**_view(row), secret=row["secret"])

    async def test(self, identity: EndpointId, owner: str | None) -> str | None:
        """Queue a test event; its webhook-id. None for an endpoint that is disabled, too."""
        position = await self._pool.fetchval(SQL["queue_test"], identity, owner, TEST_TYPE)
        return None if position is None else message_id(identity, position)

    async def deliveries(
        self,
        identity: EndpointId,
        owner: str | None,
        *,
        status: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
        delivery: str | None = None,
    ) -> DeliveryPage | None:
        """A page of the delivery log, or one delivery of it."""
        if await self.one(identity, owner) is None:
            return None
        below = None if cursor is None else _position(cursor)
        only = None if delivery is None else _named(delivery, identity, "delivery")
        rows = await self._pool.fetch(SQL["deliveries"], identity, status, below, limit + 1, only)
        return DeliveryPage(
            deliveries=[_delivery(identity, row) for row in rows[:limit]],
            next_cursor=str(rows[limit - 1]["position"]) if len(rows) > limit else None,
        )

    async def replay(
        self,
        identity: EndpointId,
        owner: str | None,
        *,
        since: datetime | None = None,
        deliveries: Sequence[str] | None = None,
    ) -> Replayed | None:
        """Send again what is finished, under the same ids: the deliveries named, or those made since a time, the oldest first."""
        if await self.one(identity, owner) is None:
            return None
        named = None
        if deliveries is not None:
            named = [_named(text, identity, f"/deliveries/{index}") for index, text in enumerate(deliveries)]
        queued = int(await self._pool.fetchval(SQL["replay"], identity, named, since, MAX_REPLAYED))
        return Replayed(queued=queued, is_all=queued < MAX_REPLAYED)

    async def _checked(self, url: str) -> str:
        try:
            return await check_url(url, allow_loopback=self._settings.allow_loopback)
        except ForbiddenAddress as error:
            raise Unprocessable("forbidden-address", str(error), "/url") from error


def _each_once(names: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _view(row: Any) -> dict[str, Any]:
    return {name: str(row[name]) if name == "id" else row.get(name) for name in EndpointView.__struct_fields__}


def _delivery(endpoint: EndpointId, row: Any) -> DeliveryView:
    return DeliveryView(
        id=message_id(endpoint, row["position"]),
        event=str(row["position"]),
        type=row["type"],
        status=row["status"],
        attempts=row["attempts"],
        created_at=row["created_at"],
        next_at=row["next_at"],
        finished_at=row["finished_at"],
        tried=msgspec.json.decode(row["tried"], type=list[AttemptView]),
    )


def _position(cursor: str) -> int:
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) <= 18):
        raise Unprocessable("bad-cursor", "this is no cursor of the list", "cursor")
    return int(cursor)


def _named(identity: str, endpoint: EndpointId, pointer: str) -> int:
    position = position_of(identity, endpoint)
    if position is None:
        raise Unprocessable("unknown-delivery", "this is no webhook-id of this endpoint", pointer)
    return position
