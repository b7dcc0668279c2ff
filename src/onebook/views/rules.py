"""What the operator has set for one cell, in one number: 0 where nothing is.

| bits | what |
|---|---|
| 0–14, 15–29 | minimum and maximum stay of those who arrive; 0: the resource's own |
| 30, 31 | closed to arrival, closed to departure |
| 32 | closed |
| 33, 34 | capacity and overbooking of its own, which the resource's new ones do not change |
"""

import msgspec
from msgspec import UNSET

from onebook.model.commands import InventoryChange

STAY = (1 << 15) - 1
MAX_STAY_SHIFT = 15
CLOSED_TO_ARRIVAL = 1 << 30
CLOSED_TO_DEPARTURE = 1 << 31
CLOSED = 1 << 32
OWN_CAPACITY = 1 << 33
OWN_OVERBOOKING = 1 << 34

_FLAGS = {
    "closed_to_arrival": CLOSED_TO_ARRIVAL,
    "closed_to_departure": CLOSED_TO_DEPARTURE,
    "closed": CLOSED,
}
_OWN = {"capacity": OWN_CAPACITY, "overbooking": OWN_OVERBOOKING}
_STAYS = {"min_stay": 0, "max_stay": MAX_STAY_SHIFT}


class Rewrite(msgspec.Struct, frozen=True):
    """What a change does to the rules of each of its cells: keep some bits, set others."""

    keep: int
    put: int

    @classmethod
    def of(cls, change: InventoryChange) -> "Rewrite":
        """What a change means in bits."""
        cleared, put = 0, 0
        for name, shift in _STAYS.items():
            if (stay := getattr(change, name)) is not UNSET:
                cleared |= STAY << shift
                put |= (stay or 0) << shift
        for name, flag in _FLAGS.items():
            if (value := getattr(change, name)) is not UNSET:
                cleared |= flag
                put |= flag if value else 0
        for name, flag in _OWN.items():
            if (value := getattr(change, name)) is not UNSET:
                cleared |= flag
                put |= 0 if value is None else flag
        return cls(~cleared, put)
