"""What is done with mappings: made, listed, taken away; and what still stands in the way of logins to a system.

A mapping is a row; the system's machine makes its account as soon as it hears of it, and again whenever it is missing.
Taking one away holds at the next login, whatever the machine is doing; open sessions end within seconds.
"""

from dataclasses import dataclass

from keystead.core.errors import Refusal, not_found, stale
from keystead.core.ids import LoginMappingId, TenancyId, new_id, parse_id
from keystead.databases.base import Base
from keystead.databases.logins.model import (
    MAX_GRANTS,
    MAX_PRECEDENCE,
    MAX_ROLES,
    ClientKind,
    LoginMapping,
    MappedKind,
    check_account,
    check_role,
    parse_grant,
)
from keystead.databases.logins.standing import login_service_refusal
from keystead.iam.model import Caller


@dataclass(frozen=True, slots=True)
class NewMapping:
    """What a caller wants mapped. `account` empty: the user's own name, or `p_` and the group's."""

    kind: MappedKind
    subject: str
    account: str = ""
    client: ClientKind = "token"
    roles: tuple[str, ...] = ()
    grants: tuple[str, ...] = ()
    precedence: int = 100


@dataclass(frozen=True, slots=True)
class LoginReadiness:
    """Whether logins to a system can work: the statement that lets the login service look people up, and mappings."""

    ready: bool
    reasons: tuple[str, ...]


class LoginActs(Base):
    """Acts on mappings."""

    def map_login(self, caller: Caller, system_id: str, wanted: NewMapping) -> LoginMapping:
        """Let a user, or a group's members, log in with their tokens. Raises: Refusal: taken, no such user, ..."""
        system = self._system(caller, system_id)
        detail = {"kind": wanted.kind, "subject": wanted.subject, "account": wanted.account}
        entry = self._guard.permit_change(caller, "MYSQL_INSTANCE_UPDATE", self._at(system), "MapLogin", detail)
        name, account = self._named(caller, wanted)
        grants = _checked(wanted)
        mapping = LoginMapping(
            id=LoginMappingId(new_id("loginmapping", self._region)),
            tenancy=system.tenancy,
            system=system.id,
            kind=wanted.kind,
            subject=wanted.subject,
            subject_name=name,
            account=account,
            client=wanted.client,
            roles=tuple(check_role(role) for role in wanted.roles),
            grants=grants,
            precedence=wanted.precedence,
            state="PENDING",
            reason_text="",
            created_at=self._clock.now(),
        )
        if account.lower() == system.admin_username.lower():
            raise Refusal("NameTaken", f"{account!r} is the administrator's account", hint="choose another with --as")
        with self._store.write(entry) as tx:
            for other in tx.logins.mappings(system.tenancy, system.id):
                _check_beside(other, mapping)
            tx.logins.add(mapping)
        return mapping

    def list_mappings(self, caller: Caller, system_id: str) -> list[LoginMapping]:
        system = self._system(caller, system_id)
        self._guard.permit(caller, "MYSQL_INSTANCE_READ", self._at(system), "ListLoginMappings")
        with self._store.read() as tx:
            return list(tx.logins.mappings(system.tenancy, system.id))

    def unmap_login(self, caller: Caller, system_id: str, mapping_id: str) -> None:
        """Nobody gets in by this mapping any more; who is in is put out."""
        system = self._system(caller, system_id)
        parse_id(mapping_id, "loginmapping")
        with self._store.read() as tx:
            mapping = tx.logins.mapping(system.tenancy, system.id, mapping_id)
        named = {"mapping": mapping_id, "account": mapping.account if mapping else ""}
        entry = self._guard.permit_change(caller, "MYSQL_INSTANCE_UPDATE", self._at(system), "UnmapLogin", named)
        if mapping is None:
            raise not_found("mapping")
        with self._store.write(entry, reserve=True) as tx:
            if not tx.logins.delete(mapping):
                raise stale()

    def login_readiness(self, caller: Caller, system_id: str) -> LoginReadiness:
        """What still stands in the way of logins with tokens."""
        system = self._system(caller, system_id)
        self._guard.permit(caller, "MYSQL_INSTANCE_READ", self._at(system), "GetLoginReadiness")
        with self._store.read() as tx:
            mappings = tx.logins.mappings(system.tenancy, system.id)
        reasons = []
        refusal = login_service_refusal(self._guard, system.tenancy)
        if refusal is not None:
            reasons.append(f"{refusal.message}; {refusal.hint}")
        if not mappings:
            reasons.append("nobody is mapped; see keystead db map-user and keystead db map-group")
        reasons += [f"{each.subject_name}: {each.reason_text}" for each in mappings if each.state == "FAILED"]
        if system.state != "ACTIVE":
            reasons.append(f"the system is {system.state}")
        return LoginReadiness(not reasons, tuple(reasons))

    def _named(self, caller: Caller, wanted: NewMapping) -> tuple[str, str]:
        """The subject's name, and the account's. Raises: Refusal: nobody of this tenancy."""
        directory, tenancy = self._snapshot.directory, caller.principal.tenancy
        self._snapshot.refresh()
        if wanted.kind == "user":
            user = directory.user(wanted.subject)
            if user is None or user.tenancy != tenancy or user.state == "DELETED":
                raise not_found("user")
            return user.name, check_account(wanted.account or user.name)
        name = self._group_name(tenancy, wanted.subject)
        safe = "".join(letter if letter.isalnum() and letter.isascii() else "_" for letter in name)[:60].lower()
        return name, check_account(wanted.account or f"p_{safe}")

    def _group_name(self, tenancy: TenancyId, subject: str) -> str:
        """Of a group, or a dynamic one: who is in it is looked up at each login."""
        directory = self._snapshot.directory
        found = directory.group(subject) or directory.dynamic_group(tenancy, subject)
        if found is None or found.tenancy != tenancy:
            raise not_found("group")
        return found.name


def _checked(wanted: NewMapping) -> tuple[str, ...]:
    """The grants in their plain form. Raises: Refusal."""
    if len(wanted.roles) > MAX_ROLES or len(wanted.grants) > MAX_GRANTS:
        raise Refusal("InvalidParameter", f"a mapping has at most {MAX_ROLES} roles and {MAX_GRANTS} grants")
    if not 0 <= wanted.precedence <= MAX_PRECEDENCE:
        raise Refusal("InvalidParameter", f"a precedence is between 0 and {MAX_PRECEDENCE}")
    if wanted.kind == "group" and not wanted.roles and not wanted.grants:
        raise Refusal("InvalidParameter", "a group's proxy account needs a role or grants", hint="--role NAME")
    return tuple(str(parse_grant(text)) for text in wanted.grants)


def _check_beside(other: LoginMapping, new: LoginMapping) -> None:
    """Raises: Refusal: both cannot be."""
    if other.subject == new.subject:
        raise Refusal(
            "AlreadyMapped",
            f"{new.subject_name} is mapped to {other.account!r} already",
            hint="take that mapping away first: keystead db unmap",
            kind="conflict",
        )
    if other.account.lower() == new.account.lower():
        raise Refusal(
            "NameTaken",
            f"the account {new.account!r} is {other.subject_name}'s",
            hint="choose another with --as",
            kind="conflict",
        )
    if other.kind == new.kind == "group" and other.client != new.client:
        raise Refusal(
            "OneClientForGroups",
            f"members of groups log in to this system with clients for {other.client!r}",
            hint="a server asks everybody without an account of their own the same way; map users one to one instead",
            kind="conflict",
        )
