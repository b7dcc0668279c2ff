"""What the steps of a batch took, told as spans of the commands in it that are followed.

Made by the committer for each attempt at a batch; the page marks the steps. The times are the batch's, for that is what a command
waited for: `commands` says with how many it went. An attempt that failed tells nothing; it shows in the time spent in the queue.
"""

import time

from onebook import tracing
from onebook.ledger.metrics import outcome_of
from onebook.model.commands import BASKETS, ChangeInventory, Command
from onebook.model.decide import Verdict
from onebook.model.decision import Decision


class Steps:
    """When each step of one batch ended. Taking these times costs less than asking whether anybody wants them."""

    __slots__ = ("_began", "_commits", "_decided", "_ended", "_opened")

    def __init__(self) -> None:
        self._began = self._opened = self._decided = self._ended = time.time()
        self._commits: dict[int, str] = {}

    def opened(self) -> None:
        """The locks are held, and the page is read."""
        self._opened = time.time()

    def decided(self) -> None:
        """Every command is decided."""
        self._decided = time.time()

    def committed(self) -> None:
        """What was decided is durable."""
        self._ended = time.time()

    def place_of(self, command: Command) -> str | None:
        """What the command's event hands on: the place of its commit, from which all that follows begins."""
        given = command.traceparent
        if given is None or not tracing.followed(given):
            return given
        self._commits[id(command)], place = tracing.child(given)
        return place

    def tell(self, command: Command, verdict: Verdict, arrived_at: float, commands: int) -> None:
        """Report the steps of a command that is followed."""
        place = command.traceparent
        tracing.record("queue", place, arrived_at, self._began)
        tracing.record(
            "lock", place, self._began, self._opened, commands=commands, resource=_resources(command, verdict)
        )
        tracing.record("decide", place, self._opened, self._decided, commands=commands, outcome=outcome_of(verdict))
        commit = self._commits.get(id(command))
        if commit is not None:
            tracing.record("commit", place, self._decided, self._ended, span_id=commit, commands=commands)


def _resources(command: Command, verdict: Verdict) -> str:
    """The resources touched or asked for; nothing for a refused move, which names only its booking."""
    if isinstance(verdict, Decision):
        keys = verdict.resources
    elif isinstance(command, BASKETS):
        keys = tuple(dict.fromkeys(line.resource.key for line in command.lines))
    elif isinstance(command, ChangeInventory):
        keys = (command.resource.key,)
    else:
        keys = ()
    return ", ".join(keys)
