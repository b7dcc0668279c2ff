"""All that is known of a running demo, in one place: the crowd and the mirrors write it, the screen and the report read it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from onebook.ops.demo.follower import Follower
from onebook.ops.demo.mirror import Front
from onebook.ops.demo.tally import Latencies, Rush, Tally
from onebook.ops.demo.till import Till
from onebook.ops.demo.witness import Witness

PACE_SLOTS = 40
ATTEMPTS_PER_SECOND = 50
"""What the crowd tries, all channels together. It, six mirrors and the whole server share this machine: `onebook bench` is for
how much it can take, the demo for what everybody knows meanwhile."""


class Phase(StrEnum):
    """Where the demo stands, as it is told."""

    SELLING = "selling"
    CLOSING = "closing: the last holds run out"
    CHARGING = "closing: the last checkouts end"
    DRAINING = "closing: the last events arrive"
    CLOSED = "closed"


class Pace:
    """Hands out moments, evenly spaced. One who comes late does not make others hurry."""

    def __init__(self) -> None:
        self._next = 0.0

    def wait_seconds(self, now: float) -> float:
        """How long to wait before the next attempt."""
        mine = max(now, self._next)
        self._next = mine + 1 / ATTEMPTS_PER_SECOND
        return mine - now


@dataclass(slots=True)
class Kill:
    """The relay's death: when it was killed, and how long it took until all mirrors had what was missing."""

    at: float | None = None
    recovered_seconds: float | None = None


@dataclass(slots=True)
class Board:
    """All that is known of a running demo: the crowd writes it, the screen and the report read it."""

    market: str
    seed: int
    seconds: float
    started: float
    resources: int
    tallies: Mapping[str, Tally]
    rush: Rush
    witness: Witness
    front: Front
    till: Till
    followers: Sequence[Follower] = ()
    relay: Kill = field(default_factory=Kill)
    pace: Pace = field(default_factory=Pace)
    sold_by_slot: list[int] = field(default_factory=lambda: [0] * PACE_SLOTS)
    last_sold: float = 0.0
    phase: Phase = Phase.SELLING

    def mark_sold(self, now: float) -> None:
        """Count a booking into the pace, which cuts the run into equal slots."""
        self.last_sold = now
        slot = int((now - self.started) / self.seconds * PACE_SLOTS)
        self.sold_by_slot[min(slot, PACE_SLOTS - 1)] += 1

    @property
    def selling_seconds(self) -> float:
        """How long the crowd was buying: the time it was given, or longer when the last answers were late."""
        return max(self.seconds, self.last_sold - self.started)

    def latencies(self) -> Latencies:
        """Those of all channels together."""
        return Latencies.merged(tally.latencies for tally in self.tallies.values())

    def total(self, count: str) -> int:
        """One of the plain counts, over all channels."""
        return sum(int(getattr(tally, count)) for tally in self.tallies.values())

    def refused(self) -> Counter[str]:
        """Refusals by their code, over all channels."""
        return sum((tally.refused for tally in self.tallies.values()), Counter())
