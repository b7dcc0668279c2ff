"""What venues charge by, remembered in memory: pricing asks far more often than prices change.

Who calls me: Quotes, for every quote and every checkout without one. What I own: a copy of the offers of each venue that was
asked for, which may be lost. It is `fresh_seconds` old at most, whichever process has changed the offers: that often one query
asks which venues have changed since. What bounds me: the offers that are defined.
"""

import asyncio
from collections.abc import Sequence
from time import monotonic
from typing import Any, Final

import asyncpg
import msgspec

from onebook.model.offers.plan import RatePlan
from onebook.model.offers.policy import Policy
from onebook.model.offers.tariff import Tariff
from onebook.model.offers.tax import Tax
from onebook.sql import statements

SQL = statements("onebook.checkout.prices")
READ_SECONDS = 3.0

Offer = RatePlan | Tax | Policy
KINDS: Final[dict[type[msgspec.Struct], str]] = {RatePlan: "rate", Tax: "tax", Policy: "policy"}
"""What each is called in the tables, and in the log."""

_DECODERS = {kind: msgspec.json.Decoder(shape) for shape, kind in KINDS.items()}


class Tariffs:
    """The offers of venues, as they were at most `fresh_seconds` ago."""

    def __init__(self, pool: asyncpg.Pool, *, fresh_seconds: float) -> None:
        self._pool = pool
        self._fresh_seconds = fresh_seconds
        self._known: dict[str, Tariff] = {}
        self._version = 0
        self._fresh_until = 0.0
        self._has_changed = False
        self._reading = asyncio.Lock()

    def look_again(self) -> None:
        """Have the next caller ask what has changed: this process has changed something itself."""
        self._has_changed = True

    async def of(self, venues: Sequence[str]) -> dict[str, Tariff]:
        """The tariffs of venues; awaits nothing while they are fresh. Raises TimeoutError, and asyncpg's errors."""
        if not self._is_fresh() or any(venue not in self._known for venue in venues):
            # One at a time: otherwise what was read before a change could be remembered after it was told.
            async with asyncio.timeout(READ_SECONDS), self._reading:
                if not self._is_fresh():
                    await self._forget_changed()
                if missing := [venue for venue in venues if venue not in self._known]:
                    await self._read(missing)
        return {venue: self._known[venue] for venue in venues}

    def _is_fresh(self) -> bool:
        return monotonic() < self._fresh_until and not self._has_changed

    async def _forget_changed(self) -> None:
        self._has_changed, asked_at = False, monotonic()
        for row in await self._pool.fetch(SQL["changed_since"], self._version):
            self._known.pop(row["venue"], None)
            self._version = max(self._version, row["version"])
        self._fresh_until = asked_at + self._fresh_seconds

    async def _read(self, venues: Sequence[str]) -> None:
        read: dict[str, dict[str, dict[str, Any]]] = {venue: {kind: {} for kind in _DECODERS} for venue in venues}
        for row in await self._pool.fetch(SQL["offers"], venues, None, None):
            read[row["venue"]][row["kind"]][row["code"]] = _DECODERS[row["kind"]].decode(row["document"])
        for venue, kinds in read.items():
            self._known[venue] = Tariff(plans=kinds["rate"], taxes=kinds["tax"], policies=kinds["policy"])
