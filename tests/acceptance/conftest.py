"""A plain client for the shared server, and a venue to sell."""

import json
from collections.abc import Mapping
from http.client import HTTPConnection
from typing import Any
from uuid import uuid4

import pytest

from onebook.api.roles import Role
from tests.conftest import Server


class Reply:
    """One answer. Header names are lower-case."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    def json(self) -> Any:
        """The decoded body."""
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The stable code of a problem."""
        assert self.headers["content-type"] == "application/problem+json", self
        return str(self.json()["code"])

    def __repr__(self) -> str:
        return f"Reply({self.status}, {self.body[:500]!r})"


class Api:
    """Requests with a token of a role; `body` is JSON unless it is bytes."""

    def __init__(self, server: Server) -> None:
        self.base_url = server.url
        self._server = server

    def token(self, role: Role = Role.ADMIN, channel: str | None = None) -> str:
        """A token; the role channel sells as `atlas` unless another name is given."""
        if role is Role.CHANNEL and channel is None:
            channel = "atlas"
        return self._server.token(role, channel)

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = "",
        headers: Mapping[str, str] | None = None,
        chunked: bool = False,
        long_way: bool = False,
    ) -> Reply:
        """Send one request on a connection of its own. The token is an admin's unless given; None sends none.

        `chunked` sends the body without a Content-Length; `long_way` asks for the connection to be closed, which the
        express way leaves to the application.
        """
        sent = {"content-type": "application/json", **(headers or {})} if body is not None else dict(headers or {})
        if token is not None:
            sent["authorization"] = f"Bearer {token or self.token()}"
        if long_way:
            sent["connection"] = "close"
        raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        connection = HTTPConnection(self.base_url.removeprefix("http://"), timeout=30)
        try:
            payload = iter([raw]) if chunked else raw or None
            connection.request(method, path, payload, sent, encode_chunked=chunked)
            answer = connection.getresponse()
            names = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(answer.status, names, answer.read())
        finally:
            connection.close()

    def book(self, items: list[dict[str, Any]], *, key: str | None = None, **more: Any) -> Reply:
        """Place a booking under a key, a fresh one unless given; `token` and `long_way` as in `request`."""
        sending = {name: more.pop(name) for name in ("token", "long_way") if name in more}
        return self.request(
            "POST",
            "/v1/bookings",
            {"items": items, **more},
            headers={"idempotency-key": key or str(uuid4())},
            **sending,
        )


@pytest.fixture(scope="session")
def api(server: Server) -> Api:
    """The shared server, to be asked."""
    return Api(server)


@pytest.fixture
def venue(api: Api) -> str:
    """A new venue: three double rooms, a masseuse by the quarter of an hour, ten places in a late show."""
    code = f"v-{uuid4().hex[:12]}"
    place = {"name": "Alfama", "timezone": "Europe/Lisbon", "currency": "EUR", "market": f"market of {code}"}
    assert api.request("PUT", f"/v1/venues/{code}", place).status == 201
    resources = [
        {"code": "double", "kind": "room", "name": "Double", "capacity": 3, "grid": {"unit": "night"}},
        {
            "code": "ana",
            "kind": "staff",
            "name": "Ana",
            "capacity": 1,
            "grid": {"unit": "minute", "minutes": 15},
            "buffer_after": 15,
            "hours": {"tue": [["09:00", "18:00"]]},
        },
        {"code": "show", "kind": "activity", "name": "Show", "capacity": 10, "grid": {"unit": "session"}},
    ]
    assert api.request("POST", f"/v1/venues/{code}/resources:bulk", resources).status == 200
    show = {"from": "2026-12-24T20:00:00+00:00", "to": "2026-12-24T22:00:00+00:00"}
    assert api.request("PUT", f"/v1/venues/{code}/sessions/late", show).status == 201
    return code


def nights(venue: str, first: str = "2026-12-01", end: str = "2026-12-04", quantity: int = 1) -> dict[str, Any]:
    """An item: double rooms for some nights."""
    return {"resource": f"{venue}/double", "from": first, "to": end, "quantity": quantity}
