"""The key store in Google Cloud KMS: the master key never leaves the service, which wraps and unwraps by its REST API.

Who calls me: the vault and the rotation. What I own: one HTTP session. What bounds me: CALL_SECONDS a call; nothing is
repeated here, since whoever asked may ask again. Checksums go with every call, as the service asks for
(https://cloud.google.com/kms/docs/data-integrity-guidelines).
"""

import asyncio
import base64
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from onebook.customers.key_store import KeyGone, KeyStoreAway, Wrapped

CALL_SECONDS = 2.0
MAX_ANSWER_BYTES = 64 * 1024

# The service says "failed precondition" of a version that is disabled or destroyed, "not found" of one that never was, and
# "invalid argument" of a ciphertext that this key and this context do not open.
_GONE = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND})


class GoogleKms:
    """A symmetric key of Cloud KMS. The token is read from its file for each call, since somebody else keeps it fresh."""

    def __init__(self, session: aiohttp.ClientSession, url: str, key: str, token_file: Path) -> None:
        self._session = session
        self._url = f"{url.rstrip('/')}/v1/"
        self._key = key
        self._token_file = token_file

    async def wrap(self, key: bytes, context: bytes, master: str | None = None) -> Wrapped:
        """The key under the primary version, or the one named: what is primary takes the service a while to agree on."""
        asked = {**_part("plaintext", key), **_part("additionalAuthenticatedData", context)}
        told = await self._call(f"{master or self._key}:encrypt", asked)
        if not (told.get("verifiedPlaintextCrc32c") and told.get("verifiedAdditionalAuthenticatedDataCrc32c")):
            raise KeyStoreAway("the key store has received other bytes than were sent")
        return Wrapped(str(told["name"]), _whole(told, "ciphertext"))

    async def unwrap(self, wrapped: Wrapped, context: bytes) -> bytes:
        """The key again; the ciphertext itself says which version made it."""
        if not wrapped.master.startswith(f"{self._key}/"):
            raise KeyGone(f"{wrapped.master} is no version of {self._key}")
        asked = {**_part("ciphertext", wrapped.ciphertext), **_part("additionalAuthenticatedData", context)}
        return _whole(await self._call(f"{self._key}:decrypt", asked, gone=_GONE), "plaintext")

    async def rotate(self) -> str:
        """A new version, made the primary one."""
        made = str((await self._call(f"{self._key}/cryptoKeyVersions", {}))["name"])
        await self._call(f"{self._key}:updatePrimaryVersion", {"cryptoKeyVersionId": made.rpartition("/")[2]})
        return made

    async def destroy(self, master: str) -> None:
        """Scheduled for destruction it opens nothing any more; the service destroys it for good after the key's own delay."""
        state = (await self._call(master, None)).get("state")
        if state not in {"DESTROYED", "DESTROY_SCHEDULED"}:
            await self._call(f"{master}:destroy", {})

    async def _call(
        self, path: str, asked: dict[str, str] | None, *, gone: frozenset[int] = frozenset()
    ) -> dict[str, Any]:
        """POST what is asked, or GET. Raises KeyGone for the statuses in `gone`, and KeyStoreAway for all others."""
        headers = {"authorization": f"Bearer {self._token()}"}
        method = "GET" if asked is None else "POST"
        try:
            async with (
                asyncio.timeout(CALL_SECONDS),
                self._session.request(method, self._url + path, json=asked, headers=headers) as answer,
            ):
                body = await answer.content.read(MAX_ANSWER_BYTES)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise KeyStoreAway(f"the key store does not answer: {error!r}") from error
        if answer.status in gone:
            raise KeyGone(f"the key store refuses {path}: {answer.status}")
        if answer.status != HTTPStatus.OK:
            raise KeyStoreAway(f"the key store answers {answer.status}")
        try:
            return msgspec.json.decode(body, type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise KeyStoreAway("the key store's answer cannot be read") from error

    def _token(self) -> str:
        try:
            return self._token_file.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise KeyStoreAway(f"there is no token in {self._token_file}") from error


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli; RFC 3720, appendix B.4)."""
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = (register >> 1) ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


def _part(name: str, value: bytes) -> dict[str, str]:
    return {name: base64.b64encode(value).decode(), f"{name}Crc32c": str(crc32c(value))}


def _whole(told: dict[str, Any], name: str) -> bytes:
    """The bytes of an answer. Raises KeyStoreAway where they are not what was sent."""
    try:
        value = base64.b64decode(told[name], validate=True)
        is_whole = int(told[f"{name}Crc32c"]) == crc32c(value)
    except (KeyError, TypeError, ValueError) as error:
        raise KeyStoreAway("the key store's answer cannot be read") from error
    if not is_whole:
        raise KeyStoreAway("the key store's answer was damaged on the way")
    return value
