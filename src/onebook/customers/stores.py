"""The key store that the settings name."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from onebook.config import CustomerSettings
from onebook.customers.google_kms import GoogleKms
from onebook.customers.key_store import KeyStore
from onebook.customers.keyring import Keyring

KEYRING = "customers"
"""The keyring's folder, below that of all keys."""


@asynccontextmanager
async def open_key_store(settings: CustomerSettings, keys: Path) -> AsyncIterator[KeyStore]:
    """The store, with its connections; `keys` is the data folder's folder of keys."""
    if settings.key_store == "local":
        yield Keyring(keys / KEYRING)
        return
    async with aiohttp.ClientSession() as session:
        yield GoogleKms(session, settings.google_kms_url, settings.google_kms_key, Path(settings.google_token_file))
