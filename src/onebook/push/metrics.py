"""What the hub tells Prometheus, beside what every consumer does."""

from prometheus_client import Counter, Gauge

CLIENTS = Gauge("onebook_push_clients", "Clients listening.", multiprocess_mode="livesum")
ENDED = Counter("onebook_push_ended_total", "Streams that the server ended, by reason.", ["reason"])
RESUMED = Counter(
    "onebook_push_resumed_total", "Streams begun, by where they went on: now, ring, log, reset.", ["source"]
)
