"""What happened to a booking's money, as entries of the ledger of money. Pure: a checkout and earlier entries in, new ones out.

Debits are positive, credits negative. Every entry sums to nothing, and so does its part of each venue: what was sold together is
still in each venue's own books. A posting of nothing is left out, and so is an entry without postings.
The rules, with examples that are executed as tests, are in docs/money.md.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from onebook.checkout.books.journal import Account, Entry, Posting
from onebook.checkout.record import Checkout, Purpose
from onebook.model.money import split
from onebook.model.offers.quote import LineKind, Quote

Sums = Counter[tuple[Account, str]]
"""Minor units by account and venue."""

_CHARGES = frozenset({"charge", "amendment"})
_FEE = "fee"
"""What is kept of a part that was given up: no charge, so that neither the next amendment nor the end takes it back."""
_EARNINGS = (Account.REVENUE, Account.TAX, Account.COUPON)
# What a customer owes, and what was paid in advance of it: together, what is still open.
_DUES = (Account.RECEIVABLE, Account.DEPOSIT_LIABILITY)


def of_completed(checkout: Checkout, before: Sequence[Entry] = ()) -> tuple[Entry, ...]:
    """What a completed checkout brings into the books: what is owed by its quote, and what was captured of it.

    `before` are the booking's entries so far: what was a hold has none, an amendment and a balance add to those of the checkouts
    before them. The quote is of the whole booking as it is now.
    """
    charge = _charged(checkout.quote, before)
    kind = "amendment" if checkout.purpose is Purpose.AMENDMENT else "charge"
    captured = _captured(checkout, _together(sums_of(before), charge))
    entries = (
        _entry(f"charge:{checkout.id}", kind, checkout, charge),
        _entry(f"capture:{checkout.id}", "capture", checkout, captured),
    )
    return tuple(entry for entry in entries if entry.postings)


def of_end(
    settlement: str, kind: str, checkout: Checkout, before: Sequence[Entry], fees_minor: Mapping[str, int]
) -> Entry:
    """The end of a booking, cancelled or not shown up for: of all that was charged the fees remain, the rest is promised back.

    `fees_minor` is by venue, and comes on top of what was kept of parts before. No venue keeps more than it has been paid: ending
    a booking charges nobody anew.
    """
    sums, changed = sums_of(before), Sums()
    paid, kept_before = _paid(sums), _kept(before)
    kept = _limited({venue: fees_minor.get(venue, 0) + kept_before[venue] for venue in paid}, paid)
    for venue in paid:
        for account in (*_EARNINGS, *_DUES):
            changed[account, venue] = -sums[account, venue]
        changed[Account.REVENUE, venue] -= kept[venue]
    _promise(changed, {venue: paid[venue] - kept[venue] for venue in paid})
    return _entry(f"settle:{settlement}", kind, checkout, changed)


def of_goodwill(settlement: str, checkout: Checkout, before: Sequence[Entry], amount_minor: int) -> Entry:
    """Money promised back beyond what any policy asks for, out of the revenue of the venues that were paid."""
    changed = Sums()
    for venue, share_minor in _shares(amount_minor, _paid(sums_of(before))).items():
        changed[Account.REVENUE, venue] = share_minor
        changed[Account.REFUND, venue] = -share_minor
    return _entry(f"settle:{settlement}", "goodwill", checkout, changed)


def of_lesser(
    settlement: str, checkout: Checkout, before: Sequence[Entry], quote: Quote, fees_minor: Mapping[str, int]
) -> tuple[Entry, ...]:
    """An amendment after which no more is due: what was paid beyond the new quote, less fees that are kept, is promised back.

    `fees_minor` is by venue. No venue keeps more of what was given up than it has been paid. The last entry promises.
    """
    kept_before = _kept(before)
    free = {venue: minor - kept_before[venue] for venue, minor in _paid(sums_of(before)).items()}
    kept = _limited(fees_minor, free)
    fee = Sums()
    for venue, kept_minor in kept.items():
        fee[Account.RECEIVABLE, venue] = kept_minor
        fee[Account.REVENUE, venue] = -kept_minor
    changed = _charged(quote, before)
    sums = _together(_together(sums_of(before), fee), changed)
    over = {venue: -due_minor for venue, due_minor in _dues(sums).items()}
    over_minor = sum(over.values())
    if over_minor >= 0:
        # What was given back out of goodwill is not given back once more: of that the new price takes what it needs.
        used = _shares(max(0, over_minor - max(0, sum(free.values()) - sum(kept.values()))), over)
        for venue in over:
            _close_dues(changed, sums, venue)
            changed[Account.REVENUE, venue] -= used[venue]
        _promise(changed, {venue: over[venue] - used[venue] for venue in over})
    entries = (
        _entry(f"fee:{settlement}", _FEE, checkout, fee),
        _entry(f"settle:{settlement}", "amendment", checkout, changed),
    )
    return tuple(entry for entry in entries if entry.postings)


def of_refund_paid(refund: str, amount_minor: int, promise: Entry, given_minor: int = 0) -> Entry:
    """The gateway has given back an amount of what was promised; `given_minor` of it was given back before."""
    postings: list[Posting] = []
    for promised in promise.postings:
        if promised.account is not Account.REFUND:
            continue
        passed_minor = min(given_minor, -promised.amount_minor)
        part_minor = min(amount_minor, -promised.amount_minor - passed_minor)
        given_minor -= passed_minor
        amount_minor -= part_minor
        if part_minor:
            postings.append(Posting(Account.REFUND, promised.venue, part_minor))
            postings.append(Posting(Account.GATEWAY_CLEARING, promised.venue, -part_minor))
    return Entry(f"refund:{refund}", "refund", promise.booking, promise.channel, promise.currency, tuple(postings))


def promised_minor(entry: Entry) -> int:
    """What an entry promises to give back."""
    return -sum(posting.amount_minor for posting in entry.postings if posting.account is Account.REFUND)


def paid_minor(entries: Iterable[Entry]) -> int:
    """What has been taken, less what was given or promised back."""
    return sum(_paid(sums_of(entries)).values())


def kept_minor(entries: Iterable[Entry]) -> int:
    """What was kept of parts that were given up."""
    return sum(_kept(entries).values())


def dues_minor(entries: Iterable[Entry]) -> int:
    """What is still open: the balance of the folio. 0 when all is settled, negative where more was paid than is owed."""
    return sum(_dues(sums_of(entries)).values())


def sums_of(entries: Iterable[Entry]) -> Sums:
    """What has come together on each account of each venue."""
    sums = Sums()
    for entry in entries:
        for posting in entry.postings:
            sums[posting.account, posting.venue] += posting.amount_minor
    return sums


def _charged(quote: Quote, before: Iterable[Entry]) -> Sums:
    """What has to be charged so that what was charged in all is the quote."""
    changed = Sums()
    for line in quote.lines:
        if line.kind is LineKind.TAX:
            changed[Account.TAX, line.venue] -= line.amount_minor
        elif line.kind is LineKind.COUPON:
            changed[Account.COUPON, line.venue] -= line.amount_minor
        else:
            changed[Account.REVENUE, line.venue] -= line.amount_minor
        if line.included:  # it stands within the prices, which are revenue without it
            changed[Account.REVENUE, line.venue] += line.amount_minor
    changed.subtract(sums_of(entry for entry in before if entry.kind in _CHARGES))
    earned = Sums({key: amount for key, amount in changed.items() if key[0] in _EARNINGS})
    for (_, venue), amount in tuple(earned.items()):
        earned[Account.RECEIVABLE, venue] -= amount
    return earned


def _captured(checkout: Checkout, sums: Sums) -> Sums:
    """What was captured pays all that is open, with what was paid in advance; or it is itself paid in advance."""
    changed = Sums()
    dues = _dues(sums) or dict.fromkeys(checkout.venues, 0)
    if checkout.amount_minor == sum(dues.values()):
        for venue, due in dues.items():
            changed[Account.GATEWAY_CLEARING, venue] = due
            _close_dues(changed, sums, venue)
        return changed
    for venue, share_minor in _shares(checkout.amount_minor, dues).items():
        changed[Account.GATEWAY_CLEARING, venue] = share_minor
        changed[Account.DEPOSIT_LIABILITY, venue] = -share_minor
    return changed


def _promise(changed: Sums, back: Mapping[str, int]) -> None:
    """Promise back what venues have been paid too much; what others have been paid too little of it, they are paid."""
    for venue, share_minor in _shares(sum(back.values()), back).items():
        changed[Account.REFUND, venue] -= share_minor
        changed[Account.GATEWAY_CLEARING, venue] -= back[venue] - share_minor


def _close_dues(changed: Sums, sums: Sums, venue: str) -> None:
    for account in _DUES:
        changed[account, venue] -= sums[account, venue]


def _dues(sums: Sums) -> dict[str, int]:
    """What is open, by venue."""
    return {venue: sum(sums[account, venue] for account in _DUES) for venue in _venues(sums)}


def _paid(sums: Sums) -> dict[str, int]:
    """What was taken and not promised back, by venue."""
    held = (Account.GATEWAY_CLEARING, Account.REFUND)
    return {venue: sum(sums[account, venue] for account in held) for venue in _venues(sums)}


def _kept(entries: Iterable[Entry]) -> Counter[str]:
    """What was kept of parts that were given up, by venue."""
    sums = sums_of(entry for entry in entries if entry.kind == _FEE)
    return Counter({venue: -sums[Account.REVENUE, venue] for venue in _venues(sums)})


def _limited(fees_minor: Mapping[str, int], limits: Mapping[str, int]) -> dict[str, int]:
    """Fees by venue, none above its limit, and all of them together not above that of all."""
    fees = {venue: min(fees_minor.get(venue, 0), max(0, limit)) for venue, limit in limits.items()}
    return _shares(min(sum(fees.values()), max(0, sum(limits.values()))), fees)


def _shares(amount_minor: int, weights: Mapping[str, int]) -> dict[str, int]:
    """An amount divided among venues in proportion; those that weigh less than nothing get nothing."""
    parts = split(amount_minor, [max(0, weight) for weight in weights.values()])
    return dict(zip(weights, parts, strict=False))  # where there is no venue, there is nothing to divide


def _together(sums: Sums, more: Sums) -> Sums:
    """The sum of both. Not `+`, which a Counter has for other things: it leaves out what is negative."""
    both = Sums(sums)
    both.update(more)
    return both


def _venues(sums: Sums) -> tuple[str, ...]:
    return tuple(dict.fromkeys(venue for _, venue in sums))


def _entry(effect: str, kind: str, checkout: Checkout, changed: Sums) -> Entry:
    postings = tuple(Posting(account, venue, amount) for (account, venue), amount in changed.items() if amount)
    booking = checkout.confirmed_booking or checkout.booking
    return Entry(effect, kind, booking, checkout.channel, checkout.currency, postings)
