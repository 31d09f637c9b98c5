"""The table of operations: every request this region answers, said once.

One `Operation` per method and path. Routing, the pipeline, the OpenAPI document and the tests that walk every endpoint
all read this table, so that none of them can know of an endpoint which the others do not.

Paths are matched on the raw target, segment by segment, before any percent-decoding: `%2F` never separates segments and
`//` is not collapsed. `{key_id}` is a parameter; its type is looked up in `PARAMETERS`.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import unquote_to_bytes

import msgspec

from keystead.core.errors import Refusal
from keystead.core.ids import ResourceType, parse_id
from keystead.iam.model import Caller
from keystead.web.messages import id_pattern
from keystead.web.services import Services

ROOT = "/keystead/v1"

Waits = Literal["", "slow", "hsm", "external"]
Runs = Literal["pool", "loop", "sign_in", "wait", "stream"]

PARAMETERS: dict[str, ResourceType] = {
    "compartment_id": "compartment",
    "user_id": "user",
    "auth_token_id": "authtoken",
    "api_key_id": "apikey",
    "session_id": "session",
    "factor_id": "factor",
    "device_id": "device",
    "group_id": "group",
    "break_glass_id": "breakglass",
    "approval_rule_id": "approvalrule",
    "approval_id": "approval",
    "policy_id": "policy",
    "dynamic_group_id": "dynamicgroup",
    "network_source_id": "networksource",
    "tenancy_id": "tenancy",
    "identity_provider_id": "identityprovider",
    "vault_id": "vault",
    "key_id": "key",
    "key_version_id": "keyversion",
    "db_system_id": "mysqldbsystem",
    "backup_id": "mysqlbackup",
    "job_id": "job",
    "login_mapping_id": "loginmapping",
}
PATTERNS = {name: re.compile(id_pattern(kind)) for name, kind in PARAMETERS.items()}

Body = TypeVar("Body")
Query = TypeVar("Query")


class NoBody:
    """The body or query of an operation that takes none."""


NOTHING = NoBody()


@dataclass(slots=True)
class Call(Generic[Body, Query]):
    """One request, decoded: who calls and what they sent.

    `path` holds the path parameters, checked to be ids of the right type. `if_match` is the version the caller has
    seen, or None. `caller` is None only for operations without authentication.
    """

    body: Body
    query: Query
    path: Mapping[str, str]
    if_match: int | None
    request_id: str
    source: str
    signed_in: Caller | None = None

    @property
    def caller(self) -> Caller:
        """Who calls.

        Raises:
            RuntimeError: the operation is open to everybody; a bug in the table.
        """
        if self.signed_in is None:
            raise RuntimeError("an operation without authentication has no caller")
        return self.signed_in


Handler = Callable[[Services, Call[Any, Any]], Any]


@dataclass(frozen=True, slots=True)
class Operation:
    """One row of the table.

    `name` is the operationId and the word in the audit log. `permissions` are those the service will ask for (shown in
    the documentation; the service decides). `request`, `query` and `reply` are msgspec Structs. `creates`: takes an
    Idempotency-Key. `secrets`: fields of the reply that are shown once; never stored, null in a replay. `runs` says
    where the handler runs: a bounded pool (default), the event loop (cryptography: no blocking), the pool of slow
    password hashes, a long poll, or a pool that feeds a stream of bytes. `waits`: what the
    request may have to wait for: something slow, or the keystore that holds the key; then it runs in a pool, and those
    that wait for a keystore in one of their own. `first`: its turn comes whatever else there is to do. `moves` marks
    acts on a thing that has a version: they take If-Match. `recorded` is False only for what is public and leaves
    no trace (health, the API's description). `takes_access`: the act takes access away and its entry is a row of
    its own transaction, so it is answered even while the audit segments cannot be written. `while_sealed`: also
    answered by a sealed region. A reply with an integer field `version` is answered with that as its ETag.
    """

    name: str
    method: str
    path: str
    summary: str
    handler: Handler
    tag: str
    reply: type | None = None
    request: type | None = None
    query: type | None = None
    status: int = 200
    permissions: tuple[str, ...] = ()
    creates: bool = False
    moves: bool = False
    auth: bool = True
    recorded: bool = True
    takes_access: bool = False
    while_sealed: bool = False
    runs: Runs = "pool"
    waits: "Callable[[Services, Call[Any, Any]], Waits] | None" = None
    secrets: tuple[str, ...] = ()
    description: str = ""
    first: bool = False
    root: str = ROOT  # foreign protocols have others
    # Built once from the fields above, for the pipeline.
    parameters: tuple[str, ...] = field(init=False, default=())
    decoder: "msgspec.json.Decoder[Any] | None" = field(init=False, default=None, repr=False, compare=False)
    body_required: bool = field(init=False, default=False)
    versioned: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        names = tuple(part[1:-1] for part in self.path.split("/") if part.startswith("{"))
        object.__setattr__(self, "parameters", names)
        if self.request is not None:
            object.__setattr__(self, "decoder", msgspec.json.Decoder(self.request))
            required = any(found.required for found in msgspec.structs.fields(self.request))
            object.__setattr__(self, "body_required", required)
        if self.reply is not None and issubclass(self.reply, msgspec.Struct):
            marked = any(found.name == "version" and found.type is int for found in msgspec.structs.fields(self.reply))
            object.__setattr__(self, "versioned", marked)

    @property
    def template(self) -> str:
        """The whole path template, root included."""
        return self.root + self.path


class _Node:
    __slots__ = ("children", "methods", "parameter")

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.parameter: _Node | None = None
        self.methods: dict[str, Operation] = {}

    def grow(self, segment: str) -> "_Node":
        if not segment.startswith("{"):
            return self.children.setdefault(segment, _Node())
        if self.parameter is None:
            self.parameter = _Node()
        return self.parameter


@dataclass(frozen=True, slots=True)
class Found:
    """What the router found: the operation (None: wrong method), the raw parameters, and the methods allowed."""

    operation: Operation | None
    values: tuple[str, ...]
    allowed: tuple[str, ...]


class Router:
    """Finds operations by method and raw path; a literal segment wins over a parameter.

    `below_root`: paths are matched without the operation's root, by whoever has looked at that.
    """

    def __init__(self, table: Iterable[Operation], *, below_root: bool = False) -> None:
        self._root = _Node()
        names: set[str] = set()
        for operation in table:
            node = self._root
            for segment in (operation.path if below_root else operation.template).split("/")[1:]:
                node = node.grow(segment)
            if operation.method in node.methods or operation.name in names:
                raise ValueError(f"operation {operation.name} is in the table twice")
            names.add(operation.name)
            node.methods[operation.method] = operation

    def find(self, method: str, raw_path: str) -> Found | None:
        """The operation at `raw_path`; None when no operation has this path."""
        if not raw_path.startswith("/"):
            return None
        node, values = self._root, []
        for segment in raw_path.split("/")[1:]:
            child = node.children.get(segment)
            if child is None:
                child = node.parameter
                if child is None or not segment:
                    return None
                values.append(segment)
            node = child
        if not node.methods:
            return None
        wanted = "GET" if method == "HEAD" and "HEAD" not in node.methods else method
        return Found(node.methods.get(wanted), tuple(values), tuple(sorted(node.methods)))


def read_parameters(operation: Operation, values: tuple[str, ...]) -> dict[str, str]:
    """Decode and check the path parameters of `operation`.

    Raises:
        Refusal: `InvalidId` when one is not the id of the right type.
    """
    read: dict[str, str] = {}
    for name, raw in zip(operation.parameters, values, strict=True):
        text = _decoded(raw) if "%" in raw else raw
        if PATTERNS[name].fullmatch(text) is None:
            parse_id(text, PARAMETERS[name])  # which says what is wrong
            raise _not_an_id()
        read[name] = text
    return read


def _decoded(raw: str) -> str:
    try:
        return unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise _not_an_id() from None


def _not_an_id() -> Refusal:
    return Refusal("InvalidId", "a part of the path is not an id", hint="ids are plain ASCII")
