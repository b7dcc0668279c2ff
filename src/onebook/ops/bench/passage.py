"""How long events took to each stage of the pipeline, by the server's own histograms (`/metrics`)."""

import asyncio
from collections.abc import Sequence

import msgspec
from rich.table import Table

from onebook.ops.bench.arrivals import Latencies
from onebook.ops.bench.servers import BenchUnavailable, Server
from onebook.ops.http_client import Client, ConnectionFailed
from onebook.readings.pipeline import pipeline_of
from onebook.readings.scrape import Scrape, scrape_text

HEADINGS = ("events", "p50 ms", "p95 ms", "p99 ms", "max ms")


class Stage(msgspec.Struct, frozen=True):
    """From an event's decision until it had passed; percentiles are interpolated within the histogram's buckets."""

    name: str
    p50_ms: float | None
    p99_ms: float | None


async def scrape(server: Server) -> Scrape:
    """All metrics of a server's machine, now."""
    try:
        async with Client(server.url) as client:
            answer = await client.request("GET", "/metrics")
    except ConnectionFailed as error:
        raise BenchUnavailable(f"/metrics was not answered: {error}") from error
    return scrape_text(answer.body.decode(), asyncio.get_running_loop().time())


def stages_between(before: Scrape, after: Scrape) -> list[Stage]:
    """What passed in a window, stage by stage."""
    consumers = pipeline_of(after, before).consumers
    return [Stage(each.name, each.end_to_end_p50_ms, each.end_to_end_p99_ms) for each in consumers]


def stages_line(stages: Sequence[Stage]) -> str:
    """For people."""
    known = [each for each in stages if each.p50_ms is not None and each.p99_ms is not None]
    passed = [f"{each.name} {each.p50_ms:.1f} / {each.p99_ms:.1f}" for each in known]
    return f"by the server's own histograms, p50 / p99 ms: {', '.join(passed) or 'nothing'}"


def latencies_table(title: str, caption: str, first: str) -> Table:
    """A table with a row for each set of arrivals; `first` is what its first column names."""
    table = Table(title=title, title_justify="left", caption=caption, caption_justify="left")
    table.add_column(first)
    for heading in HEADINGS:
        table.add_column(heading, justify="right")
    return table


def latencies_row(latencies: Latencies) -> tuple[str, ...]:
    """The cells of HEADINGS."""
    figures = (latencies.p50_ms, latencies.p95_ms, latencies.p99_ms, latencies.max_ms)
    return (f"{latencies.count:,}", *(f"{figure:,.2f}" for figure in figures))
