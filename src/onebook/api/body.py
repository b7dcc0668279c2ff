"""Reading a request's body within bounds of size and time."""

import asyncio
from typing import Any

from onebook.api.problems import Problem

MAX_BODY_BYTES = 64 * 1024
MAX_BULK_BYTES = 10 * 1024 * 1024
BODY_SECONDS = 10.0
MAX_DRAINED_BYTES = 16 * 1024 * 1024

# What is left of a body that was not read would be taken for the next request.
_CLOSE = (("connection", "close"),)


async def read_body(receive: Any, announced_bytes: int, max_bytes: int) -> bytes:
    """The whole body. Raises Problem 413 beyond `max_bytes`, announced or not, and 408 after BODY_SECONDS."""
    if announced_bytes > MAX_DRAINED_BYTES:
        raise _too_large(max_bytes)
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await _read(receive, max_bytes)
    except TimeoutError as error:
        raise Problem(408, "body-timeout", "The body did not arrive in time", headers=_CLOSE) from error


async def _read(receive: Any, max_bytes: int) -> bytes:
    """What is too much is still taken in, up to a bound, since many clients read no answer before they have sent all."""
    chunks: list[bytes] = []
    total = 0
    while total <= MAX_DRAINED_BYTES:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Problem(400, "body-incomplete", "The client hung up before the body was complete")
        chunk = message.get("body", b"")
        total += len(chunk)
        if total <= max_bytes:
            chunks.append(chunk)
        if not message.get("more_body", False):
            break
    if total > max_bytes:
        raise _too_large(max_bytes)
    return b"".join(chunks)


def _too_large(max_bytes: int) -> Problem:
    return Problem(
        413, "too-large", "The body is too large", headers=_CLOSE, detail=f"send at most {max_bytes} bytes here"
    )
