"""PATCH of SCIM (RFC 7644, 3.5.2): operations on a resource as a JSON object. Pure; the resource given stays as it is.

{"op": "replace", "path": "active", "value": false}
{"op": "add", "path": "members", "value": [{"value": "<user id>"}]}
{"op": "remove", "path": "members[value eq \\"<user id>\\"]"}
"""

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any

from keystead.core.errors import Refusal
from keystead.iam.federation.scim_filter import Filter, matches, parse, path_of

MAX_OPERATIONS = 1000
_PATH = re.compile(
    r"(?P<name>[A-Za-z$][A-Za-z0-9_$.:-]{0,200})(?:\[(?P<filter>.{1,4000})\](?:\.(?P<sub>[A-Za-z$]\w*))?)?"
)


def no_target(why: str) -> Refusal:
    """A path that names nothing."""
    return Refusal("NoTarget", why, hint="see the Schemas endpoint")


def invalid_path(why: str) -> Refusal:
    """A path that cannot be read."""
    return Refusal("InvalidPath", why, hint='for example: members[value eq "..."]')


def invalid_value(why: str) -> Refusal:
    """A value that cannot be."""
    return Refusal("InvalidValue", why)


def apply(resource: Mapping[str, Any], operations: Sequence[Any]) -> dict[str, Any]:
    """The resource after all operations. Raises: Refusal."""
    changed = copy.deepcopy(dict(resource))
    if not 0 < len(operations) <= MAX_OPERATIONS:
        raise invalid_value(f"a patch has 1 to {MAX_OPERATIONS} operations")
    for each in operations:
        if not isinstance(each, Mapping):
            raise invalid_value("an operation is an object")
        _apply(changed, {str(name).lower(): value for name, value in each.items()})
    return changed


def _apply(resource: dict[str, Any], operation: Mapping[str, Any]) -> None:
    op = str(operation.get("op", "")).lower()
    path, value = operation.get("path"), operation.get("value")
    if op not in ("add", "replace", "remove"):
        raise invalid_value("an operation is add, replace or remove")
    if op != "remove" and "value" not in operation:
        raise invalid_value("an operation lacks its value")
    if path in (None, ""):
        if op == "remove":
            raise no_target("a removal needs a path")
        if not isinstance(value, Mapping):
            raise invalid_value("without a path the value is an object")
        for name, each in value.items():
            _apply(resource, {"op": op, "path": str(name), "value": each})
        return
    found = _PATH.fullmatch(path) if isinstance(path, str) else None
    if found is None:
        raise invalid_path("the path of an operation cannot be read")
    names = path_of(found["name"])
    if found["filter"] is not None:
        _of_some(resource, names, parse(found["filter"]), found["sub"], op, value)
    else:
        _of_all(resource, names, op, value)


def _of_all(resource: dict[str, Any], names: tuple[str, ...], op: str, value: Any) -> None:
    here = resource
    for name in names[:-1]:
        key = _key(here, name)
        inner = here.get(key)
        if not isinstance(inner, dict):
            if op == "remove":
                return
            inner = here[key] = {}
        here = inner
    key = _key(here, names[-1])
    held = here.get(key)
    if op == "remove":
        if isinstance(held, list) and isinstance(value, list):  # as some clients take members away
            gone = [each.get("value") for each in value if isinstance(each, Mapping)]
            here[key] = [each for each in held if not (isinstance(each, Mapping) and each.get("value") in gone)]
        else:
            here.pop(key, None)
    elif op == "add" and isinstance(held, list):
        new = value if isinstance(value, list) else [value]
        here[key] = [*held, *(each for each in new if each not in held)]
    elif isinstance(held, dict) and isinstance(value, Mapping):
        for name, each in value.items():
            held[_key(held, str(name).lower(), str(name))] = each
    else:
        here[key] = value


def _of_some(
    resource: dict[str, Any], names: tuple[str, ...], wanted: Filter, sub: str | None, op: str, value: Any
) -> None:
    if len(names) != 1:
        raise invalid_path("a filter follows the name of an attribute")
    key = _key(resource, names[0])
    held = resource.get(key)
    listed: list[Any] = held if isinstance(held, list) else []
    chosen = [each for each in listed if isinstance(each, dict) and matches(wanted, each)]
    if not chosen:
        if op == "remove":
            return
        raise no_target("no value meets the filter of the path")
    if op == "remove" and sub is None:
        resource[key] = [each for each in listed if each not in chosen]
        return
    for each in chosen:
        if sub is None:
            if not isinstance(value, Mapping):
                raise invalid_value("the value is an object")
            each.update(value)
        elif op == "remove":
            each.pop(_key(each, sub.lower(), sub), None)
        else:
            each[_key(each, sub.lower(), sub)] = value


def _key(held: Mapping[str, Any], name: str, usual: str = "") -> str:
    """The name as it is written there, or as the schema writes it."""
    written = next((key for key in held if key.lower() == name), None)
    return written or _WRITTEN.get(name) or usual or name


_WRITTEN = {
    each.lower(): each
    for each in ("userName", "displayName", "externalId", "givenName", "familyName", "formatted", "members", "emails")
}
