"""Where a consumer stands: which of the log's transactions it has handled, and whether a message follows what it has heard.

Pure. A place is what PostgreSQL calls a snapshot: everything below a number has been handled, but for some transactions that
were open when the log was last read; on top of it the positions handled since. It is known only in memory: what a durable
consumer writes down is the horizon.
"""

from collections.abc import Iterable
from itertools import islice
from typing import NamedTuple

from onebook.broker.protocol import Message
from onebook.log.stream import StreamEvent

MAX_SEEN = 200_000


class Snapshot(NamedTuple):
    """Transactions of the log: all below `upto`, but for those in `open`."""

    upto: int
    open: frozenset[int]


class Place:
    """What has been handled. Remembers `max_seen` positions; the older half of more is forgotten, since events may come again."""

    def __init__(self, horizon: int, *, max_seen: int = MAX_SEEN) -> None:
        self.upto = horizon
        self.open: frozenset[int] = frozenset()
        self.lsn = 0
        """Every message up to here has been heard, or made up for by reading the log."""
        self._heard_lsn = 0
        self._seen: dict[int, int] = {}
        self._max_seen = max_seen

    @property
    def horizon(self) -> int:
        """Every transaction below this number has been handled."""
        return min(self.open, default=self.upto)

    def admit(self, events: Iterable[StreamEvent]) -> list[StreamEvent]:
        """Those that have not been handled. They count as handled from now on: who fails to must give up this place."""
        seen, upto, is_open = self._seen, self.upto, self.open
        admitted: list[StreamEvent] = []
        for event in events:
            txn, position = event.txn, event.position
            if position in seen or (txn < upto and txn not in is_open):
                continue
            seen[position] = txn
            admitted.append(event)
        if len(seen) > self._max_seen:
            self._seen = dict(islice(seen.items(), len(seen) // 2, None))
        return admitted

    def is_repeated(self, message: Message) -> bool:
        """Whether this message has been heard before; only its events need to be looked at."""
        return message.lsn <= self._heard_lsn

    def follows(self, message: Message) -> bool:
        """Whether nothing is missing between what is known and this message."""
        return message.lsn <= self.lsn or 0 < message.previous <= self.lsn

    def hear(self, message: Message) -> None:
        """This message was heard, in its turn."""
        self._heard_lsn = max(self._heard_lsn, message.lsn)
        self.lsn = max(self.lsn, message.lsn)

    def pass_horizon(self, horizon: int) -> None:
        """A heartbeat came at the end of an unbroken chain: everything below its horizon was in that chain, or read before."""
        upto = max(self.upto, horizon)
        self._stand(Snapshot(upto, frozenset(txn for txn in self.open if txn >= horizon)))

    def settle(self, still_open: frozenset[int]) -> None:
        """The entries of the open transactions that have ended since were read from the log."""
        self._stand(Snapshot(self.upto, self.open & still_open))

    def reach(self, txn: int, snapshot: Snapshot) -> None:
        """The log was read, in its order, up to the beginning of a transaction."""
        upto = max(self.upto, min(txn, snapshot.upto))
        self._stand(Snapshot(upto, frozenset(number for number in snapshot.open if number < upto)))

    def refill(self, snapshot: Snapshot, lsn: int) -> None:
        """The log was read to the end of a snapshot, taken after the WAL was at `lsn`."""
        self.reach(snapshot.upto, snapshot)
        self.lsn = max(self.lsn, lsn)

    def _stand(self, snapshot: Snapshot) -> None:
        if snapshot == (self.upto, self.open):
            return
        self.upto, self.open = snapshot
        self._seen = {
            position: txn for position, txn in self._seen.items() if txn >= snapshot.upto or txn in snapshot.open
        }
