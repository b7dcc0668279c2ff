"""What the crowd knows of money: what it was told when it paid, and beside it what the books say, read now and then."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from onebook.ops.demo.tally import Latencies


class Books(msgspec.Struct, frozen=True):
    """Money by currency and counts, as the tables have them. `kept` is what policies keep of what is cancelled or given up."""

    taken_minor: Mapping[str, int] = msgspec.field(default_factory=Counter)
    given_back_minor: Mapping[str, int] = msgspec.field(default_factory=Counter)
    kept_minor: Mapping[str, int] = msgspec.field(default_factory=Counter)
    refunds: int = 0
    coupon_used: int = 0
    unfinished: int = 0
    """Checkouts and settlements under way."""
    oldest: datetime | None = None
    """When the first of them began."""
    read_at: datetime | None = None
    """By the database's clock, which is this machine's."""

    def has_ended_since(self, instant: datetime) -> bool:
        """Whether all that had begun by then was seen to have ended."""
        seen_later = self.read_at is not None and self.read_at > instant
        return seen_later and (self.oldest is None or self.oldest > instant)


@dataclass(slots=True)
class Outage:
    """When the gateway began to fail, for how long it did, and how long it took until all that was begun by then had ended."""

    at: float | None = None
    seconds: float | None = None
    ended_seconds: float | None = None

    @property
    def disturbs(self) -> bool:
        """Whether checkouts take longer because of it."""
        return self.at is not None and self.ended_seconds is None


@dataclass(slots=True)
class Till:
    """The crowd's own counts. Receipts are bounded by the units that are on sale."""

    coupon: str
    coupon_limit: int
    paid: int = 0
    challenged: int = 0
    coupon_late: int = 0
    """Buyers for whom the coupon had been used up."""
    put_off: int = 0
    """Requests that were told to come back, or not answered, while the gateway failed."""
    receipts: dict[str, int] = field(default_factory=dict)
    """By checkout, what the crowd was told has been taken."""
    declined: set[str] = field(default_factory=set)
    """Checkouts of which it was told that nothing is charged."""
    latencies: Latencies = field(default_factory=Latencies)
    """From the button to the end, where neither the payer, nor the bank, nor the failing gateway took their time."""
    outage: Outage = field(default_factory=Outage)
    books: Books = field(default_factory=Books)
