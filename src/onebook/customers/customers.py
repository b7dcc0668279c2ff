"""Customers: made, read, found by exact e-mail, changed, exported, erased.

Who calls me: the API's routes and `onebook customers`. What I own: nothing but the vault's opened keys. What survives a crash:
every statement that was committed; each writes all of its parts, the entry of the log too. What bounds me: ATTEMPTS for what
others may get in between of, MAX_FOUND and MAX_BOOKINGS for what one call reads.

PostgreSQL is given ciphertexts and keyed hashes, never a value, so that none can get into its tables, WAL or log.
"""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import asyncpg
import msgspec

from onebook.customers.email_address import normal_form
from onebook.customers.key_store import KeyStore, Wrapped
from onebook.customers.profile import Profile, changed, fields_of, profile_of
from onebook.customers.refusals import (
    Contended,
    CustomerErased,
    EmailTaken,
    Refused,
    RevisionMismatch,
    UnknownCustomer,
)
from onebook.customers.vault import Vault, seal, unseal
from onebook.model.booking import Item, Status
from onebook.model.refusals import KeyReused
from onebook.sql import statements

SQL = statements("onebook.customers")
ATTEMPTS = 5
MAX_FOUND = 100
MAX_BOOKINGS = 10_000
SEARCH_KEY_OWNER = "search"

_decode_items = msgspec.json.Decoder(tuple[Item, ...]).decode


class Created(msgspec.Struct, frozen=True):
    """What never changes about a customer, so that a repeated key is answered with the same bytes."""

    id: str
    created_at: datetime


class Customer(msgspec.Struct, frozen=True):
    """A living customer."""

    id: str
    channel: str
    version: int
    created_at: datetime
    changed_at: datetime
    profile: Profile


class BookedByCustomer(msgspec.Struct, frozen=True):
    """A booking that names the customer."""

    id: str
    status: Status
    channel: str
    placed_at: datetime
    expires_at: datetime | None
    reference: str | None
    items: tuple[Item, ...]


class Export(msgspec.Struct, frozen=True):
    """Everything that is held about a customer."""

    exported_at: datetime
    customer: Customer
    bookings: list[BookedByCustomer]
    bookings_are_all: bool


class Customers:
    """One database's customers. `only_channel` is the channel whose customers alone are seen; None sees all."""

    def __init__(self, pool: asyncpg.Pool, keys: KeyStore) -> None:
        self._pool = pool
        self._vault = Vault(keys)

    async def create(
        self,
        identity: str,
        channel: str,
        *,
        key: str,
        canonical: bytes,
        change: Mapping[str, Any],
        traceparent: str | None = None,
    ) -> tuple[Created, bool]:
        """A customer under a new id, once per idempotency key, and whether this call has made it.

        Raises Refused (KeyReused, CustomerErased, EmailTaken, TooMany) and KeyStoreAway.
        """
        profile = changed(Profile(), change, datetime.now(UTC))
        hashes = await self._hashes(key=key, request=canonical, email=_comparable(profile))
        for _ in range(ATTEMPTS):
            made = await self._pool.fetchrow(SQL["by_key"], channel, hashes["key"])
            if made is not None:
                return _replayed(made, hashes["request"]), False
            try:
                created_at = await self._insert(identity, channel, profile, hashes, traceparent)
            except asyncpg.UniqueViolationError as error:
                _refuse_taken(error)  # else the same key was faster elsewhere: answer what it made
            else:
                return Created(identity, created_at), True
        raise Refused(Contended())

    async def get(self, identity: str, only_channel: str | None) -> Customer:
        """Raises Refused (UnknownCustomer, CustomerErased) and KeyStoreAway."""
        return await self._opened(await self._living(identity, only_channel))

    async def find(self, email: str, only_channel: str | None) -> list[Customer]:
        """Who has exactly this address, however it is written. Raises KeyStoreAway."""
        address = normal_form(email)
        if address is None:
            return []
        hashes = await self._hashes(email=address)
        rows = await self._pool.fetch(SQL["by_email"], hashes["email"], only_channel, MAX_FOUND)
        return [await self._opened(row) for row in rows]

    async def change(
        self,
        identity: str,
        only_channel: str | None,
        change: Mapping[str, Any],
        *,
        version: int | None = None,
        traceparent: str | None = None,
    ) -> int:
        """The version after a change of some fields; `version` is the one that it is meant for, None for any.

        Raises Refused (UnknownCustomer, CustomerErased, RevisionMismatch, EmailTaken, TooMany, Contended) and KeyStoreAway.
        """
        for _ in range(ATTEMPTS):
            row = await self._living(identity, only_channel)
            if version not in {None, row["revision"]}:
                raise Refused(RevisionMismatch(row["revision"]))
            try:
                changed_to = await self._update(row, change, traceparent)
            except asyncpg.UniqueViolationError as error:
                _refuse_taken(error)
                raise
            if changed_to is not None:
                return changed_to
        raise Refused(Contended())

    async def erase(self, identity: str, only_channel: str | None, traceparent: str | None = None) -> None:
        """Destroy the key and all that it opens; the id stays. Erasing again does nothing. Raises Refused (UnknownCustomer)."""
        if await self._pool.fetchrow(SQL["erase"], identity, only_channel, traceparent) is None:
            await self._known(identity, only_channel)

    async def export(self, identity: str, only_channel: str | None) -> Export:
        """All that is held about a customer, bookings included. Raises as `get` does."""
        customer = await self.get(identity, only_channel)
        rows = await self._pool.fetch(SQL["bookings"], identity, MAX_BOOKINGS + 1, only_channel)
        bookings = [
            BookedByCustomer(**{**row, "status": Status(row["status"]), "items": _decode_items(row["items"])})
            for row in map(dict, rows[:MAX_BOOKINGS])
        ]
        return Export(datetime.now(UTC), customer, bookings, len(rows) <= MAX_BOOKINGS)

    async def _insert(
        self, identity: str, channel: str, profile: Profile, hashes: Mapping[str, bytes], traceparent: str | None
    ) -> datetime:
        """Raises asyncpg.UniqueViolationError."""
        for _ in range(ATTEMPTS):
            key, wrapped = await self._vault.new_key(identity)
            names, sealed = _sealed(key, identity, fields_of(profile))
            try:
                created_at: datetime = await self._pool.fetchval(
                    SQL["create"],
                    identity,
                    channel,
                    hashes["key"],
                    hashes["request"],
                    hashes.get("email"),
                    *wrapped,
                    names,
                    sealed,
                    traceparent,
                )
            except asyncpg.ForeignKeyViolationError:
                # The master key is new here, or was retired between our wrapping and our writing: then wrap by the next.
                await self._pool.execute(SQL["register_master"], wrapped.master)
            else:
                return _time(created_at)
        raise Refused(Contended())

    async def _update(self, row: asyncpg.Record, change: Mapping[str, Any], traceparent: str | None) -> int | None:
        """The new version; None where somebody was faster."""
        customer = await self._opened(row)
        profile = changed(customer.profile, change, datetime.now(UTC))
        before, after = fields_of(customer.profile), fields_of(profile)
        if before == after:
            return customer.version
        key = await self._vault.key(customer.id, _wrapped(row))
        email_hash = row["email_hash"]
        if profile.email != customer.profile.email:
            email_hash = (await self._hashes(email=_comparable(profile))).get("email")
        names, sealed = _sealed(key, customer.id, {n: v for n, v in after.items() if before.get(n) != v})
        dropped = [name for name in before if name not in after]
        found = await self._pool.fetchrow(
            SQL["change"], customer.id, customer.version, email_hash, names, sealed, dropped, traceparent
        )
        return None if found is None else int(found["revision"])

    async def _known(self, identity: str, only_channel: str | None) -> asyncpg.Record:
        row = await self._pool.fetchrow(SQL["by_id"], identity, only_channel)
        if row is None:
            raise Refused(UnknownCustomer())
        return row

    async def _living(self, identity: str, only_channel: str | None) -> asyncpg.Record:
        row = await self._known(identity, only_channel)
        if row["erased_at"] is not None:
            raise Refused(CustomerErased())
        return row

    async def _opened(self, row: asyncpg.Record) -> Customer:
        identity = str(row["id"])
        key = await self._vault.key(identity, _wrapped(row))
        fields = zip(row["names"] or (), row["sealed"] or (), strict=True)
        profile = profile_of({name: unseal(key, identity, name, sealed) for name, sealed in fields})
        times = _time(row["created_at"]), _time(row["changed_at"])
        return Customer(identity, row["channel"], row["revision"], *times, profile)

    async def _hashes(self, **values: str | bytes | None) -> dict[str, bytes]:
        """The keyed hash of each value that there is; the name goes in, so that no two kinds are comparable."""
        key = await self._search_key()
        return {
            name: hmac.digest(key, name.encode() + b"\x00" + (v.encode() if isinstance(v, str) else v), hashlib.sha256)
            for name, v in values.items()
            if v is not None
        }

    async def _search_key(self) -> bytes:
        """The key of the hashes; whoever needs it first makes it."""
        for _ in range(ATTEMPTS):
            row = await self._pool.fetchrow(SQL["search_key"])
            if row is not None:
                return await self._vault.key(SEARCH_KEY_OWNER, _wrapped(row))
            _, wrapped = await self._vault.new_key(SEARCH_KEY_OWNER)
            try:
                await self._pool.execute(SQL["add_search_key"], *wrapped)
            except asyncpg.ForeignKeyViolationError:
                await self._pool.execute(SQL["register_master"], wrapped.master)
        raise Refused(Contended())


def _replayed(row: asyncpg.Record, request_hash: bytes) -> Created:
    if row["erased_at"] is not None:
        raise Refused(CustomerErased())
    if not hmac.compare_digest(row["request_hash"], request_hash):
        raise Refused(KeyReused())
    return Created(str(row["id"]), _time(row["created_at"]))


def _refuse_taken(error: asyncpg.UniqueViolationError) -> None:
    if error.constraint_name == "customer_email_is_taken_once":
        raise Refused(EmailTaken()) from None


def _comparable(profile: Profile) -> str | None:
    return None if profile.email is None else normal_form(profile.email)


def _sealed(key: bytes, identity: str, fields: Mapping[str, bytes]) -> tuple[list[str], list[bytes]]:
    return list(fields), [seal(key, identity, name, value) for name, value in fields.items()]


def _wrapped(row: asyncpg.Record) -> Wrapped:
    return Wrapped(row["master"], row["wrapped"])


def _time(value: datetime) -> datetime:
    return value.astimezone(UTC)
