"""What the express ways share: when one may be taken, and an answer as bytes."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from onebook.api.answer import Answer

_OK = 200
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


class Opening:
    """The beginning of every 200: the status line and the headers that change once a second, with the date."""

    def __init__(self) -> None:
        self._made_of: Sequence[tuple[bytes, bytes]] = ()
        self._made = STATUS_LINE[_OK]

    def of(
        self, default_headers: Sequence[tuple[bytes, bytes]], more: Callable[[], Iterable[tuple[bytes, bytes]]]
    ) -> bytes:
        """The lines, made when the server has put a new list of headers in place."""
        if default_headers is not self._made_of:
            self._made = STATUS_LINE[_OK] + _lines(default_headers) + _lines(more())
            self._made_of = default_headers
        return self._made


def head_of(answered: Answer, default_headers: Iterable[tuple[bytes, bytes]], keep_alive: bool = True) -> bytes:
    """Status line and headers, with the empty line."""
    return STATUS_LINE[answered.status] + _lines(default_headers) + own_head_of(answered, keep_alive)


def own_head_of(answered: Answer, keep_alive: bool = True) -> bytes:
    """The headers of this answer, with the empty line. What is not modified has no body and tells of none."""
    parts = [f"{title}: {text}\r\n".encode("latin-1") for title, text in answered.headers]
    if not keep_alive:
        parts.append(b"connection: close\r\n")
    if answered.status != _NOT_MODIFIED:
        parts.append(
            b"content-type: %b\r\ncontent-length: %d\r\n" % (answered.content_type.encode(), len(answered.body))
        )
    parts.append(b"\r\n")
    return b"".join(parts)


def _lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    return b"".join(b"%b: %b\r\n" % header for header in headers)
