"""The loops of checkouts outlive whatever the driver of the database raises."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest

from onebook.checkout.resume import Resumer
from onebook.checkout.settling.settlements import Settlements


def resumer(store: Any) -> Any:
    """A resumer on such a store."""

    async def close() -> None: ...

    return Resumer(store, SimpleNamespace(room=1, close=close), lease_seconds=1)  # type: ignore[arg-type]


def settlements(store: Any) -> Any:
    """Settlements on such a store."""
    built = Settlements(None, None, None, answer_seconds=1, resume_seconds=1, max_under_way=1)  # type: ignore[arg-type]
    built._store = store
    return built


@pytest.mark.parametrize("loop_of", [resumer, settlements])
@pytest.mark.parametrize(
    "fault",
    [
        ConnectionRefusedError(),
        TimeoutError(),
        asyncpg.InterfaceError("closed"),
        asyncpg.InternalClientError("state 12"),
    ],
)
async def test_a_loop_outlives_a_database_fault(loop_of: Callable[[Any], Any], fault: Exception) -> None:
    """It is told, and the next round looks again; a connection that broke while it was handed out is such a fault."""
    rounds = 0

    async def claim(_limit: int, _lease_seconds: float) -> list[Any]:
        nonlocal rounds
        rounds += 1
        if rounds == 1:
            raise fault
        looking.stop()
        return []

    async def standing() -> tuple[float, int]:
        return 0.0, 0

    async def forget_notifications() -> None: ...

    looking = loop_of(SimpleNamespace(claim=claim, standing=standing, forget_notifications=forget_notifications))
    async with asyncio.timeout(5):
        await looking.run()
    assert rounds == 2
