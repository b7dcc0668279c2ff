"""The check "views": what the workers of a running server answer, held against the tables (invariant 7).

Called by the audit, after its snapshot has been let go. For each question the rows are read in one statement and then every
connection is asked for at least their versions, so an answer is of these versions, or of later ones; only equal versions are
compared, cell by cell, and what is ahead, or not there yet, is asked for again with fresh rows.

Workers listen on one port and the kernel deals out connections, so several connections a worker make it likely, not sure, that
each is asked. Bounded by MAX_QUESTIONS (a larger ledger is sampled, and the share told), CELLS_PER_QUESTION, MAX_CONNECTIONS
and TURNS, each of which a server that lags holds up for its own bounded wait.
"""

import asyncio
from collections.abc import Collection, Iterable, Sequence
from enum import Enum
from random import Random
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import asyncpg
import msgspec

from onebook.ops.http_client import Client, ConnectionFailed
from onebook.ops.verify.facts import Definition, SessionTold
from onebook.ops.verify.opening import Openings
from onebook.ops.verify.questions import Question, questions_of, sessions_of
from onebook.ops.verify.report import Tally
from onebook.ops.verify.stock import Stock

MAX_QUESTIONS = 64
CONNECTIONS_PER_WORKER = 4
MAX_CONNECTIONS = 32
TURNS = 8
TURNS_BEHIND = 5
PAUSE_SECONDS = 0.25
ANSWER_SECONDS = 10.0

_DEFINITION_COLUMNS = tuple(name for name in Definition.__struct_fields__ if name != "hours")


class Served(msgspec.Struct, frozen=True):
    """A running server: where it is, a token that may read there, and how many workers answer."""

    url: str
    token: str
    workers: int


class Stand(msgspec.Struct, frozen=True):
    """What the tables have on sale of a resource in the cells of a question, as of a version."""

    version: int
    stock: Stock
    available: dict[int, int]


class OnSale(msgspec.Struct, frozen=True):
    """A resource as a worker answers it."""

    resource: str
    version: int
    cells: list[str]
    available: list[int]


class Behind(msgspec.Struct, frozen=True):
    """A resource that a worker has waited for in vain."""

    resource: str
    version: int


class Answer(msgspec.Struct, frozen=True):
    """A worker's answer. A resource that has nothing left in the whole period is not in it."""

    resources: list[OnSale]
    behind: list[Behind] = []


class Outcome(Enum):
    """What came of a resource in a turn."""

    COMPARED = "compared"
    MOVED_ON = "moved on"
    """It is of another version than the rows, but has reached the one first asked for."""
    BEHIND = "behind"
    INCOMPLETE = "incomplete"
    """Cells, or the whole resource, are not in the answer: by mistake, or because it is of another version."""
    SILENT = "silent"


async def compare_served(connection: asyncpg.Connection, sql: dict[str, str], served: Served | str) -> Tally:
    """The check "views"; in place of a server stands the reason why there is none."""
    tally = Tally("views", (7,), "every worker has on sale what the tables have")
    if isinstance(served, str):
        tally.leave_out(served)
        return tally
    questions = questions_of(await connection.fetch(sql["grids"]), await connection.fetch(sql["sessions"]))
    # Another sample each time: what one run leaves out another may find.
    asked = Random().sample(questions, min(MAX_QUESTIONS, len(questions)))  # noqa: S311
    connections = min(CONNECTIONS_PER_WORKER * served.workers, MAX_CONNECTIONS)
    clients = [Client(served.url, connections=1, timeout_seconds=ANSWER_SECONDS) for _ in range(connections)]
    comparison = Comparison(connection, sql, clients, served.token, tally)
    try:
        for question in asked:
            await comparison.put(question)
    finally:
        await asyncio.gather(*(client.close() for client in clients))
    if questions and not comparison.answers:
        tally.leave_out(f"the server at {served.url} gave no answer: {comparison.silence}")
    else:
        tally.remark = _remark(comparison, served.workers, len(asked), len(questions))
    return tally


def _remark(comparison: "Comparison", workers: int, asked: int, questions: int) -> str:
    said = [f"{comparison.answers:,} answers over {comparison.connections} connections to {workers} workers"]
    if asked < questions:
        said.append(f"a sample: {asked} of {questions:,} periods, {asked / questions:.1%}")
    if comparison.moved_on:
        said.append(f"{comparison.moved_on:,} times a resource sold too fast to be compared")
    if comparison.unanswered:
        said.append(f"{comparison.unanswered:,} times no answer: {comparison.silence}")
    return "; ".join(said)


class Comparison:
    """Questions put to every connection. Counts `answers`, and how often a resource was left uncompared and why."""

    def __init__(
        self,
        connection: asyncpg.Connection,
        sql: dict[str, str],
        clients: Sequence[Client],
        token: str,
        tally: Tally,
    ) -> None:
        self._connection = connection
        self._sql = sql
        self._clients = clients
        self._token = token
        self._tally = tally
        self.connections = len(clients)
        self.answers = 0
        self.moved_on = 0
        self.unanswered = 0
        self.silence = ""

    async def put(self, question: Question) -> None:
        """Ask until every resource has been compared on every connection, or the turns are used up."""
        left: dict[int, dict[str, Outcome]] = {
            index: dict.fromkeys(question.resources, Outcome.SILENT) for index in range(len(self._clients))
        }
        floor: dict[str, int] = {}
        for turn in range(1, TURNS + 1):
            stands = await self._stands(question, {key for wanted in left.values() for key in wanted})
            floor = {key: stand.version for key, stand in stands.items()} | floor
            came = await asyncio.gather(*(self._ask(i, question, stands, floor, left[i]) for i in left))
            left = {index: still for index, outcomes in zip(left, came, strict=True) if (still := _open(outcomes))}
            seen = {outcome for still in left.values() for outcome in still.values()}
            if not left or (turn >= TURNS_BEHIND and seen <= {Outcome.BEHIND, Outcome.SILENT}):
                break
            if Outcome.INCOMPLETE in seen:
                await asyncio.sleep(PAUSE_SECONDS)  # nobody can ask to be told of a session
        now = await self._stands(question, {key for still in left.values() for key in still}) if left else {}
        for index, still in left.items():
            for key, outcome in still.items():
                has_stood = key in now and now[key].version == stands[key].version
                self._give_up(f"{key}, connection {index + 1}", floor[key], outcome, has_stood=has_stood)

    async def _stands(self, question: Question, keys: Collection[str]) -> dict[str, Stand]:
        """What the tables say now. Sessions are read on their own: moving one raises no resource's version."""
        told = sessions_of(await self._connection.fetch(self._sql["sessions"]), question) if question.is_session else {}
        numbers = [session.id for session in told.values()] if question.is_session else list(question.numbers)
        identities = [identity for key, identity in question.resources.items() if key in keys]
        rows = await self._connection.fetch(self._sql["on_sale"], identities, numbers)
        return {row["resource"]: _stand_of(row, numbers, told) for row in rows}

    async def _ask(
        self,
        index: int,
        question: Question,
        stands: dict[str, Stand],
        floor: dict[str, int],
        wanted: Iterable[str],
    ) -> dict[str, Outcome]:
        keys = [key for key in wanted if key in stands]
        query = [
            ("venue", question.venue),
            ("from", question.starts),
            ("to", question.ends),
            *(("resource", key) for key in keys),
            *(("resource_version", f"{key}:{stands[key].version}") for key in keys),
        ]
        path = "/v1/availability?" + urlencode(query)
        try:
            reply = await self._clients[index].request("GET", path, token=self._token)
            if reply.status != 200:
                raise ConnectionFailed(f"status {reply.status}: {reply.body[:200].decode(errors='replace')}")
            answer = msgspec.json.decode(reply.body, type=Answer)
        except (ConnectionFailed, msgspec.DecodeError) as error:
            self.silence = str(error)
            return dict.fromkeys(keys, Outcome.SILENT)
        self.answers += 1
        found = {each.resource: each for each in answer.resources}
        behind = {each.resource: each.version for each in answer.behind}
        outcomes: dict[str, Outcome] = {}
        for key in keys:
            if key in behind:
                outcomes[key] = Outcome.BEHIND if behind[key] < floor[key] else Outcome.MOVED_ON
            else:
                outcomes[key] = self._compare(index, stands[key], key, found.get(key))
        return outcomes

    def _compare(self, index: int, stand: Stand, key: str, found: OnSale | None) -> Outcome:
        if found is None:
            # Left out because nothing is left of it: of this version, or of a later one.
            return Outcome.INCOMPLETE if max(stand.available.values(), default=0) > 0 else self._compared(stand)
        if found.version != stand.version:
            return Outcome.MOVED_ON if found.version > stand.version else Outcome.BEHIND
        answered = dict(zip(stand.stock.numbers(found.cells), found.available, strict=False))
        if not answered.keys() >= stand.available.keys():
            return Outcome.INCOMPLETE
        for number, available in stand.available.items():
            if answered[number] != available:
                where = f"{key} {stand.stock.label(number)}, connection {index + 1}"
                self._tally.add(where, f"another availability at version {stand.version}", available, answered[number])
        return self._compared(stand)

    def _compared(self, stand: Stand) -> Outcome:
        self._tally.examined += len(stand.available)
        return Outcome.COMPARED

    def _give_up(self, where: str, version: int, outcome: Outcome, *, has_stood: bool) -> None:
        """`has_stood`: the resource was of one version before and after it was last asked for, so the answer was of that one."""
        match outcome:
            case Outcome.SILENT:
                self.unanswered += 1
            case Outcome.BEHIND:
                self._tally.add(where, "a view behind its ledger", f"version {version}", "an earlier one")
            case Outcome.INCOMPLETE if has_stood:
                self._tally.add(where, "cells on sale are not answered", "every cell of the period", "fewer")
            case _:
                self.moved_on += 1


def _open(outcomes: dict[str, Outcome]) -> dict[str, Outcome]:
    return {key: outcome for key, outcome in outcomes.items() if outcome is not Outcome.COMPARED}


def _stand_of(row: asyncpg.Record, numbers: Sequence[int], sessions: dict[str, SessionTold]) -> Stand:
    hours = None if row["hours"] is None else msgspec.json.decode(row["hours"])
    definition = Definition(**{name: row[name] for name in _DEFINITION_COLUMNS}, hours=hours)
    zone = ZoneInfo(row["timezone"])
    available = dict.fromkeys(numbers, definition.capacity + definition.overbooking)
    available.update(zip(row["numbers"] or (), row["available"] or (), strict=True))
    if hours is not None and definition.unit == "minute" and numbers:
        minutes = definition.cell_minutes
        openings = Openings(hours, zone, min(numbers) * minutes, (max(numbers) + 1) * minutes)
        for number in numbers:
            if not openings.cover(number * minutes, (number + 1) * minutes):
                available[number] = 0
    return Stand(row["version"], Stock(definition, zone, sessions), available)
