"""Defining what is sold: venues, resources and sessions. A definition is put whole; putting the same again changes nothing.

These are rare, so each has a transaction of its own and not a place in a batch. A resource that exists is locked like for
any other change, before anything is written.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import asyncpg
import msgspec

from onebook.ledger.catalog import SQL, Catalog
from onebook.ledger.failures import LedgerUnavailable, Unprocessable
from onebook.model.hours import OpeningHours
from onebook.model.refusals import BelowSold, InUse, Refusal
from onebook.model.resource import Kind, Unit, Venue, time_label

MAX_ATTEMPTS = 5

_encode = msgspec.json.Encoder().encode


class ResourceDefinition(msgspec.Struct, frozen=True):
    """A resource as it is put. Buffers are minutes; `cell_minutes` counts only on a minute grid."""

    code: str
    kind: Kind
    name: str
    unit: Unit
    cell_minutes: int
    capacity: int
    overbooking: int = 0
    buffer_before: int = 0
    buffer_after: int = 0
    hours: OpeningHours | None = None
    min_stay: int | None = None
    max_stay: int | None = None


class Defined(msgspec.Struct, frozen=True):
    """Which resources are new, and the version each is at."""

    created: tuple[str, ...]
    versions: dict[str, int]


class Definitions:
    """Puts venues, resources and sessions."""

    def __init__(self, pool: asyncpg.Pool, catalog: Catalog) -> None:
        self._pool = pool
        self._catalog = catalog

    async def put_venue(
        self, code: str, name: str, timezone: str, currency: str, market: str, *, prepaid: bool = False
    ) -> bool | Refusal:
        """Whether the venue is new. Its time zone and currency are fixed once it has resources or sessions."""
        async with self._pool.acquire(timeout=2) as connection, connection.transaction():
            await connection.execute(SQL["lock_venue"], code)
            row = await connection.fetchrow(SQL["put_venue"], code, name, timezone, currency, market, prepaid)
            if row is None:
                return InUse(what=f"venue {code}", field="timezone or currency")
            if row["is_paid_otherwise"]:
                await connection.execute(SQL["grow_revisions"], row["id"])
            if row["changed"]:
                facts = {
                    "id": row["id"],
                    "venue": code,
                    "name": name,
                    "timezone": timezone,
                    "currency": currency,
                    "market": market,
                    "prepaid": prepaid,
                }
                await self._append(connection, "venue.defined", f"venues/{code}", code, facts)
        self._catalog.grow_old()
        return bool(row["created"])

    async def put_session(self, venue: str, code: str, starts: datetime, ends: datetime) -> bool:
        """Whether the session is new. Raises UnknownName, Unprocessable."""
        if ends <= starts:
            raise Unprocessable("reversed-period", "`to` must come after `from`", "/to")
        found = await self._catalog.venue(venue)
        async with self._pool.acquire(timeout=2) as connection, connection.transaction():
            await connection.execute(SQL["lock_venue"], venue)
            row = await connection.fetchrow(SQL["put_session"], found.id, code, starts, ends)
            if row is not None:
                facts = {"id": row["id"], "session": code, "venue": venue, "from": starts, "to": ends}
                await self._append(connection, "session.defined", f"sessions/{venue}/{code}", venue, facts)
        return row is not None and bool(row["created"])

    async def put_resources(self, venue: str, definitions: Sequence[ResourceDefinition]) -> Defined | Refusal:
        """Put resources, all or none. Raises UnknownName for the venue.

        Refused: a lower capacity than is sold (BelowSold), another grid once a cell is stored (InUse).
        """
        found = await self._catalog.venue(venue)
        for _ in range(MAX_ATTEMPTS):
            try:
                async with self._pool.acquire(timeout=2) as connection, connection.transaction():
                    put = _Put(connection, found, definitions)
                    outcome = await put.run()
                    if put.facts is not None:
                        subject = f"resources/{venue}/{definitions[0].code}"
                        await self._append(connection, "resource.defined", subject, venue, put.facts)
            except (asyncpg.UniqueViolationError, asyncpg.DeadlockDetectedError):
                continue  # somebody else put one of these codes at the same time: it exists now
            self._catalog.grow_old()
            return outcome
        raise LedgerUnavailable("others keep putting the same resources; send it again")

    async def _append(self, connection: Any, entry_type: str, subject: str, venue: str, facts: dict[str, Any]) -> None:
        await connection.execute(SQL["append"], entry_type, subject, [venue], _encode(facts).decode())


class _Put:
    """One transaction that puts resources of one venue."""

    def __init__(self, connection: Any, venue: Venue, definitions: Sequence[ResourceDefinition]) -> None:
        self._connection = connection
        self._venue = venue.code
        self._venue_id = venue.id
        self._zone = venue.zone
        self._definitions = definitions
        self.facts: dict[str, Any] | None = None

    async def run(self) -> Defined | Refusal:
        codes = [definition.code for definition in self._definitions]
        if len(set(codes)) != len(codes):
            raise Unprocessable("duplicate-code", "a code stands in the list twice", "")
        await self._connection.execute(SQL["lock_resources"], self._venue_id, codes)
        stored = {row["code"]: row for row in await self._connection.fetch(SQL["stored"], self._venue_id, codes)}
        versions = {code: row["version"] for code, row in stored.items()}
        ids = {code: row["id"] for code, row in stored.items()}
        new = [definition for definition in self._definitions if definition.code not in stored]
        changed = [d for d in self._definitions if d.code in stored and _columns(d) != _stored(stored[d.code])]
        refusal = await self._refusal(changed, stored)
        if refusal is not None:
            return refusal
        if new:
            rows = await self._connection.fetch(SQL["insert_resources"], self._venue_id, *_arrays(new))
            ids.update((row["code"], row["id"]) for row in rows)
            versions.update((definition.code, 1) for definition in new)
        if changed:
            await self._connection.execute(SQL["update_resources"], self._venue_id, *_arrays(changed))
            await self._connection.execute(SQL["reshape_defaults"], [ids[d.code] for d in changed])
            versions.update((definition.code, versions[definition.code] + 1) for definition in changed)
        if new or changed:
            self.facts = self._facts([*new, *changed], ids, versions)
        keyed = {f"{self._venue}/{code}": versions[code] for code in codes}
        return Defined(created=tuple(f"{self._venue}/{d.code}" for d in new), versions=keyed)

    async def _refusal(
        self, changed: Sequence[ResourceDefinition], stored: dict[str, asyncpg.Record]
    ) -> Refusal | None:
        for definition in changed:
            row = stored[definition.code]
            key = f"{self._venue}/{definition.code}"
            if (definition.unit, definition.cell_minutes) != (row["unit"], row["cell_minutes"]) and row["in_use"]:
                return InUse(what=f"resource {key}", field="grid")
            over = await self._connection.fetchrow(
                SQL["oversold_by"], row["id"], definition.capacity, definition.overbooking
            )
            if over is not None:
                return BelowSold(
                    resource=key,
                    cell=over["session"]
                    or time_label(definition.unit, over["number"], definition.cell_minutes, self._zone),
                    taken=over["taken"],
                    capacity=over["capacity"],
                    overbooking=over["overbooking"],
                )
        return None

    def _facts(
        self, put: Sequence[ResourceDefinition], ids: dict[str, int], versions: dict[str, int]
    ) -> dict[str, Any]:
        definitions = [
            {"id": ids[d.code], "resource": f"{self._venue}/{d.code}", **msgspec.to_builtins(d)} for d in put
        ]
        touched = [
            {"resource": f"{self._venue}/{d.code}", "version": versions[d.code], "cells": [], "available": []}
            for d in put
        ]
        return {"definitions": definitions, "resources": touched}


def _columns(definition: ResourceDefinition) -> tuple[Any, ...]:
    hours = None if definition.hours is None else _encode(definition.hours).decode()
    return (
        definition.code,
        definition.kind.value,
        definition.name,
        definition.unit.value,
        definition.cell_minutes,
        definition.capacity,
        definition.overbooking,
        definition.buffer_before,
        definition.buffer_after,
        hours,
        definition.min_stay,
        definition.max_stay,
    )


def _stored(row: asyncpg.Record) -> tuple[Any, ...]:
    return tuple(row)[: len(ResourceDefinition.__struct_fields__)]


def _arrays(definitions: Sequence[ResourceDefinition]) -> list[list[Any]]:
    return [list(column) for column in zip(*map(_columns, definitions), strict=True)]
