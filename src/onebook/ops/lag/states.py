"""The life of an alert: pending → firing → resolved. Pure: what is found and the time are handed in."""

from collections.abc import Mapping, Sequence
from enum import StrEnum

import msgspec
from msgspec.structs import replace

from onebook.ops.lag.measures import History
from onebook.ops.lag.rules import Rule


class State(StrEnum):
    """Pending is told to nobody; a pending alert whose cause goes away was never one."""

    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"


class Alert(msgspec.Struct, frozen=True):
    """A rule that finds a subject. `since` and `changed` are seconds of the scrapes' clock; `value` is the latest found."""

    rule: Rule
    subject: str
    state: State
    since: float
    changed: float
    value: float


Standing = Mapping[tuple[str, str], Alert]
"""Those that are pending or firing, by rule and subject."""


def look(rules: Sequence[Rule], history: History) -> list[tuple[Rule, str, float]]:
    """What every rule finds now."""
    return [(rule, subject, value) for rule in rules for subject, value in rule.measure.read(history).items()]


def step(standing: Standing, found: Sequence[tuple[Rule, str, float]], now: float) -> tuple[Standing, list[Alert]]:
    """The alerts after a look, and those of them that somebody is to be told: just firing, or just resolved."""
    after: dict[tuple[str, str], Alert] = {}
    told: list[Alert] = []
    for rule, subject, value in found:
        alert = _again(standing.get((rule.name, subject)), rule, subject, value, now)
        after[rule.name, subject] = alert
        if alert.state is State.FIRING and alert.changed == now:
            told.append(alert)
    for key, alert in standing.items():
        if key not in after and alert.state is State.FIRING:
            told.append(replace(alert, state=State.RESOLVED, changed=now))
    return after, told


def _again(before: Alert | None, rule: Rule, subject: str, value: float, now: float) -> Alert:
    since = now if before is None else before.since
    if before is not None and before.state is State.FIRING:
        return replace(before, value=value)
    state = State.FIRING if now - since >= rule.for_seconds else State.PENDING
    return Alert(rule=rule, subject=subject, state=state, since=since, changed=now, value=value)
