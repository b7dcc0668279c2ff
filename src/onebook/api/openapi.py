"""The OpenAPI 3.1 document, made from the records that the routes run by."""

import re
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

import msgspec

from onebook.api.answer import PROBLEM
from onebook.api.headers import DESCRIPTIONS
from onebook.api.operation import Operation
from onebook.api.wire import CODE_PATTERN, ProblemDocument

Json = dict[str, Any]

_PARAMETER = re.compile(r"\{(\w+)\}")
_REF = "#/components/schemas/{name}"
_CODE = {"type": "string", "pattern": f"^{CODE_PATTERN}$"}
_ID = {"type": "string", "format": "uuid"}
_HEADERS_OF_STATUS = {
    401: {"WWW-Authenticate": "What is wrong with the token (RFC 6750)."},
    403: {"WWW-Authenticate": "The scope that is missing (RFC 6750)."},
    503: {"Retry-After": "Seconds after which to send it again."},
}
_DESCRIPTION = """One ledger for everything that is sold by time, and every channel in lock-step.

Errors are RFC 9457 problem documents with a stable `code`; 4xx name the offending field by JSON pointer, or the query
parameter. Bodies are at most 64 KiB (10 MiB for bulk routes). Status 429 with `Retry-After` is reserved.
"""


def document_of(operations: Sequence[tuple[str, Operation]]) -> Json:
    """The document of operations, each with its id. `security` names the scope that each needs."""
    schemas = _Schemas(operations)
    paths: dict[str, Json] = {}
    for name, operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(name, operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Onebook",
            "version": version("onebook"),
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


class _Schemas:
    """The JSON schemas of all shapes; one that is no struct of its own is written where it is used."""

    def __init__(self, operations: Iterable[tuple[str, Operation]]) -> None:
        shapes: list[Any] = [ProblemDocument]
        for _, operation in operations:
            shapes += [shape for shape in operation.answers.values() if shape is not None]
            shapes += [shape for shape in (operation.body, operation.query) if shape is not None]
        schemas, components = msgspec.json.schema_components(shapes, ref_template=_REF)
        self.components = _portable(components)
        self._by_shape = {id(shape): _portable(schema) for shape, schema in zip(shapes, schemas, strict=True)}

    def of(self, shape: Any) -> Json:
        """The schema of a shape that an operation names."""
        found: Json = self._by_shape[id(shape)]
        return found

    def properties(self, shape: Any) -> Iterable[tuple[str, Json, bool]]:
        """A struct's fields: name, schema, whether required."""
        schema = self.components[self.of(shape)["$ref"].rpartition("/")[2]]
        for name, field in schema["properties"].items():
            yield name, field, name in schema.get("required", ())


def _described(name: str, operation: Operation, schemas: _Schemas) -> Json:
    described: Json = {
        "operationId": name,
        "summary": operation.summary,
        "tags": [operation.tag],
        "security": [] if operation.scope is None else [{"bearer": [operation.scope.value]}],
        "parameters": [
            *_path_parameters(operation),
            *_header_parameters(operation),
            *_query_parameters(operation, schemas),
        ],
        "responses": {
            **{str(status): _answer(status, shape, operation, schemas) for status, shape in operation.answers.items()},
            **{str(status): _problem(status, schemas) for status in problems_of(operation)},
        },
    }
    if operation.body is not None:
        described["requestBody"] = {
            "required": not operation.body_optional,
            "content": {"application/json": {"schema": schemas.of(operation.body)}},
        }
    return described


def problems_of(operation: Operation) -> list[int]:
    """Every status of a problem that the operation may answer: its own, and those of its parts."""
    found = set(operation.problems)
    if operation.scope is not None:
        found |= {401, 403, 503}
    if operation.body is not None:
        found |= {400, 408, 413, 415, 422}
    if operation.query is not None or operation.path.count("{") or "Idempotency-Key" in operation.headers:
        found |= {422}
    if {"If-Match", "Idempotency-Key"} & set(operation.headers):
        found |= {400}
    return sorted(found)


def _path_parameters(operation: Operation) -> list[Json]:
    return [
        {"name": name, "in": "path", "required": True, "schema": _ID if name == "id" else _CODE}
        for name in _PARAMETER.findall(operation.path)
    ]


def _header_parameters(operation: Operation) -> list[Json]:
    schemas = {"Idempotency-Key": {"type": "string", "pattern": "^[!-~]{1,255}$", "minLength": 1, "maxLength": 255}}
    return [
        {
            "name": name,
            "in": "header",
            "required": name == "Idempotency-Key" and not operation.key_optional,
            "description": DESCRIPTIONS[name],
            "schema": schemas.get(name, {"type": "string"}),
        }
        for name in operation.headers
    ]


def _query_parameters(operation: Operation, schemas: _Schemas) -> list[Json]:
    if operation.query is None:
        return []
    return [
        {"name": name, "in": "query", "required": required, "schema": _without_null(schema)}
        for name, schema, required in schemas.properties(operation.query)
    ]


def _answer(status: int, shape: Any, operation: Operation, schemas: _Schemas) -> Json:
    described: Json = {"description": HTTPStatus(status).phrase}
    if shape is not None:
        described["content"] = {operation.media_type: {"schema": schemas.of(shape)}}
    return described


def _problem(status: int, schemas: _Schemas) -> Json:
    described: Json = {
        "description": HTTPStatus(status).phrase,
        "content": {PROBLEM: {"schema": schemas.of(ProblemDocument)}},
    }
    if headers := _HEADERS_OF_STATUS.get(status):
        described["headers"] = {
            name: {"description": text, "schema": {"type": "string"}} for name, text in headers.items()
        }
    return described


def _without_null(schema: Json) -> Json:
    """A query parameter is left out where there is none; it cannot be null."""
    options = [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]
    bare = {**options[0]} if len(options) == 1 else {**schema}
    if schema.get("default") is not None:
        bare["default"] = schema["default"]
    return bare


def _portable(schema: Any) -> Any:
    r"""The same schema with the end of a pattern written as JSON Schema's regular expressions do: $ for Python's \Z."""
    if isinstance(schema, dict):
        return {
            name: value.replace(r"\Z", "$") if name == "pattern" and isinstance(value, str) else _portable(value)
            for name, value in schema.items()
        }
    if isinstance(schema, list | tuple):
        return [_portable(part) for part in schema]
    return schema
