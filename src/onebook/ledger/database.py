"""The connection to PostgreSQL: as which role, which settings are refused, which are pinned, and the migrations."""

import hashlib
from importlib.resources import files
from typing import Any, Literal, get_args
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from onebook.config import Database

Connection = asyncpg.Connection | PoolConnectionProxy
Wing = Literal["ledger", "reader", "payments", "customers"]
"""Whose connection it is. Each is a role of PostgreSQL, onebook_…, which may do what 0011_roles.sql says and nothing else."""

MIN_SERVER_VERSION = 160000
_MIGRATION_LOCK = 79112
_ROLES = tuple(f"onebook_{wing}" for wing in get_args(Wing))

# Durability and the log's way out are not negotiable; each name is told with the value that is wanted.
_REQUIRED_SETTINGS = {
    "fsync": {"on"},
    "full_page_writes": {"on"},
    "synchronous_commit": {"on", "remote_write", "remote_apply", "local"},
    "wal_level": {"logical"},
    "server_encoding": {"UTF8"},
}

# Batches differ in size by three orders of magnitude and tables start out empty: the planner would plan each anew, or keep
# a plan made for an empty table. Every statement of the writer goes by index, whatever the size.
_WRITER_SETTINGS = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_material": "off",
    "jit": "off",
    "lock_timeout": "2s",
    "statement_timeout": "4s",
    "idle_in_transaction_session_timeout": "5s",
}
# Also of whoever changes something: a transaction that is left open holds back the log's horizon, and with it every view.
_READER_SETTINGS = {"jit": "off", "statement_timeout": "4s", "idle_in_transaction_session_timeout": "5s"}
_FOLLOWER_SETTINGS = {"jit": "off", "statement_timeout": "60s", "application_name": "onebook-follower"}


class RefusedDatabase(Exception):
    """This database would not keep its promises; the message says what it lacks, and what is wanted."""


def role_url(settings: Database, owner_url: str, wing: Wing) -> str:
    """The database as one of our roles sees it; `owner_url` is where its owner finds it.

    A URL from the settings comes first. The embedded database believes whoever reaches its socket, so there the role logs in by
    itself. Elsewhere the owner logs in and takes on the role: that is a fence against mistakes, see docs/security.md.
    """
    own_url: str = getattr(settings, f"{wing}_url")
    if own_url:
        return own_url
    parts, role = urlsplit(owner_url), f"onebook_{wing}"
    if not settings.url:
        return urlunsplit(parts._replace(netloc=f"{role}@{parts.netloc.rpartition('@')[2]}"))
    # What asyncpg does not know of a URL's query it sends to the server as a setting of the session.
    return urlunsplit(parts._replace(query=f"{parts.query}&role={role}".lstrip("&")))


async def open_writer(url: str, size: int, *, name: str = "onebook-ledger") -> asyncpg.Pool:
    """Connections of the write side, with plans pinned."""
    return await _open(url, size, _WRITER_SETTINGS | {"application_name": name})


async def open_reader(url: str, size: int, *, name: str = "onebook-reader") -> asyncpg.Pool:
    """Connections of the read side, and of what changes something now and then; `name` is what the server knows them by."""
    return await _open(url, size, _READER_SETTINGS | {"application_name": name})


async def open_follower(url: str, size: int) -> asyncpg.Pool:
    """Connections of what follows the log: nobody waits for their answers, which may be whole tables."""
    return await _open(url, size, _FOLLOWER_SETTINGS, command_seconds=60)


async def _open(url: str, size: int, settings: dict[str, str], *, command_seconds: float = 4) -> asyncpg.Pool:
    # No session state is ever changed on these connections, so none has to be reset when one is given back.
    return await asyncpg.create_pool(
        url,
        min_size=0,
        max_size=size,
        timeout=2,
        command_timeout=command_seconds,
        server_settings=settings,
        reset=_keep,
    )


async def _keep(_connection: Any) -> None:
    """Leave the connection as it is."""


async def check_settings(connection: asyncpg.Connection) -> None:
    """Raises RefusedDatabase for a server that is too old or not durable."""
    version = int(await connection.fetchval("SHOW server_version_num"))
    if version < MIN_SERVER_VERSION:
        raise RefusedDatabase(f"PostgreSQL 16 or newer is needed; this server is version {version // 10000}")
    for name, accepted in _REQUIRED_SETTINGS.items():
        value = await connection.fetchval("SELECT current_setting($1)", name)
        if value not in accepted:
            wanted = " or ".join(sorted(accepted))
            raise RefusedDatabase(f"the database runs with {name}={value}; Onebook needs {name}={wanted}")


async def migrate(url: str) -> list[str]:
    """Apply, under a lock, the migrations that the database has not seen; returns their names. Makes the roles that are missing.

    Raises RefusedDatabase for unfit settings or roles, for a migration that was changed after it was applied, and for a
    database that is ahead of this program.
    """
    connection = await asyncpg.connect(url, timeout=5)
    try:
        await check_settings(connection)
        await _ensure_roles(connection)
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _MIGRATION_LOCK)
            applied = await _apply(connection)
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _MIGRATION_LOCK)
            await _keep_log_ascending(connection)
        return applied
    finally:
        await connection.close()


async def _ensure_roles(connection: asyncpg.Connection) -> None:
    """Make the roles, which belong to the whole cluster and are in no dump of a database.

    One after the other and each at once: databases of one cluster that are migrated at the same time wait for each other here.
    """
    rows = await connection.fetch(
        "SELECT rolname, rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls AS is_mighty"
        " FROM pg_roles WHERE rolname = ANY ($1::text[])",
        _ROLES,
    )
    if mighty := sorted(row["rolname"] for row in rows if row["is_mighty"]):
        raise RefusedDatabase(
            f"{', '.join(mighty)} may do more than a role of Onebook's; an administrator takes that away:"
            " ALTER ROLE … NOSUPERUSER NOCREATEROLE NOCREATEDB NOREPLICATION NOBYPASSRLS"
        )
    if missing := [role for role in _ROLES if role not in {row["rolname"] for row in rows}]:
        try:
            for role in missing:
                await _make_role(connection, role)
        except asyncpg.InsufficientPrivilegeError:
            owner = await connection.fetchval("SELECT quote_ident(current_user)")
            make = " ".join(f"CREATE ROLE {role} LOGIN;" for role in missing)
            raise RefusedDatabase(
                f"it lacks the roles {', '.join(missing)}, and {owner} may not make them; an administrator does:"
                f" {make} GRANT {', '.join(missing)} TO {owner};"
            ) from None


async def _make_role(connection: asyncpg.Connection, role: str) -> None:
    try:
        await connection.execute(f"CREATE ROLE {role} LOGIN")
    except (asyncpg.DuplicateObjectError, asyncpg.UniqueViolationError):
        return  # made meanwhile, for another database
    if not await connection.fetchval("SELECT pg_has_role($1, 'SET')", role):
        await connection.execute(f"GRANT {role} TO CURRENT_USER WITH INHERIT FALSE, SET TRUE")


async def _apply(connection: asyncpg.Connection) -> list[str]:
    await connection.execute(
        "CREATE TABLE IF NOT EXISTS migration"
        " (name text PRIMARY KEY, checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
    )
    known = {row["name"]: row["checksum"] for row in await connection.fetch("SELECT name, checksum FROM migration")}
    folder = files("onebook.ledger") / "migrations"
    scripts = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    if ahead := known.keys() - {script.name for script in scripts}:
        raise RefusedDatabase(f"the database has {', '.join(sorted(ahead))}, which this version does not know")
    lost_privileges = bool(known) and not await connection.fetchval(
        "SELECT has_table_privilege('onebook_reader', 'log', 'SELECT')"
    )
    applied: list[str] = []
    for script in scripts:
        text = script.read_text("utf-8")
        checksum = hashlib.sha256(text.encode()).hexdigest()
        if script.name not in known:
            await connection.execute(text)
            await connection.execute("INSERT INTO migration VALUES ($1, $2)", script.name, checksum)
            applied.append(script.name)
        elif known[script.name] != checksum:
            raise RefusedDatabase(f"{script.name} was applied with other contents than it has now")
        elif lost_privileges and script.name.endswith("_roles.sql"):
            await connection.execute(text)  # restored from a dump without privileges, which would leave nobody with any
    return applied


async def _keep_log_ascending(connection: asyncpg.Connection) -> None:
    """After a restore from a dump transactions count from the start again: shift them beyond the log's end.

    In a transaction that has written nothing before: its number is then taken after the log's end was read, so that on a
    database where others are writing it is beyond the end already and nothing is shifted under them.
    """
    await connection.execute(
        "UPDATE log_shift SET shift = shift + last.txn - log_txn() + 1"
        " FROM (SELECT max(txn) AS txn FROM log) AS last WHERE last.txn >= log_txn()"
    )
