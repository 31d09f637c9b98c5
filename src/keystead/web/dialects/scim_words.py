"""What SCIM says: its errors, what is supported, and the attributes of users and groups (RFC 7643, 5 to 8)."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from keystead.core.errors import KeystoreUnavailable, Refusal
from keystead.web.refusals import reply_to, status_of

SCIM: Final = (b"content-type", b"application/scim+json")
ERROR: Final = "urn:ietf:params:scim:api:messages:2.0:Error"
_TYPES: Final[Mapping[str, str]] = {
    "InvalidFilter": "invalidFilter",
    "Uniqueness": "uniqueness",
    "InvalidValue": "invalidValue",
    "InvalidName": "invalidValue",
    "InvalidPath": "invalidPath",
    "NoTarget": "noTarget",
    "InvalidSyntax": "invalidSyntax",
    "MalformedBody": "invalidSyntax",
    "InvalidParameter": "invalidSyntax",
}


def words(error: BaseException) -> tuple[int, dict[str, Any]]:
    """Status and body of a refusal or failure."""
    status = status_of(error)
    reply = reply_to(error, "")
    detail = f"{reply.message}; {reply.hint}" if reply.hint else reply.message
    body: dict[str, Any] = {"schemas": [ERROR], "status": str(status), "detail": detail}
    if isinstance(error, Refusal | KeystoreUnavailable) and error.code in _TYPES:
        body["scimType"] = _TYPES[error.code]
    return status, body


CONFIG: Final[Mapping[str, Any]] = {
    "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"],
    "patch": {"supported": True},
    "bulk": {"supported": False, "maxOperations": 0, "maxPayloadSize": 0},
    "filter": {"supported": True, "maxResults": 1000},
    "changePassword": {"supported": False},
    "sort": {"supported": False},
    "etag": {"supported": True},
    "authenticationSchemes": [
        {
            "type": "oauthbearertoken",
            "name": "Auth token",
            "description": "An auth token of a user whose policies let it manage users and groups.",
            "primary": True,
        }
    ],
}


def _resource_type(name: str, schema: str) -> Mapping[str, Any]:
    return {
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ResourceType"],
        "id": name, "name": name, "endpoint": f"/{name}s", "description": f"{name}s of the tenancy", "schema": schema,
        "schemaExtensions": [], "_": "ResourceType",
    }  # fmt: skip


RESOURCE_TYPES: Final[Sequence[Mapping[str, Any]]] = (
    _resource_type("User", "urn:ietf:params:scim:schemas:core:2.0:User"),
    _resource_type("Group", "urn:ietf:params:scim:schemas:core:2.0:Group"),
)


def _attribute(name: str, about: str, kind: str = "string", **more: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {
        "name": name, "type": kind, "multiValued": False, "description": about, "required": False,
        "mutability": "readWrite", "returned": "default",
    }  # fmt: skip
    if kind in ("string", "reference"):
        usual |= {"caseExact": kind == "reference", "uniqueness": "none"}
    return usual | more


def _schema(name: str, attributes: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    return {
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Schema"],
        "id": f"urn:ietf:params:scim:schemas:core:2.0:{name}", "name": name, "description": f"A {name.lower()}",
        "attributes": list(attributes), "_": "Schema",
    }  # fmt: skip


_READ: Final[Mapping[str, Any]] = {"mutability": "readOnly"}
_KEPT: Final[Mapping[str, Any]] = {"mutability": "immutable"}
_NAME = _attribute("name", "The parts of a person's name.", "complex", subAttributes=[
    _attribute("formatted", "The whole name."), _attribute("familyName", "The family name."),
    _attribute("givenName", "The given name."),
])  # fmt: skip
_MAILS = _attribute("emails", "Mail addresses; they decide nothing.", "complex", multiValued=True, subAttributes=[
    _attribute("value", "The address."),
    _attribute("type", "What it is for.", canonicalValues=["work", "home", "other"]),
    _attribute("primary", "Whether it is the first.", "boolean"),
])  # fmt: skip
_GROUPS = _attribute("groups", "The groups a user is in.", "complex", multiValued=True, **_READ, subAttributes=[
    _attribute("value", "Id of the group.", **_READ), _attribute("display", "Its name.", **_READ),
    _attribute("$ref", "Its address.", "reference", referenceTypes=["Group"], **_READ),
])  # fmt: skip
_MEMBERS = _attribute("members", "Who is in it.", "complex", multiValued=True, subAttributes=[
    _attribute("value", "Id of the user.", **_KEPT), _attribute("display", "The user's name.", **_READ),
    _attribute("$ref", "The user's address.", "reference", referenceTypes=["User"], **_KEPT),
    _attribute("type", "User.", canonicalValues=["User"], **_KEPT),
])  # fmt: skip
SCHEMAS: Final[Sequence[Mapping[str, Any]]] = (
    _schema("User", [
        _attribute("userName", "The user's name here.", required=True, uniqueness="server"),
        _NAME, _attribute("displayName", "What people call them."), _MAILS,
        _attribute("active", "Whether they may sign in.", "boolean"), _GROUPS,
    ]),
    _schema("Group", [
        _attribute("displayName", "The group's name; what a name here cannot have becomes -.", required=True,
                   uniqueness="server"),
        _MEMBERS,
    ]),
)  # fmt: skip
