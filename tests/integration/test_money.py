"""The ledger of money, read: folios, the trial balance, reports and their CSV, and what the command says when it is off."""

from collections.abc import AsyncIterator
from datetime import date
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import pytest
from tests.conftest import onebook

from onebook.checkout.books.journal import Account
from onebook.checkout.books.money import MoneyBook
from onebook.checkout.books.report import Balance, By, Imbalance, as_csv
from onebook.model.booking import BookingId

BOOKING = BookingId("00000000-0000-7000-8000-000000000001")
ENTRIES = (
    # effect, day, channel, currency, account and venue and amount of each posting
    ("charge:a", "2026-11-01T23:59:59Z", "web", "EUR", ("receivable", "alfama", 300), ("revenue", "alfama", -300)),
    ("capture:a", "2026-11-02T00:00:00Z", "web", "EUR", ("gateway-clearing", "alfama", 300), ("receivable", "alfama", -300)),
    ("charge:b", "2026-11-02T12:00:00Z", "app", "JPY", ("receivable", "opera", 5000), ("revenue", "opera", -5000)),
)  # fmt: skip


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator["asyncpg.Pool[Any]"]:
    """A database with a few entries, all of one booking."""
    async with asyncpg.create_pool(database_url, min_size=1, max_size=1) as opened:
        for effect, at, channel, currency, *postings in ENTRIES:
            await opened.execute(
                "INSERT INTO payment.journal (effect, posted_at, kind, booking, channel, currency, accounts, venues,"
                " amounts_minor) VALUES ($1, $2::text::timestamptz, 'charge', $3, $4, $5, $6, $7, $8)",
                effect, at, UUID(BOOKING), channel, currency, *map(list, zip(*postings, strict=True)),
            )  # fmt: skip
        yield opened


async def off_balance(pool: "asyncpg.Pool[Any]") -> None:
    """Lose a cent, which takes away what forbids it."""
    await pool.execute("ALTER TABLE payment.journal DROP CONSTRAINT journal_entry_balances")
    await pool.execute("ALTER TABLE payment.journal DISABLE TRIGGER journal_is_append_only")
    await pool.execute("UPDATE payment.journal SET amounts_minor = '{300,-299}' WHERE effect = 'charge:a'")


async def test_the_trial_balance_has_every_account_of_every_currency(pool: "asyncpg.Pool[Any]") -> None:
    """Debits and credits are told apart, and no currency is off; one that is, is named with the difference."""
    balance = await MoneyBook(pool).trial_balance()
    assert balance.balances == (
        Balance("EUR", Account.GATEWAY_CLEARING, 300, 0),
        Balance("EUR", Account.RECEIVABLE, 300, 300),
        Balance("EUR", Account.REVENUE, 0, 300),
        Balance("JPY", Account.RECEIVABLE, 5000, 0),
        Balance("JPY", Account.REVENUE, 0, 5000),
    )
    assert balance.imbalances == ()
    await off_balance(pool)
    assert (await MoneyBook(pool).trial_balance()).imbalances == (Imbalance("EUR", 1),)


@pytest.mark.parametrize(
    ("by", "told"),
    [
        (By.DAY, {"2026-11-01": 300, "2026-11-02": 5000}),
        (By.VENUE, {"alfama": 300, "opera": 5000}),
        (By.CHANNEL, {"web": 300, "app": 5000}),
        (By.ACCOUNT, {"revenue": 5000}),
    ],
)
async def test_a_report_tells_days_venues_and_channels_apart(
    pool: "asyncpg.Pool[Any]", by: By, told: dict[str, int]
) -> None:
    """The revenue stands by what was asked for, and each currency's lines sum to nothing."""
    report = await MoneyBook(pool).report(by)
    assert {line.what: -line.amount_minor for line in report.lines if line.account is Account.REVENUE} == told
    for currency in ("EUR", "JPY"):
        assert sum(line.amount_minor for line in report.lines if line.currency == currency) == 0


async def test_a_report_is_of_the_days_asked_for(pool: "asyncpg.Pool[Any]") -> None:
    """The first day is in it, the last one is not; days are those of UTC. As CSV it is the same."""
    report = await MoneyBook(pool).report(By.DAY, date(2026, 11, 1), date(2026, 11, 2))
    assert as_csv(report) == (
        "currency,what,account,amount_minor\r\n"
        "EUR,2026-11-01,receivable,300\r\n"
        "EUR,2026-11-01,revenue,-300\r\n"
    )  # fmt: skip


async def test_a_folio_is_its_channels(pool: "asyncpg.Pool[Any]") -> None:
    """A folio has the entries in their order and what they come to; of another channel's booking there is none."""
    folio = await MoneyBook(pool).folio(BOOKING, "web")
    assert folio is not None
    assert [entry.effect for entry in folio.entries] == ["charge:a", "capture:a"]
    assert (folio.charged_minor, folio.paid_minor, folio.balance_minor) == (300, 300, 0)
    assert await MoneyBook(pool).folio(BOOKING, "partner") is None


async def test_the_command_says_when_it_is_off(pool: "asyncpg.Pool[Any]", database_url: str) -> None:
    """A ledger that balances is reported with exit code 0, one that does not with 7 and the difference."""
    sound = onebook("money", "report", "--database", database_url, "--json")
    assert msgspec.json.decode(sound.stdout)["trial_balance"]["imbalances"] == []
    await off_balance(pool)
    off = onebook("money", "report", "--database", database_url, "--by", "venue", check=False)
    assert off.returncode == 7
    assert "Off balance by 0.01 EUR" in off.stderr
    assert "Trial balance" in off.stdout
