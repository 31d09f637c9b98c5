"""SCIM 2.0 (RFC 7643, 7644) under /scim/v2: users and groups kept by a directory elsewhere.

    Authorization: Bearer ksa_...   an auth token of a user whose policies let it manage users and groups
    /Users, /Groups                 create, get, list (filter, startIndex, count), replace, patch, delete
    /ServiceProviderConfig, /ResourceTypes, /Schemas

A face like the others: the acts are those of `Provisioning`, with one Guard and one audit log. Not served: bulk, sort,
/Me, passwords. What was not understood is refused with SCIM's own shape of errors.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from keystead.core.errors import Refusal, required
from keystead.core.secret import Secret
from keystead.iam.auth_tokens import PREFIX
from keystead.iam.model import Caller
from keystead.web.dialects.scim_words import CONFIG, RESOURCE_TYPES, SCHEMAS, SCIM, words
from keystead.web.exchange import Answer, Exchange, Header
from keystead.web.messages import read_body
from keystead.web.operations import NOTHING, Call, NoBody, Operation, Router
from keystead.web.refusals import HttpRefusal, retry_after
from keystead.web.services import Services

ROOT = "/scim/v2"
MAX_COUNT, USUAL_COUNT = 1000, 100
LIST = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
_WEAK = re.compile(rb'(?:W/)?"([0-9]{1,15})"')

Query = Mapping[str, str]
_object = msgspec.json.Decoder(dict[str, Any])


class ScimFace:
    """The pipeline's face towards provisioning clients."""

    def __init__(self) -> None:
        self._router = Router(TABLE)

    def serves(self, raw_path: bytes) -> bool:
        return raw_path.startswith(b"/scim/")

    def route(self, exchange: Exchange) -> Operation:
        path = exchange.raw_path.decode("latin-1").rstrip("/")
        found = self._router.find(exchange.method, path)
        if found is None:
            raise HttpRefusal(404, "NoSuchOperation", "nothing is served at this path")
        if found.operation is None:
            raise HttpRefusal(405, "MethodNotAllowed", "this method is not served at this path")
        exchange.parameters = dict(zip(found.operation.parameters, found.values, strict=False))
        if path.endswith("/.search"):
            exchange.parameters["kind"] = path.split("/")[3]
        return found.operation

    def caller(self, services: Services, exchange: Exchange) -> Caller:
        token = exchange.wanted.token()
        if token.startswith(PREFIX):
            return services.iam.authenticate_auth_token(Secret(token.encode()), exchange.source, exchange.request_id)
        return services.iam.authenticate(token, exchange.source, exchange.request_id)

    def call(self, exchange: Exchange, operation: Operation, body: bytes) -> Call[Any, Any]:
        read: Any = NOTHING
        if exchange.method in ("POST", "PUT", "PATCH"):
            read = read_body(_object, body)
        try:
            query = dict(parse_qsl(exchange.query.decode("ascii"), keep_blank_values=True, max_num_fields=32))
        except ValueError:
            raise Refusal("InvalidParameter", "the query string cannot be read") from None
        seen = _version(exchange.wanted.if_match)
        return Call(read, query, exchange.parameters, seen, exchange.request_id, exchange.source, exchange.caller)

    def refusal(self, exchange: Exchange, error: BaseException, now: datetime) -> Answer:
        status, body = words(error)
        headers: tuple[Header, ...] = (SCIM, *retry_after(error, status))
        if status == 401:
            headers = (*headers, (b"www-authenticate", b"Bearer"))
        return Answer(status, msgspec.json.encode(body), headers)


def _version(raw: bytes) -> int | None:
    if not raw or raw.strip() == b"*":
        return None
    found = _WEAK.fullmatch(raw.strip())
    if found is None:
        raise Refusal("InvalidParameter", "the If-Match header is not a version of ours", hint='it looks like W/"3"')
    return int(found[1])


# what is shown


def _base(services: Services) -> str:
    return services.federation.base + ROOT


def _placed(services: Services, found: dict[str, Any]) -> dict[str, Any]:
    """With its address, and those of what it names."""
    base = _base(services)
    kind = found["meta"]["resourceType"]
    found = {**found, "meta": {**found["meta"], "location": f"{base}/{kind}s/{found['id']}"}}
    for name, other in (("members", "Users"), ("groups", "Groups")):
        if name in found:
            found[name] = [{**each, "$ref": f"{base}/{other}/{each['value']}"} for each in found[name]]
    return found


def _chosen(found: dict[str, Any], query: Query) -> dict[str, Any]:
    """The attributes that are wanted; `id` and `schemas` always, as top-level names."""
    wanted, unwanted = _names(query, "attributes"), _names(query, "excludedAttributes")
    if wanted:
        return {name: value for name, value in found.items() if name.lower() in wanted or name in ("id", "schemas")}
    return {name: value for name, value in found.items() if name.lower() not in unwanted or name in ("id", "schemas")}


def _names(query: Query, name: str) -> frozenset[str]:
    given = (each.strip().lower() for each in query.get(name, "").split(",") if each.strip())
    return frozenset((each.rpartition(":")[2] if each.startswith("urn:") else each).partition(".")[0] for each in given)


def _shown(services: Services, call: Call[Any, Query], found: dict[str, Any], status: int = 200) -> Answer:
    placed = _placed(services, found)
    etag = (b"etag", placed["meta"]["version"].encode())
    headers: tuple[Header, ...] = (SCIM, etag)
    if status == 201:
        headers = (*headers, (b"location", placed["meta"]["location"].encode()))
    return Answer(status, msgspec.json.encode(_chosen(placed, call.query)), headers)


def _list(services: Services, call: Call[Any, Query], found: Sequence[dict[str, Any]]) -> Answer:
    start = max(1, _number(call.query, "startIndex", 1))
    count = min(MAX_COUNT, max(0, _number(call.query, "count", USUAL_COUNT)))
    part = [_chosen(_placed(services, each), call.query) for each in found[start - 1 : start - 1 + count]]
    body = {
        "schemas": [LIST], "totalResults": len(found), "startIndex": start, "itemsPerPage": len(part),
        "Resources": part,
    }  # fmt: skip
    return Answer(200, msgspec.json.encode(body), (SCIM,))


def _number(query: Query, name: str, usual: int) -> int:
    text = query.get(name, "")
    if not text:
        return usual
    digits = text.removeprefix("-")
    if not digits.isdigit() or not digits.isascii() or len(digits) > 9:
        raise Refusal("InvalidValue", f"{name} is not a number")
    return int(text)


def _operations(call: Call[dict[str, Any], Query]) -> Sequence[Any]:
    body = {name.lower(): value for name, value in call.body.items()}
    found = body.get("operations")
    if PATCH not in (body.get("schemas") or [PATCH]) or not isinstance(found, list):
        raise Refusal("InvalidSyntax", "a patch has a list of Operations")
    return found


# users and groups


def create_user(services: Services, call: Call[dict[str, Any], Query]) -> Answer:
    return _shown(services, call, services.provisioning.create_user(call.caller, call.body), 201)


def get_user(services: Services, call: Call[NoBody, Query]) -> Answer:
    return _shown(services, call, services.provisioning.get_user(call.caller, call.path["id"]))


def list_users(services: Services, call: Call[NoBody, Query]) -> Answer:
    return _list(services, call, services.provisioning.list_users(call.caller, call.query.get("filter", "")))


def search(services: Services, call: Call[Any, Query]) -> Answer:
    """A list, asked for by a body (RFC 7644, 3.4.3)."""
    body = {str(name).lower(): value for name, value in call.body.items()}
    asked = {name: body.get(name.lower()) for name in ("filter", "startIndex", "count")}
    asked |= {name: ",".join(body.get(name.lower()) or []) for name in ("attributes", "excludedAttributes")}
    call.query = {name: str(value) for name, value in asked.items() if value not in (None, "")}
    match call.path["kind"]:
        case "Groups":
            return list_groups(services, call)
        case "Users":
            return list_users(services, call)
        case _:
            text, acts = call.query.get("filter", ""), services.provisioning
            return _list(services, call, [*acts.list_users(call.caller, text), *acts.list_groups(call.caller, text)])


def replace_user(services: Services, call: Call[dict[str, Any], Query]) -> Answer:
    found = services.provisioning.replace_user(call.caller, call.path["id"], call.body, call.if_match)
    return _shown(services, call, found)


def patch_user(services: Services, call: Call[dict[str, Any], Query]) -> Answer:
    found = services.provisioning.patch_user(call.caller, call.path["id"], _operations(call), call.if_match)
    return _shown(services, call, found)


def delete_user(services: Services, call: Call[NoBody, Query]) -> None:
    services.provisioning.delete_user(call.caller, call.path["id"], call.if_match)


def create_group(services: Services, call: Call[dict[str, Any], Query]) -> Answer:
    return _shown(services, call, services.provisioning.create_group(call.caller, call.body), 201)


def get_group(services: Services, call: Call[NoBody, Query]) -> Answer:
    return _shown(services, call, services.provisioning.get_group(call.caller, call.path["id"]))


def list_groups(services: Services, call: Call[NoBody, Query]) -> Answer:
    return _list(services, call, services.provisioning.list_groups(call.caller, call.query.get("filter", "")))


def replace_group(services: Services, call: Call[dict[str, Any], Query]) -> Answer:
    found = services.provisioning.replace_group(call.caller, call.path["id"], call.body, call.if_match)
    return _shown(services, call, found)


def patch_group(services: Services, call: Call[dict[str, Any], Query]) -> Answer:
    found = services.provisioning.patch_group(call.caller, call.path["id"], _operations(call), call.if_match)
    return _shown(services, call, found)


def delete_group(services: Services, call: Call[NoBody, Query]) -> None:
    services.provisioning.delete_group(call.caller, call.path["id"], call.if_match)


# what there is


def _static(kind: str, items: Sequence[Mapping[str, Any]]) -> Callable[[Services, Call[Any, Any]], Answer]:
    def listed(services: Services, call: Call[Any, Any]) -> Answer:
        base = f"{_base(services)}/{kind}"
        shown = [{**each, "meta": {"resourceType": each["_"], "location": f"{base}/{each['id']}"}} for each in items]
        shown = [{name: value for name, value in each.items() if name != "_"} for each in shown]
        if "id" in call.path:
            wanted = call.path["id"].replace("%3A", ":")
            found = required(next((each for each in shown if each["id"] == wanted), None), kind)
            return Answer(200, msgspec.json.encode(found), (SCIM,))
        body = {
            "schemas": [LIST], "totalResults": len(shown), "startIndex": 1, "itemsPerPage": len(shown),
            "Resources": shown,
        }  # fmt: skip
        return Answer(200, msgspec.json.encode(body), (SCIM,))

    return listed


def config(services: Services, _call: Call[Any, Any]) -> Answer:
    meta = {"resourceType": "ServiceProviderConfig", "location": f"{_base(services)}/ServiceProviderConfig"}
    return Answer(200, msgspec.json.encode({**CONFIG, "meta": meta}), (SCIM,))


def _op(name: str, method: str, path: str, summary: str, handler: Any, permission: str, **more: Any) -> Operation:
    permissions = (permission,) if permission else ()
    return Operation(name, method, path, summary, handler, "scim", permissions=permissions, root=ROOT, **more)


def _open(name: str, path: str, summary: str, handler: Any) -> Operation:
    """What says how SCIM is spoken here: for whoever asks, and leaving no trace."""
    return _op(name, "GET", path, summary, handler, "", auth=False, recorded=False)


TABLE: tuple[Operation, ...] = (
    _open("ScimConfig", "/ServiceProviderConfig", "What is supported", config),
    _open("ScimResourceTypes", "/ResourceTypes", "Users and groups", _static("ResourceTypes", RESOURCE_TYPES)),
    _open("ScimResourceType", "/ResourceTypes/{id}", "One of them", _static("ResourceTypes", RESOURCE_TYPES)),
    _open("ScimSchemas", "/Schemas", "Their attributes", _static("Schemas", SCHEMAS)),
    _open("ScimSchema", "/Schemas/{id}", "Those of one", _static("Schemas", SCHEMAS)),
    _op("ScimCreateUser", "POST", "/Users", "Create a user", create_user, "USER_CREATE", status=201),
    _op("ScimListUsers", "GET", "/Users", "List users", list_users, "USER_INSPECT"),
    _op("ScimGetUser", "GET", "/Users/{id}", "Show a user", get_user, "USER_READ"),
    _op("ScimReplaceUser", "PUT", "/Users/{id}", "Replace a user", replace_user, "USER_UPDATE", takes_access=True),
    _op("ScimPatchUser", "PATCH", "/Users/{id}", "Change a user", patch_user, "USER_UPDATE", takes_access=True),
    _op("ScimDeleteUser", "DELETE", "/Users/{id}", "Delete a user", delete_user, "USER_DELETE", status=204,
        takes_access=True),
    _op("ScimSearchUsers", "POST", "/Users/.search", "List users", search, "USER_INSPECT"),
    _op("ScimSearch", "POST", "/.search", "List users and groups", search, "USER_INSPECT"),
    _op("ScimSearchGroups", "POST", "/Groups/.search", "List groups", search, "GROUP_INSPECT"),
    _op("ScimCreateGroup", "POST", "/Groups", "Create a group", create_group, "GROUP_CREATE", status=201),
    _op("ScimListGroups", "GET", "/Groups", "List groups", list_groups, "GROUP_INSPECT"),
    _op("ScimGetGroup", "GET", "/Groups/{id}", "Show a group", get_group, "GROUP_INSPECT"),
    _op("ScimReplaceGroup", "PUT", "/Groups/{id}", "Replace a group", replace_group, "GROUP_UPDATE",
        takes_access=True),
    _op("ScimPatchGroup", "PATCH", "/Groups/{id}", "Change a group", patch_group, "GROUP_UPDATE", takes_access=True),
    _op("ScimDeleteGroup", "DELETE", "/Groups/{id}", "Delete a group", delete_group, "GROUP_DELETE", status=204,
        takes_access=True),
)  # fmt: skip
