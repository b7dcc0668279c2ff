"""Answers about availability, finished and kept until something in them changes.

Who calls me: the express way (express_reading.py), for every request that it takes; the ordinary route writes its answers here
too, so that both are the same bytes. What bounds me: a number of answers and MAX_KEPT_BYTES of them, the oldest go first.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import NamedTuple
from urllib.parse import parse_qsl

import msgspec

from onebook.api.answer import Answer, encode_json
from onebook.api.express_answer import own_head_of
from onebook.api.headers import matches
from onebook.api.wire import AvailabilityQuery
from onebook.views.availability import Availability, availability, listings_of
from onebook.views.reads import behind
from onebook.views.stock import Listing, Place, Stock
from onebook.views.view import AvailabilityView

AVAILABILITY_PATH = "/v1/availability"

CURSOR_HEADER = "onebook-cursor"

MAX_KEPT_BYTES = 64 << 20
MAX_QUERY_BYTES = 2048
MAX_WATCHED = 8

# Any cache on the way may answer for a second: a stale answer costs a refused hold, never a double booking.
_CACHED = ("cache-control", "public, s-maxage=1, max-age=1, stale-while-revalidate=5")
_NOT_CACHED = ("cache-control", "no-store")

_REPEATED = frozenset({"resource", "resource_version"})


class Written(NamedTuple):
    """An answer's bytes, and what goes with them."""

    body: bytes
    head: bytes
    """The headers of a 200 that are its own, with the empty line."""
    etag: str
    caching: tuple[str, str]

    def answer(self, if_none_match: str | None, cursor: str | None) -> Answer:
        """200, or 304 for who knows it already. A stream that goes on from the cursor brings all that is not in the answer."""
        placed = () if cursor is None else ((CURSOR_HEADER, cursor),)
        headers = (("etag", self.etag), self.caching, *placed)
        if matches(if_none_match, self.etag):
            return Answer(304, b"", headers)
        return Answer(200, self.body, headers)


def written(found: Availability) -> Written:
    """An answer as it is sent. What is behind is nobody's to keep."""
    body = encode_json(found)
    caching = _CACHED if found.behind is msgspec.UNSET else _NOT_CACHED
    etag = f'W/"{blake2b(body, digest_size=12).hexdigest()}"'
    return Written(body, own_head_of(Answer(200, body, (("etag", etag), caching))), etag, caching)


def versions_wanted(query: AvailabilityQuery) -> dict[str, int]:
    """The versions that resources shall have reached, the highest where several are named."""
    wanted: dict[str, int] = {}
    for text in query.resource_version:
        key, _, version = text.rpartition(":")
        wanted[key] = max(int(version), wanted.get(key, 0))
    return wanted


class _Kept(NamedTuple):
    """An answer, and what of the stock it was made from: it stands while nothing of that has moved."""

    written: Written
    query: AvailabilityQuery
    place: Place
    place_mark: int
    listings: Sequence[Listing]
    versions: Sequence[int]

    def stands(self) -> bool:
        if not self.listings:
            return self.place.changes == self.place_mark
        return self.place.shaped == self.place_mark and all(
            listing.version == version for listing, version in zip(self.listings, self.versions, strict=True)
        )


class ReadyAnswers:
    """The answers of one worker, by query string."""

    def __init__(self, view: AvailabilityView, max_answers: int) -> None:
        self._view = view
        self._max_answers = max_answers
        self._stock: Stock | None = None
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()
        self._kept_bytes = 0

    def find(self, query_string: bytes) -> Written | None:
        """The answer to a query, kept or made now; None where it takes the ordinary route to say what comes of it.

        Raises what availability() raises, ValueError and msgspec.ValidationError; the ordinary route says what of it.
        """
        stock = self._of_the_present()
        kept = self._kept.get(query_string)
        if kept is not None and kept.stands():
            return kept.written
        if len(query_string) > MAX_QUERY_BYTES:
            return None
        query = _parsed(query_string) if kept is None else kept.query
        place = stock.places.get(query.venue)
        if place is None or behind(stock, versions_wanted(query)):
            return None  # whoever may have to wait is no matter for the express way
        answered = written(
            availability(
                stock,
                query.venue,
                query.starts,
                query.ends,
                resources=query.resource or None,
                quantity=query.quantity,
            )
        )
        self._keep(query_string, _kept(answered, place, query))
        return answered

    def _of_the_present(self) -> Stock:
        """The stock; where it is a new one, nothing is left that would hold the one before in memory."""
        stock = self._view.stock
        if stock is not self._stock:
            self._stock, self._kept_bytes = stock, 0
            self._kept.clear()
        return stock

    def _keep(self, query_string: bytes, kept: _Kept) -> None:
        size = len(kept.written.body) + len(query_string)
        if query_string in self._kept:
            self._drop(query_string)
        self._kept[query_string] = kept
        self._kept_bytes += size
        while len(self._kept) > self._max_answers or self._kept_bytes > MAX_KEPT_BYTES:
            self._drop(next(iter(self._kept)))

    def _drop(self, query_string: bytes) -> None:
        self._kept_bytes -= len(self._kept.pop(query_string).written.body) + len(query_string)


def _kept(answered: Written, place: Place, query: AvailabilityQuery) -> _Kept:
    listings = listings_of(place, query.resource) if query.resource else []
    if not 0 < len(listings) <= MAX_WATCHED:
        return _Kept(answered, query, place, place.changes, (), ())
    return _Kept(answered, query, place, place.shaped, listings, [listing.version for listing in listings])


def _parsed(query_string: bytes) -> AvailabilityQuery:
    given: dict[str, str | list[str]] = {}
    for name, value in _pairs(query_string.decode("ascii")):
        if name in _REPEATED:
            several = given.setdefault(name, [])
            if isinstance(several, list):
                several.append(value)
        elif name in given:
            raise ValueError(f"{name} is given twice")
        else:
            given[name] = value
    return msgspec.convert(given, AvailabilityQuery, strict=False)


def _pairs(text: str) -> Iterable[tuple[str, str]]:
    """The parameters; where nothing is escaped, as in most queries, without the standard library's care for what is."""
    if "%" in text or "+" in text:
        return parse_qsl(text, keep_blank_values=True, strict_parsing=True)
    return (_pair(part) for part in text.split("&"))


def _pair(part: str) -> tuple[str, str]:
    name, equals, value = part.partition("=")
    if not equals:
        raise ValueError("a parameter has no value")
    return name, value
