"""Rotating the master key: a new version wraps everything that lives, and on request the older ones are destroyed.

Who calls me: `onebook customers rotate-keys`. What I own: nothing. What survives a crash: everything done so far; the next
rotation finishes it. What bounds me: BATCH keys at a time; what others have wrapped meanwhile is looked for ATTEMPTS times.

Destroying is what makes an erasure final: a wrapped key that was deleted may still lie in a dead row, a WAL segment or a backup,
and with the master key that it was wrapped by it would open. The database refuses to retire a master key while anything that
lives is wrapped by it, and to take anything that is wrapped by a retired one (data_key_is_wrapped_by_the_living).
"""

import asyncio

import asyncpg
import msgspec

from onebook.customers.customers import SEARCH_KEY_OWNER, SQL
from onebook.customers.key_store import KeyStore, Wrapped
from onebook.customers.vault import Vault

BATCH = 32
ATTEMPTS = 10


class Rotated(msgspec.Struct, frozen=True):
    """What a rotation did."""

    master: str
    rewrapped: int
    destroyed: list[str]


async def rotate(pool: asyncpg.Pool, keys: KeyStore, *, shred: bool) -> Rotated:
    """Wrap every living key by a new master key; with `shred`, destroy all others. Raises KeyGone and KeyStoreAway."""
    vault = Vault(keys)
    master = await keys.rotate()
    await pool.execute(SQL["register_master"], master)
    rewrapped = await _rewrap_all(pool, vault, master)
    destroyed = []
    if shred:
        for row in await pool.fetch(SQL["masters_to_destroy"], master):
            rewrapped += await _retire(pool, vault, row["name"], master)
            await keys.destroy(row["name"])
            await pool.execute(SQL["note_destroyed"], row["name"])
            destroyed.append(row["name"])
    return Rotated(master, rewrapped, destroyed)


async def _retire(pool: asyncpg.Pool, vault: Vault, name: str, master: str) -> int:
    """Have nothing wrapped by it any more. A worker may have wrapped by it just before it heard of the new one."""
    rewrapped = 0
    for attempt in range(1, ATTEMPTS + 1):
        try:
            await pool.execute(SQL["retire_master"], name)
        except asyncpg.ForeignKeyViolationError:
            if attempt == ATTEMPTS:
                raise
            rewrapped += await _rewrap_all(pool, vault, master)
        else:
            break
    return rewrapped


async def _rewrap_all(pool: asyncpg.Pool, vault: Vault, master: str) -> int:
    rewrapped = 0
    while rows := await pool.fetch(SQL["keys_to_rewrap"], master, BATCH):
        old = [Wrapped(row["master"], row["wrapped"]) for row in rows]
        owners = [row["customer"] for row in rows]
        new = await asyncio.gather(*(vault.rewrap(owner, key, master) for owner, key in zip(owners, old, strict=True)))
        written = await pool.execute(
            SQL["rewrap"], master, owners, [key.ciphertext for key in old], [key.ciphertext for key in new]
        )
        rewrapped += int(written.rpartition(" ")[2])
    row = await pool.fetchrow(SQL["search_key"])
    if row is not None and row["master"] != master:
        found = Wrapped(row["master"], row["wrapped"])
        again = await vault.rewrap(SEARCH_KEY_OWNER, found, master)
        await pool.execute(SQL["rewrap_search_key"], master, found.ciphertext, again.ciphertext)
    return rewrapped
