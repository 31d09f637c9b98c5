"""Tenancies, compartments, principals, and the words in which permission is asked for.

Invariants: a compartment's `path` runs from the tenancy's root compartment to itself, so a grant on any element of it
reaches the compartment. The root compartment carries the tenancy's id, as in OCI. A `Caller` is made only by
authentication (or by wiring, for services), never by a request's body.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from keystead.core.ids import (
    AuthTokenId,
    CompartmentId,
    DynamicGroupId,
    GroupId,
    NetworkSourceId,
    PolicyId,
    PrincipalId,
    TenancyId,
    UserId,
)

PrincipalType = Literal["user", "service", "mysqldbsystem"]
FACTORS = frozenset({"password", "totp", "webauthn", "click", "recovery", "federated", "apikey", "resource"})
Audience = Literal["api", "databases"]
UserState = Literal["ACTIVE", "BLOCKED", "DELETED"]
BREAK_GLASS_MINUTES = 240


@dataclass(frozen=True, slots=True)
class Tenancy:
    """One organisation. Its id is also the id of its root compartment.

    `administrators`: the group that no deny statement of the tenancy is meant for; empty when there is none.
    """

    id: TenancyId
    name: str
    created_at: datetime
    administrators: str = ""


@dataclass(frozen=True, slots=True)
class Compartment:
    """A folder of resources. `parent` is None for the root, `path` ends with the compartment's own id. What policies
    may read of `tags`: tags.py.
    """

    id: CompartmentId
    tenancy: TenancyId
    name: str
    parent: CompartmentId | None
    path: tuple[CompartmentId, ...]
    description: str
    created_at: datetime
    version: int = 1
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class User:
    """A person or an application. The password hash stays in the store; it is not part of the domain object."""

    id: UserId
    tenancy: TenancyId
    name: str
    state: UserState
    description: str
    created_at: datetime
    version: int = 1


@dataclass(frozen=True, slots=True)
class AuthToken:
    """A secret of a user's for applications, which exchange it for security tokens. Kept only as a hash."""

    id: AuthTokenId
    tenancy: TenancyId
    user: UserId
    name: str
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Group:
    """Users who are granted things together. `break_glass_minutes`: how long a membership in an emergency may last at
    most (approvals/break_glass.py); 0: there is none. `require_factor`: with a second factor, or nothing. What
    policies may read of `tags`: tags.py.
    """

    id: GroupId
    tenancy: TenancyId
    name: str
    description: str
    created_at: datetime
    version: int = 1
    break_glass_minutes: int = BREAK_GLASS_MINUTES
    require_factor: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Member:
    """A user in a group, for good or until a moment."""

    user: User
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class DynamicGroup:
    """Resources that a rule describes (policy/matching.py), granted things together."""

    id: DynamicGroupId
    tenancy: TenancyId
    name: str
    matching_rule: str
    description: str
    created_at: datetime
    version: int = 1


@dataclass(frozen=True, slots=True)
class NetworkSource:
    """Networks under one name, for `request.networksource.name`. `networks` are in CIDR notation."""

    id: NetworkSourceId
    tenancy: TenancyId
    name: str
    networks: tuple[str, ...]
    description: str
    created_at: datetime
    version: int = 1


@dataclass(frozen=True, slots=True)
class Policy:
    """Statements, attached to a compartment; names in them are relative to it."""

    id: PolicyId
    tenancy: TenancyId
    compartment: CompartmentId
    name: str
    statements: tuple[str, ...]
    description: str
    created_at: datetime
    version: int = 1


@dataclass(frozen=True, slots=True)
class Principal:
    """Who acts: a user, a service of the region, or a resource such as a database system, which may have tags."""

    id: PrincipalId
    type: PrincipalType
    name: str
    tenancy: TenancyId
    compartment: CompartmentId
    tags: Mapping[str, str] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Associated:
    """What a key is to be associated with: its kind as the policy language calls it, and where it lies."""

    type: str
    tenancy: TenancyId
    path: tuple[CompartmentId, ...]


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be acted upon: its kind as the policy language calls it, and where it lies.

    `path` is the compartment path. `attributes` are the target.* variables (`key.id`, `vault.id`, ...), in lower case,
    without their `target.` prefix. `associated`: with what it is to be associated, where that is not the caller itself.
    """

    type: str
    id: str
    name: str
    tenancy: TenancyId
    path: tuple[CompartmentId, ...]
    attributes: Mapping[str, str] = field(default_factory=dict)
    associated: Associated | None = None


@dataclass(frozen=True, slots=True)
class Granted:
    """One decision in a principal's favour: asked again before what was answered then is answered again."""

    principal: PrincipalId
    permission: str
    operation: str
    target: Target
    told: Mapping[str, str] | None = None


def stranger(name: str = "", tenancy: str = "") -> Principal:
    """Who has not shown who they are, under the name they gave: for the audit trail alone, nothing is granted to it."""
    return Principal(PrincipalId(""), "user", name[:64], TenancyId(tenancy), CompartmentId(""))


@dataclass(frozen=True, slots=True)
class Asked:
    """The request under way, to the letter, for who has to approve it: `digest` of all of it and of who makes it (hex),
    `shown` to people as JSON, `approval` the id that it names. `granted`: what the guard has allowed it so far.
    """

    operation: str
    digest: str
    shown: str
    approval: str = ""
    granted: list[Granted] = field(default_factory=list, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Caller:
    """A principal in the act of calling: with which token, from where, in which request, and for whom.

    `requester` names the person on whose request a job acts (law 1); it is empty when the principal acts for itself.
    `issued_at`, `expires_at`: when the token was made, and when it ends; None where there is none. `session`: the
    sign-in that the token comes from, or the API key. `factors`: by what the principal proved who it is (`FACTORS`).
    `key_bound`: this request was proved with the key that the token is bound to. `risk`: what the sign-in was scored.
    `asked` is the request itself, where it may have to be approved by others. `told`: what the request says that
    policies may read, `request.*` variables in lower case without that prefix.
    """

    principal: Principal
    request_id: str
    source: str = ""
    token_id: str = ""
    requester: str = ""
    expires_at: datetime | None = None
    session: str = ""
    factors: frozenset[str] = frozenset()
    key_bound: bool = False
    risk: int = 0
    issued_at: datetime | None = None
    asked: Asked | None = None
    told: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A security token as its owner gets it, once. `token` is a secret: never logged, never stored.

    `device`: what the client shows at the next sign-in to be known again, when it asked for one; a secret as well.
    """

    token: str = field(repr=False)
    token_id: str = ""
    expires_at: datetime | None = None
    principal_id: str = ""
    tenancy: str = ""
    session: str = ""
    key_bound: bool = False
    device: str = field(default="", repr=False)
