"""What the write side tells Prometheus."""

from functools import cache

from prometheus_client import Counter, Histogram

from onebook.model.commands import Command
from onebook.model.decide import Verdict
from onebook.model.decision import Decision, Unchanged

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


def count_outcome(command: Command, verdict: Verdict) -> None:
    """Count a settled command."""
    _counter(type(command).__name__, outcome_of(verdict)).inc()


def outcome_of(verdict: Verdict) -> str:
    """What came of a command, in a word: done, replayed, unchanged, or the refusal's code."""
    if isinstance(verdict, Decision):
        return "done"
    if isinstance(verdict, Unchanged):
        return "replayed" if verdict.replayed else "unchanged"
    return verdict.code


@cache
def _counter(command: str, outcome: str) -> Counter:
    """The counter of a command and what came of it; finding it by its labels costs more than counting."""
    return COMMANDS.labels(command, outcome)
