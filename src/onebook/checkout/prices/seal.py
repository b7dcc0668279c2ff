"""A quote as text that only we can make: compressed JSON and its HMAC-SHA256. No row is kept of it.

Who calls me: Quotes. What I own: a key of its own. What survives a crash: the key's file, `quotes.key` in the folder of keys;
without it every quote that is out is a stranger's. What bounds me: MAX_TOKEN_BYTES.
"""

import hashlib
import hmac
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from pathlib import Path

import msgspec

from onebook.key_file import secret_key
from onebook.model.offers.quote import Quote

KEY_FILE = "quotes.key"
MAX_TOKEN_BYTES = 48 * 1024  # so that it fits the body of a checkout

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Quote).decode


class BadQuote(Exception):
    """This is no quote of ours, or has been changed; the message may be shown."""


class TooLong(Exception):
    """The quote does not fit a token."""


class Seal:
    """Turns quotes into tokens, and its own tokens back."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def open(cls, folder: Path) -> "Seal":
        """The seal of a folder of keys, made there by whoever comes first."""
        return cls(secret_key(folder / KEY_FILE))

    def close(self, quote: Quote) -> str:
        """The token of a quote. Raises TooLong."""
        content = urlsafe_b64encode(zlib.compress(_encode(quote)))
        token = content + b"." + self._mark(content)
        if len(token) > MAX_TOKEN_BYTES:
            raise TooLong
        return token.decode("ascii")

    def read(self, token: str) -> Quote:
        """The quote of a token. Raises BadQuote."""
        if len(token) > MAX_TOKEN_BYTES or not token.isascii():
            raise BadQuote("this is no quote of ours")
        content, _, mark = token.encode("ascii").partition(b".")
        # Texts are compared and not the bytes they stand for: base64 has several texts for the same bytes.
        if not hmac.compare_digest(mark, self._mark(content)):
            raise BadQuote("this is no quote of ours")
        try:
            # What is unpacked here was packed by us, so that it has a size that we have had before.
            return _decode(zlib.decompress(urlsafe_b64decode(content)))
        except msgspec.ValidationError as error:
            raise BadQuote("this quote was made by another version; ask for a new one") from error

    def _mark(self, content: bytes) -> bytes:
        return urlsafe_b64encode(hmac.digest(self._key, content, hashlib.sha256)).rstrip(b"=")
