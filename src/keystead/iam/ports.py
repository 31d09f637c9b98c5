"""What identity needs from outside: its rows, its hot reads and a signed-token codec."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

from keystead.audit.model import Entry
from keystead.core.page import PageRequest
from keystead.core.secret import Secret
from keystead.iam.approvals.model import Rule
from keystead.iam.approvals.ports import ApprovalRows
from keystead.iam.factors.ports import FactorRows, ProvidedRows
from keystead.iam.model import (
    AuthToken,
    Compartment,
    DynamicGroup,
    Group,
    Member,
    NetworkSource,
    Policy,
    PrincipalType,
    Tenancy,
    User,
    UserState,
)
from keystead.iam.sessions.model import ApiKey, TokenKey
from keystead.iam.sessions.ports import SessionRows


@dataclass(frozen=True, slots=True)
class Membership:
    """One user in one group; `deleted` marks the end of it. With `expires_at` it counts only before that moment, which
    is looked at whenever it is used, whatever the row still says.
    """

    tenancy: str
    group_id: str
    user_id: str
    deleted: bool
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ResourceIdentity:
    """The identity of a resource, e.g. of a database system. `deleted` takes everything from it."""

    tenancy: str
    id: str
    type: PrincipalType
    name: str
    compartment: str
    deleted: bool
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine that may run database systems: its Ed25519 public key (32 bytes) signs its own short tokens."""

    id: str
    name: str
    public_key: bytes
    deleted: bool


@dataclass(frozen=True, slots=True)
class Revocation:
    """Tokens of `subject` (a token id or a principal id) issued before `before` are void."""

    tenancy: str
    subject: str
    before: datetime


@dataclass(frozen=True, slots=True)
class IdentityChanges:
    """What changed since a generation. Deleted things come marked, not missing."""

    tenancies: Sequence[Tenancy] = ()
    compartments: Sequence[Compartment] = ()
    users: Sequence[User] = ()
    groups: Sequence[tuple[Group, bool]] = ()
    memberships: Sequence[Membership] = ()
    policies: Sequence[tuple[Policy, bool]] = ()
    identities: Sequence[ResourceIdentity] = ()
    machines: Sequence[Machine] = ()
    revocations: Sequence[Revocation] = ()
    dynamic_groups: Sequence[tuple[DynamicGroup, bool]] = ()
    network_sources: Sequence[tuple[NetworkSource, bool]] = ()
    api_keys: Sequence[tuple[ApiKey, bool]] = ()
    approval_rules: Sequence[tuple[Rule, bool]] = ()


class IamRows(Protocol):
    """Identity's rows in one transaction. Updates are compare-and-set and say whether they took place."""

    def add_tenancy(self, tenancy: Tenancy) -> None: ...
    def tenancies(self, page: PageRequest, name: str | None) -> Sequence[Tenancy]: ...
    def add_compartment(self, compartment: Compartment) -> None: ...
    def compartments(self, tenancy: str, parent: str, page: PageRequest, name: str | None) -> Sequence[Compartment]: ...
    def set_compartment(self, compartment: Compartment, changed: Compartment) -> bool: ...
    def add_user(self, user: User, password_hash: str) -> None: ...
    def user(self, tenancy: str, user_id: str) -> User | None: ...
    def users(self, tenancy: str, page: PageRequest, name: str | None) -> Sequence[User]: ...
    def user_by_name(self, tenancy: str, name: str) -> tuple[User, str] | None: ...
    def set_user_state(self, user: User, state: UserState) -> bool: ...
    def set_password(self, user: User, password_hash: str) -> bool: ...
    def add_auth_token(self, token: AuthToken, digest: bytes) -> None: ...
    def auth_token(self, token_id: str) -> tuple[AuthToken, bytes] | None: ...
    def auth_tokens(self, tenancy: str, user: str, page: PageRequest, name: str | None) -> Sequence[AuthToken]: ...
    def delete_auth_token(self, tenancy: str, user: str, token_id: str) -> bool: ...
    def delete_auth_tokens(self, tenancy: str, user: str) -> None: ...
    def add_group(self, group: Group) -> None: ...
    def group(self, tenancy: str, group_id: str) -> Group | None: ...
    def groups(self, tenancy: str, page: PageRequest, name: str | None) -> Sequence[Group]: ...
    def delete_group(self, group: Group) -> bool: ...
    def set_group(self, group: Group, changed: Group) -> bool: ...
    def set_membership(self, membership: Membership) -> None: ...
    def end_membership(self, tenancy: str, group_id: str, user_id: str, expires_at: datetime) -> None:
        """End the one that ends at that moment; another is left alone."""
        ...

    def is_member(self, tenancy: str, group_id: str, user_id: str, now: datetime) -> bool: ...
    def members(self, tenancy: str, group_id: str, page: PageRequest, now: datetime) -> Sequence[Member]: ...
    def add_policy(self, policy: Policy) -> None: ...
    def policy(self, tenancy: str, policy_id: str) -> Policy | None: ...
    def policies(self, tenancy: str, compartment: str, page: PageRequest, name: str | None) -> Sequence[Policy]: ...
    def set_policy(self, policy: Policy, expected: int, *, deleted: bool = False) -> bool: ...
    def set_identity(self, identity: ResourceIdentity) -> None: ...
    def tag_identity(self, tenancy: str, resource: str, tags: Mapping[str, str]) -> None: ...
    def add_machine(self, machine: Machine) -> None: ...
    def revoke(self, revocation: Revocation) -> None: ...


class DynamicGroupRows(Protocol):
    """Rows of dynamic groups in one transaction. `set` is compare-and-set on the version."""

    def add(self, group: DynamicGroup) -> None: ...
    def one(self, tenancy: str, group_id: str) -> DynamicGroup | None: ...
    def page(self, tenancy: str, page: PageRequest, name: str | None) -> Sequence[DynamicGroup]: ...
    def set(self, group: DynamicGroup, expected: int, *, deleted: bool = False) -> bool: ...


class NetworkSourceRows(Protocol):
    """Rows of network sources in one transaction. `set` is compare-and-set on the version."""

    def add(self, source: NetworkSource) -> None: ...
    def one(self, tenancy: str, source_id: str) -> NetworkSource | None: ...
    def page(self, tenancy: str, page: PageRequest, name: str | None) -> Sequence[NetworkSource]: ...
    def set(self, source: NetworkSource, expected: int, *, deleted: bool = False) -> bool: ...


class IamTx(Protocol):
    """A transaction as identity sees it."""

    @property
    def iam(self) -> IamRows: ...
    @property
    def factors(self) -> FactorRows: ...
    @property
    def federation(self) -> ProvidedRows: ...
    @property
    def approvals(self) -> ApprovalRows: ...
    @property
    def sessions(self) -> SessionRows: ...

    @property
    def dynamic_groups(self) -> DynamicGroupRows: ...
    @property
    def network_sources(self) -> NetworkSourceRows: ...


class IamStore(Protocol):
    """Where identity is kept. A write carries its audit entries and cannot be had without one (law 2).

    `reserve`: it takes access away, and may use the space that is kept for that when the disk is full. `note` is for
    what is no act of anybody's, or has its entry in the log already: budgets of attempts, sign-ins under way.
    """

    def read(self) -> AbstractContextManager[IamTx]: ...
    def write(self, *entries: Entry, reserve: bool = False) -> AbstractContextManager[IamTx]: ...
    def note(self) -> AbstractContextManager[IamTx]:
        """What is no act of anybody's, or is recorded by itself."""
        ...


TokenAlgorithm = Literal["Ed25519", "RS256"]
Claims = Mapping[str, "str | int | Sequence[str] | Mapping[str, str]"]


class TokenCodec(Protocol):
    """Signed tokens (JWS compact, RFC 7515)."""

    def sign(self, claims: "Claims", algorithm: "TokenAlgorithm" = "Ed25519") -> str:
        """A token with the region's key of that kind."""
        ...

    def public_keys(self) -> Sequence[Mapping[str, str]]:
        """The JWK set by which others verify the region's tokens."""
        ...

    def epoch(self, generation: int) -> int:
        """Another number whenever a key has ceased to verify, as of this generation. Raises: Unavailable."""
        ...

    def new_keys(self, now: datetime) -> Sequence[TokenKey]:
        """Keys that nothing is signed with yet, one for each algorithm."""
        ...

    def rotate(self, rows: SessionRows, made: Sequence[TokenKey], retired_at: datetime) -> None:
        """Have these sign from the transaction on; those of before verify until a token's life after `retired_at`."""
        ...

    def verify(self, token: str, public_key_of: "MachineKeys") -> Mapping[str, object]:
        """The claims of a token whose signature holds: the region's own, or that of the machine named by `kid`.

        Raises:
            Refusal: malformed, unknown key, or a bad signature; all alike.
        """
        ...


class MachineKeys(Protocol):
    """The public keys of machines."""

    def __call__(self, machine_id: str, /) -> bytes | None: ...


class PasswordHasher(Protocol):
    """Argon2id (RFC 9106) into and from PHC strings."""

    def hash(self, password: Secret) -> str: ...
    def verify(self, encoded: str, password: Secret) -> bool: ...
    def decoy(self, password: Secret) -> bool:
        """False, after as long as `verify` takes."""
        ...
