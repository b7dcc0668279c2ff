"""`onebook dlq`: dead letters, listed, shown, tried again, thrown away."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import rich_click as click
from rich.table import Table

from onebook.broker.dead_letters import DeadLetter, DeadLetters
from onebook.commands.terminal import Failed, data_option, database_url, err, json_option, out, print_json, runs

# What one call prints at the most; --consumer narrows it down.
LIST_LIMIT = 1_000
COMMAND_SECONDS = 30.0

database_option = click.option("--database", help="URL of the database, instead of the one running in the data folder.")
all_option = click.option("--all", "everything", is_flag=True, help="All of them.")
ids_argument = click.argument("ids", nargs=-1, type=click.IntRange(min=1), metavar="ID...")
consumer_option = click.option("--consumer", metavar="NAME", help="Only this consumer's.")


@click.group()
def dlq() -> None:
    """Dead letters: events that a consumer could not handle, and deliveries given up."""


@dlq.command("list")
@consumer_option
@data_option
@database_option
@json_option
@runs
async def list_letters(consumer: str | None, data: Path, database: str | None, as_json: bool) -> None:
    """Print the letters, in the order in which they came."""
    async with _letters(data, database) as letters:
        found = await letters.list(consumer=consumer, after=0, limit=LIST_LIMIT + 1)
    if len(found) > LIST_LIMIT:
        err.print(f"There are more than these {LIST_LIMIT}", highlight=False)
    if as_json:
        print_json(found[:LIST_LIMIT])
    else:
        _print_table(found[:LIST_LIMIT])


@dlq.command()
@click.argument("identity", metavar="ID", type=click.IntRange(min=1))
@data_option
@database_option
@json_option
@runs
async def show(identity: int, data: Path, database: str | None, as_json: bool) -> None:
    """Print one letter with its event."""
    async with _letters(data, database) as letters:
        found = await letters.show(identity)
    if found is None:
        raise _unknown([identity])
    if as_json:
        print_json(found)
        return
    for name, value in _told(found.letter):
        out.print(f"{name:<22}{value}", highlight=False, markup=False, soft_wrap=True)
    print_json(found.event)


@dlq.command()
@ids_argument
@all_option
@consumer_option
@data_option
@database_option
@json_option
@runs
async def replay(
    ids: tuple[int, ...], everything: bool, consumer: str | None, data: Path, database: str | None, as_json: bool
) -> None:
    """Have letters tried again, by their consumers, within seconds."""
    _check(ids, everything, consumer)
    async with _letters(data, database) as letters:
        done = await (letters.replay_all(consumer) if everything else letters.replay(ids))
    _report("replay requested", ids, done, as_json)


@dlq.command()
@ids_argument
@all_option
@consumer_option
@data_option
@database_option
@json_option
@runs
async def purge(
    ids: tuple[int, ...], everything: bool, consumer: str | None, data: Path, database: str | None, as_json: bool
) -> None:
    """Throw letters away; the log keeps their events."""
    _check(ids, everything, consumer)
    async with _letters(data, database) as letters:
        done = await (letters.purge_all(consumer) if everything else letters.purge(ids))
    _report("purged", ids, done, as_json)


@asynccontextmanager
async def _letters(data: Path, database: str | None) -> AsyncIterator[DeadLetters]:
    url = database_url(data, database)
    async with asyncpg.create_pool(url, min_size=0, max_size=1, timeout=5, command_timeout=COMMAND_SECONDS) as pool:
        yield DeadLetters(pool)


def _check(ids: Sequence[int], everything: bool, consumer: str | None) -> None:
    """Raises UsageError unless it is said which letters are meant, in one way."""
    if bool(ids) == everything:
        raise click.UsageError("name letters by their IDs, or say --all")
    if consumer is not None and not everything:
        raise click.UsageError("--consumer goes with --all")


def _report(done_what: str, asked: Sequence[int], done: Sequence[int], as_json: bool) -> None:
    if as_json:
        print_json({"ids": done})
    else:
        out.print(f"{done_what}: {len(done)}", highlight=False)
    if missing := sorted(set(asked) - set(done)):
        raise _unknown(missing)


def _unknown(ids: Sequence[int]) -> Failed:
    names = ", ".join(str(identity) for identity in ids)
    return Failed(f"There is no dead letter {names}. See what there is with `onebook dlq list`")


def _print_table(letters: Sequence[DeadLetter]) -> None:
    if not letters:
        out.print("No dead letters", highlight=False)
        return
    table = Table("id", "consumer", "event", "subject", "tries", "last", "reason", box=None)
    for letter in letters:
        table.add_row(
            str(letter.id),
            letter.consumer,
            letter.type,
            letter.subject,
            str(letter.attempts),
            f"{letter.last_at:%Y-%m-%d %H:%M:%S}",
            letter.reason,
        )
    out.print(table, markup=False)


def _told(letter: DeadLetter) -> list[tuple[str, Any]]:
    return [(name, getattr(letter, name)) for name in letter.__struct_fields__]
