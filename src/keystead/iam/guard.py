"""The one door (law 1): decides, and records, for every public service method.

`permit` is for acts that leave nothing behind in the state (reads, cryptography): the entry goes to the audit log at
once and the answer waits until it is durable. `permit_change` is for state changes: it returns the entry, which the
store writes as a row of the change's own transaction. Refusals are recorded by both before they are raised.

Who may inspect the target is told which permission is missing and the statement that would grant it; for anybody else,
and across tenancies, the answer is that of an id that does not exist (law 8). So it is for a person who comes from
where the target may not be reached; the audit log alone has the reason.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NoReturn

from keystead.audit.model import NO_DETAIL, Entry, Outcome
from keystead.audit.service import AuditLog
from keystead.core.clock import Clock
from keystead.core.errors import Refusal, not_found
from keystead.core.ids import CompartmentId, IdSeries, TenancyId
from keystead.iam.actions import SERVICE_GRANTS, inspect_permission, kind_of
from keystead.iam.approvals.gate import USED, ApprovalGate
from keystead.iam.approvals.model import Rule
from keystead.iam.approvals.operations import APPROVABLE, NEVER_ALONE
from keystead.iam.directory import Directory
from keystead.iam.factors.model import SECOND_FACTORS
from keystead.iam.model import Caller, Granted, Target
from keystead.iam.policy.compile import decide_across
from keystead.iam.policy.question import Decision, Question
from keystead.iam.policy.suggest import suggest
from keystead.iam.request import RequestVariables

MEMO_LIMIT = 50_000
UNREACHED = "NotReachableFromThere"


class Guard:
    """Decides from the directory as it is now and records with the audit log."""

    def __init__(
        self, directory: Directory, refresh: Callable[[], int], log: AuditLog, clock: Clock, region: str
    ) -> None:
        self._directory = directory
        self._refresh = refresh
        self._log = log
        self._clock = clock
        self._region = region
        self._ids = IdSeries("entry", region)
        # One dictionary per generation: a thread that still decides as of an older one writes into the older one.
        # With the target that was decided about: one that was found before it was moved says nothing of where it is.
        self._memo: tuple[int, dict[tuple[str, str, str], tuple[Target, Decision]]] = (-1, {})
        self._unreached: Callable[[Caller, Target], str] = _everywhere
        self._gate: ApprovalGate | None = None

    def refresh(self) -> int:
        """See the region as it is now; for what looks at the directory before it is decided. Raises: Unavailable."""
        return self._refresh()

    def region_itself(self) -> Target:
        """The region as a whole, for acts that concern every tenancy. It is its first tenancy's, whose operators made
        it, and looks absent to the others.
        """
        home = TenancyId(self._directory.first_tenancy())
        return Target("state", self._region, self._region, home, (CompartmentId(home),))

    def bound_by(self, unreached: Callable[[Caller, Target], str]) -> None:
        """Have `unreached` say, at every decision and never from memory, why the caller does not reach a target from
        where it comes (empty: it does). The owner of the targets sets it, once.
        """
        self._unreached = unreached

    def permit(
        self, caller: Caller, permission: str, target: Target, operation: str, detail: Mapping[str, str] | None = None
    ) -> None:
        """Allow and record an act that changes no state.

        Raises:
            Refusal: not permitted; recorded.
        """
        self.require(caller, permission, target, operation, gated=True)
        if operation in APPROVABLE and self._gate is not None:
            detail = self._approved(self._gate, caller, permission, target, operation, detail)
            if detail is not None and USED in detail:
                self._gate.use(self.entry(caller, permission, target, operation, "allowed", detail=detail))
                return
        self._log.append(self.entry(caller, permission, target, operation, "allowed", detail=detail))

    def permit_change(
        self,
        caller: Caller,
        permission: str,
        target: Target,
        operation: str,
        detail: Mapping[str, str] | None = None,
        *,
        also: Sequence[Target] = (),
        asked_at: Target | None = None,
    ) -> Entry:
        """Allow a state change; the entry returned belongs into its transaction, which uses up the approval that it
        names, where one was needed. `also`: what the act reaches besides. `asked_at`: the permission is
        asked there, where that is not the target as it is.

        Raises:
            Refusal: not permitted, or not without others; recorded.
        """
        self.require(caller, permission, asked_at or target, operation, gated=True)
        if self._gate is not None:
            detail = self._approved(self._gate, caller, permission, target, operation, detail, also)
        return self.entry(caller, permission, target, operation, "allowed", detail=detail)

    def _approved(
        self,
        gate: ApprovalGate,
        caller: Caller,
        permission: str,
        target: Target,
        operation: str,
        detail: Mapping[str, str] | None,
        also: Sequence[Target] = (),
    ) -> Mapping[str, str] | None:
        """The detail with the approval by which the act may go on. The region's services need none, nor jobs, which
        were asked for by somebody who did.
        """
        if caller.principal.type == "service" or caller.requester:
            return detail
        try:
            passed = gate.check(caller, permission, operation, target, also)
        except Refusal as refusal:
            self.refuse(caller, permission, target, operation, refusal)
        if passed.alert is not None:
            told, about = passed.alert
            alert = self.entry(caller, permission, target, told, "succeeded", detail={**about, "of": operation})
            self._log.append(alert)
        return {**(detail or {}), **passed.detail} if passed.detail else detail

    def gated_by(self, gate: ApprovalGate) -> None:
        """Have `gate` say what needs the approval of others. Whoever builds the region sets it, once."""
        self._gate = gate

    def rules_for(self, caller: Caller, permission: str, operation: str, target: Target) -> Sequence[Rule]:
        """The rules by which the act would need the approval of others. Records nothing: for previews."""
        return () if self._gate is None else self._gate.rules_for(caller.principal.id, permission, operation, target)

    def may(self, caller: Caller, permission: str, target: Target, *, newborn: bool = False) -> bool:
        """Whether the caller would be permitted. Records nothing: for hints and previews, never instead of `permit`.
        `newborn`: as in `require`.
        """
        allowed = self._decide(caller, permission, target, newborn).allowed and not self._unreached(caller, target)
        return allowed and not self._lacks_factor(caller)

    def record(
        self,
        caller: Caller,
        permission: str,
        target: Target,
        operation: str,
        outcome: Outcome,
        reason: str = "",
        detail: Mapping[str, str] | None = None,
        *,
        reserve: bool = False,
    ) -> None:
        """Record what became of an act that leaves the database (intent before, outcome after).

        `reserve`: it takes access away, and may use the space that is kept for that.
        """
        entry = self.entry(caller, permission, target, operation, outcome, reason=reason, detail=detail)
        self._log.append(entry, reserve)

    def refuse(
        self,
        caller: Caller,
        permission: str,
        target: Target,
        operation: str,
        refusal: Refusal,
        detail: Mapping[str, str] | None = None,
    ) -> NoReturn:
        """Record a refusal that a service found (a key in the wrong state, ...) and raise it."""
        code, reason = refusal.code, refusal.message
        self._log.append(
            self.entry(caller, permission, target, operation, "refused", code=code, reason=reason, detail=detail)
        )
        refusal.recorded = True
        raise refusal

    def entry(
        self,
        caller: Caller,
        permission: str,
        target: Target,
        operation: str,
        outcome: Outcome,
        *,
        code: str = "",
        reason: str = "",
        detail: Mapping[str, str] | None = None,
    ) -> Entry:
        """An audit entry for this caller and target, now."""
        principal = caller.principal
        # By position, in the order of the fields: names cost as much as all the rest, and one is made per request.
        return Entry(
            self._ids.next(),
            self._clock.now(),
            # Across tenancies: what was done is told to whose it was done to; what was not, to whose it was asked.
            (principal.tenancy if outcome == "refused" else target.tenancy) or principal.tenancy or target.tenancy,
            target.path[-1] if target.path else "",
            principal.id,
            principal.type,
            principal.name,
            caller.requester,
            caller.token_id,
            caller.source,
            caller.request_id,
            permission,
            operation,
            target.type,
            target.id,
            target.name,
            outcome,
            code,
            reason,
            detail or NO_DETAIL,
        )

    def require(
        self,
        caller: Caller,
        permission: str,
        target: Target,
        operation: str,
        *,
        newborn: bool = False,
        gated: bool = False,
    ) -> None:
        """Only decide, and record a refusal: for an act of several permissions, or one that is recorded when done.

        `newborn`: the caller is the identity of a resource that the act itself will create. `gated`: whoever asks looks
        whether others have approved; otherwise what would undo a rule of approval is refused here, as nothing would use
        an approval up.

        Raises:
            Refusal: not permitted; recorded.
        """
        self._refresh()
        if self._lacks_factor(caller):
            self.refuse(caller, permission, target, operation, _factor_needed())
        decision = self._decide(caller, permission, target, newborn, operation)
        why = self._unreached(caller, target)
        if why:
            self._hide(caller, permission, target, operation, why)
        if not decision.allowed:
            self.refuse(caller, permission, target, operation, self._refusal(caller, permission, target, decision))
        if not gated and permission in NEVER_ALONE and self._gate is not None:
            self._approved(self._gate, replace(caller, asked=None), permission, target, operation, None)
        if caller.asked is not None:
            caller.asked.granted.append(Granted(caller.principal.id, permission, operation, target, caller.told))

    def require_again(self, caller: Caller, granted: Iterable[Granted]) -> None:
        """Decide once more what an earlier, equal request of the caller's was allowed: before its answer is repeated.

        Nothing is done, so nobody has to approve it again.

        Raises:
            Refusal: it would not be allowed now; recorded.
        """
        for each in granted:
            self.require(replace(caller, told=each.told), each.permission, each.target, each.operation, gated=True)

    def _lacks_factor(self, caller: Caller) -> bool:
        """Whether a group asks for a second factor that this session was begun without. Never from memory.

        A job that goes on for somebody has no session; it was asked for with one that was looked at.
        """
        who = caller.principal
        return (
            who.type == "user"
            and bool(caller.token_id)
            and caller.factors.isdisjoint(SECOND_FACTORS)
            and self._directory.factor_required(who.id)
        )

    def _hide(self, caller: Caller, permission: str, target: Target, operation: str, why: str) -> NoReturn:
        """Record why a target is not reached, and answer that there is none; resources are told, they know theirs."""
        self._log.append(self.entry(caller, permission, target, operation, "refused", code=UNREACHED, reason=why))
        if caller.principal.type == "user":
            refusal = not_found(_noun(target.type))
        else:
            refusal = Refusal(UNREACHED, why, hint="whoever may manage vaults can change that", kind="denied")
        refusal.recorded = True
        raise refusal

    def decide(self, caller: Caller, permission: str, target: Target) -> Decision:
        """The decision with its reasons. Records nothing: for those who explain it to people who may know."""
        return self._decide(caller, permission, target)

    def question(self, caller: Caller, permission: str, target: Target) -> Question:
        """What policies are asked. Records and decides nothing."""
        return self._question(caller, permission, target, False, "")

    def _decide(
        self, caller: Caller, permission: str, target: Target, newborn: bool = False, operation: str = ""
    ) -> Decision:
        generation = self._refresh()
        of, memo = self._memo
        if generation != of or len(memo) > MEMO_LIMIT:
            memo = {}
            self._memo = (generation, memo)
        memo_key = (caller.principal.id, permission, target.id)
        known = None if newborn else memo.get(memo_key)
        if known is not None and (known[0] is target or known[0] == target):
            return known[1]
        decision = self._evaluate(caller, permission, target, newborn, operation)
        # What a membership that ends allows is not remembered: its deadline changes no generation.
        if not decision.reads_request and not newborn and not self._directory.has_deadlines(caller.principal.id):
            memo[memo_key] = (target, decision)
        return decision

    def _evaluate(self, caller: Caller, permission: str, target: Target, newborn: bool, operation: str) -> Decision:
        principal = caller.principal
        if principal.type == "service":
            return self._evaluate_service(caller, permission, target, operation)
        living = newborn or self._directory.principal(principal.id) is not None
        if not target.tenancy or not living:
            return Decision(False, None, False, ("no such principal in the target's tenancy",))
        if target.type == "key-delegate" and target.attributes.get("key.managed-by") == principal.id:
            return Decision(True, None, False, ("the service-managed key of this system",))
        question = self._question(caller, permission, target, newborn, operation)
        home = self._directory.policies(principal.tenancy)
        others = _others(principal.tenancy, target)
        if not others:
            return home.decide(question)
        return decide_across(home, map(self._directory.policies, others), question)

    def _evaluate_service(self, caller: Caller, permission: str, target: Target, operation: str) -> Decision:
        """The region's own services may do what the catalogue says and nothing else; to others the target's tenancy
        grants what its statements say."""
        own = SERVICE_GRANTS.get(caller.principal.name)
        if own is not None:
            return Decision(permission in own, None, False, ("by the catalogue alone",))
        if not target.tenancy:
            return Decision(False, None, False, ("the target is no tenancy's",))
        question = self._question(caller, permission, target, False, operation)
        return self._directory.policies(target.tenancy).decide(question)

    def _question(self, caller: Caller, permission: str, target: Target, newborn: bool, operation: str) -> Question:
        principal, directory = caller.principal, self._directory
        if principal.type == "user":
            groups = directory.groups_of(principal.id)
            exempt = directory.administrators(principal.tenancy) in groups
        else:
            exempt = False
            groups = directory.dynamic_groups_for(principal) if newborn else directory.dynamic_groups_of(principal.id)
        return Question(
            principal.id,
            principal.type,
            principal.name,
            groups,
            permission,
            target.path,
            RequestVariables(caller, permission, target, directory, self._clock.now(), self._region, operation),
            principal.tenancy,
            exempt,
        )

    def _refusal(self, caller: Caller, permission: str, target: Target, decision: Decision) -> Refusal:
        kind = kind_of(permission)
        inspect = inspect_permission(kind)
        sees = inspect is not None and permission != inspect and self._decide(caller, inspect, target).allowed
        what = f"{_noun(target.type)} {target.name!r}"
        if permission == inspect and target.path and target.id == target.path[-1]:  # a list of what lies in a place
            what = f"{target.type} in compartment {target.name!r}"
            place = Target("compartments", target.id, target.name, target.tenancy, target.path)
            sees = self._decide(caller, "COMPARTMENT_INSPECT", place).allowed
        abroad = caller.principal.type != "service" and bool(_others(caller.principal.tenancy, target))
        if not sees and (abroad or caller.principal.type == "user"):
            return not_found(_noun(target.type), target.name if target.id == target.name else "")
        return Refusal(
            "NotAuthorized",
            f"{caller.principal.name} lacks {permission} on {what}",
            hint="it takes an endorse statement in your tenancy and an admit statement in the other"
            if abroad
            else f"this statement would grant it: {self.statement_for(caller, permission, target)}",
            kind="denied",
        )

    def statement_for(self, caller: Caller, permission: str, target: Target) -> str:
        """The policy statement that would grant `permission` on `target` to the caller's group, or to its kind."""
        groups = sorted(
            group.name
            for group_id in self._directory.groups_of(caller.principal.id)
            if (group := self._directory.group(group_id)) is not None
        )
        return suggest(permission, caller.principal, groups[0] if groups else None, self._place(target))

    def _place(self, target: Target) -> tuple[str, ...]:
        """The target's compartment as names below the root; empty for the tenancy itself."""
        names = []
        for compartment_id in target.path[1:]:
            compartment = self._directory.compartment(target.tenancy, compartment_id)
            names.append(compartment.name if compartment else compartment_id)
        return tuple(names)


def _everywhere(_caller: Caller, _target: Target) -> str:
    return ""


def _others(home: str, target: Target) -> tuple[str, ...]:
    """The tenancies but the principal's own that an act concerns."""
    associated = target.associated
    if associated is None or associated.tenancy in (home, target.tenancy):
        return () if target.tenancy == home else (target.tenancy,)
    return (associated.tenancy,) if target.tenancy == home else (target.tenancy, associated.tenancy)


def _factor_needed() -> Refusal:
    return Refusal(
        "FactorNeeded",
        "a group you are in asks for a second factor, and this session was begun without one",
        hint="sign in with one: keystead login; who has none yet enrols first: keystead factor enrol-totp NAME",
        kind="denied",
    )


def _noun(kind: str) -> str:
    """The word for one of a resource type: `keys` -> `key`."""
    special = {
        "key-delegate": "key",
        "mysql-instances": "database system",
        "mysql-backups": "backup",
        "policies": "policy",
        "approval-rules": "approval rule",
        "tenancies": "tenancy",
        "audit-events": "audit trail",
    }
    return special.get(kind, kind.removesuffix("s"))
