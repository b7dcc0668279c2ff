"""A channel's own copy of the inventory, made of nothing but what the channel was told. Pure.

Each shelf is a resource as it was at one version, never a mixture of two: it takes the change that follows its version,
keeps a later one aside until what lies between has come, and ignores older ones. So events may come twice, late, or before
the snapshot that they belong to, and a loss is seen as a gap. Bounded by the cells on sale and MAX_ASIDE changes a resource.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from sys import intern

import msgspec

MAX_ASIDE = 64
REDEFINED = "onebook.resource.defined.v1"


class Touched(msgspec.Struct, frozen=True, gc=False):
    """A resource at a version, and what is left in some of its cells: in an event, a snapshot and a bulk delta alike."""

    resource: str
    version: int
    cells: list[str]
    available: list[int]
    otherwise: int | None = None
    """Of a resource that may have been redefined: what every cell has that is not named, in its opening hours."""


class _Facts(msgspec.Struct, frozen=True):
    resources: list[Touched] = []


class Event(msgspec.Struct, frozen=True):
    """A CloudEvent of any type, as far as a mirror wants to know it; `time` is that of the commit."""

    type: str
    time: datetime
    data: _Facts


@dataclass(slots=True)
class Shelf:
    """A resource at a version: the units left in each cell."""

    version: int
    cells: dict[str, int]


Picture = dict[str, Shelf]
"""The whole inventory, by resource."""


class Front:
    """The latest version of each resource that anybody has been told of: what mirrors are behind of."""

    def __init__(self) -> None:
        self.versions: dict[str, int] = {}
        self.changes = 0
        """All versions together: each change raised one of them by one."""

    def reached(self, resource: str, version: int) -> None:
        """Somebody knows of this version."""
        known = self.versions.get(resource, 0)
        if version > known:
            self.versions[resource] = version
            self.changes += version - known


class Mirror:
    """One channel's inventory."""

    def __init__(self, front: Front) -> None:
        self.shelves: Picture = {}
        self.changes = 0
        """All versions of its shelves together."""
        self._front = front
        self._aside: dict[str, dict[int, Touched | None]] = {}

    @property
    def behind(self) -> int:
        """Changes that somebody else knows of already."""
        return self._front.changes - self.changes

    @property
    def gaps(self) -> Mapping[str, int]:
        """Resources of which something between is missing, and the version that a snapshot must have reached."""
        return {resource: max(aside) for resource, aside in self._aside.items()}

    def has_reached(self, versions: Mapping[str, int]) -> bool:
        """Whether it knows all that led to these versions."""
        return all((s := self.shelves.get(name)) is not None and s.version >= v for name, v in versions.items())

    def hear(self, event: Event) -> bool:
        """Take in an event; whether any of it was news."""
        told = [self._hear(touched, event.type == REDEFINED) for touched in event.data.resources]
        return any(told)

    def read(self, found: Sequence[Touched], *, is_whole: bool) -> None:
        """Take in a snapshot of whole resources, or, of those known already, all that has changed since they were in step."""
        for now in found:
            shelf = self.shelves.get(now.resource)
            if shelf is None and is_whole:
                shelf = self.shelves[now.resource] = Shelf(0, {})
            if shelf is None or now.version <= shelf.version:
                continue
            if is_whole:
                # The same few labels in each resource and mirror: kept once.
                shelf.cells = {intern(cell): left for cell, left in zip(now.cells, now.available, strict=True)}
            else:
                if now.otherwise is not None:
                    # Not named, and nothing left: it lies outside the opening hours, which this market does not change.
                    shelf.cells = {cell: now.otherwise if left else 0 for cell, left in shelf.cells.items()}
                _change(shelf, now)
            self._move(now.resource, shelf, now.version)
            self._go_on(now.resource, shelf)

    def _hear(self, told: Touched, redefined: bool) -> bool:
        shelf = self.shelves.get(told.resource)
        if shelf is not None and told.version <= shelf.version:
            return False
        if shelf is not None and told.version == shelf.version + 1 and not redefined:
            _change(shelf, told)
            self._move(told.resource, shelf, told.version)
            self._go_on(told.resource, shelf)
            return True
        self._front.reached(told.resource, told.version)
        aside = self._aside.setdefault(told.resource, {})
        # What a new definition does to the cells is not told: only a snapshot gets past it.
        aside[told.version] = None if redefined else told
        if len(aside) > MAX_ASIDE:
            del aside[min(aside)]  # the latest stays, and with it the gap
        return True

    def _move(self, resource: str, shelf: Shelf, version: int) -> None:
        self.changes += version - shelf.version
        shelf.version = version
        self._front.reached(resource, version)

    def _go_on(self, resource: str, shelf: Shelf) -> None:
        """Take from aside what follows now, and forget what is older."""
        aside = self._aside.get(resource)
        if aside is None:
            return
        while (following := aside.get(shelf.version + 1)) is not None:
            _change(shelf, following)
            self._move(resource, shelf, following.version)
        for version in [version for version in aside if version <= shelf.version]:
            del aside[version]
        if not aside:
            del self._aside[resource]


def _change(shelf: Shelf, told: Touched) -> None:
    """A mirror keeps the period that it has read, and no cell beyond it."""
    cells = shelf.cells
    for cell, left in zip(told.cells, told.available, strict=True):
        if cell in cells:
            cells[cell] = left
