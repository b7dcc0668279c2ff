"""What /readyz asks the database of."""

import pytest
from tests.conftest import Bench

from onebook.channels.handler import NAME, WebhookHandler
from onebook.wiring import health


async def test_a_horizon_that_is_held_back_is_no_silence(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a long transaction keeps the log's horizon where it is, who is alive goes on saying so, and never goes back."""
    monkeypatch.setattr(health, "START_SECONDS", 0.0)
    monkeypatch.setattr("onebook.channels.handler.CHECKPOINT_SECONDS", 0.0)
    handler = WebhookHandler(bench.reader, lambda _endpoint, _event: None)
    await handler.activate()
    check = health.writes_down(bench.reader, NAME)
    horizon = await bench.reader.fetchval("SELECT horizon FROM consumer WHERE name = $1", NAME)
    for told in (horizon, horizon - 1):
        await bench.reader.execute("UPDATE consumer SET written_at = now() - interval '9 s'")
        assert await check() == "has written nothing for 9 s", "the check can fail"
        await handler.checkpoint(told)
        assert await check() is None
    assert await bench.reader.fetchval("SELECT horizon FROM consumer WHERE name = $1", NAME) == horizon
