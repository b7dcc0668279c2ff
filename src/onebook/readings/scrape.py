"""All metrics of a machine at one moment.

Every process of a machine counts into one folder (PROMETHEUS_MULTIPROC_DIR), so that any of them can tell the sums; `/metrics`
tells them to others, as text. Both make the same scrape.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
from prometheus_client import REGISTRY, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.parser import text_string_to_metric_families

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
KINDS = ("counter", "gauge", "histogram")

Labels = frozenset[tuple[str, str]]
Buckets = tuple[tuple[float, float], ...]
"""Of a histogram: upper bound, and how many were at or below it; bounds ascend, the last is infinite."""


class Scrape(msgspec.Struct, frozen=True):
    """Values by name and labels. `taken_at` are seconds of a clock that never goes back."""

    taken_at: float
    samples: Mapping[str, Mapping[Labels, float]]

    def by(self, name: str, label: str) -> dict[str, float]:
        """The values of a metric, summed up by one of its labels."""
        sums: dict[str, float] = {}
        for labels, value in self.samples.get(name, {}).items():
            key = dict(labels).get(label, "")
            sums[key] = sums.get(key, 0.0) + value
        return sums

    def total(self, name: str, **wanted: str) -> float | None:
        """The sum of a metric over the labels that fit; None where there is no such value."""
        fitting = [value for labels, value in self.samples.get(name, {}).items() if wanted.items() <= labels]
        return sum(fitting) if fitting else None

    def buckets(self, name: str, **wanted: str) -> Buckets:
        """A histogram, summed up over the labels that fit; empty where there is none."""
        sums: dict[float, float] = {}
        for labels, value in self.samples.get(f"{name}_bucket", {}).items():
            if wanted.items() <= labels:
                bound = float(dict(labels)["le"])
                sums[bound] = sums.get(bound, 0.0) + value
        return tuple(sorted(sums.items()))


def scrape_machine(now: float, kinds: Sequence[str] = KINDS) -> Scrape:
    """This machine's metrics; outside of a server, those of this process.

    Reads files, in some tens of milliseconds: call it in a thread.
    """
    if FOLDER not in os.environ:
        return scrape_of(REGISTRY.collect(), now)
    files = [str(file) for kind in kinds for file in Path(os.environ[FOLDER]).glob(f"{kind}_*.db")]
    return scrape_of(MultiProcessCollector.merge(files), now)  # type: ignore[no-untyped-call]


def scrape_levels(now: float) -> Scrape:
    """This machine's counters and gauges: in a twentieth of the time, for histograms are most of what there is."""
    return scrape_machine(now, ("counter", "gauge"))


def scrape_text(text: str, now: float) -> Scrape:
    """Metrics as `/metrics` tells them. Raises ValueError where it is something else."""
    return scrape_of(text_string_to_metric_families(text), now)


def scrape_of(metrics: Iterable[Metric], now: float) -> Scrape:
    """A scrape of what a registry or a parser yields."""
    samples: dict[str, dict[Labels, float]] = {}
    for metric in metrics:
        for sample in metric.samples:
            samples.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return Scrape(taken_at=now, samples=samples)
