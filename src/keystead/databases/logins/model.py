"""Mappings: who may log in to a database system with a security token, and which account they get there.

    one to one   a user            -> an account of that person alone
    by group     members of a group -> a proxy account, locked, that holds a role

A person logs in under the name of the user (`USER()`); `CURRENT_USER()` is the account. Where several groups of a
person are mapped, the lowest `precedence` holds, and among equals the older mapping. A mapping is never changed, only
made and taken away, so that its id in an account's text says all about the account.

The account's text (its authentication string) is JSON: {"mapping", "tenancy"} and "user" (one to one), "group": "*"
(the anonymous account, by which members of groups come in) or "proxy": true. It is compared, never believed.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from keystead.core.errors import Refusal
from keystead.core.ids import DbSystemId, LoginMappingId, TenancyId

MappedKind = Literal["user", "group"]
ClientKind = Literal["token", "oci", "openid"]
MappingState = Literal["PENDING", "ACTIVE", "FAILED"]

PLUGINS: dict[ClientKind, str] = {"token": "iam_token", "oci": "iam_oci", "openid": "iam_openid"}
GRANTABLE = frozenset({
    "SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "REFERENCES", "INDEX", "ALTER", "CREATE TEMPORARY TABLES",
    "LOCK TABLES", "EXECUTE", "CREATE VIEW", "SHOW VIEW", "CREATE ROUTINE", "ALTER ROUTINE", "EVENT", "TRIGGER",
    "DELETE HISTORY",
})  # fmt: skip
MAX_ROLES, MAX_GRANTS, MAX_PRECEDENCE = 16, 64, 1000

_ACCOUNT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,79}")
_ROLE = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_GRANT = re.compile(r"([A-Za-z ,]+?)\s+ON\s+([A-Za-z0-9_$-]{1,64})\.(?:(\*)|([A-Za-z0-9_$-]{1,64}))", re.IGNORECASE)
_TAKEN = ("root", "mysql", "mariadb.sys", "public", "none")


@dataclass(frozen=True, slots=True)
class LoginMapping:
    """One mapping. `subject` is the id of the user or group, `account` the account of the database. `state` says how
    far the system's machine is with the account; for FAILED `reason_text` says why.
    """

    id: LoginMappingId
    tenancy: TenancyId
    system: DbSystemId
    kind: MappedKind
    subject: str
    subject_name: str
    account: str
    client: ClientKind
    roles: tuple[str, ...]
    grants: tuple[str, ...]
    precedence: int
    state: MappingState
    reason_text: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Grant:
    """Privileges on a database (`table` empty) or on a table."""

    privileges: tuple[str, ...]
    database: str
    table: str

    def __str__(self) -> str:
        return f"{', '.join(self.privileges)} ON {self.database}.{self.table or '*'}"


@dataclass(frozen=True, slots=True)
class LoginRequest:
    """What a server tells of somebody who wants in. `payload` is a secret. `address` is where the client is."""

    client: ClientKind
    user: str
    account_text: str
    nonce: bytes
    payload: bytes = field(repr=False)
    address: str
    connection: int


@dataclass(frozen=True, slots=True)
class Grounds:
    """What sessions of one token by one mapping rest upon: the same for each connection, and all of it has to go on
    holding for as long as they last. `group` is empty one to one, `session` where the token is of none.
    """

    subject: str
    token_id: str
    mapping: str
    group: str
    issued_at: datetime
    expires_at: datetime
    session: str = ""

    @property
    def key(self) -> str:
        """Their name, alike at the region and at a machine."""
        return f"{self.token_id} {self.mapping}"


@dataclass(frozen=True, slots=True)
class LoginAnswer:
    """Let in: as which account, and upon what."""

    account: str
    grounds: Grounds


@dataclass(frozen=True, slots=True)
class EndedLogin:
    """That sessions have nothing to rest upon any more: those whose `Grounds` have this key."""

    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class MappingReport:
    """What became of a mapping's account; `error` is empty when it is there."""

    mapping: str
    error: str = ""


def check_account(name: str) -> str:
    """`name`, if an account for logins may be called so. Raises: Refusal `InvalidName`."""
    if not _ACCOUNT.fullmatch(name) or name.lower() in _TAKEN or name.lower().startswith("keystead"):
        raise Refusal(
            "InvalidName",
            f"{name[:90]!r} cannot be the name of an account",
            hint=f"1 to 80 letters, digits or _ . @ + -; not keystead..., {', '.join(_TAKEN)}; choose one with --as",
        )
    return name


def check_role(name: str) -> str:
    """`name`, if a role may be called so. Raises: Refusal `InvalidName`."""
    if not _ROLE.fullmatch(name) or name.lower() in _TAKEN or name.lower().startswith("keystead"):
        raise Refusal("InvalidName", f"{name[:90]!r} cannot be the name of a role", hint="a letter, then a-z, 0-9, _")
    return name


def parse_grant(text: str) -> Grant:
    """`SELECT, INSERT ON shop.*`, as the administrator of the system could grant it. Raises: Refusal `InvalidGrant`."""
    found = _GRANT.fullmatch(text.strip())
    if found is None:
        raise Refusal(
            "InvalidGrant", f"{text[:120]!r} is no grant", hint="for example: SELECT, INSERT ON shop.* (or shop.orders)"
        )
    privileges = tuple(" ".join(word.split()).upper() for word in found[1].split(","))
    unknown = [word for word in privileges if word not in GRANTABLE]
    if unknown:
        raise Refusal(
            "InvalidGrant", f"{unknown[0][:60]!r} cannot be granted", hint=f"these can: {', '.join(sorted(GRANTABLE))}"
        )
    if found[2].lower().startswith("mys") or found[2].lower() in ("information_schema", "performance_schema"):
        raise Refusal("InvalidGrant", f"nothing can be granted on {found[2]}", hint="names beginning with mys are ours")
    return Grant(privileges, found[2], found[4] or "")


def wins(mappings: Sequence[LoginMapping], groups: frozenset[str]) -> LoginMapping | None:
    """The mapping that holds for somebody in these groups."""
    mine = [mapping for mapping in mappings if mapping.kind == "group" and mapping.subject in groups]
    return min(mine, key=lambda mapping: (mapping.precedence, mapping.created_at, mapping.id), default=None)
