"""What the HTTP room tells Prometheus."""

from prometheus_client import Histogram

REQUEST_SECONDS = Histogram(
    "onebook_http_request_seconds",
    "From the request's head to its finished answer, by operation and status.",
    ["operation", "status"],
    buckets=(0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.25, 0.5, 1, 2, 5),
)
