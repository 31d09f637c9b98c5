"""The request under way, for who has to approve it: one digest of all of it, and what people are shown.

    SHA-256 of the canonical encoding of {operation, caller, tenancy, path, query, body, if_match}

`body` and `query` are what was understood, not the bytes: white space and the order of fields make no other request,
every value does. Parameters are in there with the values that they have when they are left out.
"""

import hashlib
from typing import Any

import msgspec

from keystead.core import canonical
from keystead.core.ids import parse_id
from keystead.iam.model import Asked
from keystead.web.operations import Call, NoBody, Operation

LONG = 240
"""Longer texts (backups, wrapped material) are shown by their digest."""

_sorted = msgspec.json.Encoder(order="sorted")


def asked(operation: Operation, call: Call[Any, Any], approval: bytes) -> Asked:
    """What is asked for. Raises: Refusal `InvalidId`, the approval that it names is no id of one."""
    named = approval.decode("ascii", "replace").strip()
    if named:
        parse_id(named, "approval")
    who = call.caller.principal
    parts = {
        "path": dict(call.path),
        "query": _plain(call.query),
        "body": _plain(call.body),
        "if_match": call.if_match,
    }
    whole = {"operation": operation.name, "caller": who.id, "tenancy": who.tenancy}
    whole |= {name: _sorted.encode(value).decode() for name, value in parts.items()}
    shown = {name: _short(value) for name, value in parts.items() if value not in (None, {})}
    digest = hashlib.sha256(canonical.encode(whole)).hexdigest()
    return Asked(operation.name, digest, _sorted.encode(shown).decode(), named)


def _plain(given: Any) -> Any:
    return {} if isinstance(given, NoBody) else msgspec.to_builtins(given)


def _short(value: Any) -> Any:
    if isinstance(value, str) and len(value) > LONG:
        return {"sha256": hashlib.sha256(value.encode()).hexdigest(), "length": len(value)}
    if isinstance(value, dict):
        return {name: _short(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_short(each) for each in value]
    return value
