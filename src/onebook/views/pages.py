"""Numbers by resource and cell, for millions of cells: a sparse matrix in pages of 32 cells.

A row of the matrix is a resource's slot in its grid, a column a cell's number, of whatever unit: nights, quarters of an hour
and sessions alike. A page keeps rows only for the slots that differ from their default somewhere in it. What bounds it: the
cells that are stored in the ledger, at 4 or 8 bytes each, 32 at a time.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

SHIFT = 5
WIDTH = 1 << SHIFT
MASK = WIDTH - 1

Numbers = NDArray[Any]


class Page:
    """32 cells of the slots that have something to tell there."""

    __slots__ = ("base", "block", "cells", "count", "rows")

    def __init__(self, kind: type[np.integer[Any]]) -> None:
        self.base = 0
        self.rows: Numbers = np.empty(0, np.int32)  # the row of each slot from `base` on; -1: it has none
        self.block: Numbers = np.empty((0, WIDTH), kind)
        self.cells = memoryview(b"")  # the block, cell after cell: setting one this way costs a third
        self.count = 0

    def row(self, slot: int) -> int:
        """The row of a slot; -1 where it has none."""
        at = slot - self.base
        return int(self.rows.item(at)) if 0 <= at < self.rows.size else -1

    def rows_of(self, slots: Numbers) -> Numbers:
        """The rows of many slots."""
        at = slots - self.base
        within = (at >= 0) & (at < self.rows.size)
        found: Numbers = np.full(slots.size, -1, np.int32)
        found[within] = self.rows[at[within]]
        return found

    def claim(self, slot: int, default: int) -> int:
        """The row of a slot, made at its default where it has none."""
        at = slot - self.base
        row = int(self.rows.item(at)) if 0 <= at < self.rows.size else -1
        if row < 0:
            self._make_room(slot, slot, 1)
            row = self.count
            self.block[row] = default
            self.rows[slot - self.base] = row
            self.count += 1
        return row

    def claim_many(self, slots: Numbers, defaults: Numbers) -> Numbers:
        """The rows of many slots; `defaults` is by slot."""
        new = np.unique(slots[self.rows_of(slots) < 0])
        if new.size:
            self._make_room(int(new[0]), int(new[-1]), new.size)
            rows = np.arange(self.count, self.count + new.size)
            self.block[rows] = defaults[new][:, None]
            self.rows[new - self.base] = rows
            self.count += new.size
        return self.rows_of(slots)

    def _make_room(self, lowest: int, highest: int, more: int) -> None:
        """For `more` rows, and for slots between the two."""
        if self.count + more > len(self.block):
            grown = np.empty((max(self.count + more, self.count * 3 // 2, 8), WIDTH), self.block.dtype)
            grown[: self.count] = self.block[: self.count]
            self.block = grown
            self.cells = grown.reshape(-1).data
        size = self.rows.size
        base = min(lowest, self.base) if size else lowest
        end = max(highest + 1, self.base + size) if size else highest + 1
        if (base, end) != (self.base, self.base + size):
            # A quarter more than needed, so that slots that come one after another do not copy each time.
            spans = np.full(end - base + (end - base) // 4, -1, np.int32)
            spans[self.base - base : self.base - base + size] = self.rows if size else -1
            self.base, self.rows = base, spans


class Pages:
    """The whole matrix. Defaults belong to the caller: each call brings those it needs."""

    def __init__(self, kind: type[np.integer[Any]]) -> None:
        self._kind = kind
        self._pages: dict[int, Page] = {}

    def put(self, slot: int, numbers: Sequence[int], values: Iterable[int], default: int) -> None:
        """Set a few cells of one slot."""
        number_of_page = None
        for number, value in zip(numbers, values, strict=True):
            if number >> SHIFT != number_of_page:
                number_of_page = number >> SHIFT
                page = self._pages.get(number_of_page) or self._page(number_of_page)
                row_start = page.claim(slot, default) << SHIFT
                cells = page.cells
            cells[row_start + (number & MASK)] = value

    def put_many(self, slots: Numbers, numbers: Numbers, values: Numbers, defaults: Numbers) -> None:
        """Set many cells of many slots; `defaults` is by slot."""
        if not slots.size:
            return
        page_numbers = numbers >> SHIFT
        order = np.argsort(page_numbers, kind="stable")
        for part in np.split(order, np.flatnonzero(np.diff(page_numbers[order])) + 1):
            page = self._page(int(page_numbers[part[0]]))
            rows = page.claim_many(slots[part], defaults)
            page.block[rows, numbers[part] & MASK] = values[part]

    def take(self, slot: int, first: int, end: int, default: int) -> list[int]:
        """The cells [first, end) of one slot."""
        taken: list[int] = []
        for page, left, right in self._spans(first, end):
            row = -1 if page is None else page.row(slot)
            if page is None or row < 0:
                taken += [default] * (right - left)
            else:
                taken += page.block[row, left:right].tolist()
        return taken

    def lowest(self, slots: Numbers, first: int, end: int, defaults: Numbers) -> Numbers:
        """The lowest of the cells [first, end), for each of the slots; `defaults` is by their order."""
        lowest = np.full(slots.size, np.iinfo(self._kind).max, self._kind)
        for page, left, right in self._spans(first, end):
            found = defaults.astype(self._kind)
            if page is not None:
                rows = page.rows_of(slots)
                here = np.flatnonzero(rows >= 0)
                # Cell after cell: numpy takes the minimum of two long columns faster than those of many short rows.
                columns = page.block[:, left:right].T
                smallest = columns[0][rows[here]]
                for column in columns[1:]:
                    np.minimum(smallest, column[rows[here]], out=smallest)
                found[here] = smallest
            np.minimum(lowest, found, out=lowest)
        return lowest

    def at(self, slots: Numbers, number: int) -> Numbers:
        """One cell of each of the slots, 0 where there is no row."""
        page = self._pages.get(number >> SHIFT)
        if page is None:
            return np.zeros(slots.size, self._kind)
        rows = page.rows_of(slots)
        return (
            np.where(rows >= 0, page.block[rows, number & MASK], 0) if page.count else np.zeros(slots.size, self._kind)
        )

    def rows(self, slot: int) -> Iterator[tuple[int, Numbers]]:
        """The first cell's number of each page that has a row for a slot, and the row itself, to be changed in place."""
        for number, page in self._pages.items():
            if (row := page.row(slot)) >= 0:
                yield number << SHIFT, page.block[row]

    def block(self, slots: Numbers, number_of_page: int, defaults: Numbers) -> Numbers:
        """All cells of a page, for each of the slots; `defaults` is by their order."""
        whole = np.repeat(defaults.astype(self._kind)[:, None], WIDTH, axis=1)
        page = self._pages.get(number_of_page)
        if page is not None:
            rows = page.rows_of(slots)
            whole[rows >= 0] = page.block[rows[rows >= 0]]
        return whole

    @property
    def page_numbers(self) -> set[int]:
        """The pages that have a row."""
        return set(self._pages)

    @property
    def bytes(self) -> int:
        """What it takes."""
        return sum(page.block.nbytes + page.rows.nbytes for page in self._pages.values())

    def _page(self, number: int) -> Page:
        page = self._pages.get(number)
        if page is None:
            page = self._pages[number] = Page(self._kind)
        return page

    def _spans(self, first: int, end: int) -> Iterator[tuple[Page | None, int, int]]:
        """The pages of [first, end), and which of each one's cells."""
        for number in range(first >> SHIFT, ((end - 1) >> SHIFT) + 1):
            start = number << SHIFT
            yield self._pages.get(number), max(first - start, 0), min(end - start, WIDTH)
