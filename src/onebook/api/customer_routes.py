"""Customers: kept, found, exported and erased."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import structlog
from litestar.handlers import HTTPRouteHandler

from onebook.api.answer import Answer, answer
from onebook.api.headers import expected_version, idempotency_key
from onebook.api.operation import Call, operation
from onebook.api.problems import refusal_problem
from onebook.api.roles import Scope
from onebook.api.wire_customers import (
    CustomerChange,
    CustomerChanged,
    CustomerRequest,
    CustomerSearch,
    CustomersFound,
    change_of,
)
from onebook.customers.customers import Created, Customer, Export
from onebook.customers.key_store import KeyGone, KeyStoreAway
from onebook.customers.refusals import Refused, UnknownCustomer
from onebook.ledger.failures import LedgerUnavailable
from onebook.ledger.identity import new_id

TAG = "Customers"
KEY_GONE_RETRY_SECONDS = 60

# Nothing between us and who asked keeps a person's data.
_PRIVATE = ("cache-control", "no-store")

log = structlog.get_logger()


@operation(
    method="POST",
    path="/v1/customers",
    summary="Keep a customer's profile, each field encrypted",
    tag=TAG,
    scope=Scope.CUSTOMERS_WRITE,
    body=CustomerRequest,
    headers=("Idempotency-Key", "traceparent"),
    answers={201: Created, 200: Created},
    problems=(409, 410),
)
async def create_customer(call: Call[CustomerRequest, None]) -> Answer:
    """The customer belongs to the token's channel. 201 once, then 200 with the same bytes for every repeat of the key."""
    with _refusals():
        created, is_new = await call.engine.customers.create(
            new_id(),
            call.principal.channel,
            key=idempotency_key(call.headers.get("idempotency-key")),
            canonical=call.canonical,
            change=change_of(call.body),
            traceparent=call.traceparent,
        )
    if is_new:
        return answer(201, created, ("location", f"/v1/customers/{created.id}"))
    return answer(200, created, ("idempotent-replayed", "true"))


@operation(
    method="POST",
    path="/v1/customers:search",
    summary="Customers with exactly this e-mail address, however it is written",
    tag=TAG,
    scope=Scope.CUSTOMERS_READ,
    body=CustomerSearch,
    answers={200: CustomersFound},
)
async def search_customers(call: Call[CustomerSearch, None]) -> Answer:
    """Found by a keyed hash: addresses are stored encrypted only."""
    with _refusals():
        found = await call.engine.customers.find(call.body.email, call.principal.only_channel)
    return answer(200, CustomersFound(found), _PRIVATE)


@operation(
    method="GET",
    path="/v1/customers/{id}",
    summary="One customer",
    tag=TAG,
    scope=Scope.CUSTOMERS_READ,
    answers={200: Customer},
    problems=(404, 410),
)
async def get_customer(call: Call[None, None]) -> Answer:
    """Another channel's customer is as good as none."""
    with _refusals():
        found = await call.engine.customers.get(*_whose(call))
    return answer(200, found, _etag(found.version), _PRIVATE)


@operation(
    method="PATCH",
    path="/v1/customers/{id}",
    summary="Change parts of a profile",
    tag=TAG,
    scope=Scope.CUSTOMERS_WRITE,
    body=CustomerChange,
    headers=("If-Match", "traceparent"),
    answers={200: CustomerChanged},
    problems=(404, 409, 410, 412),
)
async def patch_customer(call: Call[CustomerChange, None]) -> Answer:
    """A change that changes nothing leaves the version as it is."""
    identity, only = _whose(call)
    with _refusals():
        version = await call.engine.customers.change(
            identity,
            only,
            change_of(call.body),
            version=expected_version(call.headers.get("if-match")),
            traceparent=call.traceparent,
        )
    return answer(200, CustomerChanged(identity, version), _etag(version))


@operation(
    method="DELETE",
    path="/v1/customers/{id}",
    summary="Erase a customer: the key is destroyed, the id stays",
    tag=TAG,
    scope=Scope.CUSTOMERS_WRITE,
    headers=("traceparent",),
    answers={204: None},
    problems=(404,),
)
async def delete_customer(call: Call[None, None]) -> Answer:
    """Erasing again finds it done."""
    with _refusals():
        await call.engine.customers.erase(*_whose(call), call.traceparent)
    return Answer(204, b"")


@operation(
    method="GET",
    path="/v1/customers/{id}/export",
    summary="Everything that is held about a customer, bookings included",
    tag=TAG,
    scope=Scope.CUSTOMERS_READ,
    answers={200: Export},
    problems=(404, 410),
)
async def export_customer(call: Call[None, None]) -> Answer:
    """For the person, who has a right to it (GDPR, articles 15 and 20)."""
    with _refusals():
        exported = await call.engine.customers.export(*_whose(call))
    return answer(200, exported, _PRIVATE)


ROUTES: tuple[HTTPRouteHandler, ...] = (
    create_customer,
    search_customers,
    get_customer,
    patch_customer,
    delete_customer,
    export_customer,
)


@contextmanager
def _refusals() -> Iterator[None]:
    """The room's own errors as those that problems.py renders."""
    try:
        yield
    except Refused as error:
        raise refusal_problem(error.refusal) from error
    except KeyStoreAway as error:
        log.warning("key_store_away", reason=str(error))
        raise LedgerUnavailable("the key store does not answer; send it again") from error
    except KeyGone as error:
        # A database restored from before a rotation, or another keys folder: somebody has to bring the key back.
        log.error("key_gone", reason=str(error))
        raise LedgerUnavailable("the key of this customer cannot be opened here", KEY_GONE_RETRY_SECONDS) from error


def _whose(call: Call[Any, Any]) -> tuple[str, str | None]:
    """The customer that the path names, and the channel whose customers alone the caller sees."""
    try:
        return str(UUID(call.path["id"])), call.principal.only_channel
    except ValueError:
        raise refusal_problem(UnknownCustomer()) from None


def _etag(version: int) -> tuple[str, str]:
    return "etag", f'"{version}"'
