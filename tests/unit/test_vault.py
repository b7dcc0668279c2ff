"""Sealed fields, the two key stores, and what a profile and an e-mail address are."""

import asyncio
import base64
import os
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from onebook.config import load
from onebook.customers.email_address import normal_form
from onebook.customers.google_kms import GoogleKms, crc32c
from onebook.customers.key_store import KeyGone, KeyStore, KeyStoreAway, Wrapped
from onebook.customers.keyring import Keyring
from onebook.customers.profile import MAX_NAMES, Address, Consent, Profile, changed, fields_of, profile_of
from onebook.customers.refusals import Refused
from onebook.customers.stores import open_key_store
from onebook.customers.vault import Tampered, Vault, seal, unseal

KEY_NAME = "projects/p/locations/europe/keyRings/onebook/cryptoKeys/customers"
NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)
LATER = datetime(2026, 12, 2, 12, tzinfo=UTC)


class FakeKms:
    """Cloud KMS as its REST reference describes it: one symmetric key, with versions that can be made and destroyed."""

    def __init__(self) -> None:
        self.versions: dict[str, bytes] = {"1": os.urandom(32)}
        self.states: dict[str, str] = {"1": "ENABLED"}
        self.primary = "1"
        self.damage: Callable[[dict[str, Any]], dict[str, Any]] = lambda told: told

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one call."""
        if request.headers.get("authorization") != "Bearer fresh":
            return web.json_response({"error": {"status": "UNAUTHENTICATED"}}, status=401)
        path, _, verb = request.path.removeprefix(f"/v1/{KEY_NAME}").partition(":")
        asked = await request.json() if request.method == "POST" else {}
        version = path.removeprefix("/cryptoKeyVersions").lstrip("/")
        match request.method, verb:
            case "POST", "encrypt":
                return web.json_response(self.damage(self._encrypt(version or self.primary, asked)))
            case "POST", "decrypt":
                return self._decrypt(asked)
            case "POST", "updatePrimaryVersion":
                self.primary = asked["cryptoKeyVersionId"]
            case "POST", "destroy":
                self.states[version] = "DESTROY_SCHEDULED"
            case "POST", "":
                version = str(len(self.versions) + 1)
                self.versions[version], self.states[version] = os.urandom(32), "ENABLED"
        return web.json_response(
            {"name": f"{KEY_NAME}/cryptoKeyVersions/{version}", "state": self.states.get(version, "ENABLED")}
        )

    def _encrypt(self, version: str, asked: dict[str, str]) -> dict[str, Any]:
        plain, context = self._part(asked, "plaintext"), self._part(asked, "additionalAuthenticatedData")
        nonce = os.urandom(12)
        sealed = int(version).to_bytes(4) + nonce + AESGCM(self.versions[version]).encrypt(nonce, plain, context)
        return {
            "name": f"{KEY_NAME}/cryptoKeyVersions/{version}",
            "ciphertext": base64.b64encode(sealed).decode(),
            "ciphertextCrc32c": str(crc32c(sealed)),
            "verifiedPlaintextCrc32c": True,
            "verifiedAdditionalAuthenticatedDataCrc32c": True,
        }

    def _decrypt(self, asked: dict[str, str]) -> web.Response:
        sealed, context = self._part(asked, "ciphertext"), self._part(asked, "additionalAuthenticatedData")
        version = str(int.from_bytes(sealed[:4]))
        if self.states.get(version) != "ENABLED":
            return web.json_response({"error": {"status": "FAILED_PRECONDITION"}}, status=400)
        try:
            plain = AESGCM(self.versions[version]).decrypt(sealed[4:16], sealed[16:], context)
        except InvalidTag:
            return web.json_response({"error": {"status": "INVALID_ARGUMENT"}}, status=400)
        told = {"plaintext": base64.b64encode(plain).decode(), "plaintextCrc32c": str(crc32c(plain))}
        return web.json_response(self.damage(told))

    @staticmethod
    def _part(asked: dict[str, str], name: str) -> bytes:
        value = base64.b64decode(asked[name])
        assert int(asked[f"{name}Crc32c"]) == crc32c(value)
        return value


@asynccontextmanager
async def fake_kms(folder: Path) -> AsyncIterator[tuple[FakeKms, GoogleKms]]:
    """The store, talking to a server of the documented shape."""
    fake, token = FakeKms(), folder / "token"
    token.write_text("fresh\n")
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", fake.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        settings = load(
            environment={
                "ONEBOOK_CUSTOMERS_KEY_STORE": "google",
                "ONEBOOK_CUSTOMERS_GOOGLE_KMS_URL": f"http://{host}:{port}",
                "ONEBOOK_CUSTOMERS_GOOGLE_KMS_KEY": KEY_NAME,
                "ONEBOOK_CUSTOMERS_GOOGLE_TOKEN_FILE": str(token),
            }
        )
        async with open_key_store(settings.customers, folder) as store:
            assert isinstance(store, GoogleKms)
            yield fake, store
    finally:
        await runner.cleanup()


@asynccontextmanager
async def _google(folder: Path) -> AsyncIterator[KeyStore]:
    async with fake_kms(folder) as (_, store):
        yield store


@asynccontextmanager
async def _local(folder: Path) -> AsyncIterator[KeyStore]:
    async with open_key_store(load(environment={}).customers, folder) as store:
        assert isinstance(store, Keyring)
        yield store


@pytest.fixture(params=[_local, _google], ids=["local", "google"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[KeyStore]:
    """Each key store, behind the protocol."""
    opened: Callable[[Path], AbstractAsyncContextManager[KeyStore]] = request.param
    async with opened(tmp_path) as found:
        yield found


async def test_a_key_opens_for_its_owner_only(store: KeyStore) -> None:
    """What was wrapped is unwrapped with the same context, and with no other; it is never stored as it is."""
    key = os.urandom(32)
    wrapped = await store.wrap(key, b"ana")
    assert key not in wrapped.ciphertext
    assert await store.unwrap(wrapped, b"ana") == key
    with pytest.raises(KeyGone):
        await store.unwrap(wrapped, b"ben")


async def test_a_rotated_master_key_still_opens_what_it_wrapped(store: KeyStore) -> None:
    """New wraps use the newest version, older ones open; a version that is named is used."""
    key = os.urandom(32)
    old = await store.wrap(key, b"ana")
    master = await store.rotate()
    new = await store.wrap(key, b"ana")
    assert master == new.master != old.master
    assert [await store.unwrap(each, b"ana") for each in (old, new)] == [key, key]
    assert (await store.wrap(key, b"ana", old.master)).master == old.master


async def test_a_destroyed_master_key_opens_nothing(store: KeyStore) -> None:
    """Not what it wrapped before; destroying it again does nothing, and the newest goes on."""
    old = await store.wrap(bytes(32), b"ana")
    new = await store.wrap(bytes(32), b"ana", await store.rotate())
    for _ in range(2):
        await store.destroy(old.master)
    with pytest.raises(KeyGone):
        await store.unwrap(old, b"ana")
    assert await store.unwrap(new, b"ana") == bytes(32)


async def test_a_key_of_another_store_is_gone(store: KeyStore) -> None:
    """A name that this store does not know is not looked for elsewhere."""
    with pytest.raises(KeyGone):
        await store.unwrap(Wrapped("another/1", bytes(60)), b"ana")


async def test_the_keyring_is_for_its_owner_only(tmp_path: Path) -> None:
    """Files 0600 in a folder 0700; a keyring begun anew does not pass for the lost one."""
    first = await Keyring(tmp_path / "keys").wrap(bytes(32), b"")
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "keys").iterdir()} == {0o600}
    assert (await Keyring(tmp_path / "anew").wrap(bytes(32), b"")).master != first.master


async def test_what_is_damaged_on_the_way_to_google_is_not_believed(tmp_path: Path) -> None:
    """A checksum that does not fit, or one that the service could not verify, is a fault, and so is a token it refuses."""
    async with fake_kms(tmp_path) as (fake, store):
        wrapped = await store.wrap(bytes(32), b"ana")
        fake.damage = lambda told: {**told, "verifiedPlaintextCrc32c": False, "plaintextCrc32c": "7"}
        with pytest.raises(KeyStoreAway):
            await store.wrap(bytes(32), b"ana")
        with pytest.raises(KeyStoreAway):
            await store.unwrap(wrapped, b"ana")
        fake.damage = lambda told: told
        (tmp_path / "token").write_text("stale")
        with pytest.raises(KeyStoreAway, match="401"):
            await store.unwrap(wrapped, b"ana")


async def test_a_key_store_that_is_away_is_a_fault(tmp_path: Path) -> None:
    """Nobody listens: the caller is told so, at once."""
    (tmp_path / "token").write_text("fresh")
    async with aiohttp.ClientSession() as session, asyncio.timeout(5):
        with pytest.raises(KeyStoreAway):
            await GoogleKms(session, "http://127.0.0.1:9", KEY_NAME, tmp_path / "token").wrap(bytes(32), b"")


def test_checksums_are_castagnolis() -> None:
    """The check value of the CRC catalogue."""
    assert crc32c(b"123456789") == 0xE3069283


async def test_opened_keys_are_remembered_for_a_while(tmp_path: Path) -> None:
    """A key is unwrapped once, and opens after its master key is gone only as long as it is remembered."""
    keyring = Keyring(tmp_path)
    vault = Vault(keyring)
    key, wrapped = await vault.new_key("ana")
    await keyring.destroy(wrapped.master)
    assert await vault.key("ana", wrapped) == key
    with pytest.raises(KeyGone):
        await Vault(keyring).key("ana", wrapped)


@given(st.binary(max_size=100))
def test_a_sealed_value_opens_in_its_place_only(value: bytes) -> None:
    """Neither as another field, nor for another owner, nor by another key, nor with a bit changed."""
    key = os.urandom(32)
    sealed = seal(key, "ana", "name", value)
    assert unseal(key, "ana", "name", sealed) == value
    flipped = sealed[:-1] + bytes([sealed[-1] ^ 1])
    for attempt in (
        (key, "ana", "email", sealed),
        (key, "ben", "name", sealed),
        (os.urandom(32), "ana", "name", sealed),
        (key, "ana", "name", flipped),
        (key, "ana", "name", b""),
    ):
        with pytest.raises(Tampered):
            unseal(*attempt)


def test_equal_values_are_sealed_differently() -> None:
    """A nonce is random: who reads two ciphertexts does not learn that the values are equal."""
    assert seal(bytes(32), "ana", "name", b"Ana") != seal(bytes(32), "ana", "name", b"Ana")


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        (" Ana@Example.ORG ", "ana@example.org"),
        ("ana@bücher.example", "ana@xn--bcher-kva.example"),
        ("ana@example.org.", "ana@example.org"),
        ("ana", None),
        ("a@b@c", None),
        ("ana@", None),
        ("an a@example.org", None),
        ("ana@" + "a" * 64 + ".org", None),
        ("ana@a..b", None),
    ],
)
def test_an_address_has_one_normal_form(written: str, normal: str | None) -> None:
    """Spaces around it, case and the domain's script do not tell two people apart; what is no address has none."""
    assert normal_form(written) == normal


def test_a_profile_comes_back_as_it_was_taken_apart() -> None:
    """Field by field, empty ones left out."""
    profile = Profile(
        name="Ana",
        address=Address(city="Lisboa", country="PT"),
        birth_date=date(1990, 2, 28),
        consent={"marketing": Consent(True, NOON)},
        attributes={"shoe size": "38"},
    )
    assert set(fields_of(profile)) == {"name", "address", "birth_date", "consent", "attributes"}
    assert profile_of(fields_of(profile)) == profile


def test_a_change_merges() -> None:
    """What is not named stays, None drops; a consent that is said again keeps its time, one that is withdrawn gets a new one."""
    first = changed(Profile(), {"name": "Ana", "phone": "1", "consent": {"news": True, "maps": True}}, NOON)
    second = changed(first, {"phone": None, "consent": {"news": True, "maps": False}, "attributes": {"a": "1"}}, LATER)
    assert (second.name, second.phone) == ("Ana", None)
    assert second.consent == {"news": Consent(True, NOON), "maps": Consent(False, LATER)}
    assert changed(second, {"attributes": {"a": None, "b": "2"}}, LATER).attributes == {"b": "2"}
    assert changed(second, {"attributes": None, "consent": None}, LATER).consent == {}
    with pytest.raises(Refused, match="too many"):
        changed(second, {"attributes": {str(n): "" for n in range(MAX_NAMES)}}, LATER)
