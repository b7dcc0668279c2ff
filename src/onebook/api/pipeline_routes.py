"""The pipeline at a glance, for operators: what `onebook status` shows of a server elsewhere."""

import asyncio
from typing import Annotated

import msgspec
from litestar.handlers import HTTPRouteHandler
from msgspec import Meta

from onebook.api.answer import Answer, answer
from onebook.api.operation import Call, operation
from onebook.api.roles import Scope
from onebook.readings.pipeline import Pipeline, pipeline_of
from onebook.readings.scrape import Scrape, scrape_machine

TAG = "Operations"


class PipelineQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long to look."""

    seconds: Annotated[
        float, Meta(ge=0.1, le=3, description="The window of rates and percentiles; the answer takes as long.")
    ] = 1.0


@operation(
    method="GET",
    path="/v1/pipeline",
    summary="The pipeline: rates, lag, backlog of every consumer, over a window",
    tag=TAG,
    scope=Scope.OPS_READ,
    query=PipelineQuery,
    answers={200: Pipeline},
)
async def get_pipeline(call: Call[None, PipelineQuery]) -> Answer:
    """All processes of the machine that answers, whichever of them answers."""
    before = await _scrape()
    await asyncio.sleep(call.query.seconds)
    return answer(200, pipeline_of(await _scrape(), before), ("cache-control", "no-store"))


ROUTES: tuple[HTTPRouteHandler, ...] = (get_pipeline,)


async def _scrape() -> Scrape:
    """In a thread: it reads the files of all processes, and bookings go on meanwhile."""
    return await asyncio.to_thread(scrape_machine, asyncio.get_running_loop().time())
