"""What relay and consumers tell Prometheus: where each is, how far behind, and how long an event took to get there."""

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300)

CONSUMER_OFFSET = Gauge(
    "onebook_consumer_offset",
    "The WAL position up to which a consumer has handled everything; of several workers the lowest.",
    ["consumer"],
    multiprocess_mode="livemin",
)
CDC_LAG = Gauge(
    "onebook_cdc_lag_seconds",
    "How far behind the latest commit a consumer is; of several workers the worst.",
    ["consumer"],
    multiprocess_mode="livemax",
)
REBALANCE_LAG = Gauge(
    "onebook_rebalance_lag_seconds",
    "How long a consumer last took to be up to date after it lost its place (start, takeover, broker away).",
    ["consumer"],
    multiprocess_mode="livemax",
)
END_TO_END = Histogram(
    "onebook_end_to_end_seconds",
    "From the commit of an event until it had passed: relay, view, push, webhook.",
    ["consumer"],
    buckets=_SECONDS,
)
EVENTS = Counter("onebook_consumer_events_total", "Events handled.", ["consumer"])
DUPLICATES = Counter("onebook_consumer_duplicates_total", "Events that came again and had no effect.", ["consumer"])
REFILLS = Counter("onebook_consumer_refills_total", "Gaps filled from the log.", ["consumer"])
FORGED = Counter(
    "onebook_forged_messages_total", "Messages refused because the relay had not signed them.", ["consumer"]
)
PARKED = Counter("onebook_consumer_parked_total", "Events set aside because they could not be handled.", ["consumer"])
