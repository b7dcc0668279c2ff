"""How the demo's crowd behaves: what a worker does next, and how each plot of an attempt goes on.

Called by `run_demo`, several workers to a channel. A worker does one thing at a time, so the requests in
flight are bounded by the workers (two each, while a duplicate is sent). Nothing outlives the run.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from time import perf_counter

from onebook.ops.demo.channel import HOLD_SECONDS, REFUSALS, Channel, Placed, described, problem_code
from onebook.ops.demo.intents import Intent, Plot
from onebook.ops.demo.market import Line
from onebook.ops.http_client import Answer

SHORT_HOLD_SECONDS = 1
LOST_AFTER_SECONDS = 0.003


async def work(channel: Channel, intents: Iterator[Intent], rush_line: Line, ends_at: float) -> None:
    """Attempt after attempt until the time is up; then come back to the last holds that were left alone."""
    rush = channel.board.rush
    while (now := perf_counter()) < ends_at:
        if (number := rush.claim(now)) is not None:
            await _rush(channel, Intent(f"rush-{number}", Plot.BOOK, (rush_line,), ()))
        elif channel.overdue and channel.overdue[0][0] < now:
            await _come_back(channel, channel.overdue.popleft()[1])
        else:
            await asyncio.sleep(channel.board.pace.wait_seconds(now))
            await attempt(channel, next(intents))
    while channel.overdue:
        due, placed = channel.overdue.popleft()
        await asyncio.sleep(max(0.0, due - perf_counter()))
        await _come_back(channel, placed)


async def attempt(channel: Channel, intent: Intent) -> None:
    """Carry out one intent to its end."""
    channel.tally.attempts += 1
    await _PLOTS[intent.plot](channel, intent)


async def _rush(channel: Channel, intent: Intent) -> None:
    channel.tally.attempts += 1
    sent_at = perf_counter()
    answer = await channel.ask(intent, confirm=True)
    placed = channel.judge(answer, intent, sent_at, ttl_seconds=None)
    if placed is not None:
        channel.sold(placed)
    rush = channel.board.rush
    rush.sold += placed is not None
    rush.refused += answer is not None and answer.status == 409
    rush.ended = perf_counter()


async def _book(channel: Channel, intent: Intent) -> Placed | None:
    placed = await channel.place(intent, confirm=True)
    if placed is not None:
        channel.sold(placed)
    return placed


async def _hold_confirm(channel: Channel, intent: Intent) -> None:
    placed = await channel.place(intent, confirm=False)
    if placed is not None:
        await _confirm(channel, placed)


async def _confirm(channel: Channel, placed: Placed) -> None:
    answer = await channel.move(placed, "confirm")
    if answer is not None and answer.status == 200:
        placed.status = "confirmed"
        channel.promised(placed, None)
        channel.sold(placed)
    elif answer is not None and answer.status == 410:
        channel.tally.expired += 1
    else:
        channel.failed("confirm", answer)


async def _hold_release(channel: Channel, intent: Intent) -> None:
    placed = await channel.place(intent, confirm=False)
    if placed is None:
        return
    channel.board.witness.given_up(placed.id)
    answer = await channel.move(placed, "release")
    if answer is not None and answer.status == 200:
        channel.tally.released += 1
    else:
        channel.failed("release", answer)


async def _hold_expire(channel: Channel, intent: Intent) -> None:
    placed = await channel.place(intent, confirm=False, ttl_seconds=SHORT_HOLD_SECONDS)
    if placed is not None:
        # The deadline counts from the decision, which was made before its answer was heard.
        channel.overdue.append((perf_counter() + SHORT_HOLD_SECONDS, placed))


async def _come_back(channel: Channel, placed: Placed) -> None:
    """Confirm a hold after its deadline: only "too late" is a right answer."""
    answer = await channel.move(placed, "confirm")
    if answer is not None and answer.status == 410 and problem_code(answer) == "hold-expired":
        channel.tally.expired += 1
    else:
        channel.failed("confirm after the deadline", answer)


async def _extend(channel: Channel, intent: Intent) -> None:
    placed = await channel.place(intent, confirm=False)
    if placed is None:
        return
    placed.sent_at = perf_counter()
    answer = await channel.move(placed, "extend", {"ttl_seconds": 2 * HOLD_SECONDS})
    if answer is not None and answer.status == 200:
        channel.promised(placed, 2 * HOLD_SECONDS)
        channel.tally.extended += 1
        await _confirm(channel, placed)
    else:
        channel.failed("extend", answer)


async def _cancel(channel: Channel, intent: Intent) -> None:
    placed = await _book(channel, intent)
    if placed is None:
        return
    channel.board.witness.given_up(placed.id)
    answer = await channel.move(placed, "cancel", {"reason": "plans changed"})
    if answer is not None and answer.status == 200:
        placed.status = "cancelled"
        channel.tally.cancelled += 1
    else:
        channel.tally.surprise(described("cancel", answer))


async def _amend(channel: Channel, intent: Intent) -> None:
    """Other lines for a booking; refused, it keeps those it has."""
    placed = await _book(channel, intent)
    if placed is None:
        return
    channel.board.witness.given_up(placed.id)
    answer = await channel.move(placed, "amend", {"items": [line.item for line in intent.instead]})
    if answer is not None and answer.status == 200:
        placed.lines = intent.instead
        channel.tally.amended += 1
    elif answer is None or problem_code(answer) not in REFUSALS:
        channel.tally.surprise(described("amend", answer))
        return
    channel.promised(placed, None)


async def _duplicate(channel: Channel, intent: Intent) -> None:
    """One key, twice at once: one effect, and the same bytes for both."""
    sent_at = perf_counter()
    first, second = await asyncio.gather(channel.ask(intent, confirm=True), channel.ask(intent, confirm=True))
    _settle_repeat(channel, intent, first, second, sent_at)


async def _lost_answer(channel: Channel, intent: Intent) -> None:
    """The connection is dropped while the answer is on its way, and the same request sent again."""
    sent_at = perf_counter()
    first: Answer | None = None
    try:
        async with asyncio.timeout(LOST_AFTER_SECONDS):
            first = await channel.ask(intent, confirm=True)
    except TimeoutError:
        channel.tally.lost_answers += 1
    second = await channel.ask(intent, confirm=True)
    _settle_repeat(channel, intent, first, second, sent_at)


def _settle_repeat(
    channel: Channel, intent: Intent, first: Answer | None, second: Answer | None, sent_at: float
) -> None:
    """Two answers to one key count as one attempt. A refusal has no effect, so its repeat may fare better."""
    granted = [answer for answer in (first, second) if answer is not None and answer.status in {200, 201}]
    told: Sequence[Answer | None] = granted or [second]
    placed = [channel.judge(answer, intent, sent_at, ttl_seconds=None) for answer in told]
    if placed[0] is not None:
        channel.sold(placed[0])
    if len(granted) == 2:
        channel.tally.duplicates += 1
        same = granted[0].body == granted[1].body and not granted[0].status == granted[1].status == 201
        channel.tally.duplicates_wrong += not same


async def _wrong_payload(channel: Channel, intent: Intent) -> None:
    """A key that has done its work, used for something else: the only right answer is 422."""
    placed = await _book(channel, intent)
    if placed is None:
        return
    answer = await channel.ask(intent, confirm=True, note="something else")
    if answer is not None and answer.status == 422 and problem_code(answer) == "idempotency-key-reused":
        channel.tally.misused_keys += 1
    else:
        channel.tally.surprise(described("key reused for something else", answer))


_PLOTS: dict[Plot, Callable[[Channel, Intent], Awaitable[object]]] = {
    Plot.BOOK: _book,
    Plot.HOLD_CONFIRM: _hold_confirm,
    Plot.BASKET: _hold_confirm,
    Plot.HOLD_RELEASE: _hold_release,
    Plot.HOLD_EXPIRE: _hold_expire,
    Plot.CANCEL: _cancel,
    Plot.AMEND: _amend,
    Plot.EXTEND: _extend,
    Plot.DUPLICATE: _duplicate,
    Plot.LOST_ANSWER: _lost_answer,
    Plot.WRONG_PAYLOAD: _wrong_payload,
}
