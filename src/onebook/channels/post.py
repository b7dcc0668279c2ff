"""One attempt: an event, signed, posted to an endpoint, and what came back. Never raises for what a partner does."""

from datetime import UTC, datetime
from importlib.metadata import version
from time import perf_counter

import aiohttp
import msgspec

from onebook.channels.endpoints import Endpoint
from onebook.channels.retry import retry_after_seconds

EXCERPT_BYTES = 1024
_AGENT = f"Onebook-Webhooks/{version('onebook')}"


class Reply(msgspec.Struct, frozen=True):
    """How an attempt went: either they answered, or `error` says why not."""

    at: datetime
    latency_ms: float
    status_code: int | None = None
    excerpt: str | None = None
    error: str | None = None
    retry_after: float | None = None


class Post:
    """The HTTP client. Keeps connections; follows no redirect; knows no proxy and no cookie; reads no more than an excerpt."""

    def __init__(self, connector: aiohttp.BaseConnector, timeout_seconds: float) -> None:
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=timeout_seconds),
            auto_decompress=False,
            trust_env=False,
        )

    async def close(self) -> None:
        """End all connections."""
        await self._session.close()

    async def send(self, endpoint: Endpoint, message_id: str, body: bytes, traceparent: str | None) -> Reply:
        """Try once. The timestamp is that of the attempt, so that a late retry is not taken for a replayed request."""
        at = datetime.now(UTC)
        began = perf_counter()
        headers = {
            "content-type": "application/cloudevents+json",
            "user-agent": _AGENT,
            "webhook-id": message_id,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": endpoint.signatures(message_id, at, body),
        }
        if traceparent is not None:
            headers["traceparent"] = traceparent
        try:
            async with self._session.post(endpoint.url, data=body, headers=headers, allow_redirects=False) as response:
                excerpt = await _excerpt(response)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            return Reply(at, _since(began), error=_reason(error))
        return Reply(
            at,
            _since(began),
            status_code=response.status,
            excerpt=excerpt,
            retry_after=retry_after_seconds(response.headers.get("retry-after"), at),
        )


async def _excerpt(response: aiohttp.ClientResponse) -> str:
    """The beginning of an answer. One that ends short is none the worse: its status has come."""
    raw = b""
    try:
        while len(raw) <= EXCERPT_BYTES:
            chunk = await response.content.read(EXCERPT_BYTES + 1 - len(raw))
            if not chunk:
                break
            raw += chunk
    except (aiohttp.ClientError, OSError, TimeoutError):
        response.close()  # it stays with what has come
    if len(raw) > EXCERPT_BYTES:
        response.close()  # the rest is not wanted, however long it is
    # PostgreSQL's text has no room for NUL.
    return raw[:EXCERPT_BYTES].decode("utf-8", "replace").replace("\0", "\ufffd")


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return f"{type(error).__name__}: {error}"[:500].replace("\0", "\ufffd")


def _since(began: float) -> float:
    return round((perf_counter() - began) * 1000, 3)
