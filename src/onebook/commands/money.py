"""`onebook money`: what the ledger of money says, and whether the gateway says the same."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import date, datetime
from pathlib import Path

import asyncpg
import msgspec
import rich_click as click
from msgspec.structs import replace
from rich.table import Table

from onebook.checkout.books.money import MoneyBook
from onebook.checkout.books.reconcile import Difference, reconcile
from onebook.checkout.books.report import By, Report, TrialBalance, as_csv
from onebook.checkout.gateways.protocol import GatewayAway, GatewayRefused, OutcomeUnknown
from onebook.commands.terminal import (
    EXIT_INVARIANT,
    EXIT_NOT_READY,
    Failed,
    data_option,
    database_url,
    err,
    json_option,
    out,
    print_json,
    running_server,
    runs,
)
from onebook.config import PaymentSettings, load
from onebook.embedded.folder import DataFolder
from onebook.key_file import secret_key
from onebook.model.money import text
from onebook.supervisor import SIMULATOR_KEY_FILE
from onebook.wiring.checkout import open_gateway

COMMAND_SECONDS = 60.0

database_option = click.option("--database", help="URL of the database, instead of the one running in the data folder.")
DAY = click.DateTime(formats=["%Y-%m-%d"])


class MoneyReport(msgspec.Struct, frozen=True):
    """What `onebook money report --json` prints."""

    trial_balance: TrialBalance
    report: Report


class Reconciled(msgspec.Struct, frozen=True):
    """What `onebook money reconcile --json` prints."""

    payments: int
    """In the gateway's list."""
    differences: list[Difference]


@click.group()
def money() -> None:
    """The ledger of money: reports, and reconciliation with the gateway."""


@money.command()
@click.option("--by", type=click.Choice([by.value for by in By]), default=By.DAY.value, show_default=True)
@click.option("--from", "starts", type=DAY, help="The first day (UTC).")
@click.option("--to", "ends", type=DAY, help="The day after the last one.")
@click.option("--csv", "as_text", is_flag=True, help="Print the report as CSV.")
@data_option
@database_option
@json_option
@runs
async def report(
    by: str,
    starts: datetime | None,
    ends: datetime | None,
    as_text: bool,
    data: Path,
    database: str | None,
    as_json: bool,
) -> None:
    """Print the trial balance and what was posted; exit 7 if the balance is off."""
    async with _book(data, database) as book:
        balance = await book.trial_balance()
        posted = await book.report(By(by), _day(starts), _day(ends))
    if as_json:
        print_json(MoneyReport(balance, posted))
    elif as_text:
        click.echo(as_csv(posted), nl=False)
    else:
        _print_balance(balance)
        _print_report(posted)
    if posted.is_cut:
        err.print("There is more than this: narrow it down with --from and --to", highlight=False)
    for imbalance in balance.imbalances:
        err.print(f"Off balance by {text(imbalance.amount_minor, imbalance.currency)}", style="red", highlight=False)
    if balance.imbalances:
        raise SystemExit(EXIT_INVARIANT)


@money.command("reconcile")
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="A file of settings.")
@data_option
@database_option
@json_option
@runs
async def compare(config: Path | None, data: Path, database: str | None, as_json: bool) -> None:
    """Hold the books against the gateway's own list; exit 7 if they differ."""
    settings = _reachable(load(config).payments, DataFolder(data))
    try:
        async with _book(data, database) as book, open_gateway(settings) as gateway:
            # Theirs is read first: what they have taken by then was written down here before.
            theirs = [payment async for payment in gateway.payments(0)]
            found = reconcile(await book.ours(gateway.name), theirs)
    except (GatewayAway, GatewayRefused, OutcomeUnknown) as error:
        raise Failed(f"The gateway does not tell its payments: {error}", EXIT_NOT_READY) from error
    if as_json:
        print_json(Reconciled(len(theirs), found))
    else:
        _print_differences(len(theirs), found)
    if found:
        raise SystemExit(EXIT_INVARIANT)


def _reachable(settings: PaymentSettings, folder: DataFolder) -> PaymentSettings:
    """The settings with the simulator that runs in the data folder, where they name none. Raises Failed."""
    if settings.gateway != "simulator" or settings.simulator_url:
        return settings
    url = (running_server(folder) or {}).get("gateway")
    if url is None:
        raise Failed(f"No simulated gateway runs in {folder.path}. Start it with `onebook up`", EXIT_NOT_READY)
    return replace(settings, simulator_url=url, simulator_secret=secret_key(folder.keys / SIMULATOR_KEY_FILE).hex())


@asynccontextmanager
async def _book(data: Path, database: str | None) -> AsyncIterator[MoneyBook]:
    url = database_url(data, database)
    async with asyncpg.create_pool(url, min_size=0, max_size=1, timeout=5, command_timeout=COMMAND_SECONDS) as pool:
        yield MoneyBook(pool)


def _day(instant: datetime | None) -> date | None:
    return None if instant is None else instant.date()


def _print_balance(balance: TrialBalance) -> None:
    if not balance.balances:
        out.print("Nothing has been posted", highlight=False)
        return
    table = Table("account", "debit", "credit", "balance", box=None, title="Trial balance", title_justify="left")
    _align(table)
    for one in balance.balances:
        amounts = (one.debit_minor, one.credit_minor, one.debit_minor - one.credit_minor)
        table.add_row(one.account, *(text(amount, one.currency) for amount in amounts))
    out.print(table)


def _print_report(posted: Report) -> None:
    if not posted.lines:
        return
    table = Table(posted.by, "account", "amount", box=None, title=f"By {posted.by}", title_justify="left")
    _align(table)
    for line in posted.lines:
        table.add_row(line.what, line.account, text(line.amount_minor, line.currency))
    out.print(table)


def _print_differences(payments: int, found: Sequence[Difference]) -> None:
    if not found:
        out.print(f"Nothing differs; payments compared: {payments}", highlight=False)
        return
    table = Table("what", "payment", "booking", "expected", "found", box=None)
    for one in found:
        amounts = (text(amount, one.currency) for amount in (one.expected_minor, one.found_minor))
        table.add_row(one.kind, one.checkout, one.booking or "", *amounts)
    out.print(table)


def _align(table: Table) -> None:
    for column in table.columns:
        if column.header in {"debit", "credit", "balance", "amount"}:
            column.justify = "right"
