"""Traces, as every room sees them: which requests are followed, and what took how long.

A trace's place travels as W3C `traceparent`: from the request into the log's entry, and with the event to whoever handles it.
A room reports a span when it has ended; what is not followed costs one comparison. Where spans go is decided at start (see
ops/tracing), and nowhere by default. Nothing here waits or raises.
"""

import os
import random
import time
from collections.abc import Callable
from typing import NamedTuple

Attribute = str | int | float


class Span(NamedTuple):
    """Something that took time. Times are seconds since the Unix epoch."""

    name: str
    traceparent: str
    """The parent's place, as it was handed on."""
    started_at: float
    ended_at: float
    attributes: dict[str, Attribute]
    span_id: str | None = None
    """Sixteen hex digits, where others have already been told of them; else one is made."""


class Entered(NamedTuple):
    """A request under way. `place` is what it hands on: to the ledger, and with the event to everybody after it."""

    place: str | None
    origin: str | None = None
    """The place of who sent it, or NOBODY's in a new trace; None where the request is not followed."""
    span_id: str | None = None
    started_at: float = 0.0


NOBODY = "0" * 16
"""The span id that stands for no parent."""

_FOLLOWED = "-01"
# The lowest bit of the flags says it; the others may be set beside it (W3C Trace Context, section 3.2.2.5).
_ODD = frozenset("13579bdf")


class _Tracing:
    """The process's own: where spans go, and what share of requests is followed unasked."""

    def __init__(self) -> None:
        self.sink: Callable[[Span], None] | None = None
        self.sample_ratio = 0.0


_tracing = _Tracing()
_UNTRACED = Entered(None)


def install(sink: Callable[[Span], None] | None, sample_ratio: float) -> None:
    """Send spans there from now on; follow that share of the requests that arrive without a trace."""
    _tracing.sink = sink
    _tracing.sample_ratio = sample_ratio if sink is not None else 0.0


def followed(traceparent: str | None) -> bool:
    """Whether spans of this trace are wanted."""
    return traceparent is not None and _tracing.sink is not None and traceparent[-1] in _ODD


def begin(traceparent: str | None) -> str | None:
    """The trace a request belongs to: the one it came with, or, for a share of the others, a new one that NOBODY began.

    A new one has no place to hand on yet; its first `child` has.
    """
    if traceparent is None and _tracing.sample_ratio and random.random() < _tracing.sample_ratio:  # noqa: S311  # not a secret
        return f"00-{os.urandom(16).hex()}-{NOBODY}{_FOLLOWED}"
    return traceparent


def child(traceparent: str) -> tuple[str, str]:
    """A new span id below a place, and the place to hand on: for spans that others hang theirs under."""
    span_id = os.urandom(8).hex()
    return span_id, f"{traceparent[:36]}{span_id}{traceparent[52:]}"


def enter(traceparent: str | None) -> Entered:
    """A request has come in: decide whether it is followed, and what it hands on. `leave` reports it."""
    origin = begin(traceparent)
    if origin is None:
        return _UNTRACED
    if not followed(origin):
        return Entered(origin)
    span_id, place = child(origin)
    return Entered(place, origin, span_id, time.time())


def leave(entered: Entered, name: str, **attributes: Attribute) -> None:
    """Report a request that has been answered, if it is followed."""
    if entered.origin is not None and _tracing.sink is not None:
        ended = _not_before(entered.started_at, time.time())
        _tracing.sink(Span(name, entered.origin, entered.started_at, ended, attributes, entered.span_id))


def record(
    name: str,
    traceparent: str | None,
    started_at: float,
    ended_at: float | None = None,
    *,
    span_id: str | None = None,
    **attributes: Attribute,
) -> None:
    """Report a span that has ended (now, unless said otherwise), if its trace is followed."""
    if traceparent is None or _tracing.sink is None or traceparent[-1] not in _ODD:
        return
    ended = _not_before(started_at, time.time() if ended_at is None else ended_at)
    _tracing.sink(Span(name, traceparent, started_at, ended, attributes, span_id))


def _not_before(started_at: float, ended_at: float) -> float:
    """A clock that was set back must not make a span end before it began."""
    return max(started_at, ended_at)
