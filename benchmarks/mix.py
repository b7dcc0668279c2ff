"""What the load generator asks for: holds, holds that are paid for, or reads of what is listed in a file."""

import random
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

STAY_NIGHTS = 3
PLACED = re.compile(rb'\{"id":"([0-9a-f-]{36})","status":"held"')


@dataclass(frozen=True, slots=True)
class Load:
    """What to send where, and when to stop: after `seconds`, or after `requests` if that is sooner."""

    url: str
    token: str
    connections: int
    seconds: int
    requests: int | None
    rate: int | None
    """Requests a second, sent when they are due and not when the one before was answered; None: as fast as they are."""
    reads: Path | None
    """What to GET, a line each: the target, and behind a tab the ETag that the client has. None: holds are asked for."""
    pays: bool
    """Have each hold paid for as soon as it is placed: both are one request here, answered with the checkout's answer."""
    resources: int
    first_night: date
    nights: int
    seed: int

    def headers(self) -> list[str]:
        """What every request begins with, below its first line."""
        return [f"Host: {urlsplit(self.url).netloc}", f"Authorization: Bearer {self.token}"]


class Mix(Protocol):
    """One request after the other, whole, as it goes out."""

    def request(self, number: int) -> bytes:
        """The request of that number, which no other has."""

    def follow_up(self, answer: bytes) -> bytes | None:
        """What is asked next, of what was answered; None: that was all."""


def mix_of(load: Load) -> Mix:
    """What this load sends."""
    if load.reads is not None:
        return _Reads(load, load.reads)
    return _Checkouts(load) if load.pays else _Holds(load)


def stays(load: Load) -> list[str]:
    """The end of a request's body, for each date of arrival within the window."""
    arrivals = (load.first_night + timedelta(days=n) for n in range(load.nights - STAY_NIGHTS + 1))
    return [
        f'"from":"{arrival}","to":"{arrival + timedelta(days=STAY_NIGHTS)}","quantity":1}}]}}' for arrival in arrivals
    ]


def new_run() -> str:
    """Makes the idempotency keys of this run different from those of every other."""
    return secrets.token_hex(8)


class _Holds:
    def __init__(self, load: Load) -> None:
        self._random = random.Random(load.seed)
        self._stays = [stay.encode() for stay in stays(load)]
        run = new_run()
        self._heads = [self._head(load, run, number) for number in range(load.resources)]

    def request(self, number: int) -> bytes:
        head, body = self._random.choice(self._heads)
        return b"%s%d\r\n\r\n%s%s" % (head, number, body, self._random.choice(self._stays))

    def follow_up(self, answer: bytes) -> bytes | None:
        return None

    def _head(self, load: Load, run: str, number: int) -> tuple[bytes, bytes]:
        """A request up to the last digits of its key, and the beginning of its body."""
        body = f'{{"items":[{{"resource":"bench/r{number}",'
        lines = (
            "POST /v1/bookings HTTP/1.1",
            *load.headers(),
            "Content-Type: application/json",
            f"Content-Length: {len(body) + len(self._stays[0])}",
            f"Idempotency-Key: {run}-0-",
        )
        return "\r\n".join(lines).encode(), body.encode()


class _Checkouts(_Holds):
    def __init__(self, load: Load) -> None:
        super().__init__(load)
        body = '{"payment":{"token":"tok_ok"}}'
        lines = (
            "HTTP/1.1",
            *load.headers(),
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            "Idempotency-Key: pay",  # each booking has its own keys
        )
        self._payment = "\r\n".join([*lines, "", body]).encode()

    def follow_up(self, answer: bytes) -> bytes | None:
        placed = PLACED.match(answer)
        return None if placed is None else b"POST /v1/bookings/%s/checkout %s" % (placed[1], self._payment)


class _Reads:
    def __init__(self, load: Load, file: Path) -> None:
        self._random = random.Random(load.seed)
        self._tail = "\r\n".join([*load.headers(), "", ""]).encode()
        self._lines = [self._line(text) for text in file.read_text().splitlines()]

    def request(self, number: int) -> bytes:
        return self._random.choice(self._lines) + self._tail

    def follow_up(self, answer: bytes) -> bytes | None:
        return None

    def _line(self, text: str) -> bytes:
        target, _, etag = text.partition("\t")
        condition: Sequence[str] = [f"If-None-Match: {etag}"] if etag else []
        return "\r\n".join([f"GET {target} HTTP/1.1", *condition, ""]).encode()
