"""What the sender tells Prometheus. Endpoints are named by their id, which says nothing of their partner."""

from prometheus_client import Counter, Gauge, Histogram

ATTEMPT_SECONDS = Histogram(
    "onebook_webhook_attempt_seconds",
    "From the beginning of an attempt until its answer, or its failure.",
    buckets=(0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1, 2, 5, 10, 15, 30, 60),
)
DELIVERIES = Counter(
    "onebook_webhook_deliveries_total", "Attempts, by what came of them: delivered, retry, dead, gone.", ["outcome"]
)
BACKLOG = Gauge(
    "onebook_webhook_backlog",
    "Deliveries that are not finished, by state: held in memory, under way.",
    ["state"],
    multiprocess_mode="livesum",
)
BREAKER = Gauge(
    "onebook_webhook_breaker",
    "An endpoint's breaker: 0 closed, 1 half-open, 2 open.",
    ["endpoint"],
    multiprocess_mode="livemax",
)
