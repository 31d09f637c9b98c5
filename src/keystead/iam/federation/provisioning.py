"""Provisioning (SCIM 2.0, RFC 7643 and 7644): users and groups kept by a directory elsewhere, as JSON objects.

What is provisioned are ordinary users and groups: `userName` is the user's name, `active` false blocks the user at once
and voids every token, a group's `displayName` is its name, with `-` for what a name here cannot have. What a client
says beyond that (`externalId`, `name`, `emails`, `displayName`) is kept and given back, and decides nothing.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from keystead.core.clock import Clock, isoformat
from keystead.core.errors import Refusal, check_version, required, stale
from keystead.core.ids import CompartmentId, GroupId, UserId, looks_like_id, new_id
from keystead.core.page import PageRequest
from keystead.iam.federation import scim_filter, scim_patch
from keystead.iam.federation.ports import FederationStore, FederationTx, Provisioned
from keystead.iam.federation.scim_patch import invalid_value
from keystead.iam.guard import Guard
from keystead.iam.model import Caller, Group, Target, User, UserState
from keystead.iam.names import check_name
from keystead.iam.passwords import fresh_password
from keystead.iam.ports import Membership, PasswordHasher, Revocation

USER, GROUP = "urn:ietf:params:scim:schemas:core:2.0:User", "urn:ietf:params:scim:schemas:core:2.0:Group"
MAX_ATTRIBUTES = 16 * 1024
MAX_MEMBERS = 10_000
_ALL = PageRequest(1000)
_USER_KEEPS = ("displayName", "name", "emails")
_NO_NAME = re.compile(r"[^A-Za-z0-9._@+-]+")

Resource = dict[str, Any]


class Provisioning:
    """What a provisioning client does, with the rights of the user whose token it has."""

    def __init__(self, guard: Guard, store: FederationStore, hasher: PasswordHasher, clock: Clock, region: str) -> None:
        self._guard = guard
        self._store = store
        self._hasher = hasher
        self._clock = clock
        self._region = region

    # users

    def create_user(self, caller: Caller, resource: Mapping[str, Any]) -> Resource:
        """Raises: Refusal (`Uniqueness`, `InvalidValue`, not permitted)."""
        tenancy, now = caller.principal.tenancy, self._clock.now()
        name = _text(resource, "userName")
        state: UserState = "ACTIVE" if _active(resource) else "BLOCKED"
        user = User(UserId(new_id("user", self._region)), tenancy, name, state, "provisioned", now)
        entry = self._guard.permit_change(caller, "USER_CREATE", at_user(user), "ScimCreateUser")
        _named(name, "user")
        kept = self._kept(resource, tenancy, user.id, "User", _USER_KEEPS)
        password = self._hasher.hash(fresh_password())
        with self._store.write(entry) as tx:
            if tx.iam.user_by_name(tenancy, name) is not None:
                raise uniqueness("userName")
            tx.iam.add_user(user, password)
            tx.provisioning.describe(kept)
            return self._user(tx, user, kept)

    def get_user(self, caller: Caller, user_id: str) -> Resource:
        user = self._found_user(caller, user_id)
        self._guard.permit(caller, "USER_READ", at_user(user), "ScimGetUser")
        with self._store.read() as tx:
            return self._user(tx, user, tx.provisioning.described(user.tenancy, user.id))

    def list_users(self, caller: Caller, filter_text: str = "") -> Sequence[Resource]:
        """Every user that meets the filter, by name."""
        wanted = self._listed(caller, "users", "USER_INSPECT", "ScimListUsers", filter_text)
        tenancy = caller.principal.tenancy
        with self._store.read() as tx:
            one = _asked_for(wanted, "username")
            if one is not None:
                known = tx.iam.user_by_name(tenancy, one)
                found = [] if known is None else [known[0]]
            else:
                found = list(_every(lambda page: tx.iam.users(tenancy, page, None)))
            described = {each.id: each for each in tx.provisioning.all_described(tenancy, "User")}
            groups: dict[str, list[str]] = {}
            for group_id, user_id in tx.provisioning.groups_of_all(tenancy):
                groups.setdefault(user_id, []).append(group_id)
            shown = [self._user(tx, each, described.get(each.id), groups.get(each.id, [])) for each in found]
        return [each for each in shown if wanted is None or scim_filter.matches(wanted, each)]

    def replace_user(
        self, caller: Caller, user_id: str, resource: Mapping[str, Any], if_match: int | None = None
    ) -> Resource:
        return self._change_user(caller, user_id, lambda _: resource, "ScimReplaceUser", if_match)

    def patch_user(
        self, caller: Caller, user_id: str, operations: Sequence[Any], if_match: int | None = None
    ) -> Resource:
        return self._change_user(
            caller, user_id, lambda held: scim_patch.apply(held, operations), "ScimPatchUser", if_match
        )

    def delete_user(self, caller: Caller, user_id: str, if_match: int | None = None) -> None:
        user = self._found_user(caller, user_id)
        entry = self._guard.permit_change(caller, "USER_DELETE", at_user(user), "ScimDeleteUser")
        check_version(user.version, if_match)
        with self._store.write(entry, reserve=True) as tx:
            if not tx.iam.set_user_state(user, "DELETED"):
                raise stale()
            tx.provisioning.forget(user.tenancy, user.id)

    def _change_user(
        self,
        caller: Caller,
        user_id: str,
        change: Callable[[Resource], Mapping[str, Any]],
        operation: str,
        if_match: int | None,
    ) -> Resource:
        user = self._found_user(caller, user_id)
        with self._store.read() as tx:
            known = tx.provisioning.described(user.tenancy, user.id)
            held = self._user(tx, user, known)
        self._guard.require(caller, "USER_UPDATE", at_user(user), operation)
        check_version(user.version, if_match)
        wanted = change(held)
        name, active = _text(wanted, "userName"), _active(wanted, unsaid=user.state == "ACTIVE")
        _named(name, "user")
        kept = self._kept(wanted, user.tenancy, user.id, "User", _USER_KEEPS, known)
        detail = {"name": name, "active": str(active).lower()}
        entry = self._guard.entry(caller, "USER_UPDATE", at_user(user), operation, "allowed", detail=detail)
        ends = not active and user.state == "ACTIVE"
        with self._store.write(entry, reserve=ends) as tx:
            other = tx.iam.user_by_name(user.tenancy, name)
            if other is not None and other[0].id != user.id:
                raise uniqueness("userName")
            if not tx.provisioning.rename_user(user, name):
                raise stale()
            changed = replace(user, name=name, version=user.version + 1)
            if active != (user.state == "ACTIVE"):
                state: Any = "ACTIVE" if active else "BLOCKED"
                if not tx.iam.set_user_state(changed, state):
                    raise stale()
                changed = replace(changed, state=state, version=changed.version + 1)
            if ends:
                tx.iam.revoke(Revocation(user.tenancy, user.id, self._clock.now()))
                tx.iam.delete_auth_tokens(user.tenancy, user.id)
            tx.provisioning.describe(kept)
            return self._user(tx, changed, kept)

    # groups

    def create_group(self, caller: Caller, resource: Mapping[str, Any]) -> Resource:
        """Raises: Refusal (`Uniqueness`, `InvalidValue`, not permitted)."""
        tenancy, now = caller.principal.tenancy, self._clock.now()
        name = group_name(_text(resource, "displayName"))
        group = Group(GroupId(new_id("group", self._region)), tenancy, name, "provisioned", now)
        members = _members(resource)
        detail = {"members": str(len(members))}
        entry = self._guard.permit_change(caller, "GROUP_CREATE", at_group(group), "ScimCreateGroup", detail)
        kept = self._kept(resource, tenancy, group.id, "Group", ("displayName",))
        with self._store.write(entry) as tx:
            if tx.iam.groups(tenancy, PageRequest(1), name):
                raise uniqueness("displayName")
            tx.iam.add_group(group)
            self._set_members(tx, group, frozenset(), members)
            tx.provisioning.describe(kept)
            return self._group(tx, group, kept, sorted(members))

    def get_group(self, caller: Caller, group_id: str) -> Resource:
        group = self._found_group(caller, group_id)
        self._guard.permit(caller, "GROUP_INSPECT", at_group(group), "ScimGetGroup")
        with self._store.read() as tx:
            known = tx.provisioning.described(group.tenancy, group.id)
            return self._group(tx, group, known, self._in(tx, group))

    def list_groups(self, caller: Caller, filter_text: str = "") -> Sequence[Resource]:
        """Every group that meets the filter, by name."""
        wanted = self._listed(caller, "groups", "GROUP_INSPECT", "ScimListGroups", filter_text)
        tenancy = caller.principal.tenancy
        with self._store.read() as tx:
            described = {each.id: each for each in tx.provisioning.all_described(tenancy, "Group")}
            members: dict[str, list[str]] = {}
            for group_id, user_id in tx.provisioning.groups_of_all(tenancy):
                members.setdefault(group_id, []).append(user_id)
            found = _every(lambda page: tx.iam.groups(tenancy, page, None))
            shown = [self._group(tx, each, described.get(each.id), members.get(each.id, [])) for each in found]
        return [each for each in shown if wanted is None or scim_filter.matches(wanted, each)]

    def replace_group(
        self, caller: Caller, group_id: str, resource: Mapping[str, Any], if_match: int | None = None
    ) -> Resource:
        return self._change_group(caller, group_id, lambda _: resource, "ScimReplaceGroup", if_match)

    def patch_group(
        self, caller: Caller, group_id: str, operations: Sequence[Any], if_match: int | None = None
    ) -> Resource:
        return self._change_group(
            caller, group_id, lambda held: scim_patch.apply(held, operations), "ScimPatchGroup", if_match
        )

    def delete_group(self, caller: Caller, group_id: str, if_match: int | None = None) -> None:
        group = self._found_group(caller, group_id)
        entry = self._guard.permit_change(caller, "GROUP_DELETE", at_group(group), "ScimDeleteGroup")
        check_version(group.version, if_match)
        with self._store.write(entry, reserve=True) as tx:
            if not tx.iam.delete_group(group):
                raise stale()
            tx.provisioning.forget(group.tenancy, group.id)

    def _change_group(
        self,
        caller: Caller,
        group_id: str,
        change: Callable[[Resource], Mapping[str, Any]],
        operation: str,
        if_match: int | None,
    ) -> Resource:
        group = self._found_group(caller, group_id)
        with self._store.read() as tx:
            known = tx.provisioning.described(group.tenancy, group.id)
            had = frozenset(self._in(tx, group))
            held = self._group(tx, group, known, sorted(had))
        self._guard.require(caller, "GROUP_UPDATE", at_group(group), operation)
        check_version(group.version, if_match)
        wanted = change(held)
        said = _text(wanted, "displayName")
        name = group.name if said == held["displayName"] else group_name(said)
        members = _members(wanted)
        kept = self._kept(wanted, group.tenancy, group.id, "Group", ("displayName",), known)
        detail = {"name": name, "added": str(len(members - had)), "removed": str(len(had - members))}
        detail |= {"users": " ".join(sorted(members ^ had))[:2000]}
        entry = self._guard.entry(caller, "GROUP_UPDATE", at_group(group), operation, "allowed", detail=detail)
        with self._store.write(entry, reserve=had > members) as tx:
            if any(each.id != group.id for each in tx.iam.groups(group.tenancy, PageRequest(1), name)):
                raise uniqueness("displayName")
            if not tx.provisioning.rename_group(group.tenancy, group.id, group.version, name):
                raise stale()
            self._set_members(tx, group, had, members)
            tx.provisioning.describe(kept)
            return self._group(tx, replace(group, name=name, version=group.version + 1), kept, sorted(members))

    def _set_members(self, tx: FederationTx, group: Group, had: frozenset[str], wanted: frozenset[str]) -> None:
        for user_id in sorted(wanted - had):
            if tx.iam.user(group.tenancy, user_id) is None:
                raise invalid_value("a member is not the id of a user here")
            tx.iam.set_membership(Membership(group.tenancy, group.id, user_id, deleted=False))
        for user_id in sorted(had - wanted):
            tx.iam.set_membership(Membership(group.tenancy, group.id, user_id, deleted=True))

    # within

    def _listed(
        self, caller: Caller, kind: str, permission: str, operation: str, text: str
    ) -> scim_filter.Filter | None:
        tenancy = caller.principal.tenancy
        target = Target(kind, tenancy, "tenancy", tenancy, (CompartmentId(tenancy),))
        self._guard.permit(caller, permission, target, operation)
        return scim_filter.parse(text) if text else None

    def _in(self, tx: FederationTx, group: Group) -> list[str]:
        """Who is in a group for good: what ends by itself is nobody's to provision."""
        return [user_id for group_id, user_id in tx.provisioning.groups_of_all(group.tenancy, group.id)]

    def _user(
        self, tx: FederationTx, user: User, known: Provisioned | None, groups: Iterable[str] | None = None
    ) -> Resource:
        if groups is None:
            groups = tx.federation.memberships(user.tenancy, user.id, self._clock.now())
        living = [found for each in sorted(groups) if (found := tx.iam.group(user.tenancy, each)) is not None]
        return {
            "schemas": [USER],
            "id": user.id,
            **_external(known),
            "userName": user.name,
            **(json.loads(known.attributes) if known is not None else {}),
            "active": user.state == "ACTIVE",
            **({"groups": [{"value": each.id, "display": each.name} for each in living]} if living else {}),
            "meta": _meta("User", user, known),
        }

    def _group(self, tx: FederationTx, group: Group, known: Provisioned | None, members: Iterable[str]) -> Resource:
        listed = [found for each in members if (found := tx.iam.user(group.tenancy, each)) is not None]
        shown = [{"value": each.id, "display": each.name, "type": "User"} for each in listed]
        return {
            "schemas": [GROUP],
            "id": group.id,
            **_external(known),
            "displayName": group.name,
            **(json.loads(known.attributes) if known is not None else {}),
            **({"members": shown} if shown else {}),
            "meta": _meta("Group", group, known),
        }

    def _kept(
        self,
        resource: Mapping[str, Any],
        tenancy: str,
        item_id: str,
        kind: str,
        names: Sequence[str],
        known: Provisioned | None = None,
    ) -> Provisioned:
        now = self._clock.now()
        said = {name: found for name in names if (found := _get(resource, name)) not in (None, [], {}, "")}
        external = _get(resource, "externalId") or ""
        text = json.dumps(said)
        if not isinstance(external, str) or len(external) > 1000 or len(text) > MAX_ATTRIBUTES:
            raise invalid_value("what is said of it is too long, or of a wrong kind")
        _check_kinds(said)
        return Provisioned(tenancy, item_id, kind, external, text, known.created_at if known else now, now)

    def _found_user(self, caller: Caller, user_id: str) -> User:
        with self._store.read() as tx:
            known = looks_like_id(user_id, "user")
            return required(tx.iam.user(caller.principal.tenancy, user_id) if known else None, "user")

    def _found_group(self, caller: Caller, group_id: str) -> Group:
        with self._store.read() as tx:
            known = looks_like_id(group_id, "group")
            return required(tx.iam.group(caller.principal.tenancy, group_id) if known else None, "group")


def group_name(said: str) -> str:
    """The name of a group for what a directory calls it: `Domain Admins` is `Domain-Admins`. Raises: Refusal."""
    return _named(_NO_NAME.sub("-", said).strip("-")[:100], "group")


def uniqueness(attribute: str) -> Refusal:
    """Something of that name is there."""
    return Refusal("Uniqueness", f"the {attribute} is taken", hint="choose another", kind="conflict")


def at_user(user: User) -> Target:
    attributes = {"user.id": user.id, "user.name": user.name}
    return Target("users", user.id, user.name, user.tenancy, (CompartmentId(user.tenancy),), attributes)


def at_group(group: Group) -> Target:
    attributes = {"group.id": group.id, "group.name": group.name}
    return Target("groups", group.id, group.name, group.tenancy, (CompartmentId(group.tenancy),), attributes)


def _meta(kind: str, item: User | Group, known: Provisioned | None) -> Resource:
    return {
        "resourceType": kind,
        "created": isoformat(item.created_at),
        "lastModified": isoformat(known.changed_at if known is not None else item.created_at),
        "version": f'W/"{item.version}"',
    }


def _external(known: Provisioned | None) -> Resource:
    return {"externalId": known.external_id} if known is not None and known.external_id else {}


def _get(resource: Mapping[str, Any], name: str) -> Any:
    """An attribute, whatever the case of its name."""
    if name in resource:
        return resource[name]
    return next((value for key, value in resource.items() if str(key).lower() == name.lower()), None)


def _text(resource: Mapping[str, Any], name: str) -> str:
    found = _get(resource, name)
    if not isinstance(found, str) or not found.strip():
        raise invalid_value(f"{name} is missing")
    return found


def _active(resource: Mapping[str, Any], *, unsaid: bool = True) -> bool:
    """`unsaid`: what silence means; nobody is let in again because a client says nothing of it."""
    found = _get(resource, "active")
    if isinstance(found, str) and found.lower() in ("true", "false"):  # as some clients write it
        return found.lower() == "true"
    if found is not None and not isinstance(found, bool):
        raise invalid_value("active is true or false")
    return unsaid if found is None else found


def _named(name: str, kind: str) -> str:
    try:
        return check_name(name, kind)
    except Refusal as refusal:
        raise Refusal("InvalidValue", refusal.message, hint=refusal.hint) from None


def _members(resource: Mapping[str, Any]) -> frozenset[str]:
    found = _get(resource, "members") or []
    if not isinstance(found, list) or len(found) > MAX_MEMBERS:
        raise invalid_value(f"members is a list of at most {MAX_MEMBERS}")
    ids = [each.get("value") if isinstance(each, Mapping) else None for each in found]
    if not all(isinstance(each, str) and looks_like_id(each, "user") for each in ids):
        raise invalid_value("a member is named by the id of a user")
    return frozenset(str(each) for each in ids)


def _check_kinds(said: Mapping[str, Any]) -> None:
    if not isinstance(said.get("displayName", ""), str):
        raise invalid_value("displayName is a text")
    if not isinstance(said.get("name", {}), Mapping):
        raise invalid_value("name is an object")
    mails = said.get("emails", [])
    if not isinstance(mails, list) or not all(isinstance(each, Mapping) for each in mails):
        raise invalid_value("emails is a list of objects")


def _asked_for(wanted: scim_filter.Filter | None, name: str) -> str | None:
    """The one value that a filter of the usual kind asks for."""
    match wanted:
        case scim_filter.Compare((found,), "eq", str() as value) if found == name:
            return value
        case _:
            return None


def _every(fetch: Callable[[PageRequest], Sequence[Any]]) -> Iterable[Any]:
    page = _ALL
    while True:
        found = fetch(page)
        yield from found[: page.limit]
        if len(found) <= page.limit:
            return
        page = PageRequest(page.limit, found[page.limit - 1].name)
