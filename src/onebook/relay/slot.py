"""The replication slot: made once, watched, and never made again in silence.

PostgreSQL keeps the WAL from the slot's position on, so as long as the slot lives nothing committed is missed. The table
relay_slot outlives it: a slot that is gone, or whose WAL the server has given up, while its row is there, is a loss. It is
counted, and a new one is made; whoever holds it must tell the consumers to read the log.
"""

import asyncpg
import msgspec
import structlog

from onebook.relay import metrics
from onebook.sql import statements

SQL = statements("onebook.relay")
PUBLICATION = "onebook_log"
PLUGIN = "pgoutput"
# Making a slot waits for all transactions that are writing; one that never ends must not hold us for ever.
MAKE_SECONDS = 30
_FAILOVER_VERSION = 17

log = structlog.get_logger()


class SlotRefused(Exception):
    """There is a slot of that name that is none of ours: choose another name, or drop it."""


class Slot(msgspec.Struct, frozen=True):
    """The slot as the server has it. Bytes are of WAL; LSNs are byte positions in it."""

    plugin: str
    is_ours: bool
    """Whether it belongs to this database."""
    active: bool
    wal_status: str
    """reserved, extended, unreserved (about to be given up) or lost."""
    confirmed_lsn: int | None
    """Everything before it has been acknowledged; None for a slot that was given up."""
    retained_bytes: int | None
    safe_bytes: int | None
    """How much more may be written before the server may give the slot up; None without a limit."""
    server_lsn: int
    """Where the server writes now."""

    @property
    def is_lost(self) -> bool:
        """Whether the server has given it up."""
        return self.wal_status == "lost"


async def find_slot(connection: asyncpg.Connection, name: str) -> Slot | None:
    """The slot, if there is one."""
    row = await connection.fetchrow(SQL["slot"], name)
    return None if row is None else Slot(**row)


async def ensure_slot(connection: asyncpg.Connection, name: str) -> bool:
    """Make the slot unless it is there. Returns whether one was lost: then consumers must read the log.

    Outside of a transaction. After an error the connection may hold the lock, and has to be closed. Raises SlotRefused for a
    slot that belongs to somebody else.
    """
    await connection.execute(SQL["lock_slot"], name)
    was_lost = await _ensure_locked(connection, name)
    await connection.execute(SQL["unlock_slot"], name)
    return was_lost


async def _ensure_locked(connection: asyncpg.Connection, name: str) -> bool:
    slot = await find_slot(connection, name)
    if slot is not None and not (slot.is_ours and slot.plugin == PLUGIN):
        raise SlotRefused(f"the replication slot {name!r} is not for this database, or not of {PLUGIN}: see relay.slot")
    if slot is not None and not slot.is_lost:
        await connection.execute(SQL["record_made"], name)
        return False
    was_made = slot is not None or await connection.fetchval(SQL["is_recorded"], name)
    if was_made:
        # Written first: should we end here, the next one finds the row again, and still no slot.
        await connection.execute(SQL["record_made"], name)
        await connection.execute(SQL["record_lost"], name)
        metrics.SLOT_LOSSES.inc()
        log.error("relay_slot_lost", slot=name, reason="missing" if slot is None else slot.wal_status)
    if slot is not None:
        await connection.execute(SQL["drop_slot"], name)
    has_failover = connection.get_server_version().major >= _FAILOVER_VERSION
    await connection.execute(SQL["make_failover_slot" if has_failover else "make_slot"], name, timeout=MAKE_SECONDS)
    await connection.execute(SQL["record_made"], name)
    return was_made
