"""Where the master key lies: what every key store does, and what can go wrong there.

Two are real: keyring.py keeps the key in files, google_kms.py asks a service that never lets it out. Both pass the same tests.
"""

from typing import NamedTuple, Protocol


class Wrapped(NamedTuple):
    """A key that only the named version of the master key opens."""

    master: str
    ciphertext: bytes


class KeyStoreAway(Exception):
    """The key store does not answer now, or does not let us; the same may succeed later."""


class KeyGone(Exception):
    """This store does not open that key: its master key was destroyed, or it belongs to another store or another owner."""


class KeyStore(Protocol):
    """Wraps and unwraps keys of 32 bytes. `context` says whose key it is: it opens with the same one only."""

    async def wrap(self, key: bytes, context: bytes, master: str | None = None) -> Wrapped:
        """The key under a version of the master key, the newest unless one is named. Raises KeyStoreAway."""

    async def unwrap(self, wrapped: Wrapped, context: bytes) -> bytes:
        """The key again, whichever version wrapped it. Raises KeyGone and KeyStoreAway."""

    async def rotate(self) -> str:
        """Make a new version and wrap by it from now on; its name. Raises KeyStoreAway."""

    async def destroy(self, master: str) -> None:
        """Have a version open nothing any more; destroying it again does nothing. Raises KeyStoreAway."""
