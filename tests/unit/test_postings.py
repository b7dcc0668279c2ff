"""The rules of the ledger of money: the tables of docs/money.md as they stand, and what holds for every story of a booking."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.unit.money_tables import (
    Life,
    Row,
    Scenario,
    checkout_of,
    policy_of,
    quote_of,
    rows_of,
    scenarios,
    settlement_of,
)

from onebook.checkout.books.journal import Account, Entry
from onebook.checkout.books.postings import (
    dues_minor,
    kept_minor,
    of_completed,
    of_refund_paid,
    paid_minor,
    promised_minor,
)
from onebook.checkout.books.reconcile import Kind as Kinds
from onebook.checkout.books.reconcile import Ours, reconcile
from onebook.checkout.books.report import folio_of
from onebook.checkout.gateways.protocol import Payment, PaymentState
from onebook.checkout.record import Purpose, State
from onebook.checkout.settling.settlement import Captured, Kind, planned
from onebook.model.offers.quote import LineKind, Quote, QuoteLine

SCENARIOS = scenarios()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_scenario_is_as_it_is_documented(scenario: Scenario) -> None:
    """Each step brings the entries that stand in the table, and together they come to its last line."""
    life, told = Life([quote_of(text) for text in scenario.quotes]), list[Row]()
    for step in (row[0] for row in scenario.rows[:-1] if row[0]):
        told += rows_of(step, life.take(step))
    together = Counter(dict.fromkeys(Account, 0))
    for entry in life.entries:
        for posting in entry.postings:
            together[posting.account] += posting.amount_minor
    assert [*told, ("together", "", "", tuple(together.values()))] == scenario.rows
    assert dues_minor(life.entries) == 0


def test_every_kind_of_story_is_documented() -> None:
    """Refunds, partial ones, deposits, no-shows, amendments, coupons and several venues each have their table."""
    names = " ".join(scenario.name.lower() for scenario in SCENARIOS)
    for topic in ("refund", "partial refund", "deposit", "no-show", "amendment", "coupon", "several venues"):
        assert topic in names


AMOUNTS = st.integers(0, 10**9)
VENUES = st.sampled_from(["alfama", "opera", "porto"])


@st.composite
def quotes(draw: st.DrawFn) -> Quote:
    """A quote of up to three venues: prices, taxes in them or on top, coupons of less than the price, any policy."""
    lines: list[QuoteLine] = []
    venues = draw(st.lists(VENUES, min_size=1, max_size=3, unique=True))
    for place, venue in enumerate(venues):
        price = draw(AMOUNTS)
        lines.append(QuoteLine(place, venue, LineKind.PRICE, "p", "p", price))
        if draw(st.booleans()):
            lines.append(QuoteLine(place, venue, LineKind.COUPON, "c", "c", -draw(st.integers(0, price))))
        if draw(st.booleans()):
            included = draw(st.booleans())
            tax = draw(st.integers(0, price))
            lines.append(QuoteLine(place, venue, LineKind.TAX, "t", "t", tax, included=included))
    total = sum(line.amount_minor for line in lines if not line.included)
    base = quote_of(", ".join(f"{venue} price 1.00" for venue in venues))
    policies = tuple(policy_of(draw(st.integers(0, 10_000))) for _ in venues)
    due_now = draw(st.sampled_from([total, total // 3]))
    return Quote(
        id="q", made_at=base.made_at, valid_until=base.valid_until, currency="EUR", items=base.items,
        lines=tuple(lines), policies=policies, total_minor=total, due_now_minor=due_now,
    )  # fmt: skip


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_every_story_balances(data: st.DataObject) -> None:
    """Every entry sums to nothing for each venue; what has ended owes nothing, and nobody got back more than was paid."""
    quote = data.draw(quotes())
    life = Life([quote])
    _pay(life, quote, quote.due_now_minor, Purpose.BOOKING)
    for _ in range(data.draw(st.integers(0, 3))):
        step = data.draw(st.sampled_from(["balance", "amend", "goodwill"]))
        owed = dues_minor(life.entries)
        if step == "balance" and owed > 0:
            _pay(life, life.checkouts[-1].quote, owed, Purpose.BALANCE)
        elif step == "goodwill" and (paid := paid_minor(life.entries)) > 0:
            _promise(life, Kind.GOODWILL, refund_minor=data.draw(st.integers(1, paid)))
        elif step == "amend":
            _amend(life, data.draw(quotes()))
    taken = sum(checkout.amount_minor for checkout in life.checkouts)
    if data.draw(st.booleans()):
        _promise(life, data.draw(st.sampled_from([Kind.CANCELLATION, Kind.NO_SHOW])))
        assert dues_minor(life.entries) == 0
    folio = folio_of("b", ((entry, life.checkouts[0].begun_at) for entry in life.entries))
    assert folio.charged_minor == folio.paid_minor - folio.refund_due_minor + folio.balance_minor
    assert 0 <= folio.paid_minor <= taken
    assert folio.refund_due_minor == 0
    for entry in life.entries:
        _balances(entry)


def _pay(life: Life, quote: Quote, amount_minor: int, purpose: Purpose) -> None:
    checkout = checkout_of(f"c{len(life.checkouts)}", quote, amount_minor, purpose)
    life.entries += of_completed(checkout, life.entries)
    life.checkouts.append(checkout)


def _amend(life: Life, quote: Quote) -> None:
    """To a quote of the whole: a dearer one is charged, a cheaper one given back."""
    more = quote.total_minor - life.checkouts[-1].quote.total_minor
    if more > 0:
        _pay(life, quote, more, Purpose.AMENDMENT)
        return
    owed, kept = dues_minor(life.entries), kept_minor(life.entries)
    _promise(life, Kind.AMENDMENT, quote=quote)
    assert dues_minor(life.entries) <= owed
    assert 0 <= kept_minor(life.entries) - kept <= -more


def _promise(life: Life, kind: Kind, refund_minor: int = 0, quote: Quote | None = None) -> None:
    """Settle, and have the gateway give back what was promised, in the parts that it has to be given back in."""
    settlement = settlement_of(f"s{len(life.entries)}", kind, refund_minor, quote)
    plan = life.settle(settlement)
    if not plan.entries:
        return
    life.entries += plan.entries
    promise = plan.entries[-1]
    assert promised_minor(promise) == plan.refund_minor
    given_minor = 0
    for number, (_, amount_minor) in enumerate(plan.refunds):
        life.entries.append(of_refund_paid(f"{settlement.id}.{number}", amount_minor, promise, given_minor))
        given_minor += amount_minor


def _balances(entry: Entry) -> None:
    by_venue: Counter[str] = Counter()
    for posting in entry.postings:
        by_venue[posting.venue] += posting.amount_minor
    assert not any(by_venue.values())


def test_goodwill_never_exceeds_what_was_paid() -> None:
    """A refund beyond what was paid and not given back is refused."""
    life = Life([quote_of("alfama price 300.00")])
    life.take("pay 300.00")
    life.take("refund 100.00 out of goodwill")
    refused = planned(
        settlement_of("s", Kind.GOODWILL, 20_001), life.checkouts[0], life.entries, [Captured("0", 20_000)]
    )
    assert refused == "refund-exceeds-payment"


OURS = Ours(
    checkout="c", booking="b", purpose=Purpose.BOOKING, state=State.COMPLETED, amount_minor=300, currency="EUR",
    posted_minor=300, refunded_minor=0, has_confirmed=True,
)  # fmt: skip
THEIRS = Payment("c", "pi_1", PaymentState.CAPTURED, 300, "EUR", captured_minor=300)


PAID = replace(THEIRS, refunded_minor=300)


@pytest.mark.parametrize(
    ("ours", "theirs", "kinds"),
    [
        ([OURS], [THEIRS], []),
        ([], [], []),
        ([], [THEIRS], [Kinds.ORPHAN_CHARGE]),
        ([], [PAID], []),
        ([replace(OURS, state=State.FAILED, has_confirmed=False)], [THEIRS], [Kinds.ORPHAN_CHARGE]),
        ([replace(OURS, state=State.FAILED, has_confirmed=False)], [PAID], []),
        ([replace(OURS, state=State.FAILED)], [], [Kinds.CONFIRMED_UNPAID]),
        ([replace(OURS, state=State.CAPTURING)], [THEIRS], []),
        ([OURS], [], [Kinds.CONFIRMED_UNPAID]),
        ([OURS], [replace(THEIRS, state=PaymentState.AUTHORIZED, captured_minor=0)], [Kinds.CONFIRMED_UNPAID]),
        ([OURS], [replace(THEIRS, currency="USD")], [Kinds.AMOUNT_DIFFERS]),
        ([OURS], [replace(THEIRS, captured_minor=299)], [Kinds.AMOUNT_DIFFERS, Kinds.NOT_POSTED]),
        ([replace(OURS, posted_minor=0)], [THEIRS], [Kinds.NOT_POSTED]),
        ([OURS], [PAID], [Kinds.REFUND_DIFFERS]),
        ([replace(OURS, is_refunding=True)], [PAID], []),
        ([OURS, replace(OURS, checkout="d")], [THEIRS, replace(THEIRS, key="d")], [Kinds.DOUBLE_CHARGE]),
        (
            [OURS, replace(OURS, checkout="d", state=State.FAILED)],
            [THEIRS, replace(THEIRS, key="d")],
            [Kinds.DOUBLE_CHARGE],
        ),
        ([OURS, replace(OURS, checkout="d", purpose=Purpose.BALANCE)], [THEIRS, replace(THEIRS, key="d")], []),
    ],
)
def test_reconciliation_finds_what_differs(ours: list[Ours], theirs: list[Payment], kinds: list[Kinds]) -> None:
    """Each way in which two books can differ is named, and what agrees is not."""
    assert [difference.kind for difference in reconcile(ours, theirs)] == kinds
