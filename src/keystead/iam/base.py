"""What every part of identity's service is built upon: its ports, and how things are found. Nothing here guards."""

from keystead.audit.service import AuditLog
from keystead.core.clock import Clock
from keystead.core.errors import required
from keystead.core.ids import CompartmentId, TenancyId, UserId, parse_id
from keystead.iam.directory import Directory
from keystead.iam.factors.attempts import Attempts
from keystead.iam.factors.ports import Proofs
from keystead.iam.guard import Guard
from keystead.iam.model import Caller, Compartment, Group, Policy, Principal, Target, User
from keystead.iam.policy.check import policy_types
from keystead.iam.policy.variables import tag_attributes
from keystead.iam.ports import IamRows, IamStore, PasswordHasher
from keystead.iam.tokens import Tokens


def user_of(rows: IamRows, caller: Caller, user_id: str) -> User:
    """A user of the caller's tenancy. Guards nothing by itself. Raises: Refusal `NotFound`."""
    parse_id(user_id, "user")
    return required(rows.user(caller.principal.tenancy, user_id), "user")


class Base:
    """Identity's ports."""

    def __init__(
        self,
        guard: Guard,
        directory: Directory,
        store: IamStore,
        tokens: Tokens,
        hasher: PasswordHasher,
        log: AuditLog,
        clock: Clock,
        region: str,
        proofs: Proofs,
    ) -> None:
        self._guard = guard
        self._directory = directory
        self._store = store
        self._tokens = tokens
        self._hasher = hasher
        self._log = log
        self._clock = clock
        self._region = region
        self._proofs = proofs
        self._attempts = Attempts(store, proofs.marks)

    def _unchanged(self, user: User | None) -> Principal | None:
        """The principal, unless it was blocked, deleted or given another password while we looked at this one.

        Nobody costs as much as somebody: time must not tell who there is.
        """
        self._guard.refresh()
        with self._store.read() as tx:
            now = tx.iam.user(*((user.tenancy, user.id) if user is not None else (TenancyId(""), UserId(""))))
        principal = self._directory.principal(user.id if user is not None else "")
        return principal if user is not None and now is not None and now.version == user.version else None

    def place(self, caller: Caller, compartment_id: str) -> Compartment:
        """A compartment of the caller's tenancy, for services that put things there. Guards nothing by itself."""
        return self._compartment(caller, compartment_id)

    def _compartment(self, caller: Caller, compartment_id: str) -> Compartment:
        return required(self._directory.compartment(caller.principal.tenancy, compartment_id), "compartment")

    def _user(self, caller: Caller, user_id: str) -> User:
        with self._store.read() as tx:
            return user_of(tx.iam, caller, user_id)

    def _group(self, caller: Caller, group_id: str) -> Group:
        parse_id(group_id, "group")
        with self._store.read() as tx:
            return required(tx.iam.group(caller.principal.tenancy, group_id), "group")

    def _policy(self, caller: Caller, policy_id: str) -> tuple[Policy, Target]:
        parse_id(policy_id, "policy")
        with self._store.read() as tx:
            found = required(tx.iam.policy(caller.principal.tenancy, policy_id), "policy")
        path = self._compartment(caller, found.compartment).path
        return found, self._at_policy(found, path, found.statements)

    def _at(self, compartment: Compartment, kind: str = "compartments") -> Target:
        attributes = tag_attributes(compartment.tags) if kind == "compartments" else {}
        return Target(kind, compartment.id, compartment.name, compartment.tenancy, compartment.path, attributes)

    def _at_user(self, user: User) -> Target:
        return Target(
            "users",
            user.id,
            user.name,
            user.tenancy,
            (CompartmentId(user.tenancy),),
            {"user.id": user.id, "user.name": user.name},
        )

    def _at_policy(self, policy: Policy, path: tuple[CompartmentId, ...], statements: tuple[str, ...]) -> Target:
        """`statements`: all that the act is about, of before and after; they say of which type it is."""
        types = " ".join(policy_types(statements))
        attributes = {"policy.id": policy.id, "policy.name": policy.name, "policy.type": types}
        return Target("policies", policy.id, policy.name, policy.tenancy, path, attributes)

    def _at_group(self, group: Group) -> Target:
        attributes = {"group.id": group.id, "group.name": group.name, **tag_attributes(group.tags)}
        return Target("groups", group.id, group.name, group.tenancy, (CompartmentId(group.tenancy),), attributes)

    def _in_root(self, caller: Caller, kind: str) -> Target:
        tenancy = caller.principal.tenancy
        return Target(kind, tenancy, "tenancy", tenancy, (CompartmentId(tenancy),))

    def _own(self, caller: Caller) -> Target:
        principal = caller.principal
        return Target("users", principal.id, principal.name, principal.tenancy, (CompartmentId(principal.tenancy),))
