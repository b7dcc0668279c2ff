"""One channel of the demo's crowd: sends its requests, judges the answers, tells the tally and the witness.

What the contract does not allow (another status, other items than were asked for) is written down as a
surprise; nothing is raised for it, so that one bad answer does not end the market.
"""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import msgspec

from onebook.ops.demo.board import Board
from onebook.ops.demo.intents import Intent
from onebook.ops.demo.market import BUSY, Line
from onebook.ops.http_client import Answer, Client, ConnectionFailed

HOLD_SECONDS = 60
MAX_SENDS = 4
MAX_CHARGES = 60
LOST_AFTER_SECONDS = 0.003
LONGEST_PAUSE_SECONDS = 1.0
READ_BACK = 50
REFUSALS = frozenset(
    {
        "sold-out",
        "closed",
        "min-stay",
        "max-stay",
        "closed-to-arrival",
        "closed-to-departure",
        "outside-hours",
    }
)


@dataclass(slots=True)
class Placed:
    """An acknowledged booking as its channel knows it; `sent_at` is when its deadline began to count."""

    id: str
    lines: tuple[Line, ...]
    status: str
    sent_at: float


class Channel:
    """Owns one token and one channel's tally; its workers share it, its client and the board."""

    def __init__(self, name: str, token: str, client: Client, board: Board, run: str) -> None:
        self.name = name
        self.board = board
        self.tally = board.tallies[name]
        self.recent: deque[Placed] = deque(maxlen=READ_BACK)
        """The last bookings made, to be compared with the ledger at the end."""
        self.overdue: deque[tuple[float, Placed]] = deque()
        """Holds left to expire, and when they surely have: as many as are placed within their time to live."""
        self._token = token
        self._client = client
        self._run = run

    async def place(self, intent: Intent, *, confirm: bool, ttl_seconds: int = HOLD_SECONDS) -> Placed | None:
        """Ask for the lines of an intent; None when they are refused or it fails, which is counted."""
        sent_at = perf_counter()
        answer = await self.ask(intent, confirm=confirm, ttl_seconds=ttl_seconds)
        return self.judge(answer, intent, sent_at, ttl_seconds=None if confirm else ttl_seconds)

    async def ask(
        self, intent: Intent, *, confirm: bool, ttl_seconds: int = HOLD_SECONDS, note: str = ""
    ) -> Answer | None:
        """Send the basket of an intent under its key, judging nothing. `note` makes it another payload."""
        items = [line.item for line in intent.lines]
        body: dict[str, Any] = {"items": items, "reference": f"{self.name} {intent.number} {note}".strip()}
        body |= {"confirm": True} if confirm else {"ttl_seconds": ttl_seconds}
        # `run` keeps two runs on one ledger apart.
        return await self._send("/v1/bookings", body, key=f"{self._run}-{self.name}-{intent.number}")

    def judge(self, answer: Answer | None, intent: Intent, sent_at: float, *, ttl_seconds: int | None) -> Placed | None:
        """The booking that an answer to a basket acknowledges; None when it does not, which is counted."""
        told = None if answer is None or answer.status not in {200, 201} else _told(answer)
        if told is None:
            if answer is not None and answer.status == 409 and (code := problem_code(answer)) in REFUSALS:
                self.tally.refused[code] += 1
            else:
                self.failed("booking", answer)
            return None
        placed = Placed(told.id, intent.lines, "held" if ttl_seconds else "confirmed", sent_at)
        if not _agree(told, placed):
            self.tally.surprise(described("other than was asked for", answer))
        for item in told.items:
            self.board.front.reached(item.resource, item.version)
        self.promised(placed, ttl_seconds)
        return placed

    def promised(self, placed: Placed, ttl_seconds: int | None) -> None:
        """Tell the witness that the units are ours: for good, or from `sent_at` until a deadline."""
        until = None if ttl_seconds is None else placed.sent_at + ttl_seconds
        self.board.witness.promised(placed.id, placed.lines, until, perf_counter())

    async def move(self, placed: Placed, step: str, body: Mapping[str, Any] | None = None) -> Answer | None:
        """One step in a booking's life; None when no answer came."""
        return await self._send(f"/v1/bookings/{placed.id}/{step}", body)

    async def post(self, path: str, body: Any) -> Answer | None:
        """Any other request; None when no answer came."""
        return await self._send(path, body)

    async def charge(self, path: str, body: Any, key: str | None = None) -> Answer | None:
        """A request that a payment gateway has a part in: it takes the time that it takes, and comes back when it is told to.

        None without an answer after MAX_CHARGES sends.
        """
        for _ in range(MAX_CHARGES):
            answer = await self._once(path, body, key)
            if answer is not None and answer.status not in BUSY:
                return answer
            self.board.till.put_off += 1
            told = "" if answer is None else answer.headers.get("retry-after", "")
            seconds = float(told) if told.isdigit() else LONGEST_PAUSE_SECONDS
            await asyncio.sleep(min(seconds, LONGEST_PAUSE_SECONDS) * random.uniform(0.5, 1.0))  # noqa: S311 (jitter)
        return None

    async def impatient(self, request: Awaitable[Answer | None]) -> Answer | None:
        """The answer to a request, unless it is lost on its way: the connection is dropped after a moment."""
        try:
            async with asyncio.timeout(LOST_AFTER_SECONDS):
                return await request
        except TimeoutError:
            self.tally.lost_answers += 1
            return None

    def compare(self, *answers: Answer | None) -> list[Answer]:
        """Those of two answers to one key that grant it, which are the same bytes, and only one of them has done it."""
        granted = [answer for answer in answers if answer is not None and answer.status in {200, 201}]
        if len(granted) == 2:
            first, second = granted
            self.tally.duplicates += 1
            self.tally.duplicates_wrong += first.body != second.body or first.status == second.status == 201
        return granted

    def sold(self, placed: Placed) -> None:
        """Count an attempt that ended in a booking."""
        self.tally.sold += 1
        self.board.mark_sold(perf_counter())
        self.recent.append(placed)

    def failed(self, step: str, answer: Answer | None) -> None:
        """Count an attempt that ended in something the contract does not promise."""
        self.tally.failed += 1
        self.tally.surprise(described(step, answer))

    async def read_back(self) -> None:
        """Compare the last bookings made with what the ledger says of them now."""
        for placed in self.recent:
            try:
                answer = await self._client.request("GET", f"/v1/bookings/{placed.id}", token=self._token)
            except ConnectionFailed:
                continue
            self.tally.read_back += 1
            told = _told(answer) if answer.status == 200 else None
            self.tally.read_back_wrong += told is None or not _agree(told, placed)

    async def _send(self, path: str, body: Any = None, *, key: str | None = None) -> Answer | None:
        """POST, and again on network trouble or a busy server, MAX_SENDS times; None without an answer.

        Every step is idempotent or carries its key, so that sending it again cannot do it twice.
        """
        for sends in range(MAX_SENDS):
            if sends:
                self.tally.retries += 1
                await asyncio.sleep(random.uniform(0.025, 0.05) * 2**sends)  # noqa: S311 (jitter)
            answer = await self._once(path, body, key)
            if answer is None:
                continue
            self.tally.latencies.add(answer.seconds)
            if answer.status not in BUSY:
                return answer
        return None

    async def _once(self, path: str, body: Any, key: str | None) -> Answer | None:
        self.tally.requests += 1
        headers = {} if key is None else {"idempotency-key": key}
        try:
            return await self._client.request("POST", path, json=body, token=self._token, headers=headers)
        except ConnectionFailed:
            return None


class _Problem(msgspec.Struct):
    code: str = ""


class _Item(msgspec.Struct):
    resource: str
    quantity: int
    version: int


class _Told(msgspec.Struct):
    id: str
    status: str
    items: list[_Item]


def _told(answer: Answer) -> _Told | None:
    """The booking in an answer; None when there is none."""
    try:
        return msgspec.json.decode(answer.body, type=_Told)
    except msgspec.DecodeError:
        return None


def _agree(told: _Told, placed: Placed) -> bool:
    """Whether the ledger's booking is the channel's: same state, same units of the same resources."""
    units = [(item.resource, item.quantity) for item in told.items]
    return told.status == placed.status and units == [(line.item["resource"], line.quantity) for line in placed.lines]


def problem_code(answer: Answer) -> str:
    """The stable code of a problem document; empty when there is none."""
    try:
        return msgspec.json.decode(answer.body, type=_Problem).code
    except msgspec.DecodeError:
        return ""


def described(step: str, answer: Answer | None) -> str:
    """A step and what was answered to it, for people."""
    if answer is None:
        return f"{step}: no answer"
    return f"{step}: {answer.status} {answer.body[:160].decode(errors='replace')}"
