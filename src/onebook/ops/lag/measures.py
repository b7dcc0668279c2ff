"""What a rule looks at, said twice: for our own engine, and in PromQL.

Each kind says both in one class, side by side, so that a person can compare them; the shipped files are made from the same
objects (`shipped.py`). What `read` returns is Prometheus' instant vector: the subjects in the condition, each with its value.
"""

from collections import deque
from collections.abc import Mapping
from itertools import pairwise
from typing import ClassVar, Protocol

import msgspec

from onebook.readings.scrape import Scrape

Found = Mapping[str, float]
"""Values by subject, the value of the measure's label; the subject of a metric without one is empty."""


UNLIMITED = -1


class History:
    """The latest scrapes, reduced to what the rules look at. Bounded by `length`."""

    def __init__(self, metrics: frozenset[str], length: int) -> None:
        self._metrics = metrics
        self._scrapes: deque[Scrape] = deque(maxlen=length)

    def add(self, scrape: Scrape) -> None:
        """The newest one."""
        kept = {name: samples for name, samples in scrape.samples.items() if name in self._metrics}
        self._scrapes.append(Scrape(taken_at=scrape.taken_at, samples=kept))

    @property
    def now(self) -> Scrape:
        """The newest one; there must be one."""
        return self._scrapes[-1]

    def within(self, seconds: float) -> list[Scrape]:
        """Those no older than so many seconds before the newest, oldest first."""
        return [scrape for scrape in self._scrapes if scrape.taken_at >= self.now.taken_at - seconds]

    def reaches(self, seconds: float) -> bool:
        """Whether we have been looking for so long."""
        return self._scrapes[0].taken_at <= self.now.taken_at - seconds


class Measure(Protocol):
    """One way to look at metrics."""

    @property
    def metrics(self) -> frozenset[str]:
        """The names of the metrics it reads."""

    @property
    def window_seconds(self) -> float:
        """How far back it looks; 0 for now."""

    def read(self, history: History) -> Found:
        """The subjects in the condition."""

    def promql(self) -> str:
        """The same for Prometheus."""


class Above(msgspec.Struct, frozen=True):
    """A value is greater than a limit."""

    metric: str
    limit: float
    label: str = ""
    window_seconds: ClassVar[float] = 0

    @property
    def metrics(self) -> frozenset[str]:
        """The one."""
        return frozenset({self.metric})

    def read(self, history: History) -> Found:
        """Where nobody reports the metric, there is nothing to be above: that is what `Missing` is for."""
        values = history.now.by(self.metric, self.label)
        return {subject: value for subject, value in values.items() if value > self.limit}

    def promql(self) -> str:
        """All labels are kept, so that an alert of Prometheus names the instance too."""
        return f"{self.metric} > {self.limit:g}"


class ShareAbove(msgspec.Struct, frozen=True):
    """What is used up of the whole, used and left, is greater than a share."""

    used: str
    left: str
    limit: float
    window_seconds: ClassVar[float] = 0

    @property
    def metrics(self) -> frozenset[str]:
        """Both."""
        return frozenset({self.used, self.left})

    def read(self, history: History) -> Found:
        """Nothing where there is no limit, which is told as -1 left, and so no share."""
        used, left = history.now.total(self.used), history.now.total(self.left)
        if used is None or left is None or left == UNLIMITED or used + left == 0:
            return {}
        share = used / (used + left)
        return {"": share} if share > self.limit else {}

    def promql(self) -> str:
        """A share of nothing is NaN, which is not greater than anything."""
        return f"{self.used} / ({self.used} + ({self.left} != {UNLIMITED})) > {self.limit:g}"


class Grown(msgspec.Struct, frozen=True):
    """A counter has grown in the window."""

    metric: str
    window_seconds: float

    @property
    def metrics(self) -> frozenset[str]:
        """The one."""
        return frozenset({self.metric})

    def read(self, history: History) -> Found:
        """Step by step, so that a counter that begins again at 0 does not hide what came before."""
        counts = [scrape.total(self.metric) or 0.0 for scrape in history.within(self.window_seconds)]
        grown = sum(max(0.0, after - before) for before, after in pairwise(counts))
        return {"": grown} if grown > 0 else {}

    def promql(self) -> str:
        """`increase` does the same, and extrapolates to the window's edges, which cannot make 0 of more than 0."""
        return f"increase({self.metric}[{duration(self.window_seconds)}]) > 0"


class Still(msgspec.Struct, frozen=True):
    """A value that ought to move has not moved in the window.

    A gauge keeps saying what a process last said, also when that process hangs: a lag of 2 ms that never changes is no good news.
    """

    metric: str
    label: str
    window_seconds: float

    @property
    def metrics(self) -> frozenset[str]:
        """The one."""
        return frozenset({self.metric})

    def read(self, history: History) -> Found:
        """Nothing before we have looked for a whole window."""
        if not history.reaches(self.window_seconds):
            return {}
        looks = [scrape.by(self.metric, self.label) for scrape in history.within(self.window_seconds)]
        still = {name for name in looks[-1] if all(look.get(name) == looks[-1][name] for look in looks)}
        return {name: looks[-1][name] for name in sorted(still)}

    def promql(self) -> str:
        """A window with one scrape in it has no changes either, which is why the rule also waits (`for`)."""
        return f"changes({self.metric}[{duration(self.window_seconds)}]) == 0"


class Missing(msgspec.Struct, frozen=True):
    """A metric that ought to be there is not: whoever reports it is gone."""

    metric: str
    label: str = ""
    expected: tuple[str, ...] = ("",)
    window_seconds: ClassVar[float] = 0

    @property
    def metrics(self) -> frozenset[str]:
        """The one."""
        return frozenset({self.metric})

    def read(self, history: History) -> Found:
        """1 for each that is not there, as PromQL's `absent`."""
        there = history.now.by(self.metric, self.label)
        return {name: 1.0 for name in self.expected if name not in there}

    def promql(self) -> str:
        """`absent` keeps the labels that are asked for, so that the alert names who is missing."""
        if not self.label:
            return f"absent({self.metric})"
        return " or ".join(f'absent({self.metric}{{{self.label}="{name}"}})' for name in self.expected)


def duration(seconds: float) -> str:
    """A duration as Prometheus writes it: whole numbers only."""
    return f"{seconds:.0f}s" if seconds == int(seconds) else f"{seconds * 1000:.0f}ms"
