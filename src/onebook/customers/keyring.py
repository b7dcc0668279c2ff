"""The key store of one machine: a folder with one file per version of the master key, readable by its owner only.

Who calls me: the vault and the rotation, in every process. What I own: the folder. What survives a crash: each file, since it is
complete and synced before it has its name. Nothing is kept in memory, so that a version that was made or destroyed by another
process counts at once.

A version is named for its number and a fingerprint of the key, so that a folder that was lost and begun anew is not mistaken
for the old one.
"""

import hashlib
import os
from pathlib import Path
from uuid import uuid4

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from onebook.customers.key_store import KeyGone, KeyStoreAway, Wrapped

KEY_BYTES = 32
NONCE_BYTES = 12
_SCHEME = "local/"
_SUFFIX = ".key"


class Keyring:
    """The master keys in a folder, which is made where it is missing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def wrap(self, key: bytes, context: bytes, master: str | None = None) -> Wrapped:
        """The key under the newest master key, or the one named; the first one is made here."""
        name = (self._newest() or self._add()) if master is None else master.removeprefix(_SCHEME)
        nonce = os.urandom(NONCE_BYTES)
        return Wrapped(_SCHEME + name, nonce + AESGCM(self._read(name)).encrypt(nonce, key, context))

    async def unwrap(self, wrapped: Wrapped, context: bytes) -> bytes:
        """The key again. Raises KeyGone where no file of that name opens it."""
        if not wrapped.master.startswith(_SCHEME):
            raise KeyGone(f"{wrapped.master} is no key of this machine's keyring")
        nonce, sealed = wrapped.ciphertext[:NONCE_BYTES], wrapped.ciphertext[NONCE_BYTES:]
        try:
            return AESGCM(self._read(wrapped.master.removeprefix(_SCHEME))).decrypt(nonce, sealed, context)
        except InvalidTag:
            raise KeyGone(f"{wrapped.master} does not open this key") from None

    async def rotate(self) -> str:
        """A new file, with the next number."""
        return _SCHEME + self._add()

    async def destroy(self, master: str) -> None:
        """Overwrite the file and delete it."""
        path = self._path(master.removeprefix(_SCHEME))
        if not path.exists():
            return
        # A file system that copies on write, or a disk that moves blocks, keeps the old ones: docs/customers.md says so.
        with path.open("r+b") as file:
            file.write(os.urandom(KEY_BYTES))
            os.fsync(file.fileno())
        path.unlink()
        self._sync_folder()

    def _newest(self) -> str | None:
        return max((path.stem for path in self._folder.glob(f"*{_SUFFIX}")), default=None)

    def _add(self) -> str:
        """Two processes may make the first one at once: both are good, and all agree on which is the newest."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        number = int((self._newest() or "0").partition("-")[0]) + 1
        key = os.urandom(KEY_BYTES)
        name = f"{number:06d}-{hashlib.sha256(key).hexdigest()[:12]}"
        draft = self._folder / f".{uuid4()}.draft"
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(self._path(name))
        self._sync_folder()
        return name

    def _read(self, name: str) -> bytes:
        try:
            return self._path(name).read_bytes()
        except FileNotFoundError:
            raise KeyGone(f"the master key {name} is not in {self._folder}") from None
        except OSError as error:
            raise KeyStoreAway(f"the master key {name} cannot be read: {error.strerror}") from error

    def _path(self, name: str) -> Path:
        return self._folder / (name + _SUFFIX)

    def _sync_folder(self) -> None:
        """What was named or deleted must be so after a power cut: a lost key is lost profiles."""
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
