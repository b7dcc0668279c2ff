"""The HTTP client of `demo` and `replay`, against a server that is told what to answer."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.serving import serving

from onebook.ops import http_client
from onebook.ops.http_client import Client, ConnectionFailed

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HANG_UP = b""


class Last(bytes):
    """An answer after which the connection is closed."""


class Peer:
    """The server's end: requests and connections noted, each answered by the next line of the script.

    `HANG_UP` closes the connection without an answer; None leaves the request unanswered.
    """

    def __init__(self) -> None:
        self.url = ""
        self.connections = 0
        self.requests: list[bytes] = []
        self.script: list[bytes | None] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until either side closes it."""
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
                self.requests.append(head + await reader.readexactly(length))
                answer = self.script.pop(0)
                if answer is not None:
                    writer.write(answer)
                    await writer.drain()
                if answer == HANG_UP or isinstance(answer, Last):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    """A server on a free port."""
    peer = Peer()
    async with serving(peer.serve) as port:
        peer.url = f"http://127.0.0.1:{port}"
        yield peer


async def test_requests_share_a_kept_alive_connection(peer: Peer) -> None:
    """Requests made one after another travel over one connection, with their JSON, token and headers."""
    peer.script = [OK, b'HTTP/1.1 201 Created\r\nX-A: 1\r\nX-A: 2\r\nContent-Length: 7\r\n\r\n{"a":1}']
    bearer = "t0"
    async with Client(peer.url + "/base/") as client:
        first = await client.request("GET", "/a")
        second = await client.request("POST", "/b", json={"n": 1}, token=bearer, headers={"Idempotency-Key": "k"})
    assert (first.status, first.body) == (200, b"ok")
    assert (second.status, second.json(), second.headers["x-a"]) == (201, {"a": 1}, "1, 2")
    assert second.seconds > 0
    assert peer.connections == 1
    assert peer.requests[0].startswith(b"GET /base/a HTTP/1.1\r\nhost: 127.0.0.1:")
    head, _, body = peer.requests[1].partition(b"\r\n\r\n")
    assert b"authorization: Bearer t0" in head
    assert b"idempotency-key: k" in head
    assert body == b'{"n":1}'


async def test_connections_are_bounded(peer: Peer) -> None:
    """However many requests are made at once, no more than `connections` are opened."""
    peer.script = [OK] * 20
    async with Client(peer.url, connections=3) as client:
        await asyncio.gather(*(client.request("GET", "/") for _ in range(20)))
    assert 1 <= peer.connections <= 3


async def test_chunks_are_joined(peer: Peer) -> None:
    """A chunked body, with extensions and trailers, is read whole and leaves the connection usable."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    peer.script = [head + b"3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nT: 1\r\n\r\n", OK]
    async with Client(peer.url) as client:
        assert (await client.request("GET", "/")).body == b"abc0123456789"
        assert (await client.request("GET", "/")).body == b"ok"
    assert peer.connections == 1


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n"]
)
async def test_a_connection_that_the_server_ends_is_not_kept(peer: Peer, head: bytes) -> None:
    """A body delimited by the end of its connection, or `Connection: close`, makes the next request open another."""
    peer.script = [Last(head + b"\r\nall"), OK]
    async with Client(peer.url) as client:
        assert (await client.request("POST", "/")).body == b"all"
        assert (await client.request("POST", "/")).body == b"ok"
    assert peer.connections == 2


@pytest.mark.parametrize(("method", "headers"), [("GET", {}), ("PUT", {}), ("POST", {"Idempotency-Key": "k"})])
async def test_a_stale_connection_is_replaced(peer: Peer, method: str, headers: dict[str, str]) -> None:
    """A request that may be repeated is, over a new connection, when the kept one was closed by the server."""
    peer.script = [OK, HANG_UP, OK]
    async with Client(peer.url) as client:
        await client.request("GET", "/")
        assert (await client.request(method, "/", headers=headers)).body == b"ok"
    assert peer.connections == 2


async def test_a_request_that_could_act_twice_is_not_repeated(peer: Peer) -> None:
    """A POST without a key, met by a closed connection, fails: the server may have acted on it."""
    peer.script = [OK, HANG_UP, OK]
    async with Client(peer.url) as client:
        await client.request("GET", "/")
        with pytest.raises(ConnectionFailed, match="closed before an answer"):
            await client.request("POST", "/")
    assert len(peer.requests) == 2


async def test_a_new_connection_that_is_closed_fails(peer: Peer) -> None:
    """A server that hangs up on a fresh connection is asked once, not for ever."""
    peer.script = [HANG_UP]
    async with Client(peer.url) as client:
        with pytest.raises(ConnectionFailed):
            await client.request("GET", "/")


async def test_silence_ends_in_time_and_its_connection_is_dropped(peer: Peer) -> None:
    """A request without an answer fails after `timeout_seconds`, and a late answer is never taken for the next one."""
    peer.script = [None, OK]
    async with Client(peer.url, connections=1, timeout_seconds=0.2) as client:
        with pytest.raises(ConnectionFailed, match=r"no answer to GET / in 0\.2 s"):
            await client.request("GET", "/")
        assert (await client.request("GET", "/")).body == b"ok"
    assert peer.connections == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 101,
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * http_client.MAX_HEAD_BYTES + b"\r\n\r\n",
    ],
    ids=["length", "chunk", "until-close", "head"],
)
async def test_an_oversized_answer_is_refused(peer: Peer, answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer beyond the limits fails as soon as that is known, whichever way its length is told."""
    monkeypatch.setattr(http_client, "MAX_BODY_BYTES", 100)
    peer.script = [Last(answer)]
    async with Client(peer.url) as client:
        with pytest.raises(ConnectionFailed, match="exceeds"):
            await client.request("GET", "/")


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhal",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n-2\r\n",
    ],
)
async def test_a_malformed_answer_fails(peer: Peer, answer: bytes) -> None:
    """What is not HTTP/1.1, or breaks off in the middle, is trouble with the connection and nothing else."""
    peer.script = [Last(answer)]
    async with Client(peer.url) as client:
        with pytest.raises(ConnectionFailed):
            await client.request("GET", "/")


async def test_nobody_there(unused_tcp_port: int) -> None:
    """A refused connection says whom it could not reach."""
    async with Client(f"http://127.0.0.1:{unused_tcp_port}") as client:
        with pytest.raises(ConnectionFailed, match=f"cannot reach 127.0.0.1:{unused_tcp_port}"):
            await client.request("GET", "/")


async def test_a_line_break_never_reaches_the_wire(peer: Peer) -> None:
    """A token with the newline of the file it came from is refused before anything is sent."""
    from_a_file = "t0\n"
    async with Client(peer.url) as client:
        with pytest.raises(ValueError, match="line break"):
            await client.request("GET", "/", token=from_a_file)
    assert peer.connections == 0


@pytest.mark.parametrize("url", ["", "localhost:8080", "ftp://host", "http://"])
def test_what_is_not_an_http_url_is_refused(url: str) -> None:
    """A base URL without an http or https scheme and a host is an error at once."""
    with pytest.raises(ValueError, match="not an http or https URL"):
        Client(url)
