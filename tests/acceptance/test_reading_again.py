"""One connection that asks for availability again and again: what is answered without being parsed is what parsing would say."""

import socket
from collections.abc import Iterator
from http.client import HTTPResponse
from urllib.parse import urlsplit

import pytest

from onebook.api.roles import Role
from tests.acceptance.conftest import Api

QUERY = "venue=again&from=2027-03-01&to=2027-03-04"


class _Replies:
    """What an HTTPResponse takes for a socket: several read from it in turn, and none takes what belongs to the next."""

    def __init__(self, connection: socket.socket) -> None:
        self._file = connection.makefile("rb")

    def makefile(self, _mode: str) -> "_Replies":
        """One buffer for all of them."""
        return self

    def readline(self, limit: int = -1) -> bytes:
        """A line of the head."""
        return self._file.readline(limit)

    def read(self, size: int = -1) -> bytes:
        """A part of the body."""
        return self._file.read(size)

    def flush(self) -> None:
        """Nothing is written here."""

    def close(self) -> None:
        """A response that has been read leaves the connection open."""


class Line:
    """A connection, and the bytes that go over it as they are."""

    def __init__(self, url: str, token: str) -> None:
        parts = urlsplit(url)
        self._socket = socket.create_connection((parts.hostname, parts.port), timeout=10)
        self._replies = _Replies(self._socket)
        self.token = token

    def request(self, query: str = QUERY, *, token: str | None = None, more: str = "") -> bytes:
        """A request's bytes."""
        return (
            f"GET /v1/availability?{query} HTTP/1.1\r\nHost: onebook\r\n"
            f"Authorization: Bearer {token or self.token}\r\n{more}\r\n"
        ).encode()

    def send(self, data: bytes) -> None:
        """Send bytes in one piece."""
        self._socket.sendall(data)

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """The next answer."""
        response = HTTPResponse(self._replies, method="GET")  # type: ignore[arg-type]
        response.begin()
        return response.status, dict(response.getheaders()), response.read()

    def ask(self, query: str = QUERY, *, token: str | None = None, more: str = "") -> tuple[int, dict[str, str], bytes]:
        """Send a request and read its answer."""
        self.send(self.request(query, token=token, more=more))
        return self.answer()

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


@pytest.fixture
def line(api: Api) -> Iterator[Line]:
    """A connection of an operator, and a venue with two kinds of room."""
    api.request(
        "PUT",
        "/v1/venues/again",
        {"name": "Again", "timezone": "Europe/Lisbon", "currency": "EUR", "market": "lisboa"},
    )
    for code in ("a", "b"):
        room = {"kind": "room", "name": code, "capacity": 30, "grid": {"unit": "night"}}
        api.request("PUT", f"/v1/venues/again/resources/{code}", room)
        api.request("GET", f"/v1/availability?{QUERY}&resource_version=again/{code}:1")
    opened = Line(api.base_url, api.token(Role.OPERATOR))
    yield opened
    opened.close()


def test_the_second_answer_is_the_first_but_for_the_time(line: Line) -> None:
    """Asked again on one connection, the same comes again."""
    first, second, third = line.ask(), line.ask(), line.ask()
    assert first[0] == second[0] == third[0] == 200
    assert first[2] == second[2] == third[2]
    passing = {"date": "", "onebook-cursor": ""}
    assert {**first[1], **passing} == {**second[1], **passing} == {**third[1], **passing}
    assert first[1]["onebook-cursor"] and third[1]["onebook-cursor"]


def test_another_query_has_its_own_answer(line: Line) -> None:
    """The connection remembers who asks, not what."""
    of_a, of_b = f"{QUERY}&resource=a", f"{QUERY}&resource=b"
    answers = [line.ask(query)[2] for query in (of_a, of_b, of_a, of_b)]
    assert answers[0] == answers[2] and answers[1] == answers[3]
    assert b"again/a" in answers[0] and b"again/b" in answers[1]


def test_a_booking_shows_in_the_next_answer(line: Line, api: Api) -> None:
    """A kept answer stands only while nothing of it has moved."""
    query = f"{QUERY}&resource=a"
    before = [line.ask(query)[2] for _ in range(2)]
    booked = api.request(
        "POST",
        "/v1/bookings",
        {"items": [{"resource": "again/a", "from": "2027-03-01", "to": "2027-03-02"}]},
        headers={"Idempotency-Key": "again-shows"},
    ).json()
    version = booked["items"][0]["version"]
    status, _, reached = line.ask(f"{query}&resource_version=again/a:{version}")
    assert status == 200 and b"behind" not in reached
    assert line.ask(query)[2] == line.ask(query)[2] != before[1] == before[0]


def test_a_badtoken_is_refused_on_a_good_connection(line: Line) -> None:
    """Other headers are looked at anew."""
    assert [line.ask()[0] for _ in range(2)] == [200, 200]
    assert line.ask(token=f"{line.token}x")[0] == 401
    assert line.ask()[0] == 200


def test_requests_in_one_piece_are_all_answered(line: Line) -> None:
    """Pipelined requests go through the parser, in order."""
    assert [line.ask()[0] for _ in range(2)] == [200, 200]
    line.send(line.request(f"{QUERY}&resource=a") + line.request(f"{QUERY}&resource=b"))
    assert b"again/a" in line.answer()[2]
    assert b"again/b" in line.answer()[2]


def test_a_request_in_two_pieces_is_answered(line: Line) -> None:
    """A head that arrives in pieces is parsed."""
    assert [line.ask()[0] for _ in range(2)] == [200, 200]
    data = line.request()
    line.send(data[:40])
    line.send(data[40:])
    assert line.answer()[0] == 200


def test_who_knows_it_already_is_told_so(line: Line) -> None:
    """If-None-Match is honoured on a connection that asked without it before."""
    etag = line.ask()[1]["etag"]
    line.ask()
    assert line.ask(more=f"If-None-Match: {etag}\r\n")[0] == 304
    assert line.ask()[0] == 200


def test_a_query_that_cannot_be_is_explained(line: Line) -> None:
    """What was never answered is parsed, and refused as ever."""
    assert [line.ask()[0] for _ in range(2)] == [200, 200]
    assert line.ask("venue=again&from=2027-03-04&to=2027-03-01")[0] == 422
