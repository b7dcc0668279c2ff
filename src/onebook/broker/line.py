"""A subscription that is made again whenever it ends, without its owner ever waiting for the broker.

Who calls me: a consumer, which fetches. What I own: one connection to the broker with one subscription, or the task that is
trying to get them. What survives a crash: nothing; a new line begins with what is published from then on. What bounds me: one try
at a time, each CONNECT_SECONDS at the most, with growing and jittered waits between them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import structlog

from onebook.broker.faults import delays, is_fault
from onebook.broker.protocol import Broker, Message, Subscription

CONNECT_SECONDS = 5.0
# A subscription that has brought nothing for so long, not even a heartbeat, may be dead without knowing it.
RENEW_SECONDS = 10.0
QUIET_SECONDS = 2.0

log = structlog.get_logger()


class Heard(NamedTuple):
    """What has come. `is_fresh`: the subscription has just been made, and what was published before is not in it."""

    messages: Sequence[Message] = ()
    is_fresh: bool = False


class Line:
    """At most one subscription, with whatever it takes to have it."""

    def __init__(self, open_broker: Callable[[], Awaitable[Broker]]) -> None:
        self._open_broker = open_broker
        self._broker: Broker | None = None
        self._subscription: Subscription | None = None
        self._joining: asyncio.Task[tuple[Broker, Subscription]] | None = None
        self._silent_since = 0.0
        self.has_failed = False
        """Whether a try to subscribe has failed since there last was a subscription."""

    @property
    def is_open(self) -> bool:
        """Whether a subscription listens."""
        return self._subscription is not None

    async def hear(self, timeout_seconds: float) -> Heard:
        """What has come, at the latest after the timeout. Never raises for the broker's sake."""
        if self._subscription is None:
            return Heard(is_fresh=await self._join(timeout_seconds))
        try:
            deliveries = await self._subscription.fetch(timeout_seconds)
        except Exception as error:
            if not is_fault(error):
                raise
            log.warning("subscription_ended", reason=repr(error))
            await self.close()
            return Heard()
        now = asyncio.get_running_loop().time()
        if deliveries:
            self._silent_since = now
        elif now - self._silent_since > RENEW_SECONDS:
            await self.close()
        return Heard([delivery.message for delivery in deliveries])

    async def close(self) -> None:
        """End everything; safe at any moment. `hear` begins anew."""
        joining, self._joining = self._joining, None
        if joining is not None:
            joining.cancel()
            await asyncio.wait([joining])
            if not joining.cancelled() and joining.exception() is None:
                self._broker, self._subscription = joining.result()
        subscription, broker = self._subscription, self._broker
        self._subscription = self._broker = None
        for part in (subscription, broker):
            if part is not None:
                await _end(part)

    async def _join(self, timeout_seconds: float) -> bool:
        """Whether there is a subscription now."""
        self._joining = self._joining or asyncio.create_task(self._subscribe())
        await asyncio.wait([self._joining], timeout=timeout_seconds)
        if not self._joining.done():
            return False
        joined, self._joining = self._joining, None
        self._broker, self._subscription = joined.result()
        self._silent_since = asyncio.get_running_loop().time()
        self.has_failed = False
        return True

    async def _subscribe(self) -> tuple[Broker, Subscription]:
        """Try until it is done, or cancelled. At a first start the relay makes the stream only while we are asking for it."""
        began_at = asyncio.get_running_loop().time()
        for delay in delays():
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    broker = await self._open_broker()
                    try:
                        return broker, await broker.subscribe()
                    except BaseException:
                        await broker.close()
                        raise
            except Exception as error:
                if not is_fault(error):
                    raise
                self.has_failed = True
                is_young = asyncio.get_running_loop().time() - began_at < QUIET_SECONDS
                (log.info if is_young else log.warning)("cannot_subscribe", reason=repr(error))
            await asyncio.sleep(delay)
        raise RuntimeError("delays never end")


async def _end(part: Broker | Subscription) -> None:
    """Close it; what is broken already is left as it is."""
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            await part.close()
    except Exception as error:
        if not is_fault(error):
            raise
        log.info("not_closed", reason=repr(error))
