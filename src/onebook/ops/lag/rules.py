"""The rules: when somebody is told, how urgent it is, and what it means. The one table that all forms of them are made from."""

from enum import StrEnum

import msgspec

from onebook.config import AlertSettings
from onebook.ops.lag.measures import Above, Grown, Measure, Missing, ShareAbove, Still
from onebook.readings.pipeline import (
    BREAKER,
    CHECKOUT_OLDEST,
    DEAD_LETTERS,
    FORGED,
    GATEWAY_BREAKER,
    LAG,
    OFFSET,
    REFUNDS_FAILED,
    SLOT_LOST,
    SLOT_RETAINED,
    SLOT_SAFE,
)

FIRING = "onebook_alerts_firing"

CONSUMERS = ("relay", "view", "push", "webhooks")
"""Who must be there in a server that serves."""

STILL_SECONDS = 30.0
"""A heartbeat passes through everything each `relay.heartbeat_seconds`, 5 s at the most: in this time each offset moves."""

LOST_SECONDS = 600.0
"""How long the loss of a slot is told: it repairs itself, and somebody should still ask why."""

FORGED_SECONDS = 600.0
"""How long a forged message is told: it did no harm, and somebody has the broker's password."""

STUCK_SECONDS = 300.0
"""A checkout ends within a minute of the end of whatever held it up."""

BREAKER_SECONDS = 300.0
SLOT_SHARE = 0.5


class Severity(StrEnum):
    """Critical: channels are no longer right in time. Warning: they are, and will not stay so."""

    CRITICAL = "critical"
    WARNING = "warning"


class Rule(msgspec.Struct, frozen=True):
    """`for_seconds`: how long the measure must find a subject, without a break, before it is told."""

    name: str
    measure: Measure
    for_seconds: float
    severity: Severity
    summary: str


def rules_of(settings: AlertSettings) -> tuple[Rule, ...]:
    """All rules."""
    lag_seconds, for_seconds = settings.lag_seconds, settings.for_seconds
    return (
        Rule(
            "OnebookConsumerLags",
            Above(LAG, lag_seconds, "consumer"),
            for_seconds,
            Severity.CRITICAL,
            f"A consumer is more than {lag_seconds:g} s behind the latest commit: its channels may show what is no longer true.",
        ),
        Rule(
            "OnebookConsumerMissing",
            Missing(LAG, "consumer", CONSUMERS),
            for_seconds,
            Severity.CRITICAL,
            "A consumer reports nothing: its process is gone, or it has not come up.",
        ),
        Rule(
            "OnebookConsumerStill",
            Still(OFFSET, "consumer", STILL_SECONDS),
            for_seconds,
            Severity.CRITICAL,
            "A consumer stands still, though heartbeats pass all the time: it hangs, or nothing reaches it.",
        ),
        Rule(
            "OnebookSlotLost",
            Grown(SLOT_LOST, LOST_SECONDS),
            0,
            Severity.CRITICAL,
            "The replication slot was lost, and consumers were rebuilt from the log: find out who removed it, or what held it.",
        ),
        Rule(
            "OnebookSlotHalfFull",
            ShareAbove(SLOT_RETAINED, SLOT_SAFE, SLOT_SHARE),
            for_seconds,
            Severity.WARNING,
            "The replication slot holds back more than half of the WAL that it may before it is lost: the relay is slow or away.",
        ),
        Rule(
            "OnebookForgedMessages",
            Grown(FORGED, FORGED_SECONDS),
            0,
            Severity.CRITICAL,
            "Messages that the relay had not signed were refused: somebody else writes into the broker. See refused_message.",
        ),
        Rule(
            "OnebookBreakerOpen",
            Above(BREAKER, 0, "endpoint"),
            BREAKER_SECONDS,
            Severity.WARNING,
            f"A partner's endpoint has failed for more than {BREAKER_SECONDS / 60:g} minutes; its deliveries wait.",
        ),
        Rule(
            "OnebookDeadLetters",
            Above(DEAD_LETTERS, 0, "consumer"),
            0,
            Severity.WARNING,
            "Events or deliveries were given up and wait for a person: see `onebook dlq list`.",
        ),
        Rule(
            "OnebookCheckoutStuck",
            Above(CHECKOUT_OLDEST, STUCK_SECONDS),
            0,
            Severity.CRITICAL,
            f"A checkout that waits for no payer is {STUCK_SECONDS / 60:g} minutes old: the gateway or a worker is away.",
        ),
        Rule(
            "OnebookGatewayAway",
            Above(GATEWAY_BREAKER, 0, "gateway"),
            for_seconds,
            Severity.CRITICAL,
            "The payment gateway does not answer: new checkouts are refused with 503, those under way wait.",
        ),
        Rule(
            "OnebookRefundsFailed",
            Above(REFUNDS_FAILED, 0),
            0,
            Severity.WARNING,
            "The gateway has refused refunds: somebody has to give the money back another way. See payment.refund.",
        ),
        Rule(
            "OnebookAlertsSilent",
            Missing(FIRING),
            for_seconds,
            Severity.CRITICAL,
            "Nobody evaluates Onebook's own alerts: the server or its sender is gone. Only Prometheus can tell this one.",
        ),
    )
