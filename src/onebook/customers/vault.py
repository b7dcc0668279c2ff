"""Sealing fields: AES-256-GCM under one key per owner, which the key store wraps by the master key.

Who calls me: customers.py. What I own: the opened keys, at most MAX_OPENED of them, each for OPENED_SECONDS. What survives a
crash: nothing. A key that was destroyed meanwhile may stay opened here for as long; there is nothing left to open with it.
"""

import os
from collections import OrderedDict
from time import monotonic

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from onebook.customers.key_store import KeyStore, Wrapped

KEY_BYTES = 32
NONCE_BYTES = 12
MAX_OPENED = 1000
OPENED_SECONDS = 60.0


class Tampered(Exception):
    """A value was not sealed for this place, or has been altered since."""


class Vault:
    """Keys, made and opened by way of a key store."""

    def __init__(self, keys: KeyStore) -> None:
        self._keys = keys
        self._opened: OrderedDict[Wrapped, tuple[float, bytes]] = OrderedDict()

    async def new_key(self, owner: str) -> tuple[bytes, Wrapped]:
        """A random key, and the form in which it is stored. Raises KeyStoreAway."""
        key = os.urandom(KEY_BYTES)
        wrapped = await self._keys.wrap(key, owner.encode())
        self._remember(wrapped, key)
        return key, wrapped

    async def key(self, owner: str, wrapped: Wrapped) -> bytes:
        """An owner's key, opened. Raises KeyGone and KeyStoreAway."""
        expires_at, key = self._opened.get(wrapped, (0.0, b""))
        if expires_at <= monotonic():
            key = await self._keys.unwrap(wrapped, owner.encode())
            self._remember(wrapped, key)
        return key

    async def rewrap(self, owner: str, wrapped: Wrapped, master: str) -> Wrapped:
        """The same key under another master key. Raises KeyGone and KeyStoreAway."""
        return await self._keys.wrap(await self._keys.unwrap(wrapped, owner.encode()), owner.encode(), master)

    def _remember(self, wrapped: Wrapped, key: bytes) -> None:
        self._opened[wrapped] = (monotonic() + OPENED_SECONDS, key)
        self._opened.move_to_end(wrapped)
        if len(self._opened) > MAX_OPENED:
            self._opened.popitem(last=False)


def seal(key: bytes, owner: str, field: str, value: bytes) -> bytes:
    """A random nonce and the ciphertext, which opens as this field of this owner and nowhere else."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, value, _place(owner, field))


def unseal(key: bytes, owner: str, field: str, sealed: bytes) -> bytes:
    """The value again. Raises Tampered."""
    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], _place(owner, field))
    except (InvalidTag, ValueError):
        raise Tampered(f"the field {field} of {owner} was not sealed as such") from None


def _place(owner: str, field: str) -> bytes:
    """What is authenticated besides the value. The first part is the version of this scheme."""
    return f"onebook-1\x00{owner}\x00{field}".encode()
