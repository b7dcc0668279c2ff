"""`onebook customers`: profiles exported, found and erased, and their master key rotated, without a token, from the database."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import asyncpg
import rich_click as click

from onebook.commands.terminal import (
    EXIT_NOT_READY,
    Failed,
    data_option,
    database_url,
    json_option,
    out,
    print_json,
    runs,
)
from onebook.config import load
from onebook.customers.customers import Customers
from onebook.customers.key_store import KeyGone, KeyStore, KeyStoreAway
from onebook.customers.refusals import Refused
from onebook.customers.rotation import rotate
from onebook.customers.stores import open_key_store
from onebook.embedded.folder import DataFolder

COMMAND_SECONDS = 60.0

database_option = click.option("--database", help="URL of the database, instead of the one running in the data folder.")
id_argument = click.argument("identity", metavar="ID", type=click.UUID)


@click.group()
def customers() -> None:
    """Customers: exported, found and erased; the master key that their keys are wrapped by."""


@customers.command()
@id_argument
@data_option
@database_option
@runs
async def export(identity: UUID, data: Path, database: str | None) -> None:
    """Print all that is held about a customer, as JSON."""
    async with _opened(data, database) as (pool, keys):
        print_json(await Customers(pool, keys).export(str(identity), None))


@customers.command()
@click.argument("email", metavar="EMAIL")
@data_option
@database_option
@json_option
@runs
async def find(email: str, data: Path, database: str | None, as_json: bool) -> None:
    """Print the ids of customers with exactly this address; `-` reads it from stdin, where no process list shows it."""
    wanted = sys.stdin.readline() if email == "-" else email
    async with _opened(data, database) as (pool, keys):
        found = await Customers(pool, keys).find(wanted, None)
    if as_json:
        print_json([{"id": each.id, "channel": each.channel} for each in found])
    elif not found:
        raise Failed("There is no customer with this address")
    else:
        for each in found:
            out.print(each.id, each.channel, highlight=False)


@customers.command()
@click.argument("identities", metavar="ID...", type=click.UUID, nargs=-1, required=True)
@data_option
@database_option
@json_option
@runs
async def erase(identities: tuple[UUID, ...], data: Path, database: str | None, as_json: bool) -> None:
    """Destroy the keys and profiles of customers; their ids stay, and bookings that name them."""
    async with _opened(data, database) as (pool, keys):
        room = Customers(pool, keys)
        for identity in identities:
            try:
                await room.erase(str(identity), None)
            except Refused as error:
                raise Failed(f"{error.refusal.title}: {identity}") from error
    if as_json:
        print_json({"erased": [str(identity) for identity in identities]})
    else:
        out.print(f"erased: {len(identities)}", highlight=False)


@customers.command("rotate-keys")
@click.option("--shred", is_flag=True, help="Then destroy all older versions: older backups' profiles open no more.")
@data_option
@database_option
@json_option
@runs
async def rotate_keys(shred: bool, data: Path, database: str | None, as_json: bool) -> None:
    """Make a new version of the master key, and wrap all customers' keys by it."""
    async with _opened(data, database) as (pool, keys):
        rotated = await rotate(pool, keys, shred=shred)
    if as_json:
        print_json(rotated)
        return
    out.print(f"master key: {rotated.master}", f"rewrapped: {rotated.rewrapped}", sep="\n", highlight=False)
    for name in rotated.destroyed:
        out.print(f"destroyed: {name}", highlight=False)


@asynccontextmanager
async def _opened(data: Path, database: str | None) -> AsyncIterator[tuple[asyncpg.Pool, KeyStore]]:
    """The database and the key store. Raises Failed for what is expected to go wrong with them."""
    settings = load()
    url = database_url(data, database or settings.database.customers_url or None)
    try:
        async with (
            asyncpg.create_pool(url, min_size=0, max_size=1, timeout=5, command_timeout=COMMAND_SECONDS) as pool,
            open_key_store(settings.customers, DataFolder(data).keys) as keys,
        ):
            yield pool, keys
    except Refused as error:
        raise Failed(error.refusal.title) from error
    except KeyStoreAway as error:
        raise Failed(f"The key store does not answer: {error}", EXIT_NOT_READY) from error
    except KeyGone as error:
        raise Failed(
            f"A key cannot be opened: {error}. Use the data folder, or the key, that it was made with"
        ) from error
