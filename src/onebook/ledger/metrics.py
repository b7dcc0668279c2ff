"""What the write side tells Prometheus."""

from prometheus_client import Counter, Histogram

BATCH_COMMANDS = Histogram(
    "onebook_ledger_batch_commands",
    "Commands settled in one transaction.",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
)
BATCH_SECONDS = Histogram(
    "onebook_ledger_batch_seconds",
    "From taking a batch to its commit.",
    buckets=(0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.25, 1, 4),
)
BATCHES_AGAIN = Counter("onebook_ledger_batches_again_total", "Attempts at a batch that had to be repeated.")
COMMANDS = Counter("onebook_commands_total", "Commands settled, by what came of them.", ["command", "outcome"])
HOLDS_EXPIRED = Counter("onebook_holds_expired_total", "Holds ended by the sweeper.")
