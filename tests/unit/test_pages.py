"""The sparse matrix of cells, against a dictionary."""

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from onebook.views.pages import SHIFT, WIDTH, Pages

SLOTS = 40
CELLS = 200
DEFAULTS = np.arange(100, 100 + SLOTS)

slots = st.integers(0, SLOTS - 1)
numbers = st.integers(-CELLS, CELLS)
values = st.integers(0, 1000)
one_by_one = st.tuples(slots, st.lists(st.tuples(numbers, values), max_size=8))
many_at_once = st.lists(st.tuples(slots, numbers, values), max_size=60, unique_by=lambda cell: cell[:2])
spans = st.tuples(numbers, st.integers(1, 90)).map(lambda span: (span[0], span[0] + span[1]))


def _filled(singles: list[Any], bulks: list[Any]) -> tuple[Pages, dict[tuple[int, int], int]]:
    pages, plain = Pages(np.int32), {}
    for slot, cells in singles:
        pages.put(slot, [number for number, _ in cells], [value for _, value in cells], int(DEFAULTS[slot]))
        plain.update({(slot, number): value for number, value in cells})
    for bulk in bulks:
        columns = np.array(bulk, np.int64).reshape(-1, 3).T
        pages.put_many(columns[0], columns[1], columns[2], DEFAULTS)
        plain.update({(slot, number): value for slot, number, value in bulk})
    return pages, plain


@given(singles=st.lists(one_by_one, max_size=12), bulks=st.lists(many_at_once, max_size=3), span=spans)
def test_pages_hold_what_was_put(singles: list[Any], bulks: list[Any], span: tuple[int, int]) -> None:
    """Rows, lowest values and whole blocks are those of a dictionary with defaults, whichever way the cells came."""
    pages, plain = _filled(singles, bulks)
    every = np.arange(SLOTS)
    rows = [[plain.get((slot, n), int(DEFAULTS[slot])) for n in range(*span)] for slot in range(SLOTS)]
    assert [pages.take(slot, *span, int(DEFAULTS[slot])) for slot in range(SLOTS)] == rows
    assert pages.lowest(every, *span, DEFAULTS).tolist() == [min(row) for row in rows]
    number_of_page = span[0] >> SHIFT
    block = pages.block(every[::-1], number_of_page, DEFAULTS[::-1])
    start = number_of_page << SHIFT
    assert block.tolist() == [
        [plain.get((slot, n), int(DEFAULTS[slot])) for n in range(start, start + WIDTH)]
        for slot in reversed(range(SLOTS))
    ]


@given(bulk=many_at_once, number=numbers)
def test_one_cell_of_many_slots(bulk: list[Any], number: int) -> None:
    """A cell that has no row reads as 0 where no default is asked for."""
    pages = Pages(np.int64)
    columns = np.array(bulk, np.int64).reshape(-1, 3).T
    pages.put_many(columns[0], columns[1], columns[2], np.zeros(SLOTS, np.int64))
    plain = {(slot, cell): value for slot, cell, value in bulk}
    assert pages.at(np.arange(SLOTS), number).tolist() == [plain.get((slot, number), 0) for slot in range(SLOTS)]


def test_a_page_costs_what_its_slots_cost() -> None:
    """Two slots far from each other's neighbours take two rows, not the rows of all between them."""
    pages = Pages(np.int32)
    for slot in (5_000, 5_010):
        pages.put(slot, [7], [1], 3)
    assert pages.bytes < 8 * WIDTH * 4 + 4 * 64
