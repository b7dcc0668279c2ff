"""What a scrape says of the pipeline, and how `onebook status` shows it."""

import asyncio
import math
import subprocess
import sys
from io import StringIO
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from rich.console import Console
from tests.serving import serving

from onebook.commands.status import without_password
from onebook.ops.http_client import Client, ConnectionFailed
from onebook.ops.lag.screen import line_of, screen_of
from onebook.ops.lag.source import Metrics, NoReading
from onebook.readings.pipeline import Pipeline, pipeline_of, quantile
from onebook.readings.scrape import Scrape, scrape_levels, scrape_machine, scrape_text

BOUNDS = (0.001, 0.01, 0.1)


class Machine:
    """Metrics as the rooms name them, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.commands = self._counter("onebook_commands_total", "command", "outcome")
        self.events = self._counter("onebook_consumer_events_total", "consumer")
        self.refills = self._counter("onebook_consumer_refills_total", "consumer")
        self.forged = self._counter("onebook_forged_messages_total", "consumer")
        self.losses = self._counter("onebook_relay_slot_losses_total")
        self.offset = self._gauge("onebook_consumer_offset", "consumer")
        self.lag = self._gauge("onebook_cdc_lag_seconds", "consumer")
        self.retained = self._gauge("onebook_relay_slot_retained_bytes")
        self.safe = self._gauge("onebook_relay_slot_safe_bytes")
        self.breaker = self._gauge("onebook_webhook_breaker", "endpoint")
        self.passed = Histogram("onebook_end_to_end_seconds", "…", ["consumer"], buckets=BOUNDS, registry=self.registry)

    def scrape(self, now: float) -> Scrape:
        """The metrics, by way of the text."""
        return scrape_text(generate_latest(self.registry).decode(), now)

    def _counter(self, name: str, *labels: str) -> Counter:
        return Counter(name, "…", labels, registry=self.registry)

    def _gauge(self, name: str, *labels: str) -> Gauge:
        return Gauge(name, "…", labels, registry=self.registry)


def test_rates_and_percentiles_are_those_of_the_window() -> None:
    """What was counted before the first scrape has no part in a reading."""
    machine = Machine()
    machine.commands.labels("PlaceHold", "done").inc(1_000)
    machine.events.labels("view").inc(500)
    for _ in range(100):
        machine.passed.labels("view").observe(0.09)
    before = machine.scrape(10.0)
    machine.commands.labels("PlaceHold", "done").inc(40)
    machine.commands.labels("PlaceHold", "sold-out").inc(4)
    machine.events.labels("view").inc(20)
    for _ in range(20):
        machine.passed.labels("view").observe(0.005)
    reading = pipeline_of(machine.scrape(12.0), before)
    (view,) = reading.consumers
    assert (reading.window_seconds, reading.holds_per_second, reading.commands_per_second) == (2.0, 20.0, 22.0)
    assert view.events_per_second == 10.0
    assert view.end_to_end_p50_ms == pytest.approx(1 + 0.5 * 9)
    assert view.end_to_end_p99_ms == pytest.approx(1 + 0.99 * 9)


def test_one_scrape_tells_of_everything_since_the_start() -> None:
    """Without a window there are percentiles and counts, and no rates."""
    machine = Machine()
    machine.events.labels("view").inc(3)
    machine.refills.labels("view").inc(2)
    machine.passed.labels("view").observe(0.0005)
    reading = pipeline_of(machine.scrape(1.0))
    (view,) = reading.consumers
    assert (reading.window_seconds, reading.holds_per_second, view.events_per_second) == (None, None, None)
    assert view.refills == 2
    assert view.end_to_end_p50_ms == pytest.approx(0.5)


def test_a_server_that_was_started_again_counts_from_zero() -> None:
    """A counter that has become smaller is read as Prometheus reads it: all of it is new."""
    before, after = Machine(), Machine()
    before.events.labels("view").inc(1_000)
    before.passed.labels("view").observe(0.05)
    before.passed.labels("view").observe(0.05)
    after.events.labels("view").inc(7)
    after.passed.labels("view").observe(0.0005)
    (view,) = pipeline_of(after.scrape(2.0), before.scrape(1.0)).consumers
    assert view.events_per_second == 7.0
    assert view.end_to_end_p99_ms == pytest.approx(0.99)


def test_scrapes_in_the_wrong_order_are_refused() -> None:
    """A window that ends before it begins is a mistake of the caller."""
    scrape = Machine().scrape(1.0)
    with pytest.raises(ValueError, match="order of time"):
        pipeline_of(scrape, scrape)


def test_the_backlog_is_what_the_relay_has_handed_on_and_a_consumer_has_not_handled() -> None:
    """A consumer that reads the log past a relay that is away has none, and the relay comes first."""
    machine = Machine()
    for consumer, offset in (("push", 1_200), ("relay", 1_000), ("view", 900)):
        machine.offset.labels(consumer).set(offset)
    reading = pipeline_of(machine.scrape(1.0))
    assert [(each.name, each.backlog_bytes) for each in reading.consumers] == [
        ("relay", None),
        ("push", 0),
        ("view", 100),
    ]


def test_the_slot_and_what_stands_in_the_way_are_told() -> None:
    """A breaker that is half-open has not closed yet."""
    machine = Machine()
    machine.retained.set(2**20)
    machine.safe.set(2**30)
    machine.losses.inc()
    for endpoint, state in (("a", 0), ("b", 1), ("c", 2)):
        machine.breaker.labels(endpoint).set(state)
    reading = pipeline_of(machine.scrape(1.0))
    assert (reading.slot.retained_bytes, reading.slot.safe_bytes, reading.slot.times_lost) == (2**20, 2**30, 1)
    assert reading.webhooks.breakers_open == 2


def test_a_slot_without_a_limit_has_no_safe_size() -> None:
    """-1 is how the relay says that nothing bounds the slot."""
    machine = Machine()
    machine.safe.set(-1)
    assert pipeline_of(machine.scrape(1.0)).slot.safe_bytes is None


@given(st.lists(st.floats(0, 0.2), min_size=1, max_size=200), st.floats(0.01, 1))
def test_a_quantile_lies_in_the_bucket_of_the_observation_of_its_rank(values: list[float], share: float) -> None:
    """For any observations the interpolated value is within the bounds between which the true one lies."""
    bounds = (*BOUNDS, math.inf)
    buckets = tuple((bound, float(sum(value <= bound for value in values))) for bound in bounds)
    true = sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
    upper = next(bound for bound in bounds if true <= bound)
    lower = max((bound for bound in (0.0, *BOUNDS) if bound < upper), default=0.0)
    found = quantile(buckets, share)
    assert found is not None
    assert lower <= found + 1e-9 and found <= min(upper, BOUNDS[-1]) + 1e-9


def test_a_quantile_of_nothing_is_none() -> None:
    """Neither a histogram nobody has nor one without observations has a median."""
    assert quantile((), 0.5) is None
    assert quantile(((0.1, 0.0), (math.inf, 0.0)), 0.5) is None


def test_a_reading_survives_json() -> None:
    """What the API sends is what a status elsewhere reads."""
    machine = Machine()
    machine.lag.labels("view").set(0.25)
    reading = pipeline_of(machine.scrape(2.0), machine.scrape(1.0))
    assert msgspec.json.decode(msgspec.json.encode(reading), type=Pipeline) == reading


def test_a_late_consumer_is_seen() -> None:
    """The table and the line name the consumer and its lag, a dash stands for what nobody reports, and forgeries are told."""
    machine = Machine()
    machine.lag.labels("view").set(2.5)
    machine.forged.labels("api").inc(3)
    reading = pipeline_of(machine.scrape(2.0), machine.scrape(1.0))
    written = StringIO()
    console = Console(width=80, file=written)
    console.print(screen_of(reading))
    shown = written.getvalue()
    assert "view" in shown and "2,500" in shown and "–" in shown and "forged 3" in shown
    assert line_of(reading) == "holds/s 0.0  view lag 2,500 ms p99 – ms"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("nats://ops:s3cret@localhost:4222", "nats://ops:…@localhost:4222"),
        ("postgresql://postgres@/onebook?host=%2Frun", "postgresql://postgres@/onebook?host=%2Frun"),
        ("postgresql://app:a:b@db/onebook", "postgresql://app:…@db/onebook"),
        ([1, 2], [1, 2]),
    ],
)
def test_people_are_shown_no_passwords(value: object, shown: object) -> None:
    """A password in a URL is hidden on the screen, and nothing else is changed."""
    assert without_password(value) == shown


async def test_a_server_without_metrics_gives_no_reading() -> None:
    """Whoever answers with something else is told apart from nobody answering at all."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")

    async with serving(answer) as port, Client(f"http://127.0.0.1:{port}") as http:
        with pytest.raises(NoReading, match="404"):
            await Metrics(http).next()
    async with Client(f"http://127.0.0.1:{port}") as http:
        with pytest.raises(ConnectionFailed):
            await Metrics(http).next()


def test_the_metrics_of_all_processes_are_read_from_their_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counters of two processes are summed up, the worst lag counts, and histograms are left out where nobody looks at them."""
    counting = (
        "import sys\n"
        "from onebook.broker.metrics import CDC_LAG, END_TO_END, EVENTS\n"
        "EVENTS.labels('view').inc(3); CDC_LAG.labels('view').set(float(sys.argv[1])); END_TO_END.labels('view').observe(0.003)"
    )
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    for lag in ("0.5", "2.5"):
        subprocess.run([sys.executable, "-c", counting, lag], check=True, timeout=60)
    (view,) = pipeline_of(scrape_machine(1.0)).consumers
    assert view.end_to_end_p50_ms == pytest.approx(3.0)
    levels = scrape_levels(1.0)
    assert levels.total("onebook_consumer_events_total", consumer="view") == 6
    assert levels.total("onebook_cdc_lag_seconds") == 2.5
    assert levels.buckets("onebook_end_to_end_seconds") == ()
