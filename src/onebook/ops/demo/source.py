"""What a channel may ask the server: the inventory as it is, and what has changed since a time."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from urllib.parse import urlencode

import msgspec

from onebook.ops.demo.market import HORIZON_DAYS, RUSH_AFTER_DAYS, VENUES, Market
from onebook.ops.demo.mirror import Touched
from onebook.ops.http_client import Client, ConnectionFailed

MIRRORED_DAYS = HORIZON_DAYS + RUSH_AFTER_DAYS + 4
MAX_NAMED = 50
"""Resources in one question."""


class CannotRead(Exception):
    """The server did not answer as it should; the message says what was asked."""


class _Answer(msgspec.Struct, frozen=True):
    resources: list[Touched]


class Source:
    """Reads with one channel's token."""

    def __init__(self, client: Client, token: str, market: Market) -> None:
        self._client = client
        self._token = token
        self.first, self.end = market.opening, market.opening + timedelta(days=MIRRORED_DAYS)
        """The days that mirrors keep."""
        fine = [offer for offer in market.offers if offer.unit == "minute"]
        coarse = {venue: [o.key for o in market.offers if o.venue == venue and o not in fine] for venue in VENUES}
        coarse["opera"] += [seat.key for seat in market.seats]
        # What is sold by the minute has thousands of cells: one resource an answer, so that nobody waits long behind it.
        named = [*coarse.values(), *([offer.key] for offer in fine)]
        self._portions = [keys[i : i + MAX_NAMED] for keys in named for i in range(0, len(keys), MAX_NAMED)]

    async def snapshot(self, reached: Mapping[str, int]) -> list[Touched]:
        """Every resource that has anything left, at these versions or later if they come within a second. Raises CannotRead."""
        found: list[Touched] = []
        for keys in self._portions:
            query = [
                ("venue", keys[0].partition("/")[0]),
                ("from", self.first.isoformat()),
                ("to", self.end.isoformat()),
            ]
            query += [("resource", key) for key in keys]
            query += [("resource_version", f"{key}:{reached[key]}") for key in keys if key in reached]
            found += await self._get("/v1/availability", query)
        return found

    async def changed_since(self, since: datetime) -> Sequence[Touched]:
        """Every cell that has changed since, as it is now. Raises CannotRead."""
        found: list[Touched] = []
        for venue in VENUES:
            found += await self._get("/v1/bulk-delta", [("venue", venue), ("since", since.isoformat())])
        return found

    async def _get(self, path: str, query: list[tuple[str, str]]) -> list[Touched]:
        try:
            answer = await self._client.request("GET", f"{path}?{urlencode(query)}", token=self._token)
        except ConnectionFailed as error:
            raise CannotRead(f"{path}: {error}") from error
        if answer.status != 200:
            raise CannotRead(f"{path} was answered {answer.status}: {answer.body[:160].decode(errors='replace')}")
        return msgspec.json.decode(answer.body, type=_Answer).resources
