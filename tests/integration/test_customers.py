"""Customers on a real PostgreSQL: one effect per key, one person per address, and nothing left after an erasure."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from tests.conftest import Bench, open_bench

from onebook.customers.customers import Created, Customers
from onebook.customers.key_store import KeyGone, Wrapped
from onebook.customers.keyring import Keyring
from onebook.customers.refusals import (
    CustomerErased,
    EmailTaken,
    Refused,
    RevisionMismatch,
    UnknownCustomer,
)
from onebook.customers.rotation import rotate
from onebook.customers.vault import Vault, unseal
from onebook.ledger.identity import new_id
from onebook.ledger.ledger import Placing
from onebook.model.commands import Wanted
from onebook.model.refusals import KeyReused, Refusal
from onebook.ops.verify.audit import verify

ANA = {"name": "Ana Sá", "email": "Ana@Example.org", "notes": "prefers the quiet side"}


@dataclass
class Room:
    """The room on a database of its own, with its keyring."""

    customers: Customers
    keys: Keyring
    pool: "asyncpg.Pool[Any]"
    url: str

    async def add(self, key: str = "k1", *, channel: str = "website", **change: Any) -> tuple[Created, bool]:
        """Make a customer."""
        canonical = repr(sorted(change.items())).encode()
        return await self.customers.create(new_id(), channel, key=key, canonical=canonical, change=change)

    async def rows(self) -> dict[str, int]:
        """How much there is."""
        (counts,) = await self.pool.fetch(
            "SELECT (SELECT count(*) FROM customer.data_key) AS keys, (SELECT count(*) FROM customer.field) AS fields,"
            " (SELECT count(*) FROM customer.customer) AS customers"
        )
        return dict(counts)


@pytest.fixture
async def room(database_url: str, tmp_path: Path) -> AsyncIterator[Room]:
    """One room."""
    keys = Keyring(tmp_path / "keys")
    async with asyncpg.create_pool(database_url, min_size=0, max_size=8) as pool:
        yield Room(Customers(pool, keys), keys, pool, database_url)


async def _refusal(call: Any) -> Refusal:
    with pytest.raises(Refused) as caught:
        await call
    return caught.value.refusal


async def test_a_profile_is_read_as_it_was_written(room: Room) -> None:
    """And found by its address however that is written, by the channels that may see it; the database has none of it."""
    created, is_new = await room.add(**ANA)
    assert is_new
    found = await room.customers.get(created.id, "website")
    assert (found.profile.name, found.version) == ("Ana Sá", 1)
    assert await room.customers.find(" ANA@example.ORG", None) == [found]
    assert await room.customers.find("ana@example.org", "atlas") == []
    assert await _refusal(room.customers.get(created.id, "atlas")) == UnknownCustomer()
    stored = str(await room.pool.fetch("SELECT * FROM customer.stored")) + str(
        await room.pool.fetch("SELECT * FROM log")
    )
    assert "Ana" not in stored and "quiet" not in stored


async def test_a_key_has_one_effect(room: Room) -> None:
    """Many at once under one key make one customer and one answer; another payload is refused, another channel is another."""
    made = await asyncio.gather(*(room.add(**ANA) for _ in range(16)))
    assert len({created for created, _ in made}) == 1
    assert sum(is_new for _, is_new in made) == 1
    assert await _refusal(room.add(name="Ben")) == KeyReused()
    other, is_new = await room.add(channel="atlas", **ANA)
    assert is_new and other != made[0][0]


async def test_an_address_is_one_persons(room: Room) -> None:
    """A second customer of the channel cannot have it, by creation or by change; after the erasure it is free again."""
    ana, _ = await room.add(**ANA)
    assert await _refusal(room.add("k2", email="ana@EXAMPLE.org")) == EmailTaken()
    ben, _ = await room.add("k3", email="ben@example.org")
    assert await _refusal(room.customers.change(ben.id, None, {"email": "ana@example.org"})) == EmailTaken()
    await room.customers.erase(ana.id, None)
    assert await room.customers.change(ben.id, None, {"email": "ana@example.org"}) == 2
    assert [found.id for found in await room.customers.find("ana@example.org", None)] == [ben.id]
    assert await room.customers.find("ben@example.org", None) == []


async def test_changes_at_once_are_all_there(room: Room) -> None:
    """Two writers of different fields lose nothing; one who names an older version is refused."""
    ana, _ = await room.add(**ANA)
    await asyncio.gather(*(room.customers.change(ana.id, None, {"attributes": {str(n): "x"}}) for n in range(4)))
    found = await room.customers.get(ana.id, None)
    assert (len(found.profile.attributes), found.version, found.profile.name) == (4, 5, "Ana Sá")
    assert await room.customers.change(ana.id, None, {"name": "Ana Sá"}) == 5
    stale = room.customers.change(ana.id, None, {"name": None}, version=4)
    assert await _refusal(stale) == RevisionMismatch(5)
    await room.customers.change(ana.id, None, {"name": None}, version=5)
    assert (await room.customers.get(ana.id, None)).profile.name is None


async def test_nothing_is_left_of_who_is_erased(room: Room) -> None:
    """Key, fields and hashes are gone, the id stays; erasing again does nothing, and a late repeat brings nobody back."""
    ana, _ = await room.add(**ANA)
    await room.customers.erase(ana.id, None)
    await room.customers.erase(ana.id, None)
    assert await room.rows() == {"keys": 0, "fields": 0, "customers": 1}
    hashes = await room.pool.fetch("SELECT request_hash, email_hash FROM customer.customer")
    assert [tuple(row) for row in hashes] == [(None, None)]
    for call in (
        room.customers.get(ana.id, None),
        room.customers.export(ana.id, None),
        room.customers.change(ana.id, None, {"name": "Ana"}),
        room.add(**ANA),
    ):
        assert await _refusal(call) == CustomerErased()
    assert await _refusal(room.customers.erase(new_id(), None)) == UnknownCustomer()


async def test_an_erasure_wins_against_changes(room: Room) -> None:
    """Whatever is written at the same moment, nothing of it is left afterwards."""
    ana, _ = await room.add(**ANA)
    changes = [room.customers.change(ana.id, None, {"notes": "x" * n, "phone": str(n)}) for n in range(1, 9)]
    await asyncio.gather(*changes[:4], room.customers.erase(ana.id, None), *changes[4:], return_exceptions=True)
    assert await room.rows() == {"keys": 0, "fields": 0, "customers": 1}


@pytest.mark.parametrize(
    ("statement", "constraint"),
    [
        (
            "UPDATE customer.customer SET erased_at = now(), email_hash = NULL, request_hash = NULL",
            "data_key_belongs_to_the_living",
        ),
        ("UPDATE customer.master_key SET retired_at = now()", "_is_wrapped_by_the_living"),
        ("UPDATE customer.master_key SET destroyed_at = now()", "master_key_is_retired_first"),
        ("INSERT INTO customer.field SELECT customer, 'card', '' FROM customer.data_key", "field_is_known"),
    ],
)
async def test_the_database_keeps_the_promises_by_itself(room: Room, statement: str, constraint: str) -> None:
    """No erasure that leaves the key, no master key retired that is in use, whatever the program believes."""
    await room.add(**ANA)
    with pytest.raises(asyncpg.IntegrityConstraintViolationError) as caught:
        await room.pool.execute(statement)
    assert str(caught.value.constraint_name).endswith(constraint)


async def test_an_export_has_the_bookings(room: Room) -> None:
    """Everything that names the customer, as it is now; and the log names nothing but ids."""
    ana, _ = await room.add(**ANA)
    async with open_bench(room.url) as bench:
        await _book(bench, ana.id)
    exported = await room.customers.export(ana.id, None)
    assert [booking.items[0].resource for booking in exported.bookings] == ["alfama/double"]
    assert exported.bookings_are_all and exported.customer.profile.email == "Ana@Example.org"
    await room.customers.erase(ana.id, None)
    told = await room.pool.fetch(
        "SELECT type, subject, venues, data FROM log WHERE type LIKE 'customer.%' ORDER BY position"
    )
    assert [(row["type"], row["subject"], row["venues"]) for row in told] == [
        ("customer.created", f"customers/{ana.id}", []),
        ("customer.erased", f"customers/{ana.id}", []),
    ]


async def test_an_export_of_one_channel_has_its_bookings_only(room: Room) -> None:
    """Another channel's booking that names the customer is not shown to the channel, as everywhere else."""
    ana, _ = await room.add(**ANA)
    async with open_bench(room.url) as bench:
        await _book(bench, ana.id)
        await _book(bench, ana.id, channel="partner")
    for only, seen in ((None, ["partner", "website"]), ("website", ["website"])):
        exported = await room.customers.export(ana.id, only)
        assert sorted(booking.channel for booking in exported.bookings) == seen


async def test_customers_tell_of_customers_only(room: Room) -> None:
    """The one way into the log refuses every other type."""
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await room.pool.execute("SELECT customer.tell('booking.confirmed', $1, 'website', NULL)", new_id())


async def test_the_auditor_finds_persons_in_the_log(room: Room) -> None:
    """An entry of a customer that says more than the id is a finding; without it the log replays."""
    await room.add(**ANA)
    assert (await verify(room.url)).ok
    forge = (
        "INSERT INTO log (txn, time, type, subject, venues, data)"
        ' SELECT log_txn(), now(), type, subject, venues, (data::jsonb || \'{"email": "ana@example.org"}\')::json FROM log'
    )
    await room.pool.execute(forge)
    assert not (await verify(room.url)).ok


@pytest.mark.parametrize(("channel", "is_owed"), [(None, True), ("website", True), ("atlas", False)])
async def test_the_auditor_knows_who_is_told_of_customers(room: Room, channel: str | None, is_owed: bool) -> None:
    """Endpoints that see every channel, or that one, are owed its customers' events; others nothing, not even availability."""
    await room.pool.execute(
        "INSERT INTO webhook_endpoint (id, url, venues, types, channel, secret, since_txn, first_txn, filled_revision)"
        " VALUES ($1, 'https://partner.example', '{*}', '{*}', $2, 'whsec_', 1, 1, 1)",
        new_id(),
        channel,
    )
    await room.add(**ANA)
    await room.pool.execute("INSERT INTO consumer (name, horizon) VALUES ('webhooks', 1::bigint << 40)")
    (deliveries,) = [check for check in (await verify(room.url)).checks if check.name == "deliveries"]
    assert deliveries.total == is_owed


async def test_a_rotation_rewraps_what_lives_and_ends_what_is_dead(room: Room) -> None:
    """Whoever kept the rows of an erased customer could open them with the master key of their time; shredded, nobody can."""
    ana, _ = await room.add(**ANA)
    ben, _ = await room.add("k2", name="Ben")
    (stolen,) = await room.pool.fetch("SELECT * FROM customer.stored WHERE id = $1", ana.id)
    await room.customers.erase(ana.id, None)

    async def steal() -> bytes:
        key = await Vault(room.keys).key(ana.id, Wrapped(stolen["master"], stolen["wrapped"]))
        return unseal(key, ana.id, "name", stolen["sealed"][stolen["names"].index("name")])

    kept = await rotate(room.pool, room.keys, shred=False)
    assert (kept.rewrapped, kept.destroyed) == (1, [])
    assert await steal() == '"Ana Sá"'.encode()
    shredded = await rotate(room.pool, room.keys, shred=True)
    assert shredded.destroyed == [stolen["master"], kept.master]
    with pytest.raises(KeyGone):
        await steal()
    again = Customers(room.pool, room.keys)
    assert (await again.get(ben.id, None)).profile.name == "Ben"
    assert not (await room.add("k2", name="Ben"))[1]


async def test_creations_during_rotations_are_not_lost(room: Room) -> None:
    """Whatever a worker wraps while master keys are made and destroyed under it, it opens afterwards."""
    made = [room.add(f"k{n}", name=f"Customer {n}") for n in range(40)]

    async def rotations() -> None:
        for _ in range(5):
            await rotate(room.pool, room.keys, shred=True)

    created, _ = await asyncio.gather(asyncio.gather(*made), rotations())
    fresh = Customers(room.pool, room.keys)
    for n, (each, _) in enumerate(created):
        assert (await fresh.get(each.id, None)).profile.name == f"Customer {n}"


async def _book(bench: Bench, customer: str, channel: str = "website") -> None:
    await bench.room("alfama/double", capacity=2)
    placing = Placing(channel, "b1", bytes(16), 600, confirm=True, customer=customer)
    await bench.ledger.place([Wanted("alfama/double", "2026-12-01", "2026-12-02")], placing)
