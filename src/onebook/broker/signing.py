"""Signatures of the stream's messages: only who has the key can have the consumers do anything.

The key lies in the data folder, where the relay and the consumers read it, and the broker never sees it: whoever has the broker's
passwords, or its store, can lose and repeat messages, which consumers stand anyway, but not write one. To rotate, rename
`stream.key` to any other `stream*.key` and start the relay again: a new one is made, and the old one still verifies.

HMAC-SHA256 (RFC 2104) costs 3 µs for the message of one booking (400 bytes), where keyed BLAKE2b costs 1.4 µs, but 49 µs against
109 µs for a full batch (60 KB), since processors have instructions for it; the stream is busiest when its batches are full.
"""

import base64
import hashlib
import hmac
import time
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import msgspec

from onebook.broker.protocol import Message
from onebook.key_file import secret_key

VERSION = "v1"
SIGNING_FILE = "stream.key"
LOOK_AGAIN_SECONDS = 1.0
"""How often, at the most, a message signed by an unknown key has the folder read again: the relay may have a new one."""


class Flaw(StrEnum):
    """Why a message is not the relay's."""

    UNSIGNED = "unsigned"
    UNKNOWN_KEY = "unknown-key"
    WRONG_SIGNATURE = "wrong-signature"


class Verifier(Protocol):
    """Who can tell the relay's messages from others."""

    def flaw_of(self, message: Message) -> Flaw | None:
        """None for a message of the relay's, exactly as it was sent."""


class StreamKeys:
    """The key that signs, and every key that still verifies."""

    def __init__(
        self, signing: bytes, others: Mapping[str, bytes] | None = None, *, folder: Path | None = None
    ) -> None:
        self._signing = signing
        self._signing_id = key_id(signing)
        self._by_id = {**(others or {}), self._signing_id: signing}
        self._folder = folder
        self._looked_at = time.monotonic()

    @classmethod
    def open(cls, folder: Path) -> "StreamKeys":
        """The keys of a folder; where there is none, one is made, by one process even if several try."""
        return cls(secret_key(folder / SIGNING_FILE), _keys_in(folder), folder=folder)

    def signed(self, message: Message) -> Message:
        """The message with its signature."""
        code = base64.b64encode(_code(self._signing, message)).decode()
        return msgspec.structs.replace(message, signature=f"{VERSION},{self._signing_id},{code}")

    def flaw_of(self, message: Message) -> Flaw | None:
        """None for a message of the relay's, exactly as it was sent."""
        version, _, rest = message.signature.partition(",")
        identity, _, code = rest.partition(",")
        if version != VERSION or not code:
            return Flaw.UNSIGNED
        key = self._by_id.get(identity) or self._look_again(identity)
        if key is None:
            return Flaw.UNKNOWN_KEY
        expected = base64.b64encode(_code(key, message))
        # As bytes: of texts, compare_digest takes ASCII alone, and a forger need not keep to that.
        return None if hmac.compare_digest(expected, code.encode(errors="replace")) else Flaw.WRONG_SIGNATURE

    def _look_again(self, identity: str) -> bytes | None:
        now = time.monotonic()
        if self._folder is not None and now >= self._looked_at + LOOK_AGAIN_SECONDS:
            self._looked_at = now
            self._by_id |= _keys_in(self._folder)
        return self._by_id.get(identity)


def key_id(key: bytes) -> str:
    """What a signature calls its key: enough to tell keys apart, and nothing of the key."""
    return hashlib.sha256(b"onebook stream key" + key).hexdigest()[:16]


def _keys_in(folder: Path) -> dict[str, bytes]:
    keys = (secret_key(path) for path in folder.glob("stream*.key"))
    return {key_id(key): key for key in keys}


def _code(key: bytes, message: Message) -> bytes:
    """Of everything that the message says. The first line has no line break in it, so no two messages are written alike."""
    head = f"{message.kind} {message.lsn} {message.previous} {message.committed_at!r} {message.horizon}\n"
    return hmac.digest(key, head.encode() + message.body, "sha256")
