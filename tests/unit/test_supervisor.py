"""What the supervisor does when processes end."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from onebook import supervisor
from onebook.child import DidNotStart
from onebook.config import load
from onebook.embedded.errors import EmbeddedError
from onebook.embedded.folder import DataFolder
from onebook.supervisor import CannotServe, Supervisor, _Part


@pytest.fixture
async def watching(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    """A supervisor of nothing yet, that does not wait between restarts."""
    monkeypatch.setattr(supervisor, "PAUSE_SECONDS", 0.0)
    return Supervisor(load(None), DataFolder(tmp_path), lambda _name, _seconds: None, quiet=True)


async def _dies() -> int:
    return 1


def _starts(outcomes: list[Exception | None], tried: asyncio.Event) -> Callable[[], Awaitable[None]]:
    """Start as the outcomes say, then never end starting."""

    async def start() -> None:
        if not outcomes:
            tried.set()
            await asyncio.Event().wait()
        outcome = outcomes.pop(0)
        if outcome is not None:
            raise outcome

    return start


@pytest.mark.parametrize("error", [DidNotStart("no"), EmbeddedError("no", "why", "do"), OSError("no memory")])
async def test_what_bookings_can_do_without_is_started_for_ever(watching: Supervisor, error: Exception) -> None:
    """A relay that dies at once or cannot be started, a hundred times, does not stop the server."""
    tried = asyncio.Event()
    keeping = asyncio.create_task(watching._keep(_Part("relay", _dies, _starts([None, error] * 50, tried), False)))
    await asyncio.wait_for(tried.wait(), 5)
    assert not watching.failed.done()
    keeping.cancel()


async def test_a_worker_that_keeps_dying_is_a_fault(watching: Supervisor) -> None:
    """After MAX_RESTARTS within the window the server stops, and says what keeps dying."""
    await asyncio.wait_for(watching._keep(_Part("a worker", _dies, _starts([None] * 100, asyncio.Event()))), 5)
    with pytest.raises(CannotServe, match="a worker keeps dying"):
        watching.failed.result()


async def test_a_watcher_that_fails_is_not_silent(watching: Supervisor) -> None:
    """Whatever ends the watching of a process ends the server, with the reason."""
    watcher = asyncio.create_task(
        watching._keep(_Part("relay", _dies, _starts([RuntimeError("odd")], asyncio.Event())))
    )
    watcher.add_done_callback(watching._look_why)
    await asyncio.wait([watcher], timeout=5)
    with pytest.raises(CannotServe, match="odd"):
        await asyncio.wait_for(watching.failed, 5)
