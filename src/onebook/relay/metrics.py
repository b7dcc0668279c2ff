"""What the relay tells Prometheus beside what every consumer does (broker/metrics.py)."""

from prometheus_client import Counter, Gauge

WAL_STATES = ("reserved", "extended", "unreserved", "lost")

SLOT_RETAINED_BYTES = Gauge(
    "onebook_relay_slot_retained_bytes", "WAL that PostgreSQL keeps for the relay.", multiprocess_mode="livemax"
)
SLOT_SAFE_BYTES = Gauge(
    "onebook_relay_slot_safe_bytes",
    "WAL that may still be written before PostgreSQL may give the relay's slot up; -1 without a limit.",
    multiprocess_mode="livemostrecent",
)
SLOT_STATUS = Gauge(
    "onebook_relay_slot_wal_status",
    "1 for the state that the slot's WAL is in: unreserved is about to be lost.",
    ["status"],
    multiprocess_mode="livemax",
)
SLOT_LOSSES = Counter("onebook_relay_slot_losses_total", "Slots found lost, each answered by a refill from the log.")
WAITING_BYTES = Gauge(
    "onebook_relay_waiting_bytes", "Read from the WAL and not yet taken by the broker.", multiprocess_mode="livemax"
)
LEADING = Gauge("onebook_relay_leading", "1 for a relay that holds the slot.", multiprocess_mode="livesum")
RESTARTS = Counter("onebook_relay_restarts_total", "Faults after which the relay connected again.", ["of"])


def show_slot(wal_status: str, retained_bytes: int | None, safe_bytes: int | None) -> None:
    """Show the slot as the server has it."""
    for state in WAL_STATES:
        SLOT_STATUS.labels(state).set(state == wal_status)
    SLOT_RETAINED_BYTES.set(retained_bytes or 0)
    SLOT_SAFE_BYTES.set(-1 if safe_bytes is None else safe_bytes)
