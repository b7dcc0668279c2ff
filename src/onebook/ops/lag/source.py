"""Where a reading of a running server comes from: its open metrics, or its API where only that is in reach."""

import asyncio
from typing import Protocol

import msgspec

from onebook.ops.http_client import Answer, Client
from onebook.readings.pipeline import Pipeline, pipeline_of
from onebook.readings.scrape import Scrape, scrape_text

WINDOW_SECONDS = 1.0


class NoReading(Exception):
    """The server answered with something else; the message says with what."""

    def __init__(self, message: str, status: int = 200) -> None:
        super().__init__(message)
        self.is_refusal = status in (401, 403)


class Source(Protocol):
    """Readings, one after the other, each of the time since the last one."""

    async def next(self) -> Pipeline:
        """The next one, after WINDOW_SECONDS. Raises NoReading, or ConnectionFailed when nobody answers."""


class Metrics:
    """Readings of the metrics, which need no token."""

    def __init__(self, http: Client) -> None:
        self._http = http
        self._before: Scrape | None = None

    async def next(self) -> Pipeline:
        """Compares with the scrape of the reading before; the first one takes two."""
        before, self._before = self._before, None  # after a failure the window begins anew
        if before is None:
            before = await self._scrape()
        elapsed = asyncio.get_running_loop().time() - before.taken_at
        await asyncio.sleep(max(0.0, WINDOW_SECONDS - elapsed))
        self._before = await self._scrape()
        return pipeline_of(self._before, before)

    async def _scrape(self) -> Scrape:
        answer = _expect_ok(await self._http.request("GET", "/metrics"))
        try:
            return scrape_text(answer.body.decode(), asyncio.get_running_loop().time())
        except ValueError as error:
            raise NoReading(f"/metrics is not what Prometheus reads: {error}") from error


class Api:
    """Readings of a server elsewhere, with a token that may read operations."""

    def __init__(self, http: Client, token: str) -> None:
        self._http = http
        self._token = token

    async def next(self) -> Pipeline:
        """The server itself looks for the window."""
        path = f"/v1/pipeline?seconds={WINDOW_SECONDS:g}"
        answer = _expect_ok(await self._http.request("GET", path, token=self._token))
        try:
            return msgspec.json.decode(answer.body, type=Pipeline)
        except msgspec.DecodeError as error:
            raise NoReading(f"/v1/pipeline is not a reading: {error}") from error


def _expect_ok(answer: Answer) -> Answer:
    if answer.status != 200:
        raise NoReading(f"it answered {answer.status}: {answer.body[:200].decode(errors='replace')}", answer.status)
    return answer
