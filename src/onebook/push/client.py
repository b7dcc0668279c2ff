"""What the hub knows of a client, whichever transport it came by."""

from enum import StrEnum
from typing import Protocol

from onebook.push.frames import Filter, Wire


class Ending(StrEnum):
    """Why the server ends a stream; told to the client as `code`."""

    TOO_SLOW = "too-slow"
    """It does not read as fast as there is something to tell."""
    TOKEN_EXPIRED = "token-expired"  # noqa: S105  # a reason, no secret
    RESTARTING = "restarting"
    """Connect again: another worker, or this one's successor, goes on where this one stopped."""
    UNAVAILABLE = "unavailable"
    """What was missed cannot be read now."""

    @property
    def note(self) -> str:
        """The name of the last event: `dropped` where the client has to change something, else `bye`."""
        return "dropped" if self in {Ending.TOO_SLOW, Ending.TOKEN_EXPIRED} else "bye"


class Client(Protocol):
    """One who listens. Nothing here waits but `drained`."""

    wire: Wire
    filter: Filter
    expires_at: float
    """When its token expires, in seconds since the Unix epoch."""
    is_gone: bool
    """Whether the connection is lost or has been ended."""

    def backlog_bytes(self) -> int:
        """What has been written and has not left this process."""

    def write(self, payload: bytes) -> None:
        """Send it some time soon."""

    async def drained(self) -> None:
        """Returns when the backlog is small, or the client is gone."""

    def end(self, ending: Ending) -> None:
        """Tell why, and close; what does not drain within seconds is cut off."""
