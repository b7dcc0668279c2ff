"""The server keeps the promises of its OpenAPI document, whatever is sent: no 5xx, no undocumented status or shape."""

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from onebook.api.app import ROOMS, operations_of
from onebook.api.express_stream import STREAM_PATH
from onebook.api.operation import Operation
from tests.acceptance.conftest import Api

MAX_EXAMPLES = 7
TOO_LARGE = 413
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
OPERATIONS = [
    operation
    for room in ROOMS
    for _, operation in operations_of(room.ROUTES)
    if operation.path != STREAM_PATH  # its answer has no end; see test_stream.py
]
FALLIBLE = [op for op in OPERATIONS if op.body is not None or op.query is not None]


@pytest.fixture(scope="module")
def document(api: Api) -> schemathesis.BaseSchema:
    """The document of the running server, and a venue, so that some of what is made up finds something."""
    place = {"name": "Alfama", "timezone": "Europe/Lisbon", "currency": "EUR", "market": "lisboa"}
    assert api.request("PUT", "/v1/venues/0", place).status in {200, 201}
    return schemathesis.openapi.from_url(f"{api.base_url}/openapi.json")


def keep(operation: Operation, document: schemathesis.BaseSchema, api: Api, mode: GenerationMode) -> None:
    """Send what Schemathesis makes up for an operation, and check every answer."""
    described = document[operation.path][operation.method]
    headers = {"authorization": f"Bearer {api.token()}"}

    @settings(
        max_examples=MAX_EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(described.as_strategy(mode))
    def send(case: "Case[Any]") -> None:
        response = case.call(api.base_url, headers=headers, timeout=10)
        # What is made up may be larger than any body may be, and is then refused for that before anybody looks into it.
        too_large = response.status_code == TOO_LARGE
        case.validate_response(response, checks=[c for c in CHECKS if not (too_large and c is negative_data_rejection)])

    send()


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda op: f"{op.method} {op.path}")
def test_what_fits_the_document_is_answered_as_documented(
    operation: Operation, document: schemathesis.BaseSchema, api: Api
) -> None:
    """Requests that the document allows get an answer that it names, in status, headers and shape."""
    keep(operation, document, api, GenerationMode.POSITIVE)


@pytest.mark.parametrize("operation", FALLIBLE, ids=lambda op: f"{op.method} {op.path}")
def test_what_does_not_fit_is_refused_as_documented(
    operation: Operation, document: schemathesis.BaseSchema, api: Api
) -> None:
    """Requests that the document does not allow are refused, in a way that it names."""
    keep(operation, document, api, GenerationMode.NEGATIVE)


def test_a_broken_promise_is_seen(api: Api) -> None:
    """The positive control: a document that leaves out a status that is answered does not pass."""
    promised = api.request("GET", "/openapi.json", token=None).json()
    del promised["paths"]["/v1/bookings/{id}"]["get"]["responses"]["404"]
    (operation,) = (op for op in OPERATIONS if (op.method, op.path) == ("GET", "/v1/bookings/{id}"))
    with pytest.raises(FailureGroup, match="Undocumented"):
        keep(operation, schemathesis.openapi.from_dict(promised), api, GenerationMode.POSITIVE)
