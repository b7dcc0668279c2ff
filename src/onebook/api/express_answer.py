"""What the express ways share: when one may be taken, and an answer as bytes."""

from collections.abc import Iterable
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from onebook.api.answer import Answer

_NOT_MODIFIED = 304


class NoWaiters:
    """What uvicorn wakes when a connection is lost: nobody waits for messages here."""

    @staticmethod
    def set() -> None:
        """Wake nobody."""


def may_answer(protocol: Any) -> bool:
    """Whether a request that has just come in may be answered from the protocol itself."""
    return (
        (protocol.cycle is None or protocol.cycle.response_complete)
        and not protocol.flow.write_paused
        and not protocol.parser.should_upgrade()
        and protocol.parser.should_keep_alive()
        and protocol.parser.get_http_version() == "1.1"
        and protocol.app.engine is not None
    )


def head_of(answered: Answer, default_headers: Iterable[tuple[bytes, bytes]], keep_alive: bool = True) -> bytes:
    """Status line and headers, with the empty line. What is not modified has no body and tells of none."""
    parts = [STATUS_LINE[answered.status]]
    for name, value in default_headers:
        parts += (name, b": ", value, b"\r\n")
    for title, text in answered.headers:
        parts.append(f"{title}: {text}\r\n".encode("latin-1"))
    if not keep_alive:
        parts.append(b"connection: close\r\n")
    if answered.status != _NOT_MODIFIED:
        parts.append(
            b"content-type: %b\r\ncontent-length: %d\r\n" % (answered.content_type.encode(), len(answered.body))
        )
    parts.append(b"\r\n")
    return b"".join(parts)
