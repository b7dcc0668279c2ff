"""What the way to the payment gateway tells Prometheus."""

from functools import cache

from prometheus_client import Counter, Gauge, Histogram

GATEWAY_CALLS = Counter(
    "onebook_gateway_calls_total",
    "Calls to the payment gateway, by what came of them: done, refused, away, unknown, kept back.",
    ["operation", "outcome"],
)
GATEWAY_SECONDS = Histogram(
    "onebook_gateway_call_seconds",
    "From sending a call to the gateway to its answer.",
    ["operation"],
    buckets=(0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1, 2, 4, 8, 16, 60),
)
GATEWAY_BREAKER = Gauge(
    "onebook_gateway_breaker",
    "The breaker to the gateway: 0 closed, 1 half-open, 2 open; of several workers the worst.",
    ["gateway"],
    multiprocess_mode="livemax",
)
CHECKOUTS = Counter(
    "onebook_checkouts_total",
    "Checkouts that have ended, by how and why.",
    ["state", "code"],
)
CHECKOUT_SECONDS = Histogram(
    "onebook_checkout_seconds",
    "From a checkout's beginning to its end, payers' challenges included.",
    buckets=(0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.2, 2.5, 5, 10, 30, 60, 300, 900),
)
UNDER_WAY = Gauge(
    "onebook_checkouts_under_way",
    "Checkouts that a worker is driving.",
    multiprocess_mode="livesum",
)
CHECKOUTS_RESUMED = Counter(
    "onebook_checkouts_resumed_total",
    "Checkouts that were gone on with when they were due, or where another worker had left them.",
)


@cache
def calls(operation: str, outcome: str) -> Counter:
    """The counter of an operation and what came of it; finding it by its labels costs more than counting."""
    return GATEWAY_CALLS.labels(operation, outcome)


@cache
def seconds(operation: str) -> Histogram:
    """The histogram of an operation."""
    return GATEWAY_SECONDS.labels(operation)


OLDEST_SECONDS = Gauge(
    "onebook_checkout_oldest_seconds",
    "How long ago the oldest checkout began that has not ended and waits for no payer; 0 when there is none.",
    multiprocess_mode="livemax",
)
REFUNDS_FAILED = Gauge(
    "onebook_refunds_failed",
    "Refunds that the gateway has refused, and that somebody has to make by hand.",
    multiprocess_mode="livemax",
)
