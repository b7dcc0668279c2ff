"""Dead letters: what consumers could not handle, for operators."""

from typing import Annotated

import msgspec
from litestar.handlers import HTTPRouteHandler
from msgspec import Meta

from onebook.api.answer import Answer, answer
from onebook.api.operation import Call, operation
from onebook.api.problems import Problem
from onebook.api.roles import Scope
from onebook.api.wire import Name
from onebook.broker.dead_letters import DeadLetter, LetterWithEvent

TAG = "Dead letters"
MAX_LETTERS = 200
_MAX_ID = 2**63 - 1


class DeadLettersQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which letters: of one consumer or of all; `cursor` is the previous page's `next_cursor`."""

    consumer: Name | None = None
    cursor: Annotated[int, Meta(ge=0, le=_MAX_ID)] = 0
    limit: Annotated[int, Meta(ge=1, le=MAX_LETTERS)] = 50


class DeadLetterList(msgspec.Struct, frozen=True):
    """A page of letters, in the order in which they came; `next_cursor` is null on the last page."""

    letters: list[DeadLetter]
    next_cursor: int | None


@operation(
    method="GET",
    path="/v1/dlq",
    summary="Events that a consumer could not handle, and deliveries given up",
    tag=TAG,
    scope=Scope.OPS_READ,
    query=DeadLettersQuery,
    answers={200: DeadLetterList},
)
async def list_dead_letters(call: Call[None, DeadLettersQuery]) -> Answer:
    """One page."""
    query = call.query
    found = await call.engine.dead_letters.list(consumer=query.consumer, after=query.cursor, limit=query.limit + 1)
    page = found[: query.limit]
    return answer(200, DeadLetterList(page, page[-1].id if len(found) > len(page) else None))


@operation(
    method="GET",
    path="/v1/dlq/{letter}",
    summary="One dead letter, with its event",
    tag=TAG,
    scope=Scope.OPS_READ,
    answers={200: LetterWithEvent},
    problems=(404,),
)
async def get_dead_letter(call: Call[None, None]) -> Answer:
    """The event as every transport has it."""
    found = await call.engine.dead_letters.show(_identity(call))
    if found is None:
        raise _unknown()
    return answer(200, found)


@operation(
    method="POST",
    path="/v1/dlq/{letter}/replay",
    summary="Have a dead letter tried again by its consumer, within seconds",
    tag=TAG,
    scope=Scope.OPS_ADMIN,
    answers={202: DeadLetter},
    problems=(404,),
)
async def replay_dead_letter(call: Call[None, None]) -> Answer:
    """Asking twice changes nothing."""
    letters, identity = call.engine.dead_letters, _identity(call)
    found = await letters.show(identity) if await letters.replay([identity]) else None
    if found is None:
        raise _unknown()
    return answer(202, found.letter)


@operation(
    method="DELETE",
    path="/v1/dlq/{letter}",
    summary="Throw a dead letter away; the log keeps its event",
    tag=TAG,
    scope=Scope.OPS_ADMIN,
    answers={204: None},
    problems=(404,),
)
async def purge_dead_letter(call: Call[None, None]) -> Answer:
    """A letter that is gone already is unknown."""
    if not await call.engine.dead_letters.purge([_identity(call)]):
        raise _unknown()
    return Answer(204, b"")


ROUTES: tuple[HTTPRouteHandler, ...] = (list_dead_letters, get_dead_letter, replay_dead_letter, purge_dead_letter)


def _identity(call: Call[None, None]) -> int:
    """The letter's number; raises Problem 404 for what cannot be one."""
    text = call.path["letter"]
    if not (text.isascii() and text.isdecimal() and int(text) <= _MAX_ID):
        raise _unknown()
    return int(text)


def _unknown() -> Problem:
    return Problem(404, "not-found", "Not found", detail="there is no such dead letter")
