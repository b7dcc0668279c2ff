"""A circuit breaker: pure rules of leaving somebody alone who fails. Webhooks and payment gateways go by it."""

from enum import StrEnum


class BreakerState(StrEnum):
    """Whether the other side gets anything."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Breaker:
    """Stops hammering somebody who fails: after `failures` in a row it opens, for `open_seconds`, then lets one attempt probe.

    Times are those of a monotonic clock, handed in.
    """

    def __init__(self, failures: int, open_seconds: float) -> None:
        self._limit = failures
        self._open_seconds = open_seconds
        self._in_a_row = 0
        self.state = BreakerState.CLOSED
        self.opens_until = 0.0

    def allows(self, now: float, in_flight: int) -> bool:
        """Whether one more may go out beside those `in_flight`; an open breaker whose time is over becomes half-open."""
        if self.state is BreakerState.OPEN and now >= self.opens_until:
            self.state = BreakerState.HALF_OPEN
        if self.state is BreakerState.HALF_OPEN:
            return in_flight == 0
        return self.state is BreakerState.CLOSED

    def succeeded(self) -> bool:
        """Note a success; whether it closed the breaker."""
        self._in_a_row = 0
        closes = self.state is not BreakerState.CLOSED
        self.state = BreakerState.CLOSED
        return closes

    def failed(self, now: float) -> None:
        """Note a failure. Those that were still under way when it opened do not keep it open longer."""
        self._in_a_row += 1
        is_over = self.state is BreakerState.CLOSED and self._in_a_row >= self._limit
        if is_over or self.state is BreakerState.HALF_OPEN:
            self.state = BreakerState.OPEN
            self.opens_until = now + self._open_seconds
