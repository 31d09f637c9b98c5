"""Identity's public face: sign-in, compartments, users, groups and policies.

Every method takes `caller` first and passes the Guard. Changes are one transaction with their audit entry; because the
hot path reads these rows, each change advances the region's generation and holds from the next request on.
"""

from collections.abc import Container
from dataclasses import replace

from keystead.core.errors import Refusal, check_version, stale, taken
from keystead.core.ids import CompartmentId, GroupId, PolicyId, UserId, looks_like_id, new_id
from keystead.core.page import Page, PageRequest, cut
from keystead.core.secret import Secret
from keystead.iam.approvals.acts import ApprovalActs
from keystead.iam.approvals.break_glass import LONGEST_MINUTES, BreakGlassActs, end_in, ended_alert
from keystead.iam.approvals.model import How
from keystead.iam.auth_tokens import AuthTokens
from keystead.iam.dynamic_groups import DynamicGroupActs
from keystead.iam.factors.click import Clicks
from keystead.iam.factors.devices import Devices
from keystead.iam.factors.enrolment import Enrolment
from keystead.iam.model import (
    Caller,
    Compartment,
    Group,
    Member,
    Policy,
    Target,
    User,
    UserState,
)
from keystead.iam.names import check_description, check_name
from keystead.iam.network_sources import NetworkSourceActs
from keystead.iam.passwords import fresh_password
from keystead.iam.policy.check import check_statements, problems_of
from keystead.iam.ports import IamTx, Membership, Revocation
from keystead.iam.sessions.keys import ApiKeys
from keystead.iam.sessions.logins import Logins
from keystead.iam.sessions.model import FOR_EVER
from keystead.iam.sessions.resources import ResourceSessions
from keystead.iam.sessions.service import Sessions
from keystead.iam.sessions.signing import SigningActs
from keystead.iam.tags import TagActs
from keystead.iam.tenancies import TenancyActs
from keystead.iam.tokens import Proof

MAX_STATEMENTS = 50


class Iam(
    DynamicGroupActs,
    NetworkSourceActs,
    TagActs,
    TenancyActs,
    ApprovalActs,
    BreakGlassActs,
    Enrolment,
    Clicks,
    Devices,
    Logins,
    Sessions,
    ResourceSessions,
    ApiKeys,
    AuthTokens,
    SigningActs,
):
    """Who there is, and what they may do."""

    def authenticate(self, token: str, source: str, request_id: str, proof: Proof | None = None) -> Caller:
        """The caller a security token stands for. Raises: Refusal `NotAuthenticated`."""
        return self._tokens.authenticate(token, source, request_id, proof)

    def authenticate_for_databases(
        self, token: str, source: str, request_id: str, proof: Proof | None = None, *, bare: bool = False
    ) -> Caller:
        """The caller of a token for databases (see `Tokens`). Raises: Refusal `NotAuthenticated`."""
        return self._tokens.authenticate_for_databases(token, source, request_id, proof, bare=bare)

    def sign_out(self, caller: Caller) -> None:
        """Void the caller's own token, and what else comes from the same session, at once."""
        target = self._own(caller)
        entry = self._guard.entry(caller, "SIGN_OUT", target, "SignOut", "allowed")
        with self._store.write(entry, reserve=True) as tx:
            tenancy, now = caller.principal.tenancy, self._clock.now()
            if caller.token_id:
                tx.iam.revoke(Revocation(tenancy, caller.token_id, now))
            if caller.session and looks_like_id(caller.session, "session"):  # not an API key: that stays
                tx.iam.revoke(Revocation(tenancy, caller.session, FOR_EVER))
                tx.sessions.end(tenancy, caller.session, now)

    def revoke_user_tokens(self, caller: Caller, user_id: str) -> None:
        """Void every security token of a user at once, and delete the auth tokens and API keys that would be exchanged
        for more.
        """
        user = self._user(caller, user_id)
        entry = self._guard.permit_change(caller, "USER_UPDATE", self._at_user(user), "RevokeUserTokens")
        with self._store.write(entry, reserve=True) as tx:
            self._void(tx, user)

    # compartments

    def create_compartment(self, caller: Caller, parent: str, name: str, description: str = "") -> Compartment:
        """A folder in `parent`. Raises: Refusal (name taken, no such parent, not permitted)."""
        above = self._compartment(caller, parent)
        check_name(name, "compartment")
        check_description(description)
        made = Compartment(CompartmentId(""), above.tenancy, name, above.id, above.path, description, self._clock.now())
        new = CompartmentId(new_id("compartment", self._region))
        made = replace(made, id=new, path=(*above.path, new))
        target = Target("compartments", new, name, above.tenancy, above.path)
        entry = self._guard.permit_change(caller, "COMPARTMENT_CREATE", target, "CreateCompartment")
        if name.casefold() == above.name.casefold():  # a policy attached to `above` calls it so
            raise Refusal(
                "InvalidName",
                f"a compartment in {above.name!r} cannot be called {name!r} too",
                hint="policies attached there mean the outer one by that name; choose another",
            )
        with self._store.write(entry) as tx:
            if tx.iam.compartments(above.tenancy, above.id, PageRequest(1), name):
                raise taken("compartment", name)
            tx.iam.add_compartment(made)
        return made

    def get_compartment(self, caller: Caller, compartment_id: str) -> Compartment:
        found = self._compartment(caller, compartment_id)
        self._guard.permit(caller, "COMPARTMENT_INSPECT", self._at(found), "GetCompartment")
        return found

    def list_compartments(
        self, caller: Caller, parent: str, page: PageRequest, name: str | None = None
    ) -> Page[Compartment]:
        above = self._compartment(caller, parent)
        self._guard.permit(caller, "COMPARTMENT_INSPECT", self._at(above), "ListCompartments")
        with self._store.read() as tx:
            return cut(tx.iam.compartments(above.tenancy, above.id, page, name), page.limit, lambda item: item.name)

    # users

    def create_user(self, caller: Caller, name: str, description: str = "") -> tuple[User, Secret]:
        """A user and the first password, which is shown once and kept only as a hash."""
        check_name(name, "user")
        check_description(description)
        tenancy = caller.principal.tenancy
        user = User(UserId(new_id("user", self._region)), tenancy, name, "ACTIVE", description, self._clock.now())
        entry = self._guard.permit_change(caller, "USER_CREATE", self._at_user(user), "CreateUser")
        password = fresh_password()
        encoded = self._hasher.hash(password)
        with self._store.write(entry) as tx:
            if tx.iam.user_by_name(tenancy, name) is not None:
                raise taken("user", name)
            tx.iam.add_user(user, encoded)
        return user, password

    def get_user(self, caller: Caller, user_id: str) -> User:
        user = self._user(caller, user_id)
        self._guard.permit(caller, "USER_READ", self._at_user(user), "GetUser")
        return user

    def list_users(self, caller: Caller, page: PageRequest, name: str | None = None) -> Page[User]:
        self._guard.permit(caller, "USER_INSPECT", self._in_root(caller, "users"), "ListUsers")
        with self._store.read() as tx:
            return cut(tx.iam.users(caller.principal.tenancy, page, name), page.limit, lambda item: item.name)

    def update_user(self, caller: Caller, user_id: str, state: UserState, if_match: int | None = None) -> User:
        """Block or unblock. A blocked user's tokens stop at once."""
        user = self._user(caller, user_id)
        entry = self._guard.permit_change(caller, "USER_UPDATE", self._at_user(user), "UpdateUser", {"state": state})
        if state == "DELETED":  # that takes another permission
            raise Refusal("InvalidParameter", "a user is ACTIVE or BLOCKED", hint="keystead user delete")
        check_version(user.version, if_match)
        with self._store.write(entry, reserve=state == "BLOCKED") as tx:
            if not tx.iam.set_user_state(user, state):
                raise stale()
        return replace(user, state=state, version=user.version + 1)

    def delete_user(self, caller: Caller, user_id: str, if_match: int | None = None) -> None:
        user = self._user(caller, user_id)
        entry = self._guard.permit_change(caller, "USER_DELETE", self._at_user(user), "DeleteUser")
        check_version(user.version, if_match)
        with self._store.write(entry, reserve=True) as tx:
            if not tx.iam.set_user_state(user, "DELETED"):
                raise stale()
            tx.factors.forget_user(user.tenancy, user.id)

    def reset_password(self, caller: Caller, user_id: str) -> Secret:
        """A new password, shown once; security tokens issued before are void, and auth tokens are deleted."""
        user = self._user(caller, user_id)
        entry = self._guard.permit_change(caller, "USER_UIPASS_RESET", self._at_user(user), "ResetPassword")
        password = fresh_password()
        encoded = self._hasher.hash(password)
        with self._store.write(entry) as tx:
            if not tx.iam.set_password(user, encoded):
                raise stale()
            self._void(tx, user)
            tx.factors.forget_seen(user.tenancy, user.id)
        return password

    def _void(self, tx: IamTx, user: User) -> None:
        """Whatever a user could go on with: security tokens, sessions, auth tokens, API keys."""
        now = self._clock.now()
        tx.iam.revoke(Revocation(user.tenancy, user.id, now))
        tx.iam.delete_auth_tokens(user.tenancy, user.id)
        tx.sessions.end_all(user.tenancy, user.id, now)
        for key in tx.sessions.delete_api_keys(user.tenancy, user.id):
            tx.iam.revoke(Revocation(user.tenancy, key, FOR_EVER))

    # groups

    def create_group(self, caller: Caller, name: str, description: str = "") -> Group:
        check_name(name, "group")
        check_description(description)
        tenancy = caller.principal.tenancy
        group = Group(GroupId(new_id("group", self._region)), tenancy, name, description, self._clock.now())
        entry = self._guard.permit_change(caller, "GROUP_CREATE", self._at_group(group), "CreateGroup")
        with self._store.write(entry) as tx:
            if tx.iam.groups(tenancy, PageRequest(1), name):
                raise taken("group", name)
            tx.iam.add_group(group)
        return group

    def get_group(self, caller: Caller, group_id: str) -> Group:
        group = self._group(caller, group_id)
        self._guard.permit(caller, "GROUP_INSPECT", self._at_group(group), "GetGroup")
        return group

    def list_groups(self, caller: Caller, page: PageRequest, name: str | None = None) -> Page[Group]:
        self._guard.permit(caller, "GROUP_INSPECT", self._in_root(caller, "groups"), "ListGroups")
        with self._store.read() as tx:
            return cut(tx.iam.groups(caller.principal.tenancy, page, name), page.limit, lambda item: item.name)

    def update_group(
        self,
        caller: Caller,
        group_id: str,
        description: str | None = None,
        break_glass_minutes: int | None = None,
        if_match: int | None = None,
        require_factor: bool | None = None,
    ) -> Group:
        """Change what is given. `require_factor`: whether members may do nothing without a second factor."""
        group = self._group(caller, group_id)
        given = {
            "description": description,
            "break_glass_minutes": break_glass_minutes,
            "require_factor": require_factor,
        }
        changes = {name: value for name, value in given.items() if value is not None}
        detail = {name: str(value) for name, value in changes.items()}
        entry = self._guard.permit_change(caller, "GROUP_UPDATE", self._at_group(group), "UpdateGroup", detail)
        check_description(description or "")
        if break_glass_minutes is not None and not 0 <= break_glass_minutes <= LONGEST_MINUTES:
            raise Refusal("InvalidParameter", f"break glass lasts at most 0 (never) to {LONGEST_MINUTES} minutes")
        check_version(group.version, if_match)
        changed = replace(group, **changes, version=group.version + 1)  # type: ignore[arg-type]  # each by its name
        with self._store.write(entry) as tx:
            if not tx.iam.set_group(group, changed):
                raise stale()
        return changed

    def delete_group(self, caller: Caller, group_id: str, if_match: int | None = None) -> None:
        group = self._group(caller, group_id)
        entry = self._guard.permit_change(caller, "GROUP_DELETE", self._at_group(group), "DeleteGroup")
        check_version(group.version, if_match)
        with self._store.write(entry, reserve=True) as tx:
            if not tx.iam.delete_group(group):
                raise stale()

    def add_member(self, caller: Caller, group_id: str, user_id: str) -> None:
        self._set_membership(caller, group_id, user_id, member=True)

    def remove_member(self, caller: Caller, group_id: str, user_id: str) -> None:
        self._set_membership(caller, group_id, user_id, member=False)

    def list_members(self, caller: Caller, group_id: str, page: PageRequest) -> Page[Member]:
        """Who is in it now, and until when."""
        group = self._group(caller, group_id)
        self._guard.permit(caller, "GROUP_INSPECT", self._at_group(group), "ListGroupMembers")
        with self._store.read() as tx:
            found = tx.iam.members(group.tenancy, group.id, page, self._clock.now())
            return cut(found, page.limit, lambda item: item.user.name)

    def _set_membership(self, caller: Caller, group_id: str, user_id: str, *, member: bool) -> None:
        group, user = self._group(caller, group_id), self._user(caller, user_id)
        operation = "AddGroupMember" if member else "RemoveGroupMember"
        entry = self._guard.permit_change(
            caller, "GROUP_UPDATE", self._at_group(group), operation, {"user": user.name, "user_id": user.id}
        )
        with self._store.read() as tx:
            begun = tx.approvals.open_break_glass(group.tenancy, group.id, user.id)
        now = self._clock.now()
        how: How = "replaced" if member else "removed"
        running = begun if begun is not None and begun.running(now) else None
        alerts = [] if running is None else [ended_alert(self._guard, caller, running, how)]
        with self._store.write(entry, *alerts, reserve=not member) as tx:
            if running is not None and not end_in(tx, running, now, caller.principal.id, how):
                raise stale()
            tx.iam.set_membership(Membership(group.tenancy, group.id, user.id, deleted=not member))

    # policies

    def create_policy(
        self, caller: Caller, compartment: str, name: str, statements: tuple[str, ...], description: str = ""
    ) -> Policy:
        """Statements that hold from the next request on. Raises: Refusal with the place of the first error."""
        place = self._compartment(caller, compartment)
        check_name(name, "policy")
        check_description(description)
        new = PolicyId(new_id("policy", self._region))
        policy = Policy(new, place.tenancy, place.id, name, statements, description, self._clock.now())
        target = self._at_policy(policy, place.path, statements)
        entry = self._guard.permit_change(caller, "POLICY_CREATE", target, "CreatePolicy", _numbered(statements))
        _check(statements, at_root=place.parent is None)
        with self._store.write(entry) as tx:
            if tx.iam.policies(place.tenancy, place.id, PageRequest(1), name):
                raise taken("policy", name)
            tx.iam.add_policy(policy)
        return policy

    def get_policy(self, caller: Caller, policy_id: str) -> Policy:
        policy, target = self._policy(caller, policy_id)
        self._guard.permit(caller, "POLICY_READ", target, "GetPolicy")
        return policy

    def list_policies(
        self, caller: Caller, compartment: str, page: PageRequest, name: str | None = None
    ) -> Page[Policy]:
        place = self._compartment(caller, compartment)
        self._guard.permit(caller, "POLICY_READ", self._at(place, "policies"), "ListPolicies")
        with self._store.read() as tx:
            return cut(tx.iam.policies(place.tenancy, place.id, page, name), page.limit, lambda item: item.name)

    def update_policy(
        self, caller: Caller, policy_id: str, statements: tuple[str, ...], if_match: int | None = None
    ) -> Policy:
        """Other statements. One that stands there unchanged stays, also where it would be refused today: no change of
        the others is to wait for that (`problems_of` says which). Raises: Refusal, as `create_policy`.
        """
        policy, before = self._policy(caller, policy_id)
        at_root = len(before.path) == 1
        kept = problems_of(policy.statements, at_root=at_root)
        detail = _numbered(statements)
        unchanged = [str(number) for number, text in enumerate(statements, 1) if text in kept]
        if unchanged:
            detail["kept_as_they_were"] = ", ".join(unchanged)
        target = self._at_policy(policy, before.path, (*policy.statements, *statements))
        entry = self._guard.permit_change(caller, "POLICY_UPDATE", target, "UpdatePolicy", detail)
        check_version(policy.version, if_match)
        _check(statements, at_root=at_root, kept=kept)
        changed = replace(policy, statements=statements, version=policy.version + 1)
        with self._store.write(entry, reserve=True) as tx:
            if not tx.iam.set_policy(changed, policy.version):
                raise stale()
        return changed

    def delete_policy(self, caller: Caller, policy_id: str, if_match: int | None = None) -> None:
        policy, target = self._policy(caller, policy_id)
        entry = self._guard.permit_change(caller, "POLICY_DELETE", target, "DeletePolicy", _numbered(policy.statements))
        check_version(policy.version, if_match)
        with self._store.write(entry, reserve=True) as tx:
            if not tx.iam.set_policy(replace(policy, version=policy.version + 1), policy.version, deleted=True):
                raise stale()


def _check(statements: tuple[str, ...], *, at_root: bool, kept: Container[str] = ()) -> None:
    if not 1 <= len(statements) <= MAX_STATEMENTS:
        raise Refusal("InvalidPolicy", f"a policy has 1 to {MAX_STATEMENTS} statements")
    check_statements(statements, at_root=at_root, kept=kept)


def _numbered(statements: tuple[str, ...]) -> dict[str, str]:
    return {f"statement_{number}": text[:500] for number, text in enumerate(statements[:MAX_STATEMENTS], 1)}
