"""The roles of the database, by trying: with SQL in its hands none of them gets at what is not its own."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import msgspec
import pytest
from tests.conftest import open_bench, with_database

from onebook.config import Database
from onebook.ledger import database
from onebook.ledger.database import RefusedDatabase, Wing, migrate, open_reader, open_writer, role_url
from onebook.ledger.ledger import Placing
from onebook.model.commands import Wanted
from onebook.model.decision import Decision

WINGS: tuple[Wing, ...] = ("ledger", "reader", "payments", "customers")
EMBEDDED = Database(url="", ledger_url="", reader_url="", payments_url="", customers_url="", reader_connections=1)
LETTERS = {"S": "SELECT", "I": "INSERT", "U": "UPDATE", "D": "DELETE"}
OTHERS = ("TRUNCATE", "REFERENCES", "TRIGGER")
SECURITY = Path(__file__).parents[2] / "docs" / "security.md"
RELATIONS = """
SELECT CASE nspname WHEN 'public' THEN '' ELSE nspname || '.' END || relname AS name
FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE nspname IN ('public', 'payment', 'customer') AND relkind IN ('r', 'v', 'm', 'p', 'f')
"""
FUNCTIONS = """
SELECT pg_proc.oid, CASE nspname WHEN 'public' THEN '' ELSE nspname || '.' END || proname AS name
FROM pg_proc JOIN pg_namespace ON pg_namespace.oid = pronamespace
WHERE nspname IN ('public', 'payment', 'customer')
"""


@asynccontextmanager
async def connected(owner_url: str, wing: Wing | None = None) -> AsyncIterator[asyncpg.Connection]:
    """A connection of a role, or of the owner."""
    connection = await asyncpg.connect(owner_url if wing is None else role_url(EMBEDDED, owner_url, wing))
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
async def owner(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """The owner's connection."""
    async with connected(database_url) as connection:
        yield connection


def documented() -> Iterator[tuple[str, dict[Wing, str]]]:
    """The rows of docs/security.md about tables and functions."""
    for line in SECURITY.read_text().splitlines():
        name, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `") and len(cells) == len(WINGS):
            yield name.split("`")[1], dict(zip(WINGS, cells, strict=True))


async def refusal(connection: asyncpg.Connection, statement: str) -> str:
    """The SQLSTATE with which a statement is refused, or "done"; whatever it did is undone."""
    undo = connection.transaction()
    await undo.start()
    try:
        await connection.execute(statement)
    except asyncpg.PostgresError as error:
        return str(error.sqlstate)
    finally:
        await undo.rollback()
    return "done"


async def assert_refused(connection: asyncpg.Connection, statements: list[str]) -> None:
    """Each of them is refused for want of a privilege, and for no other reason."""
    assert statements
    got = {statement: await refusal(connection, statement) for statement in statements}
    wrong = {statement: code for statement, code in got.items() if code != asyncpg.InsufficientPrivilegeError.sqlstate}
    assert not wrong


async def names_in(owner: asyncpg.Connection, schema: str) -> list[str]:
    """The tables and views of a schema, as the catalog has them."""
    named = [row["name"] for row in await owner.fetch(RELATIONS)]
    return [name for name in named if (name.startswith(f"{schema}.") if schema != "public" else "." not in name)]


async def every_try(owner: asyncpg.Connection, table: str) -> list[str]:
    """Statements that read, change, empty, copy, alter, take over or pass on a table."""
    return [
        f"SELECT FROM {table}",
        f"SELECT * FROM {table} LIMIT 1",
        f"SELECT count(*) FROM {table}",
        f"COPY {table} TO STDOUT",
        f"CREATE TEMP VIEW mine AS SELECT * FROM {table}; SELECT * FROM mine",
        f"ALTER TABLE {table} ADD COLUMN mine integer",
        f"DROP TABLE {table}",
        f"GRANT SELECT ON {table} TO PUBLIC",
        f"ALTER TABLE {table} OWNER TO current_user",
        f"CREATE RULE mine AS ON INSERT TO {table} DO NOTHING",
        f"DO $$ BEGIN PERFORM FROM {table}; END $$",
        f"LOCK TABLE {table}",
        *await writes(owner, table),
    ]


async def writes(owner: asyncpg.Connection, table: str) -> list[str]:
    """Statements that change a table's rows; none for a view, through which nobody can write."""
    schema, _, name = table.rpartition(".")
    column = await owner.fetchval(
        "SELECT column_name FROM information_schema.columns WHERE table_schema = $1 AND table_name = $2"
        " AND is_updatable = 'YES' AND is_identity = 'NO' ORDER BY ordinal_position LIMIT 1",
        schema or "public",
        name,
    )
    if column is None:
        return []
    return [
        f"INSERT INTO {table} DEFAULT VALUES",
        f'INSERT INTO {table} ("{column}") VALUES (NULL)',
        f'UPDATE {table} SET "{column}" = NULL',
        f"DELETE FROM {table}",
        f"TRUNCATE {table}",
        f"TRUNCATE {table} CASCADE",
        f"COPY {table} FROM STDIN",
    ]


ESCAPES = [
    "SET ROLE postgres",
    "SET ROLE onebook_payments",
    "SET ROLE onebook_customers",
    "SET SESSION AUTHORIZATION postgres",
    "SET SESSION AUTHORIZATION onebook_payments",
    "GRANT onebook_payments TO onebook_reader",
    "GRANT USAGE ON SCHEMA payment TO onebook_reader",
    "ALTER ROLE onebook_reader SUPERUSER",
    "CREATE ROLE mine SUPERUSER",
    "CREATE TABLE public.mine (id integer)",
    "CREATE TABLE payment.mine (id integer)",
    "CREATE SCHEMA mine",
    "CREATE FUNCTION public.mine() RETURNS integer LANGUAGE sql SECURITY DEFINER RETURN 1",
    "CREATE FUNCTION pg_temp.mine() RETURNS integer LANGUAGE c AS 'libc', 'getpid'",
    "CREATE EXTENSION file_fdw",
    "CREATE PUBLICATION mine FOR ALL TABLES",
    "CREATE EVENT TRIGGER mine ON ddl_command_start EXECUTE FUNCTION log_is_append_only()",
    "SET session_replication_role = replica",
    "COPY (SELECT 1) TO '/tmp/mine'",
    "COPY (SELECT 1) TO PROGRAM 'cat'",
    "SELECT pg_read_file('postgresql.conf')",
    "SELECT pg_read_binary_file('global/pg_control')",
    "SELECT pg_ls_dir('.')",
    "SELECT lo_import('/etc/hostname')",
    "SELECT lo_export(1, '/tmp/mine')",
    "SELECT rolpassword FROM pg_authid",
    "SELECT * FROM pg_statistic",
    "SELECT pg_create_logical_replication_slot('mine', 'pgoutput')",
    "SELECT pg_logical_slot_peek_binary_changes('mine', NULL, NULL)",
    "SELECT pg_logical_emit_message(true, 'onebook', '{}')",
    "SELECT payment.tell('checkout.completed', 'checkouts/1', ARRAY['alfama'], NULL, '{}')",
    "SELECT payment.sum_of(ARRAY[1]::bigint[])",
    "SELECT payment.guard_confirmation()",
    "SELECT log_txn()",
    "SELECT ledger_open('{}', '{}', '{}', '{}', '{}', '{}')",
]


async def test_every_table_and_function_has_a_decided_access(owner: asyncpg.Connection) -> None:
    """The privileges in the database are those of docs/security.md, table by table and function by function, and no others."""
    found: dict[str, dict[Wing, str]] = {}
    for (name,) in await owner.fetch(RELATIONS):
        may = {
            wing: [
                privilege
                for privilege in (*LETTERS.values(), *OTHERS)
                if await owner.fetchval("SELECT has_table_privilege($1, $2, $3)", f"onebook_{wing}", name, privilege)
            ]
            for wing in WINGS
        }
        letters = {privilege: letter for letter, privilege in LETTERS.items()}
        found[name] = {wing: "".join(letters.get(p, f" {p}") for p in may[wing]) for wing in WINGS}
    for oid, name in await owner.fetch(FUNCTIONS):
        may_run = {
            wing: await owner.fetchval(
                "SELECT has_function_privilege($1, $2::oid, 'EXECUTE')"
                " AND has_schema_privilege($1, (SELECT pronamespace FROM pg_proc WHERE oid = $2), 'USAGE')",
                f"onebook_{wing}",
                oid,
            )
            for wing in WINGS
        }
        if any(may_run.values()):
            found[name] = {wing: "X" if may_run[wing] else "" for wing in WINGS}
    assert found == dict(documented())


async def test_what_somebody_adds_is_nobodys(owner: asyncpg.Connection) -> None:
    """A new table or function is closed to every role until it is given to one."""
    await owner.execute(
        "CREATE TABLE newer (id integer); CREATE FUNCTION newer() RETURNS integer LANGUAGE sql RETURN 1"
    )
    for wing in WINGS:
        assert not await owner.fetchval("SELECT has_table_privilege($1, 'newer', 'SELECT')", f"onebook_{wing}")
        assert not await owner.fetchval("SELECT has_function_privilege($1, 'newer()', 'EXECUTE')", f"onebook_{wing}")


async def test_what_runs_with_the_owners_rights_runs_on_a_fixed_path(owner: asyncpg.Connection) -> None:
    """No function of the owner's looks for a name where its caller could have put one."""
    paths = await owner.fetch(
        "SELECT proname, array_to_string(proconfig, ' ') AS config FROM pg_proc"
        " WHERE prosecdef AND pronamespace::regnamespace::text IN ('public', 'payment', 'customer')"
    )
    assert paths
    assert [row["proname"] for row in paths if not (row["config"] or "").endswith("pg_temp")] == []


async def test_no_role_is_more_than_a_login(owner: asyncpg.Connection) -> None:
    """No role is mighty, is in another one, or owns anything."""
    roles = [f"onebook_{wing}" for wing in WINGS]
    assert await owner.fetchval(
        "SELECT count(*) FROM pg_roles WHERE rolname = ANY ($1) AND rolcanlogin AND NOT rolsuper AND NOT rolcreaterole"
        " AND NOT rolcreatedb AND NOT rolreplication AND NOT rolbypassrls",
        roles,
    ) == len(WINGS)
    assert (
        await owner.fetchval("SELECT count(*) FROM pg_auth_members WHERE member = ANY ($1::text[]::regrole[])", roles)
        == 0
    )
    assert (
        await owner.fetchval("SELECT count(*) FROM pg_class WHERE relowner = ANY ($1::text[]::regrole[])", roles) == 0
    )


async def test_a_reader_gets_at_no_money_and_no_customer(database_url: str, owner: asyncpg.Connection) -> None:
    """Whatever SQL a reader sends to a table of payments or customers, it is refused; so is every way out of the role."""
    async with connected(database_url, "reader") as reader:
        for schema in ("payment", "customer"):
            for table in await names_in(owner, schema):
                await assert_refused(reader, await every_try(owner, table))
        await assert_refused(reader, ESCAPES)


async def test_a_reader_changes_nothing_and_sees_no_secret(database_url: str, owner: asyncpg.Connection) -> None:
    """A reader reads inventory, bookings and the log, writes to no table, and cannot read the secrets of webhooks."""
    async with connected(database_url, "reader") as reader:
        tries = [statement for table in await names_in(owner, "public") for statement in await writes(owner, table)]
        await assert_refused(reader, tries)
        await assert_refused(reader, await every_try(owner, "webhook_endpoint"))
        for table in ("cell", "booking", "log", "rate_plan"):
            assert await reader.fetch(f"SELECT * FROM {table}") == []


@pytest.mark.parametrize("wing", ["ledger", "customers"])
async def test_who_sells_or_knows_customers_gets_at_no_money(
    database_url: str, owner: asyncpg.Connection, wing: Wing
) -> None:
    """The ledger and the customers' role can neither read nor write a table of payments, nor tell of a checkout."""
    async with connected(database_url, wing) as connection:
        for table in await names_in(owner, "payment"):
            await assert_refused(connection, await every_try(owner, table))
        await assert_refused(connection, [escape for escape in ESCAPES if "payment" in escape])


async def test_payments_change_no_inventory(database_url: str, owner: asyncpg.Connection) -> None:
    """Payments write neither inventory nor bookings nor the log, and read neither secrets nor customers."""
    async with connected(database_url, "payments") as payments:
        for table in ("venue", "session", "resource", "head", "cell", "booking", "block", "log", "log_shift"):
            await assert_refused(payments, await writes(owner, table))
        for table in ["webhook_endpoint", *await names_in(owner, "customer")]:
            await assert_refused(payments, await every_try(owner, table))
        forged = "SELECT payment.tell('booking.confirmed', 'bookings/1', ARRAY['alfama'], NULL, '{}')"
        await assert_refused(payments, [forged, forged.replace("booking.confirmed", "Checkout.completed")])


async def test_what_is_posted_stays(database_url: str) -> None:
    """Payments post entries, and can neither change nor remove one; an entry that does not balance is no entry."""
    post = (
        "INSERT INTO payment.journal (effect, kind, booking, channel, currency, accounts, venues, amounts_minor)"
        " VALUES ('e', 'k', gen_random_uuid(), 'web', 'EUR', '{receivable,revenue}', '{alfama,alfama}', '{100,%s}')"
    )
    async with connected(database_url, "payments") as payments:
        with pytest.raises(asyncpg.CheckViolationError):
            await payments.execute(post % -99)
        await payments.execute(post % -100)
        await assert_refused(payments, ["UPDATE payment.journal SET effect = 'x'", "DELETE FROM payment.journal"])
        assert await payments.fetchval("SELECT sum(amount_minor) FROM payment.posting") == 0


async def test_each_role_can_do_its_own_work(database_url: str, owner: asyncpg.Connection) -> None:
    """What is refused to the others is done for the one whose it is: the refusals above are the roles' and no accident."""
    async with connected(database_url, "payments") as payments:
        for table in await names_in(owner, "payment"):
            assert await refusal(payments, f"SELECT * FROM {table}") == "done"
        await payments.execute(
            "SELECT payment.tell('checkout.completed', 'checkouts/1', ARRAY['alfama'], NULL, '{\"amount_minor\": 1}')"
        )
    async with connected(database_url, "customers") as customers:
        for table in await names_in(owner, "customer"):
            assert await refusal(customers, f"SELECT * FROM {table}") == "done"
    assert await owner.fetchval("SELECT type FROM log") == "checkout.completed"


async def test_a_booking_under_checkout_waits_for_it(database_url: str, owner: asyncpg.Connection) -> None:
    """The ledger, which cannot look into checkouts, still confirms no booking whose money is not authorized yet."""
    url = role_url(EMBEDDED, database_url, "ledger")
    async with open_bench(url) as bench:
        await bench.room("alfama/double")
        stay = Wanted(resource="alfama/double", starts="2030-03-01", ends="2030-03-02")
        settled = await bench.ledger.place((stay,), Placing("web", "key", b"0" * 16, 600))
        assert isinstance(settled.verdict, Decision)
        booking = await owner.fetchval("SELECT id FROM booking")
        await begin_checkout(owner, booking)
        confirm = "UPDATE booking SET status = 'confirmed', expires_at = NULL"
        async with connected(database_url, "ledger") as ledger:
            with pytest.raises(asyncpg.CheckViolationError) as caught:
                await ledger.execute(confirm)
            assert caught.value.constraint_name == "booking_is_confirmed_by_its_checkout"
            await owner.execute("UPDATE payment.checkout SET state = 'committing'")
            assert await ledger.execute(confirm) == "UPDATE 1"


async def begin_checkout(owner: asyncpg.Connection, booking: object) -> None:
    """A checkout of a booking, whose money has not been authorized yet."""
    row = {
        "id": str(uuid4()),
        "revision": 1,
        "booking": str(booking),
        "purpose": "booking",
        "confirms": True,
        "channel": "web",
        "venues": ["alfama"],
        "idempotency_key": "k",
        "request_hash": "h",
        "state": "authorizing",
        "attempts": 0,
        "due_at": "2030-01-01T00:00:00Z",
        "gateway": "simulator",
        "token": "t",
        "amount_minor": 1,
        "currency": "EUR",
        "on_decline": "release",
        "quote": {},
        "begun_at": "2030-01-01T00:00:00Z",
    }
    await owner.execute(
        "INSERT INTO payment.checkout SELECT * FROM json_populate_record(NULL::payment.checkout, $1)",
        msgspec.json.encode(row).decode(),
    )


async def test_the_pools_of_a_database_of_ones_own_take_on_their_role(postgres_url: str) -> None:
    """An owner without might migrates its own database, and its pools work as the roles that it was given."""
    login, name = f"owner_{uuid4().hex}", f"own_{uuid4().hex}"
    async with connected(postgres_url) as admin:
        await admin.execute(f"CREATE ROLE {login} LOGIN")
        await admin.execute(f"GRANT {', '.join(f'onebook_{wing}' for wing in WINGS)} TO {login}")
        await admin.execute(f"CREATE DATABASE {name} OWNER {login}")
        try:
            own_url = with_user(with_database(postgres_url, name), login)
            external = msgspec.structs.replace(EMBEDDED, url=own_url)
            assert "0011_roles.sql" in await migrate(own_url)
            for wing in WINGS:
                pool = await open_reader(role_url(external, own_url, wing), 1)
                assert await pool.fetchval("SELECT current_user") == f"onebook_{wing}"
                await pool.close()
            writer = await open_writer(role_url(external, own_url, "ledger"), 1)
            assert await writer.fetchval("SELECT count(*) FROM cell") == 0
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await writer.fetch("SELECT * FROM payment.checkout")
            await writer.close()
        finally:
            await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
            await admin.execute(f"DROP ROLE {login}")


async def test_missing_roles_are_refused_with_what_to_do(
    postgres_url: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who may not make the roles is told which ones an administrator has to make."""
    role = f"onebook_{uuid4().hex}"
    monkeypatch.setattr(database, "_ROLES", (role,))
    with pytest.raises(RefusedDatabase, match=f"CREATE ROLE {role} LOGIN; GRANT {role} TO onebook_customers"):
        await migrate(role_url(EMBEDDED, database_url, "customers"))


async def test_a_mighty_role_is_refused(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A role that may do more than its name says is refused by its name."""
    monkeypatch.setattr(database, "_ROLES", ("postgres",))
    with pytest.raises(RefusedDatabase, match="postgres may do more"):
        await migrate(database_url)


async def test_privileges_come_back_after_a_restore_without_them(database_url: str, owner: asyncpg.Connection) -> None:
    """A database that was restored without its privileges has them again after the next migration."""
    await owner.execute("REVOKE ALL ON ALL TABLES IN SCHEMA public, payment FROM onebook_reader, onebook_payments")
    assert await migrate(database_url) == []
    await test_every_table_and_function_has_a_decided_access(owner)


def test_urls_of_the_settings_come_first() -> None:
    """A URL from the settings is taken as it is; the others are made from the owner's."""
    own = msgspec.structs.replace(
        EMBEDDED, url="postgresql://me:pw@db:5432/x?sslmode=require", payments_url="postgresql://p@db/x"
    )
    assert role_url(own, own.url, "payments") == "postgresql://p@db/x"
    assert role_url(own, own.url, "reader") == f"{own.url}&role=onebook_reader"
    assert role_url(EMBEDDED, "postgresql://postgres@/onebook?host=%2Frun", "reader") == (
        "postgresql://onebook_reader@/onebook?host=%2Frun"
    )


def with_user(url: str, user: str) -> str:
    """The same database, another login."""
    return urlunsplit(urlsplit(url)._replace(netloc=f"{user}@"))
