"""How the demo's crowd behaves: what a worker does next, and how each plot of an attempt goes on.

Called by `run_demo`, several workers to a channel. A worker does one thing at a time, so the requests in
flight are bounded by the workers (two each, while a duplicate is sent). Nothing outlives the run.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from time import perf_counter

from onebook.ops.demo.buying import Buyers, Press
from onebook.ops.demo.channel import HOLD_SECONDS, REFUSALS, Channel, Placed, described, problem_code
from onebook.ops.demo.intents import Intent, Plot
from onebook.ops.demo.market import Line
from onebook.ops.http_client import Answer

SHORT_HOLD_SECONDS = 1
NOT_CHARGED = frozenset({"payment-declined", "payment-failed"})
"""A dearer amendment that has come to nothing: the units were gone when its money was there."""


class Seller:
    """What one channel's workers do. Without `buyers` the channel collects the money itself, and confirms what it sells."""

    def __init__(self, channel: Channel, buyers: Buyers | None) -> None:
        self.channel = channel
        self._buyers = buyers
        self._plots: dict[Plot, Callable[[Intent], Awaitable[object]]] = {
            Plot.BOOK: self._sell,
            Plot.HOLD_CONFIRM: self._hold_sell,
            Plot.BASKET: self._hold_sell,
            Plot.HOLD_RELEASE: self._hold_release,
            Plot.HOLD_EXPIRE: self._hold_expire,
            Plot.CANCEL: self._cancel,
            Plot.AMEND: self._amend,
            Plot.EXTEND: self._extend,
            Plot.DUPLICATE: self._duplicate,
            Plot.LOST_ANSWER: self._lost_answer,
            Plot.WRONG_PAYLOAD: self._wrong_payload,
        }

    async def work(self, intents: Iterator[Intent], rush_line: Line, ends_at: float) -> None:
        """Attempt after attempt until the time is up; then come back to the last holds that were left alone."""
        channel = self.channel
        rush = channel.board.rush
        while (now := perf_counter()) < ends_at:
            if (number := rush.claim(now)) is not None:
                await self._rush(Intent(f"rush-{number}", Plot.BOOK, (rush_line,), ()))
            elif channel.overdue and channel.overdue[0][0] < now:
                await self._come_back(channel.overdue.popleft()[1])
            else:
                await asyncio.sleep(channel.board.pace.wait_seconds(now))
                await self._attempt(next(intents))
        while channel.overdue:
            due, placed = channel.overdue.popleft()
            await asyncio.sleep(max(0.0, due - perf_counter()))
            await self._come_back(placed)

    async def _attempt(self, intent: Intent) -> None:
        """Carry out one intent to its end."""
        self.channel.tally.attempts += 1
        await self._plots[intent.plot](intent)

    async def _rush(self, intent: Intent) -> None:
        self.channel.tally.attempts += 1
        rush = self.channel.board.rush
        placed = await self._take(intent)
        if placed is None:
            rush.refused += 1
        else:
            is_sold = await self._paid_for(placed, intent)
            rush.sold += is_sold
        rush.ended = perf_counter()

    async def _sell(self, intent: Intent) -> Placed | None:
        """Booked at once where the money is the channel's own business, otherwise held and paid for."""
        placed = await self._take(intent)
        return placed if placed is not None and await self._paid_for(placed, intent) else None

    async def _take(self, intent: Intent) -> Placed | None:
        return await self.channel.place(intent, confirm=self._buyers is None)

    async def _paid_for(self, placed: Placed, intent: Intent) -> bool:
        if self._buyers is not None:
            return await self._buyers.buy(placed, intent)
        self.channel.sold(placed)
        return True

    async def _hold_sell(self, intent: Intent) -> None:
        placed = await self.channel.place(intent, confirm=False)
        if placed is not None:
            await self._close(placed, intent)

    async def _close(self, placed: Placed, intent: Intent) -> None:
        """Turn a hold into a booking."""
        if self._buyers is not None:
            await self._buyers.buy(placed, intent)
            return
        answer = await self.channel.move(placed, "confirm")
        if answer is not None and answer.status == 200:
            placed.status = "confirmed"
            self.channel.promised(placed, None)
            self.channel.sold(placed)
        elif answer is not None and answer.status == 410:
            self.channel.tally.expired += 1
        else:
            self.channel.failed("confirm", answer)

    async def _hold_release(self, intent: Intent) -> None:
        placed = await self.channel.place(intent, confirm=False)
        if placed is None:
            return
        self.channel.board.witness.given_up(placed.id)
        answer = await self.channel.move(placed, "release")
        if answer is not None and answer.status == 200:
            self.channel.tally.released += 1
        else:
            self.channel.failed("release", answer)

    async def _hold_expire(self, intent: Intent) -> None:
        placed = await self.channel.place(intent, confirm=False, ttl_seconds=SHORT_HOLD_SECONDS)
        if placed is not None:
            # The deadline counts from the decision, which was made before its answer was heard.
            self.channel.overdue.append((perf_counter() + SHORT_HOLD_SECONDS, placed))

    async def _come_back(self, placed: Placed) -> None:
        """Confirm a hold after its deadline: only "too late" is a right answer."""
        answer = await self.channel.move(placed, "confirm")
        if answer is not None and answer.status == 410 and problem_code(answer) == "hold-expired":
            self.channel.tally.expired += 1
        else:
            self.channel.failed("confirm after the deadline", answer)

    async def _extend(self, intent: Intent) -> None:
        placed = await self.channel.place(intent, confirm=False)
        if placed is None:
            return
        placed.sent_at = perf_counter()
        answer = await self.channel.move(placed, "extend", {"ttl_seconds": 2 * HOLD_SECONDS})
        if answer is not None and answer.status == 200:
            self.channel.promised(placed, 2 * HOLD_SECONDS)
            self.channel.tally.extended += 1
            await self._close(placed, intent)
        else:
            self.channel.failed("extend", answer)

    async def _cancel(self, intent: Intent) -> None:
        placed = await self._sell(intent)
        if placed is None:
            return
        self.channel.board.witness.given_up(placed.id)
        answer = await self._change(placed, "cancel", {"reason": "plans changed"})
        if answer is not None and answer.status == 200:
            placed.status = "cancelled"
            self.channel.tally.cancelled += 1
        else:
            self.channel.tally.surprise(described("cancel", answer))

    async def _amend(self, intent: Intent) -> None:
        """Other lines for a booking; refused, it keeps those it has."""
        placed = await self._sell(intent)
        if placed is None:
            return
        self.channel.board.witness.given_up(placed.id)
        answer = await self._change(placed, "amend", {"items": [line.item for line in intent.instead]})
        if answer is not None and answer.status == 200:
            placed.lines = intent.instead
            self.channel.tally.amended += 1
        elif answer is None or problem_code(answer) not in REFUSALS | NOT_CHARGED:
            self.channel.tally.surprise(described("amend", answer))
            return
        self.channel.promised(placed, None)

    async def _change(self, placed: Placed, step: str, body: dict[str, object]) -> Answer | None:
        """A step in a booking's life that its money follows, where it was paid for here."""
        if self._buyers is None:
            return await self.channel.move(placed, step, body)
        return await self._buyers.change(placed, step, body)

    async def _duplicate(self, intent: Intent) -> None:
        """One key, twice at once: one effect, and the same bytes for both."""
        if self._buyers is not None:
            await self._press(self._buyers, intent, Press.TWICE)
            return
        channel, sent_at = self.channel, perf_counter()
        first, second = await asyncio.gather(channel.ask(intent, confirm=True), channel.ask(intent, confirm=True))
        self._settle_repeat(intent, first, second, sent_at)

    async def _lost_answer(self, intent: Intent) -> None:
        """The connection is dropped while the answer is on its way, and the same request sent again."""
        if self._buyers is not None:
            await self._press(self._buyers, intent, Press.LOST)
            return
        sent_at = perf_counter()
        first = await self.channel.impatient(self.channel.ask(intent, confirm=True))
        second = await self.channel.ask(intent, confirm=True)
        self._settle_repeat(intent, first, second, sent_at)

    async def _press(self, buyers: Buyers, intent: Intent, press: Press) -> None:
        """The same, of a checkout's button."""
        placed = await self.channel.place(intent, confirm=False)
        if placed is not None:
            await buyers.buy(placed, intent, press)

    def _settle_repeat(self, intent: Intent, first: Answer | None, second: Answer | None, sent_at: float) -> None:
        """Two answers to one key count as one attempt. A refusal has no effect, so its repeat may fare better."""
        granted = self.channel.compare(first, second)
        told: Sequence[Answer | None] = granted or [second]
        placed = [self.channel.judge(answer, intent, sent_at, ttl_seconds=None) for answer in told]
        if placed[0] is not None:
            self.channel.sold(placed[0])

    async def _wrong_payload(self, intent: Intent) -> None:
        """A key that has done its work, used for something else: the only right answer is 422."""
        placed = await self._sell(intent)
        if placed is None:
            return
        answer = await self.channel.ask(intent, confirm=True, note="something else")
        if answer is not None and answer.status == 422 and problem_code(answer) == "idempotency-key-reused":
            self.channel.tally.misused_keys += 1
        else:
            self.channel.tally.surprise(described("key reused for something else", answer))
