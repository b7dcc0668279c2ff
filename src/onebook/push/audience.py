"""Clients that get the same bytes, found by venue: an event costs nothing for the clients of other venues."""

from collections.abc import Iterator, Sequence

from onebook.push.client import Client
from onebook.push.frames import Filter, Wire


class Audience:
    """The clients of one form and one filter."""

    __slots__ = ("clients", "filter", "spoken_at", "wire")

    def __init__(self, wire: Wire, wanted: Filter, now: float) -> None:
        self.wire = wire
        self.filter = wanted
        self.clients: set[Client] = set()
        self.spoken_at = now
        """By the loop's clock, when they were last sent anything."""


class Audiences:
    """All audiences; one that nobody belongs to any more is forgotten."""

    def __init__(self) -> None:
        self._by_filter: dict[tuple[Wire, Filter], Audience] = {}
        self._by_venue: dict[str, dict[Audience, None]] = {}

    def __iter__(self) -> Iterator[Audience]:
        return iter(tuple(self._by_filter.values()))

    def of(self, venues: Sequence[str]) -> dict[Audience, None]:
        """Those who want to know of any of these venues."""
        if len(venues) == 1:
            return self._by_venue.get(venues[0], {})
        found: dict[Audience, None] = {}
        for venue in venues:
            found |= self._by_venue.get(venue, {})
        return found

    def join(self, client: Client, now: float) -> None:
        """From now on this client gets what its audience gets."""
        key = (client.wire, client.filter)
        audience = self._by_filter.get(key)
        if audience is None:
            audience = self._by_filter[key] = Audience(*key, now)
            for venue in client.filter.venues:
                self._by_venue.setdefault(venue, {})[audience] = None
        audience.clients.add(client)

    def leave(self, client: Client) -> None:
        """It gets nothing any more; one that belongs to no audience yet changes nothing."""
        key = (client.wire, client.filter)
        audience = self._by_filter.get(key)
        if audience is None:
            return
        audience.clients.discard(client)
        if audience.clients:
            return
        del self._by_filter[key]
        for venue in client.filter.venues:
            del self._by_venue[venue][audience]
            if not self._by_venue[venue]:
                del self._by_venue[venue]
