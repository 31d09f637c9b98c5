"""Questions about policies, answered by the very code that decides.

Nothing is revealed that the caller could not inspect: statements need POLICY_READ where the question is asked,
principals and resources are left out (or look absent) when the caller may not inspect them.

Answers are as of now, for a request without network, time or factor of its own; where those matter an answer says so
(`depends`).
"""

import difflib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import cast

from keystead.core.clock import Clock
from keystead.core.errors import Refusal, not_found, required
from keystead.core.ids import CompartmentId
from keystead.iam.actions import (
    GRANTABLE,
    TYPE_BY_NAME,
    TYPE_WORDS,
    VERBS,
    Verb,
    inspect_permission,
    kind_of,
    permissions_of,
)
from keystead.iam.directory import Directory, TenancyNames
from keystead.iam.guard import Guard
from keystead.iam.insight.model import Crossing, Difference, Explanation, Holder, Meeting, Simulation, Unused
from keystead.iam.insight.ports import Resources, Usage
from keystead.iam.model import Caller, Principal, Target
from keystead.iam.policy.check import check_statements, problems_of
from keystead.iam.policy.compile import PolicySet, PolicySource, compile_policies
from keystead.iam.policy.index import service_key
from keystead.iam.policy.model import Associate, Permissions, Rule, VerbOn, text
from keystead.iam.policy.question import Decision, StatementRef
from keystead.iam.policy.resolve import Meaning
from keystead.iam.policy.variables import tag_attributes

MOST = 300_000
"""Combinations that one simulation looks at: some seconds."""
MAX_DAYS = 400
_KEY_DUTIES = ("KEY_DECRYPT", "KEY_ENCRYPT", "KEY_CREATE", "KEY_UPDATE", "KEY_ROTATE", "KEY_DELETE")
_DATABASE_DUTIES = ("MYSQL_INSTANCE_CREATE", "MYSQL_INSTANCE_UPDATE", "MYSQL_INSTANCE_DELETE", "MYSQL_BACKUP_CREATE")


class Insight:
    """Explains decisions, and what policies amount to."""

    def __init__(self, guard: Guard, directory: Directory, resources: Resources, usage: Usage, clock: Clock) -> None:
        self._guard = guard
        self._directory = directory
        self._resources = resources
        self._usage = usage
        self._clock = clock

    def explain(self, caller: Caller, principal_id: str, action: str, thing_id: str) -> Explanation:
        """Why a principal may, or may not, do something to a thing, or in a compartment.

        Raises:
            Refusal: no such action; the caller may not read policies there, or not inspect one of them.
        """
        permissions = _permissions(action)
        target = self._target(caller, permissions[0], thing_id, "ExplainPolicy")
        who = self._principal(caller, principal_id)
        acting = Caller(who, request_id="")
        first: Decision | None = None
        for permission in permissions:
            at = replace(target, type=kind_of(permission))
            first = self._guard.decide(acting, permission, at)
            if not first.allowed:
                break
        assert first is not None  # noqa: S101 (no action is without a permission)
        question = self._guard.question(acting, permission, target)
        considered = self._policies(caller).explain(question)
        return Explanation(first.allowed, first.reads_request, first.statement, first.reasons, considered)

    def who_can(self, caller: Caller, action: str, thing_id: str) -> tuple[Holder, ...]:
        """Everybody who may do something to a thing, or in a compartment. Raises: Refusal, as `explain`."""
        permissions = _permissions(action)
        target = self._target(caller, permissions[0], thing_id, "WhoCan")
        found = []
        for who in self._principals(caller):
            acting = Caller(who, request_id="")
            decisions = [self._guard.decide(acting, each, replace(target, type=kind_of(each))) for each in permissions]
            depends = any(each.reads_request for each in decisions)
            if all(each.allowed for each in decisions):
                found.append(Holder(who, decisions[0].statement, depends))
        return tuple(found)

    def simulate(
        self, caller: Caller, compartment_id: str, statements: tuple[str, ...], policy_id: str = ""
    ) -> Simulation:
        """What it would open and close if a policy were attached with these statements, in place of `policy_id`.

        No statements: what if that policy were deleted.

        Raises:
            Refusal: as `explain`; statements that cannot be stored; too much to look at.
        """
        place = required(self._directory.compartment(caller.principal.tenancy, compartment_id), "compartment")
        at = Target("policies", place.id, place.name, place.tenancy, place.path)
        self._guard.permit(caller, "POLICY_READ", at, "SimulatePolicy")
        now = self._directory.sources(place.tenancy)
        before = [each for each in now if each.policy_id == policy_id]
        if policy_id and (not before or before[0].compartment_id != place.id):
            raise not_found("policy")
        if statements:
            at_root = place.parent is None
            kept = problems_of(before[0].statements, at_root=at_root) if before else ()
            check_statements(statements, at_root=at_root, kept=kept)
        changed = PolicySource(policy_id, place.id, statements)
        after = compile_policies(
            [*(each for each in now if each.policy_id != policy_id), changed],
            TenancyNames(self._directory, place.tenancy),
        )
        touched = _permissions_in(compile_policies([changed, *before], TenancyNames(self._directory, place.tenancy)))
        found = self._compare(caller, self._policies(caller), after, sorted(touched))
        return replace(found, crossings=_crossings(self._policies(caller), after))

    def unused(self, caller: Caller, days: int) -> tuple[Unused, ...]:
        """Statements that allow what nobody they are about did in so many days, by the audit trail."""
        if not 1 <= days <= MAX_DAYS:
            raise Refusal("InvalidParameter", f"days must be between 1 and {MAX_DAYS}")
        root = self._root(caller)
        self._guard.require(caller, "AUDIT_EVENT_READ", replace(root, type="audit-events"), "ListUnusedGrants")
        self._guard.permit(caller, "POLICY_READ", root, "ListUnusedGrants")
        acts = self._usage.acts(caller.principal.tenancy, self._clock.now() - timedelta(days=days))
        everybody = list(self._everybody(caller.principal.tenancy))
        found = []
        for ref, rule, meaning in self._policies(caller).grants():
            if rule.effect != "allow" or rule.denies:
                continue
            about = {who.id for who in everybody if self._is_about(rule, meaning, who)}
            permissions = [each for each in _permissions_of(rule) if TYPE_BY_NAME[kind_of(each)].served]
            used = tuple(each for each in permissions if any((who, each) in acts for who in about))
            left = tuple(each for each in permissions if each not in used)
            if left:
                found.append(Unused(ref, used, left))
        return tuple(found)

    def duties(self, caller: Caller) -> tuple[Meeting, ...]:
        """Who can both use or manage keys, and manage databases."""
        self._guard.permit(caller, "POLICY_READ", self._root(caller), "ListMixedDuties")
        found = []
        for who in self._principals(caller):
            keys = self._first(caller, who, _KEY_DUTIES)
            databases = self._first(caller, who, _DATABASE_DUTIES) if keys is not None else None
            if keys is not None and databases is not None:
                found.append(Meeting(who, *keys, *databases))
        return tuple(found)

    # what the caller may know of

    def _root(self, caller: Caller) -> Target:
        tenancy = caller.principal.tenancy
        return Target("policies", tenancy, "tenancy", tenancy, (CompartmentId(tenancy),))

    def _policies(self, caller: Caller) -> PolicySet:
        return self._directory.policies(caller.principal.tenancy)

    def _target(self, caller: Caller, permission: str, thing_id: str, operation: str) -> Target:
        """The thing asked about. Absent unless the caller may inspect it; policies must be readable there."""
        self._guard.refresh()
        tenancy = caller.principal.tenancy
        kind = kind_of(permission)
        place = self._directory.compartment(tenancy, thing_id)
        if place is not None:
            tags = tag_attributes(place.tags)
            target = Target(
                kind, place.id, place.name, place.tenancy, place.path, tags if kind == "compartments" else {}
            )
            inspected = replace(target, type="compartments", attributes=tags)
            seen = self._guard.may(caller, "COMPARTMENT_INSPECT", inspected)
        else:
            fitting = (each for each in self._resources.all(tenancy) if each.id == thing_id)
            found = required(next(fitting, None), "resource")
            target, seen = found, self._may_inspect(caller, found)
        path = target.path
        policies = Target("policies", path[-1], target.name if place else "policies", tenancy, path)
        self._guard.require(caller, "POLICY_READ", policies, operation)
        if not seen:
            self._guard.refuse(caller, "POLICY_READ", policies, operation, not_found("resource"))
        self._guard.permit(caller, "POLICY_READ", policies, operation, {"about": thing_id})
        return target

    def _may_inspect(self, caller: Caller, target: Target) -> bool:
        inspect = inspect_permission(target.type)
        return inspect is not None and self._guard.may(caller, inspect, target)

    def _principal(self, caller: Caller, principal_id: str) -> Principal:
        return required(next((who for who in self._principals(caller) if who.id == principal_id), None), "principal")

    def _principals(self, caller: Caller) -> Iterator[Principal]:
        """The caller, and everybody whom the caller may inspect."""
        root = self._root(caller)
        users = self._guard.may(caller, "USER_INSPECT", replace(root, type="users"))
        for who in self._everybody(caller.principal.tenancy):
            if who.id == caller.principal.id:
                yield who
            elif who.type == "user":
                if users:
                    yield who
            else:
                place = self._directory.compartment(who.tenancy, who.compartment)
                path = place.path if place is not None else root.path
                if self._guard.may(
                    caller, "MYSQL_INSTANCE_INSPECT", Target("mysql-instances", who.id, who.name, who.tenancy, path)
                ):
                    yield who

    def _everybody(self, tenancy: str) -> Iterable[Principal]:
        return sorted(self._directory.principals_in(tenancy), key=lambda who: (who.type, who.name, who.id))

    def _targets(self, caller: Caller, permissions: Sequence[str]) -> list[tuple[str, Target]]:
        """Every permission with every place and thing it may be about, as far as the caller sees them."""
        tenancy = caller.principal.tenancy
        places = [
            Target("compartments", place.id, place.name, place.tenancy, place.path, tag_attributes(place.tags))
            for place in self._directory.compartments_of(tenancy)
        ]
        seen = [place for place in places if self._guard.may(caller, "COMPARTMENT_INSPECT", place)]
        things = [thing for thing in self._resources.all(tenancy) if self._may_inspect(caller, thing)]
        made: list[tuple[str, Target]] = []
        for permission in permissions:
            kind = kind_of(permission)
            own = kind == "compartments"  # elsewhere it is only the place, and its tags are not the target's
            made += [(permission, place if own else replace(place, type=kind, attributes={})) for place in seen]
            same = ("keys",) if kind == "key-delegate" else (kind,)
            made += [(permission, replace(thing, type=kind)) for thing in things if thing.type in same]
        return made

    def _compare(self, caller: Caller, before: PolicySet, after: PolicySet, permissions: Sequence[str]) -> Simulation:
        everybody, targets = list(self._principals(caller)), self._targets(caller, permissions)
        examined = len(everybody) * len(targets)
        if examined > MOST:
            raise Refusal("TooMuch", f"{examined} combinations would have to be looked at", hint="change less at once")
        found = []
        for who in everybody:
            acting = Caller(who, request_id="")
            for permission, target in targets:
                question = self._guard.question(acting, permission, target)
                now, then = before.decide(question), after.decide(question)
                if now.allowed is not then.allowed:
                    by = now.statement, then.statement
                    found.append(Difference(who, permission, target.type, target.id, target.name, then.allowed, *by))
        return Simulation(tuple(found), examined)

    def _first(
        self, caller: Caller, who: Principal, permissions: Sequence[str]
    ) -> tuple[str, str, StatementRef | None] | None:
        acting = Caller(who, request_id="")
        for permission, target in self._targets(caller, permissions):
            decision = self._guard.decide(acting, permission, target)
            if decision.allowed:
                return permission, target.name, decision.statement
        return None

    def _is_about(self, rule: Rule, meaning: Meaning, who: Principal) -> bool:
        groups = self._directory.groups_of(who.id) | self._directory.dynamic_groups_of(who.id)
        match rule.subject.kind:
            case "any-user":
                return True
            case "any-group":
                return bool(groups)
            case "service":
                return who.type == "service" and service_key(who.name) in meaning.subjects
            case _:
                return any(each in groups for each in meaning.subjects)


def _crossings(before: PolicySet, after: PolicySet) -> tuple[Crossing, ...]:
    """Statements between tenancies that hold before or after and not both; what their names stand for is part of it."""

    def across(policies: PolicySet) -> list[tuple[Rule, Meaning]]:
        return [(rule, meaning) for _, rule, meaning in policies.grants() if rule.effect != "allow"]

    then, now = across(after), across(before)
    begins = [(rule, not rule.denies) for rule, meaning in then if (rule, meaning) not in now]
    ceases = [(rule, rule.denies) for rule, meaning in now if (rule, meaning) not in then]
    return tuple(Crossing(rule.effect, text(rule), opens) for rule, opens in (*begins, *ceases))


def _permissions(action: str) -> list[str]:
    """`KEY_DECRYPT`, or all that `use keys` permits. Raises: Refusal: no such action."""
    words = action.split()
    if len(words) == 1 and words[0].upper() in GRANTABLE:
        return [words[0].upper()]
    if len(words) == 2 and words[0].lower() in VERBS and words[1].lower() in TYPE_WORDS:
        return sorted(permissions_of(cast(Verb, words[0].lower()), words[1].lower()))
    close = difflib.get_close_matches(action.upper(), GRANTABLE, n=1, cutoff=0.5)
    meant = f"did you mean {close[0]}? " if close else ""
    raise Refusal(
        "InvalidParameter",
        f"{action!r} is not an action",
        hint=f"{meant}name a permission, or a verb and a type as 'use keys'",
    )


def _permissions_of(rule: Rule) -> list[str]:
    match rule.action:
        case VerbOn(verb, word):
            return sorted(permissions_of(verb, word))
        case Permissions(names):
            return sorted(set(names))
        case Associate():
            return ["KEY_ASSOCIATE", "KEY_DISASSOCIATE"]


def _permissions_in(policies: PolicySet) -> set[str]:
    return {
        permission
        for _, rule, _ in policies.grants()
        if rule.effect == "allow"
        for permission in _permissions_of(rule)
        if TYPE_BY_NAME[kind_of(permission)].served
    }
