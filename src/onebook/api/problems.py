"""Every error that HTTP tells, as RFC 9457 problem documents with a stable `code`. Nothing else renders errors."""

from http import HTTPStatus
from typing import Any
from uuid import uuid4

import asyncpg
import msgspec
import structlog
from litestar.exceptions import HTTPException
from msgspec.structs import asdict

from onebook.api.answer import PROBLEM, Answer, encode_json
from onebook.api.tokens import BadToken
from onebook.checkout.failures import CheckoutRefused
from onebook.checkout.prices.seal import BadQuote
from onebook.ledger.failures import LedgerUnavailable, UnknownName, Unprocessable
from onebook.model.refusals import Refusal

RETRY_AFTER_SECONDS = 1

# The database is away, or does not answer in time. The request may be sent again.
_AWAY = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the driver's word for a connection that broke while it was handed out
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.QueryCanceledError,
    asyncpg.LockNotAvailableError,
)

# What the database itself refuses, when a request has slipped between a look and the checkout that began after it.
_GUARDS = {
    "booking_is_confirmed_by_its_checkout": ("checkout-under-way", "This booking is being paid for"),
    "booking_is_cancelled_with_its_settlement": ("booking-paid", "This booking was paid for meanwhile; send it again"),
    "booking_is_amended_with_its_money": ("booking-paid", "This booking was paid for meanwhile; send it again"),
}

log = structlog.get_logger()


class FieldError(msgspec.Struct, frozen=True, omit_defaults=True):
    """One field that is wrong: a JSON pointer into the body, or the name of a query parameter."""

    detail: str
    pointer: str | None = None
    parameter: str | None = None


class Problem(Exception):
    """A request that ends here; carries the problem document's own members."""

    def __init__(
        self, status: int, code: str, title: str, *, headers: tuple[tuple[str, str], ...] = (), **members: Any
    ) -> None:
        super().__init__(title)
        self.status = status
        self.code = code
        self.title = title
        self.headers = headers
        self.members = members


def problem_answer(problem: Problem) -> Answer:
    """The document of a problem."""
    document = {
        "type": f"urn:onebook:problem:{problem.code}",
        "title": problem.title,
        "status": problem.status,
        "code": problem.code,
        **{name: value for name, value in problem.members.items() if value is not None},
    }
    return Answer(problem.status, encode_json(document), problem.headers, PROBLEM)


def refusal_problem(refusal: Refusal, **members: Any) -> Problem:
    """The ledger's refusal, with its own figures."""
    return Problem(refusal.status, refusal.code, refusal.title, **asdict(refusal), **members)


def failure_answer(error: Exception) -> Answer:
    """The document of whatever was raised; what is not expected is logged under an id and told without details."""
    return problem_answer(problem_of(error))


def problem_of(error: Exception) -> Problem:
    """The problem that an exception stands for."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, Unprocessable):
        return invalid([located(error.pointer, error.detail)], code=error.code)
    if isinstance(error, UnknownName):
        return Problem(404, "not-found", "Not found", detail=error.detail, pointer=error.pointer)
    if isinstance(error, BadToken):
        return _unauthorized(str(error))
    if isinstance(error, CheckoutRefused):
        return refusal_problem(error.refusal)
    if isinstance(error, BadQuote):
        return invalid([FieldError(detail=str(error), pointer="/quote")], code="bad-quote")
    if isinstance(error, asyncpg.CheckViolationError) and error.constraint_name in _GUARDS:
        return Problem(409, *_GUARDS[error.constraint_name])
    if isinstance(error, LedgerUnavailable):
        return _unavailable(error.detail, error.retry_after_seconds)
    if isinstance(error, _AWAY):
        log.warning("dependency_away", reason=repr(error))
        return _unavailable("the database does not answer; send it again", RETRY_AFTER_SECONDS)
    if isinstance(error, HTTPException) and error.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
        return _of_framework(error)
    return _unexpected(error)


def invalid(errors: list[FieldError], code: str = "invalid") -> Problem:
    """JSON that means nothing, or a query that does: the first wrong field stands at the top as well."""
    first = errors[0]
    return Problem(
        422,
        code,
        "The request is well-formed, but not valid",
        detail=first.detail,
        pointer=first.pointer,
        parameter=first.parameter,
        errors=errors,
    )


def located(place: str, detail: str) -> FieldError:
    """An error at a JSON pointer; a place that is no pointer is a query parameter's name."""
    if place == "" or place.startswith("/"):
        return FieldError(detail=detail, pointer=place)
    return FieldError(detail=detail, parameter=place)


def scope_missing(scope: str) -> Problem:
    """The token is good, but not for this (RFC 6750, section 3.1)."""
    challenge = f'Bearer realm="onebook", error="insufficient_scope", scope="{scope}"'
    return Problem(
        403,
        "scope-missing",
        "The token does not allow this",
        headers=(("www-authenticate", challenge),),
        detail=f"this needs the scope {scope}",
        scope=scope,
    )


def _unauthorized(detail: str) -> Problem:
    challenge = f'Bearer realm="onebook", error="invalid_token", error_description="{detail}"'.encode("ascii", "ignore")
    return Problem(
        401,
        "unauthorized",
        "A valid token is needed",
        headers=(("www-authenticate", challenge.decode()),),
        detail=detail,
    )


def _unavailable(detail: str, retry_after_seconds: int) -> Problem:
    return Problem(
        503,
        "unavailable",
        "This cannot be answered now",
        headers=(("retry-after", str(retry_after_seconds)),),
        detail=detail,
    )


def _of_framework(error: HTTPException) -> Problem:
    """A route or a method that does not exist."""
    status = HTTPStatus(error.status_code)
    code = status.phrase.lower().replace(" ", "-")
    return Problem(status, code, status.phrase, headers=tuple((error.headers or {}).items()))


def _unexpected(error: Exception) -> Problem:
    identity = uuid4().hex
    log.error("request_failed", id=identity, exc_info=error)
    return Problem(
        500,
        "internal",
        "Something went wrong on our side",
        detail=f"the log has more under {identity}",
        id=identity,
    )
