"""The API's own description: OpenAPI 3.1, made from the table of operations.

https://spec.openapis.org/oas/v3.1.1 - schemas are JSON Schema 2020-12 as msgspec derives them from the messages.
"""

import functools
import inspect
from collections.abc import Iterable
from typing import Any

import msgspec

from keystead import __version__
from keystead.web.messages import id_pattern
from keystead.web.operations import PARAMETERS, Operation
from keystead.web.refusals import ErrorReply

_REF = "#/components/schemas/{name}"
_SHARED_HEADERS = {"X-Request-Id": {"$ref": "#/components/headers/RequestId"}}

_ERRORS = {
    "BadRequest": "Malformed; nothing was changed.",
    "NotAuthenticated": "No, an expired, a revoked or a forged token.",
    "Denied": "Not permitted; the hint names the statement that would grant it.",
    "NotFound": "Not there, or you may not see it.",
    "MethodNotAllowed": "This method is not served at this path.",
    "Conflict": "An illegal move, a name that is taken, or an Idempotency-Key of another request.",
    "Stale": "If-Match names another version than the present one.",
    "TooLarge": "The body is too large.",
    "UnsupportedMediaType": "The body is not JSON.",
    "TooMany": "Too much at once; see Retry-After.",
    "Unavailable": "Cannot be done now: sealed, busy, or the audit log cannot be written.",
}
_STATUSES = {
    "400": "BadRequest",
    "401": "NotAuthenticated",
    "403": "Denied",
    "404": "NotFound",
    "405": "MethodNotAllowed",
    "409": "Conflict",
    "412": "Stale",
    "413": "TooLarge",
    "415": "UnsupportedMediaType",
    "429": "TooMany",
    "503": "Unavailable",
}

INTRODUCTION = (
    "Customer-managed keys for the MySQL databases one runs oneself. Every request but sign-in needs a security token. "
    "Unknown fields are refused. Errors have one shape. Lists come in pages. Creating requests take an "
    "Idempotency-Key, changes take If-Match. No answer is given before its audit entry is durable."
)


def describe(table: Iterable[Operation]) -> dict[str, Any]:
    """The document for `table`."""
    operations = tuple(table)
    types = [kind for one in operations for kind in (one.request, one.query, one.reply) if kind is not None]
    _, schemas = msgspec.json.schema_components([*dict.fromkeys(types), ErrorReply], ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.template, {})[operation.method.lower()] = _operation(operation, schemas)
    for operation in operations:
        if operation.query is not None:  # queries are written out as parameters
            schemas.pop(operation.query.__name__, None)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Keystead",
            "version": __version__,
            "summary": "Key vault, identity, encrypted databases, audit",
            "description": INTRODUCTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "This region"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(one.tag for one in operations)],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {name: _error(text) for name, text in _ERRORS.items()},
            "headers": {
                "RequestId": {"description": "Names this request in the audit log.", "schema": {"type": "string"}},
                "ETag": {"description": "The version of what is shown, for If-Match.", "schema": {"type": "string"}},
            },
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "A security token of one hour."}
            },
        },
    }


@functools.cache
def document() -> msgspec.Raw:
    """The encoded document of our own table."""
    from keystead.web.api import TABLE  # which holds the handler that serves this document

    return msgspec.Raw(msgspec.json.encode(describe(TABLE)))


def _operation(operation: Operation, schemas: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": [*_path_parameters(operation), *_query_parameters(operation, schemas), *_headers(operation)],
        "responses": {str(operation.status): _success(operation)} | _refusals(operation),
    }
    text = [operation.description] if operation.description else []
    if operation.permissions:
        text.append(f"Needs {' and '.join(operation.permissions)}.")
    if text:
        found["description"] = " ".join(text)
    if operation.request is not None:
        found["requestBody"] = {
            "required": operation.body_required,
            "content": {"application/json": {"schema": _schema_of(operation.request)}},
        }
    if not operation.auth:
        found["security"] = []
    return found


def _schema_of(kind: type) -> dict[str, str]:
    return {"$ref": _REF.format(name=kind.__name__)}


def _path_parameters(operation: Operation) -> Iterable[dict[str, Any]]:
    for name in operation.parameters:
        yield {
            "name": name,
            "in": "path",
            "required": True,
            "description": f"Id of the {name.removesuffix('_id').replace('_', ' ')}.",
            "schema": {"type": "string", "pattern": id_pattern(PARAMETERS[name])},
        }


def _query_parameters(operation: Operation, schemas: dict[str, Any]) -> Iterable[dict[str, Any]]:
    if operation.query is None:
        return
    schema = schemas[operation.query.__name__]
    required = schema.get("required", [])
    for name, found in schema["properties"].items():
        kind = {key: value for key, value in found.items() if key != "default"}
        alternatives = [one for one in kind.pop("anyOf", []) if one != {"type": "null"}]
        if len(alternatives) == 1:
            kind |= alternatives[0]
        text = kind.pop("description", "")
        yield {"name": name, "in": "query", "required": name in required, "description": text, "schema": kind}


def _headers(operation: Operation) -> Iterable[dict[str, Any]]:
    if operation.creates:
        yield {
            "name": "Idempotency-Key",
            "in": "header",
            "required": False,
            "description": "Makes a repetition within 24 hours give the first answer; secrets are not repeated.",
            "schema": {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[!-~]{1,128}$"},
        }
    if operation.moves:
        yield {
            "name": "If-Match",
            "in": "header",
            "required": False,
            "description": "The ETag last seen; refused with 412 when it is no longer the present one.",
            "schema": {"type": "string", "pattern": r'^("[0-9]{1,15}"|\*)$'},
        }


def _success(operation: Operation) -> dict[str, Any]:
    found: dict[str, Any] = {"description": operation.summary + ".", "headers": dict(_SHARED_HEADERS)}
    if operation.runs == "stream":
        found["content"] = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    elif operation.reply is not None:
        found["description"] = inspect.cleandoc(operation.reply.__doc__ or operation.summary)
        found["content"] = {"application/json": {"schema": _schema_of(operation.reply)}}
    elif operation.status != 204:
        found["content"] = {"application/json": {"schema": {"type": "object"}}}
    if operation.versioned:
        found["headers"]["ETag"] = {"$ref": "#/components/headers/ETag"}
    return found


def _refusals(operation: Operation) -> dict[str, Any]:
    wanted = {"400", "405", "413", "429", "503"}
    if operation.auth or operation.recorded:  # of the others some ask for a proof of their own
        wanted |= {"401"}
    if operation.auth:
        wanted |= {"403", "404", "409"}
    if operation.while_sealed and operation.method != "GET":
        wanted |= {"409"}  # it is not sealed
    if operation.moves:
        wanted |= {"412"}
    if operation.request is not None:
        wanted |= {"415"}
    return {status: {"$ref": f"#/components/responses/{_STATUSES[status]}"} for status in sorted(wanted)}


def _error(text: str) -> dict[str, Any]:
    return {
        "description": text,
        "headers": dict(_SHARED_HEADERS),
        "content": {"application/json": {"schema": {"$ref": _REF.format(name="ErrorReply")}}},
    }
