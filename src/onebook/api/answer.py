"""An answer before it is sent: status, headers and the finished body. Both paths, fast and slow, send these."""

from collections.abc import Sequence
from typing import Any

import msgspec

encode_json = msgspec.json.Encoder().encode

JSON = "application/json"
PROBLEM = "application/problem+json"


class Answer:
    """What goes to the client. `headers` leave out content-type and content-length, which follow from the rest."""

    __slots__ = ("body", "content_type", "headers", "status")

    def __init__(
        self, status: int, body: bytes, headers: Sequence[tuple[str, str]] = (), content_type: str = JSON
    ) -> None:
        self.status = status
        self.body = body
        self.headers = headers
        self.content_type = content_type


def answer(status: int, value: Any, *headers: tuple[str, str]) -> Answer:
    """A JSON answer."""
    return Answer(status, encode_json(value), headers)
