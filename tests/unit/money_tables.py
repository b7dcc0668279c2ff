"""The scenario tables of docs/money.md: read, and carried out with the rules themselves."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from msgspec.structs import replace

from onebook.checkout.books.journal import Account, Entry
from onebook.checkout.books.postings import of_completed, of_refund_paid
from onebook.checkout.record import Checkout, Purpose, State
from onebook.checkout.settling.settlement import Captured, Kind, Plan, Settlement, planned
from onebook.checkout.settling.settlement import State as Settling
from onebook.model.booking import BookingId
from onebook.model.commands import Wanted
from onebook.model.offers.quote import ItemPolicy, LineKind, PolicyStep, Quote, QuotedItem, QuoteLine

DOCUMENT = Path(__file__).parents[2] / "docs" / "money.md"
NOW = datetime(2027, 1, 1, tzinfo=UTC)
BOOKING = BookingId("b")

Row = tuple[str, str, str, tuple[int, ...]]
"""Step, entry, venue, and an amount for each account."""


@dataclass
class Scenario:
    """A section of the document: its quotes as text, and its table."""

    name: str
    quotes: list[str]
    rows: list[Row]


def scenarios() -> list[Scenario]:
    """Every section that has a table with the accounts as columns."""
    found = []
    for section in re.split(r"^### ", DOCUMENT.read_text("utf-8"), flags=re.M)[1:]:
        name, _, body = section.partition("\n")
        quotes = re.findall(r"^- (?:quote|new quote): (.+)$", body, re.M)
        rows = [_row(line) for line in re.findall(r"^\|(.+)\|$", body, re.M)[2:]]
        found.append(Scenario(name, quotes, rows))
    return found


def _row(line: str) -> Row:
    step, entry, venue, *amounts = (cell.strip() for cell in line.split("|"))
    return step, entry, venue, tuple(minor(amount) if amount else 0 for amount in amounts)


def minor(text: str) -> int:
    """An amount of euros in cents."""
    return int(Decimal(text) * 100)


def quote_of(text: str) -> Quote:
    """A quote from its text: "alfama price 300.00, alfama tax 16.98 included, alfama fee 50 %, due now 60.00"."""
    lines: list[QuoteLine] = []
    policies: dict[str, ItemPolicy] = {}
    due_now: int | None = None
    for part in text.split(", "):
        if found := re.fullmatch(r"due now (\S+)", part):
            due_now = minor(found[1])
        elif found := re.fullmatch(r"(\w+) keeps (\d+) %(?: in the last (\d+) hours)?", part):
            policies[found[1]] = policy_of(int(found[2]) * 100, int(found[3] or 48))
        elif found := re.fullmatch(r"(\w+) (price|tax|coupon) (\S+)( included)?", part):
            venue, kind, amount, included = found.groups()
            place = list(dict.fromkeys([*(line.venue for line in lines), venue])).index(venue)
            lines.append(
                QuoteLine(place, venue, LineKind(kind), kind, kind, minor(amount), included=included is not None)
            )
        else:
            raise ValueError(part)
    total = sum(line.amount_minor for line in lines if not line.included)
    venues = tuple(dict.fromkeys(line.venue for line in lines))
    return Quote(
        id="q",
        made_at=NOW,
        valid_until=NOW,
        currency="EUR",
        items=tuple(
            QuotedItem(f"{venue}/x", "2027-03-01", "2027-03-02", 1, NOW + timedelta(days=1)) for venue in venues
        ),
        lines=tuple(lines),
        policies=tuple(policies.get(venue, policy_of(0)) for venue in venues),
        total_minor=total,
        due_now_minor=total if due_now is None else due_now,
    )


def policy_of(basis_points: int, hours_before: int = 48) -> ItemPolicy:
    """The same share for cancelling late and for staying away."""
    return ItemPolicy("p", (PolicyStep(hours_before, basis_points),), basis_points)


def checkout_of(identity: str, quote: Quote, amount_minor: int, purpose: Purpose = Purpose.BOOKING) -> Checkout:
    """A completed checkout."""
    return Checkout(
        id=identity,
        revision=5,
        booking=BOOKING,
        purpose=purpose,
        confirms=purpose is Purpose.BOOKING,
        channel="website",
        venues=tuple(item.resource.partition("/")[0] for item in quote.items),
        idempotency_key=identity,
        request_hash="",
        state=State.COMPLETED,
        attempts=0,
        due_at=None,
        gateway="simulator",
        token="tok_ok",
        amount_minor=amount_minor,
        currency=quote.currency,
        on_decline="release",
        quote=quote,
        begun_at=NOW,
        confirmed_booking=BOOKING,
    )


def settlement_of(identity: str, kind: Kind, refund_minor: int = 0, quote: Quote | None = None) -> Settlement:
    """A settlement whose booking has moved."""
    return Settlement(
        id=identity,
        revision=1,
        checkout="c",
        booking=BOOKING,
        kind=kind,
        state=Settling.MOVING,
        channel="website",
        currency="EUR",
        begun_at=NOW,
        refund_minor=refund_minor,
        quote=quote,
        amended=None if quote is None else (Wanted("alfama/x"),),
    )


@dataclass
class Life:
    """A booking's money, step after step."""

    quotes: Sequence[Quote]
    entries: list[Entry] = field(default_factory=list)
    checkouts: list[Checkout] = field(default_factory=list)
    promises: list[Entry] = field(default_factory=list)
    given: Counter[str] = field(default_factory=Counter)
    """Promised back, of each checkout's payment."""
    given_minor: int = 0
    """Given back of the last promise."""

    def take(self, step: str) -> list[Entry]:
        """The entries that a step of the tables brings."""
        new = list(self._taken(step))
        self.entries += new
        return new

    def settle(self, settlement: Settlement) -> Plan:
        """What a settlement comes to; from then on the booking costs what its quote says."""
        left = [
            Captured(checkout.id, checkout.amount_minor - self.given[checkout.id])
            for checkout in reversed(self.checkouts)
        ]
        plan = planned(settlement, self.checkouts[-1], self.entries, left)
        assert isinstance(plan, Plan), plan
        self.given.update(dict(plan.refunds))
        if settlement.quote is not None:
            self.checkouts[-1] = replace(self.checkouts[-1], quote=settlement.quote)
        return plan

    def _taken(self, step: str) -> Iterator[Entry]:
        number = str(len(self.entries))
        if found := re.fullmatch(r"pay (\S+)( of the balance| for the new quote)?", step):
            yield from self._paid(number, minor(found[1]), found[2] or "")
        elif step in ("cancel", "nobody comes", "amend"):
            kind = {"cancel": Kind.CANCELLATION, "nobody comes": Kind.NO_SHOW, "amend": Kind.AMENDMENT}[step]
            quote = self.quotes[1] if kind is Kind.AMENDMENT else None
            yield from self._promised(settlement_of(number, kind, quote=quote))
        elif found := re.fullmatch(r"refund (\S+) out of goodwill", step):
            yield from self._promised(settlement_of(number, Kind.GOODWILL, minor(found[1])))
        elif found := re.fullmatch(r"the gateway gives back (\S+)", step):
            yield of_refund_paid(number, minor(found[1]), self.promises[-1], self.given_minor)
            self.given_minor += minor(found[1])
        else:
            raise ValueError(step)

    def _paid(self, number: str, amount_minor: int, what: str) -> Iterator[Entry]:
        purpose = {"": Purpose.BOOKING, " of the balance": Purpose.BALANCE}.get(what, Purpose.AMENDMENT)
        quote = self.quotes[1] if purpose is Purpose.AMENDMENT else self.quotes[0]
        if purpose is Purpose.BALANCE:
            quote = self.checkouts[-1].quote
        checkout = checkout_of(number, quote, amount_minor, purpose)
        self.checkouts.append(checkout)
        yield from of_completed(checkout, self.entries)

    def _promised(self, settlement: Settlement) -> Iterator[Entry]:
        plan = self.settle(settlement)
        if plan.entries:
            self.promises.append(plan.entries[-1])
            self.given_minor = 0
            yield from plan.entries


def rows_of(step: str, entries: Sequence[Entry]) -> Iterator[Row]:
    """A step's entries as rows of a table: the step stands in the first of them."""
    for entry in entries:
        for venue in dict.fromkeys(posting.venue for posting in entry.postings):
            sums = dict.fromkeys(Account, 0)
            for posting in entry.postings:
                if posting.venue == venue:
                    sums[posting.account] += posting.amount_minor
            yield step, entry.kind, venue, tuple(sums.values())
            step = ""
