"""Every route × every role, driven by the OpenAPI document itself."""

from contextlib import nullcontext
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
from litestar.routes import HTTPRoute

from onebook.api.app import create_app
from onebook.api.roles import SCOPES_OF_ROLE, Role
from tests.acceptance.conftest import Api

SIGNED = {"/v1/gateways/{gateway}/notifications"}
"""Who calls these is known by a signature."""

OPEN = {"/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"} | SIGNED


class Documented(NamedTuple):
    """An operation of the document; `scope` is None for one that is open."""

    method: str
    path: str
    scope: str | None


@pytest.fixture(scope="module")
def operations(api: Api) -> list[Documented]:
    """What the running server says it does."""
    paths = api.request("GET", "/openapi.json", token=None).json()["paths"]
    return [
        Documented(method.upper(), path, _scope(described))
        for path, methods in paths.items()
        for method, described in methods.items()
    ]


def _scope(described: dict[str, Any]) -> str | None:
    requirements = described["security"]
    return requirements[0]["bearer"][0] if requirements else None


def _filled(path: str) -> str:
    return path.replace("{id}", str(uuid4())).replace("{", "no-").replace("}", "")


def _attempt(api: Api, operation: Documented, token: str | None) -> int:
    """The status for a request that means nothing: whatever passes the gate changes nothing."""
    body: dict[str, Any] | None = {} if operation.method in {"POST", "PUT", "PATCH"} else None
    return api.request(operation.method, _filled(operation.path), body, token=token).status


@pytest.mark.parametrize("role", list(Role))
def test_a_role_may_what_its_scopes_say(api: Api, operations: list[Documented], role: Role) -> None:
    """A role passes where the document names one of its scopes, or none, and is 403 everywhere else."""
    token = api.token(role)
    for operation in operations:
        status = _attempt(api, operation, token)
        if operation.scope is None or operation.scope in SCOPES_OF_ROLE[role]:
            assert status not in {401, 403}, operation
            assert status < 500, operation
        else:
            assert status == 403, operation


@pytest.mark.parametrize("token", [None, "forged.to.ken"])
def test_nothing_but_what_is_open_goes_without_a_token(
    api: Api, operations: list[Documented], token: str | None
) -> None:
    """Without a good token everything that needs a scope is 401, before anything else is looked at."""
    for operation in operations:
        assert (_attempt(api, operation, token) == 401) == (operation.scope is not None), operation


def test_what_is_open_is_named_here(operations: list[Documented]) -> None:
    """Only the probes, the documentation and what is signed are open."""
    opened = {operation.path for operation in operations if operation.scope is None}
    assert {path for path in opened if not path.startswith("/docs/")} == OPEN


def test_every_route_is_documented(operations: list[Documented]) -> None:
    """No route exists that the document does not have, and none is documented that does not exist."""
    app = create_app(nullcontext)  # type: ignore[arg-type]  # never opened: only its routes are looked at
    served = {
        (method, route.path_format)
        for route in app.litestar.routes
        if isinstance(route, HTTPRoute)
        for method in route.methods - {"OPTIONS"}
    }
    assert served == {(operation.method, operation.path) for operation in operations}
