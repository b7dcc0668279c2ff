"""`onebook webhooks`: endpoints and what became of their deliveries, without a token, from the database."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import asyncpg
import rich_click as click
from rich.table import Column, Table

from onebook.channels.endpoints import EndpointId
from onebook.channels.subscriptions import DeliveryView, EndpointView, Subscriptions
from onebook.commands.terminal import Failed, data_option, database_url, json_option, out, print_json, runs
from onebook.config import load
from onebook.ledger.failures import Unprocessable

COMMAND_SECONDS = 30.0
SHOWN = 50

T = TypeVar("T")

database_option = click.option("--database", help="URL of the database, instead of the one running in the data folder.")
id_argument = click.argument("identity", metavar="ID", type=click.UUID)


@click.group()
def webhooks() -> None:
    """Webhooks: endpoints, and what became of their deliveries."""


@webhooks.command("list")
@data_option
@database_option
@json_option
@runs
async def list_endpoints(data: Path, database: str | None, as_json: bool) -> None:
    """Print all endpoints, the oldest first."""
    async with _subscriptions(data, database) as subscriptions:
        found = await subscriptions.all(None)
    if as_json:
        print_json(found)
        return
    table = Table(_id_column(), "url", "venues", "types", "channel", "status", box=None)
    for each in found:
        table.add_row(each.id, each.url, " ".join(each.venues), " ".join(each.types), each.channel, _state(each))
    out.print(table if found else "No webhooks", markup=False, highlight=False)


@webhooks.command()
@id_argument
@data_option
@database_option
@json_option
@runs
async def show(identity: UUID, data: Path, database: str | None, as_json: bool) -> None:
    """Print one endpoint."""
    async with _subscriptions(data, database) as subscriptions:
        found = _found(await subscriptions.one(_endpoint(identity), None), identity)
    if as_json:
        print_json(found)
        return
    for name in found.__struct_fields__:
        out.print(f"{name:<16}{getattr(found, name)}", highlight=False, markup=False, soft_wrap=True)


@webhooks.command()
@id_argument
@click.option("--status", type=click.Choice(["pending", "delivered", "dead"]), help="Only these.")
@data_option
@database_option
@json_option
@runs
async def deliveries(identity: UUID, status: str | None, data: Path, database: str | None, as_json: bool) -> None:
    """Print the latest deliveries of an endpoint with their last attempts."""
    async with _subscriptions(data, database) as subscriptions:
        page = _found(await subscriptions.deliveries(_endpoint(identity), None, status=status, limit=SHOWN), identity)
    if as_json:
        print_json(page)
    else:
        _print_deliveries(page.deliveries)


@webhooks.command()
@id_argument
@click.option("--minutes", type=click.IntRange(min=1), help="Those made in the last N minutes.", metavar="N")
@click.option("--delivery", "named", multiple=True, help="This one, by its webhook-id; may be repeated.", metavar="ID")
@data_option
@database_option
@json_option
@runs
async def replay(
    identity: UUID, minutes: int | None, named: tuple[str, ...], data: Path, database: str | None, as_json: bool
) -> None:
    """Send deliveries that are finished once more, under the ids they had."""
    if (minutes is None) == (not named):
        raise click.UsageError("say --minutes or --delivery")
    since = None if minutes is None else datetime.now(UTC) - timedelta(minutes=minutes)
    async with _subscriptions(data, database) as subscriptions:
        try:
            replayed = await subscriptions.replay(_endpoint(identity), None, since=since, deliveries=named or None)
        except Unprocessable as error:
            raise Failed(f"{error.detail}. See what there is with `onebook webhooks deliveries {identity}`") from error
        told = _found(replayed, identity)
    if as_json:
        print_json(told)
    else:
        out.print(f"queued: {told.queued}{'' if told.is_all else ', and there are more'}", highlight=False)


@webhooks.command()
@id_argument
@data_option
@database_option
@json_option
@runs
async def test(identity: UUID, data: Path, database: str | None, as_json: bool) -> None:
    """Send a test event."""
    async with _subscriptions(data, database) as subscriptions:
        delivery = await subscriptions.test(_endpoint(identity), None)
        if delivery is None:
            found = _found(await subscriptions.one(_endpoint(identity), None), identity)
            raise Failed(f"The webhook {identity} is disabled: {found.reason}")
    if as_json:
        print_json({"delivery": delivery})
    else:
        out.print(f"queued: {delivery}", highlight=False)


@asynccontextmanager
async def _subscriptions(data: Path, database: str | None) -> AsyncIterator[Subscriptions]:
    url = database_url(data, database)
    async with asyncpg.create_pool(url, min_size=0, max_size=1, timeout=5, command_timeout=COMMAND_SECONDS) as pool:
        yield Subscriptions(pool, load().webhooks)


def _endpoint(identity: UUID) -> EndpointId:
    return EndpointId(str(identity))


def _found(value: T | None, identity: UUID) -> T:
    if value is None:
        raise Failed(f"There is no webhook {identity}. See what there is with `onebook webhooks list`")
    return value


def _state(endpoint: EndpointView) -> str:
    return endpoint.status if endpoint.reason is None else f"{endpoint.status}: {endpoint.reason}"


def _id_column() -> Column:
    """Whole, whatever the width: it is what the other commands ask for."""
    return Column("id", no_wrap=True)


def _print_deliveries(deliveries: Sequence[DeliveryView]) -> None:
    table = Table(_id_column(), "type", "status", "tries", "made", "last answer", "ms", box=None)
    for each in deliveries:
        last = each.tried[-1] if each.tried else None
        answer = "" if last is None else str(last.status_code or last.error)
        latency = "" if last is None else f"{last.latency_ms:.0f}"
        made = f"{each.created_at:%Y-%m-%d %H:%M:%S}"
        table.add_row(each.id, each.type, each.status, str(len(each.tried)), made, answer, latency)
    out.print(table if deliveries else "No deliveries", markup=False, highlight=False)
