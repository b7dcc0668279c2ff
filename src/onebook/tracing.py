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


_FOLLOWED = "-01"


class _Tracing:
    """The process's own: where spans go, and what share of requests is followed unasked."""

    def __init__(self) -> None:
        self.sink: Callable[[Span], None] | None = None
        self.sample_ratio = 0.0


_tracing = _Tracing()


def install(sink: Callable[[Span], None] | None, sample_ratio: float) -> None:
    """Send spans there from now on; follow that share of the requests that arrive without a trace."""
    _tracing.sink = sink
    _tracing.sample_ratio = sample_ratio if sink is not None else 0.0


def followed(traceparent: str | None) -> bool:
    """Whether spans of this trace are wanted."""
    return traceparent is not None and _tracing.sink is not None and traceparent.endswith(_FOLLOWED)


def begin(traceparent: str | None) -> str | None:
    """The trace a request belongs to: the one it came with, or, for a share of the others, a new one."""
    if traceparent is None and _tracing.sample_ratio and random.random() < _tracing.sample_ratio:  # noqa: S311  # not a secret
        return f"00-{os.urandom(16).hex()}-{os.urandom(8).hex()}{_FOLLOWED}"
    return traceparent


def child(traceparent: str) -> tuple[str, str]:
    """A new span id below a place, and the place to hand on: for spans that others hang theirs under."""
    span_id = os.urandom(8).hex()
    return span_id, f"{traceparent[:36]}{span_id}{traceparent[52:]}"


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
    if traceparent is None or _tracing.sink is None or not traceparent.endswith(_FOLLOWED):
        return
    _tracing.sink(Span(name, traceparent, started_at, ended_at or time.time(), attributes, span_id))
