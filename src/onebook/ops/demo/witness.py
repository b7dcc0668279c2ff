"""The crowd's own view of double booking: what channels were promised, counted without asking the ledger.

A promise counts from the moment its answer has arrived to the moment its end is asked for (or its deadline,
reckoned from when the hold was asked for). Both lie within the time that the ledger must keep the units
taken, so the promises of a cell never add up to more than its capacity unless something was sold twice.
"""

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from onebook.ops.demo.market import Cell, Line


@dataclass(slots=True)
class _Promise:
    lines: Sequence[Line]
    until: float | None


class Witness:
    """Counts the living promises of every cell as answers come in. Bounded by the units there are.

    Times are seconds of one clock of the caller's; calls come in its order.
    """

    def __init__(self, capacities: Mapping[str, int], exceptions: Mapping[Cell, int]) -> None:
        self._capacities = capacities
        self._exceptions = exceptions
        self._units: Counter[Cell] = Counter()
        self._promises: dict[str, _Promise] = {}
        self._deadlines: list[tuple[float, str]] = []
        self.double_booked: dict[Cell, int] = {}
        """Cells that were promised beyond their capacity, with the most units promised at once."""

    def promised(self, booking: str, lines: Sequence[Line], until: float | None, now: float) -> None:
        """An answer has granted the lines, for good or until a deadline; its repeats change nothing."""
        self._lapse(now)
        if booking in self._promises:
            self._promises[booking].until = until
        elif until is None or until > now:
            self._promises[booking] = _Promise(lines, until)
            self._count(lines)
        else:
            return
        if until is not None:
            heapq.heappush(self._deadlines, (until, booking))

    def given_up(self, booking: str) -> None:
        """The end of a booking is about to be asked for: from here on its units may be anybody's."""
        promise = self._promises.pop(booking, None)
        if promise is None:
            return
        for line in promise.lines:
            for cell in line.cells:
                self._units[cell] -= line.quantity

    def _count(self, lines: Sequence[Line]) -> None:
        for line in lines:
            for cell in line.cells:
                self._units[cell] += line.quantity
                units = self._units[cell]
                capacity = self._exceptions.get(cell, self._capacities[cell[0]])
                if units > capacity:
                    self.double_booked[cell] = max(units, self.double_booked.get(cell, 0))

    def _lapse(self, now: float) -> None:
        while self._deadlines and self._deadlines[0][0] <= now:
            until, booking = heapq.heappop(self._deadlines)
            promise = self._promises.get(booking)
            if promise is not None and promise.until == until:
                self.given_up(booking)
