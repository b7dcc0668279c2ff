"""Reading the log in its order, losing nothing.

A cursor is a place in (txn, position). Only what lies below the horizon is read: no transaction that is still open can
commit anything there any more.
"""

import base64
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

SCAN_LIMIT = 10_000
CUSTOMERS = "/customers"
"""The source of what is told of a customer, which belongs to no venue: such entries name none."""

READ = """
SELECT txn, position, time, type, subject, venues, traceparent, data
FROM log
WHERE (txn, position) > ($1::bigint, $2::bigint) AND txn < log_horizon()
ORDER BY txn, position LIMIT $3
"""


class Cursor(NamedTuple):
    """A place in the log: everything up to and including it has been seen."""

    txn: int
    position: int

    def __str__(self) -> str:
        return base64.urlsafe_b64encode(f"{self.txn}.{self.position}".encode()).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """The cursor that was written so. Raises ValueError."""
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode("ascii")
        txn, position = raw.split(".")
        if not (txn.isdecimal() and position.isdecimal() and max(int(txn), int(position)) < 2**63):
            raise ValueError("not a cursor")
        return cls(int(txn), int(position))


START = Cursor(0, 0)


class CloudEvent(msgspec.Struct, frozen=True):
    """An entry as CloudEvents 1.0 JSON. `time` is that of the decision, read under the locks it was committed with.

    `sequence` is its place in the log as text that sorts (the CloudEvents extension of that name).
    """

    id: str
    type: str
    source: str
    subject: str
    time: datetime
    sequence: str
    data: msgspec.Raw
    traceparent: str | msgspec.UnsetType = msgspec.UNSET
    specversion: str = "1.0"
    datacontenttype: str = "application/json"


def event_of(row: Any) -> CloudEvent:
    """The event of a row of the log."""
    return CloudEvent(
        id=str(row["position"]),
        type=f"onebook.{row['type']}.v1",
        source=f"/venues/{row['venues'][0]}" if row["venues"] else CUSTOMERS,
        subject=row["subject"],
        time=row["time"],
        sequence=f"{row['txn']:016d}.{row['position']:016d}",
        data=msgspec.Raw(row["data"].encode()),
        traceparent=row["traceparent"] or msgspec.UNSET,
    )


async def read_events(
    connection: Any, after: Cursor, *, venue: str | None, limit: int, with_customers: bool = True
) -> tuple[Sequence[CloudEvent], Cursor]:
    """Up to `limit` events after a cursor, of one venue or all, with what is told of customers or without, and the cursor to go
    on from.

    Looks at no more than SCAN_LIMIT entries a call, so the answer may be empty while the cursor moves on.
    """
    is_whole = venue is None and with_customers
    rows = await connection.fetch(READ, after.txn, after.position, limit if is_whole else SCAN_LIMIT)
    events: list[CloudEvent] = []
    reached = after
    for row in rows:
        if len(events) == limit:
            break
        reached = Cursor(row["txn"], row["position"])
        if venue in row["venues"] if venue is not None else (with_customers or row["venues"]):
            events.append(event_of(row))
    return events, reached
