"""Kinds of damage to the money of audited.sql, each with the finding that the auditor must make of it.

Those of a group do not hide each other, and are done to one ledger: making one takes longer than examining it.
"""

from tests.integration.verify_damages import BOOKING, Damage, in_log, rewritten

ID = "00000000-0000-7000-8000-0000000000"
CHECKOUT = f"checkouts/{ID}c"
SETTLEMENT = f"settlements/{ID}d1"


def in_journal(statement: str) -> str:
    """A change of the journal, with its protections away for the moment."""
    return (
        "ALTER TABLE payment.journal DISABLE TRIGGER journal_is_append_only;"
        f" ALTER TABLE payment.journal DROP CONSTRAINT IF EXISTS journal_entry_balances; {statement};"
        " ALTER TABLE payment.journal ENABLE TRIGGER journal_is_append_only"
    )


def of_entry(effect: str, change: str) -> str:
    """An entry that says something else."""
    return in_journal(f"UPDATE payment.journal SET {change} WHERE effect = '{effect}'")


def of_checkout(number: int, change: str) -> str:
    """A checkout that is something else."""
    return f"UPDATE payment.checkout SET {change} WHERE id = '{ID}c{number}'"


GROUPS: tuple[tuple[Damage, ...], ...] = (
    (
        Damage(
            "entry off balance",
            of_entry(f"charge:{ID}c1", "amounts_minor = '{26500,5000,-30000,-1499}'"),
            "books", "journal/1 alfama", "does not balance",
        ),
        Damage(
            "currency off balance",
            of_entry(f"charge:{ID}c1", "amounts_minor = '{26500,5000,-30000,-1499}'"),
            "books", "EUR", "the trial balance is off",
        ),
        Damage(
            "unknown account",
            "ALTER TABLE payment.journal DROP CONSTRAINT journal_account_is_known;"
            + of_entry(f"charge:{ID}c2", "accounts = '{receivable,slush}'"),
            "books", "journal/3 opera", "an account that there is not",
        ),
        Damage(
            "posted twice",
            "ALTER TABLE payment.journal DROP CONSTRAINT journal_effect_is_posted_once;"
            "INSERT INTO payment.journal (effect, kind, booking, channel, currency, accounts, venues, amounts_minor)"
            " SELECT effect, kind, booking, channel, currency, accounts, venues, amounts_minor FROM payment.journal WHERE id = 2",
            "books", f"capture:{ID}c1", "posted more than once",
        ),
        Damage(
            "coupon counted less",
            "UPDATE payment.coupon SET used = 0",
            "coupons", "coupons/alfama/SUMMER", "another number of uses than is written down",
        ),
        Damage(
            "settled and standing",
            "UPDATE booking SET status = 'confirmed' WHERE idempotency_key = 'k6'",
            "settlements", SETTLEMENT, "settled, and its booking stands",
        ),
        Damage(
            "end not told",
            in_log("DELETE FROM log WHERE txn = 125"),
            "checkouts", f"{CHECKOUT}1", "its end is not told once",
        ),
        Damage(
            "money trigger disabled",
            "ALTER TABLE booking DISABLE TRIGGER booking_is_cancelled_with_its_settlement",
            "guards", "booking", "booking_is_cancelled_with_its_settlement does not stand",
        ),
        Damage(
            "settled and not given back",
            "UPDATE payment.refund SET state = 'pending'",
            "settlements", SETTLEMENT, "settled, and something was not given back",
        ),
    ),
    (
        Damage(
            "money of one venue on another's books",
            of_entry(f"charge:{ID}c1", "venues = '{alfama,alfama,opera,alfama}'"),
            "books", "journal/1 opera", "does not balance",
        ),
        Damage(
            "venues forgotten",
            "ALTER TABLE payment.journal DROP CONSTRAINT journal_entry_is_whole;"
            + of_entry(f"charge:{ID}c2", "venues = '{opera}'"),
            "books", "journal/3", "accounts, venues and amounts are not as many",
        ),
        Damage(
            "failed and posted",
            of_entry(f"capture:{ID}c1", f"effect = 'capture:{ID}c3'"),
            "checkouts", f"{CHECKOUT}3", "posted, and not completed",
        ),
        Damage(
            "coupon overused",
            "ALTER TABLE payment.coupon DROP CONSTRAINT coupon_is_never_overused; UPDATE payment.coupon SET used = 2",
            "coupons", "coupons/alfama/SUMMER", "used more often than it may be",
        ),
        Damage(
            "more given back than taken",
            "ALTER TABLE payment.refund DISABLE TRIGGER refund_never_exceeds_the_capture;"
            "UPDATE payment.refund SET amount_minor = 5001",
            "settlements", f"{CHECKOUT}2", "more was given back than was taken",
        ),
        Damage(
            "who pays told in the log",
            rewritten(125, '"resources":[]', '"resources":[],"email":"a@b.c"'),
            "entries", "log 125/1002", "an entry that cannot be read",
        ),
        Damage(
            "unique index of money dropped",
            "DROP INDEX payment.checkout_is_one_at_a_time",
            "guards", "payment.checkout", "checkout_is_one_at_a_time does not stand",
        ),
    ),
    (
        Damage(
            "paid and not confirmed",
            "UPDATE booking SET status = 'released' WHERE idempotency_key = 'k1' AND channel = 'web'",
            "checkouts", f"{CHECKOUT}1", "paid, and its booking neither stands nor is settled",
        ),
        Damage(
            "cancelled without a settlement",
            "DELETE FROM payment.refund; DELETE FROM payment.settlement",
            "checkouts", f"{CHECKOUT}2", "paid, and its booking neither stands nor is settled",
        ),
        Damage(
            "captured and not posted",
            in_journal(f"DELETE FROM payment.journal WHERE effect = 'capture:{ID}c1'"),
            "checkouts", f"{CHECKOUT}1", "another amount than was posted",
        ),
        Damage(
            "coupon of a failed checkout kept",
            "UPDATE payment.coupon_use SET given_back_at = NULL",
            "coupons", f"{CHECKOUT}3 alfama/SUMMER", "failed, and its coupon is gone",
        ),
        Damage(
            "failed and held",
            of_checkout(3, "booking = '00000000-0000-7000-8000-000000000007'"),
            "checkouts", f"{CHECKOUT}3", "failed, and its hold lives on",
        ),
        Damage(
            "another checkout told",
            rewritten(127, '"checkout":"00000000-0000-7000-8000-0000000000c3"', f'"checkout":"{ID}c1"'),
            "entries", "log 127/1004", "another checkout than its subject",
        ),
    ),
    (
        Damage(
            "captured and not charged",
            in_journal(f"DELETE FROM payment.journal WHERE effect = 'charge:{ID}c1'"),
            "checkouts", f"{CHECKOUT}1", "paid, and nothing was charged",
        ),
        Damage(
            "posted for nothing",
            of_entry(f"capture:{ID}c1", f"effect = 'capture:{ID}c9'"),
            "checkouts", f"capture:{ID}c9", "an entry of no checkout",
        ),
        Damage(
            "failed and confirmed",
            of_checkout(3, "confirmed_booking = '00000000-0000-7000-8000-000000000003'"),
            "checkouts", f"{CHECKOUT}3", "confirmed and not paid",
        ),
        Damage(
            "coupon given back while it is used",
            "UPDATE payment.coupon_use SET given_back_at = now()",
            "coupons", f"{CHECKOUT}1 alfama/SUMMER", "its coupon was given back",
        ),
        Damage(
            "promised and not posted",
            in_journal(f"DELETE FROM payment.journal WHERE effect = 'settle:{ID}d1'"),
            "settlements", SETTLEMENT, "another amount than was promised",
        ),
        Damage(
            "refund forgotten",
            "DELETE FROM payment.refund",
            "settlements", SETTLEMENT, "another amount than its refunds",
        ),
        Damage(
            "venues of a checkout not told",
            rewritten(127, '"venues":["alfama","opera"]', '"venues":["alfama"]'),
            "entries", "log 127/1004", "other venues than its resources'",
        ),
        Damage(
            "money guard dropped",
            "ALTER TABLE payment.journal DROP CONSTRAINT IF EXISTS journal_entry_balances",
            "guards", "payment.journal", "journal_entry_balances does not stand",
        ),
    ),
    (
        Damage(
            "all uses of a coupon forgotten",
            "DELETE FROM payment.coupon_use",
            "coupons", "coupons/alfama/SUMMER", "another number of uses than is written down",
        ),
        Damage(
            "given back and not posted",
            in_journal(f"DELETE FROM payment.journal WHERE effect = 'refund:{ID}f1'"),
            "settlements", f"refunds/{ID}f1", "not posted as it was given back",
        ),
        Damage(
            "settled and open",
            of_entry(f"settle:{ID}d1", "accounts = '{receivable,refund}'"),
            "settlements", f"{BOOKING}6", "settled, and something is still open",
        ),
    ),
)  # fmt: skip
