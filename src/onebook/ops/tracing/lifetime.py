"""Tracing for as long as a process lives."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from onebook import tracing
from onebook.config import TracingSettings
from onebook.ops.tracing.otel import SpanMaker
from onebook.ops.tracing.recorder import Recorder
from onebook.ops.tracing.store import open_store

STOP_SECONDS = 3.0


@asynccontextmanager
async def open_tracing(settings: TracingSettings, database_url: str, process: str) -> AsyncIterator[Recorder]:
    """Follow requests from now on, as the settings say; `process` is the name that spans tell people.

    A database or a collector that is away costs spans, never a request. On the way out, what waits is written, within bounds.
    """
    maker = SpanMaker(process, settings.otlp_endpoint)
    async with open_store(database_url, process) as store:
        recorder = Recorder(maker, store, timedelta(hours=settings.keep_hours))
        loops = [asyncio.create_task(recorder.run()), asyncio.create_task(recorder.run_cleaning())]
        tracing.install(recorder.sink, settings.sample_ratio)
        try:
            yield recorder
        finally:
            tracing.install(None, 0.0)
            recorder.stop()
            _, stuck = await asyncio.wait(loops, timeout=STOP_SECONDS)
            for loop in stuck:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
            await asyncio.to_thread(maker.close)
