"""Where acts wait for approval: asked by the Guard once an act is permitted, before anything is done.

    no rule covers it            go on
    break glass into the rules'  go on, with an alert
      emergency groups
    no approval is named         the request is kept (or found, when it waits already) and refused: ApprovalRequired
    one is named                 it must be the caller's own, for exactly this request, and stand now; then go on, and
                                 the audit entry names it: the transaction that writes that entry uses it up

`settle` is that last step. It looks at everything again inside the transaction, so that between the look here and the
act nothing can have changed, and so that one approval is good for one act, whoever repeats it at the same time.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from keystead.audit.model import Entry
from keystead.audit.service import AuditLog
from keystead.core.clock import LATEST, Clock
from keystead.core.errors import Refusal, not_found
from keystead.core.ids import ApprovalId, CompartmentId, IdSeries, PrincipalId, new_id
from keystead.iam.approvals.model import Approval, Rule, Term
from keystead.iam.approvals.operations import OF_THE_REACHED
from keystead.iam.approvals.ports import ApprovalRows
from keystead.iam.approvals.rules import Act, Facts, covers, required, standing
from keystead.iam.directory import Directory
from keystead.iam.model import Asked, Caller, Target
from keystead.iam.ports import IamStore

MAX_WAITING = 50
"""Requests of one person that wait at the same time."""

USED = "approval"
"""Where an entry names the approval that its act used up."""


@dataclass(frozen=True, slots=True)
class Passed:
    """An act may go on; `detail` is what its audit entry says about that, `alert` an entry of its own."""

    detail: dict[str, str] = field(default_factory=dict)
    alert: tuple[str, dict[str, str]] | None = None


GO_ON = Passed()


class ApprovalGate:
    """Looks which rules cover an act, and whether they are met."""

    def __init__(self, directory: Directory, store: IamStore, log: AuditLog, clock: Clock, region: str) -> None:
        self._directory = directory
        self._store = store
        self._log = log
        self._clock = clock
        self._region = region
        self._ids = IdSeries("entry", region)

    def check(
        self, caller: Caller, permission: str, operation: str, target: Target, also: Sequence[Target] = ()
    ) -> Passed:
        """Whether the act may go on. `also`: the keys that an act on a vault reaches, or the policies
        that one on tags does.

        Raises:
            Refusal: it may not, or not yet.
        """
        rules = self.rules_for(caller.principal.id, permission, operation, target, also)
        if not rules:
            return GO_ON
        if self._in_emergency(caller, rules):
            names = ", ".join(rule.name for rule in rules)
            return Passed({"emergency": names}, ("ApprovalBypassed", {"kind": "alert", "rules": names}))
        asked = caller.asked
        if asked is None:
            raise Refusal(
                "ApprovalRequired",
                f"this needs approval by rule {rules[0].name!r}, which cannot be asked for this way",
                hint="use Keystead's own API or command line",
                kind="conflict",
            )
        look = self._named if asked.approval else self._wait
        return look(caller, asked, rules, target)

    def use(self, entry: Entry) -> None:
        """Write an entry that names an approval, for an act that changes nothing else. Raises: Refusal, Unavailable."""
        with self._store.write(entry):
            pass

    def rules_for(
        self, principal: str, permission: str, operation: str, target: Target, also: Sequence[Target] = ()
    ) -> list[Rule]:
        """The rules that cover an act, by name."""
        held = self._directory.rules_in(target.tenancy)
        if not held:
            return []
        acts = [Act(principal, permission, operation, target)]
        acts += [Act(principal, permission, OF_THE_REACHED.get(operation, operation), each) for each in also]
        groups_of = self._directory.groups_of
        return sorted(
            (rule for rule in held if any(covers(rule, act, groups_of) for act in acts)), key=lambda rule: rule.name
        )

    def _in_emergency(self, caller: Caller, rules: Iterable[Rule]) -> bool:
        """Whether the caller has broken glass into the emergency group of every rule."""
        for rule in rules:
            until = rule.emergency_group and self._directory.membership_until(caller.principal.id, rule.emergency_group)
            if not until or until >= LATEST:
                return False
        return True

    def _named(self, caller: Caller, asked: Asked, rules: Sequence[Rule], target: Target) -> Passed:
        with self._store.read() as tx:
            found = tx.approvals.approval(caller.principal.tenancy, asked.approval)
            if found is None or found.requester != caller.principal.id:
                raise not_found("approval")
            if found.digest != asked.digest:
                raise Refusal(
                    "ApprovalMismatch",
                    "this approval is for another request",
                    hint="repeat exactly what was approved: keystead approval show tells what that is",
                    kind="conflict",
                )
            votes, facts = tx.approvals.votes(found), facts_of(tx.approvals, found, self._clock.now())
        known = {(term.rule, term.version) for term in found.terms}
        if _under_way(found, caller.request_id) and all((rule.id, rule.version) in known for rule in rules):
            return Passed({"approved_as": found.id})
        refusal = standing(found, votes, facts)
        if refusal is not None:
            raise refusal
        if any((rule.id, rule.version) not in known for rule in rules):  # the act reaches farther: all of them at once
            held = {rule.id: rule for rule in (*facts.rules.values(), *rules)}
            return self._wait(caller, asked, list(held.values()), target)
        names = ", ".join(vote.user_name for vote in votes if vote.choice == "approve")
        return Passed({USED: found.id, "approved_by": names[:400]})

    def _wait(self, caller: Caller, asked: Asked, rules: Sequence[Rule], target: Target) -> Passed:
        """Keep the request; raises what says under which id."""
        now, tenancy = self._clock.now(), caller.principal.tenancy
        with self._store.read() as tx:
            waiting = tx.approvals.waiting(tenancy, caller.principal.id, now)
            wanted = {(rule.id, rule.version) for rule in rules}
            for found in waiting:
                facts = facts_of(tx.approvals, found, now)
                same = found.digest == asked.digest and {(term.rule, term.version) for term in found.terms} >= wanted
                if same and facts.target_version == found.target_version:
                    raise required(found, tx.approvals.votes(found), facts)
            made = self._made(tx.approvals, caller, asked, rules, target)
        if len(waiting) >= MAX_WAITING:
            raise Refusal(
                "TooManyApprovals",
                f"{MAX_WAITING} of your requests wait for approval",
                hint="withdraw some: keystead approval list --mine",
                kind="conflict",
            )
        entry = self._requested(caller, made, target)
        with self._store.write(entry) as tx:
            tx.approvals.add_approval(made)
            facts = facts_of(tx.approvals, made, now)
        raise required(made, (), facts)

    def _made(
        self, rows: ApprovalRows, caller: Caller, asked: Asked, rules: Sequence[Rule], target: Target
    ) -> Approval:
        now, who = self._clock.now(), caller.principal
        terms = tuple(
            Term(
                rule.id, rule.name, rule.version, rule.group_id, rule.needed,
                tuple(user for user, _ in rows.approvers(rule.tenancy, rule.group_id) if user != who.id),
            )
            for rule in rules
        )  # fmt: skip
        version = rows.version_of(target.tenancy, target.type, target.id)
        place = target.path[-1] if target.path else CompartmentId(target.tenancy)
        return Approval(
            ApprovalId(new_id("approval", self._region)), target.tenancy, place, asked.operation, target.type,
            target.id if version else "", target.name, version, PrincipalId(who.id), who.name, asked.digest,
            asked.shown, terms, "PENDING", now, now + timedelta(hours=min(rule.hours for rule in rules)),
        )  # fmt: skip

    def _requested(self, caller: Caller, made: Approval, target: Target) -> Entry:
        principal = caller.principal
        return Entry(
            id=self._ids.next(),
            at=self._clock.now(),
            tenancy=made.tenancy,
            compartment=made.compartment,
            principal_id=principal.id,
            principal_type=principal.type,
            principal_name=principal.name,
            requester=caller.requester,
            token_id=caller.token_id,
            source=caller.source,
            request_id=caller.request_id,
            action="",
            operation="ApprovalRequested",
            resource_type=target.type,
            resource_id=target.id,
            resource_name=target.name,
            outcome="succeeded",
            code="",
            reason="",
            detail={
                "approval_id": made.id,
                "of": made.operation,
                "digest": made.digest,
                "rules": ", ".join(term.name for term in made.terms),
            },
        )


def facts_of(rows: ApprovalRows, approval: Approval, now: datetime) -> Facts:
    """How things are that the approval depends on."""
    rules = {term.rule: rows.rule(approval.tenancy, term.rule) for term in approval.terms}
    return Facts(
        {rule_id: rule for rule_id, rule in rules.items() if rule is not None},
        {term.group: {user for user, _ in rows.approvers(approval.tenancy, term.group)} for term in approval.terms},
        rows.version_of(approval.tenancy, approval.target_type, approval.target_id) if approval.target_id else 0,
        now,
    )


def _under_way(approval: Approval, request_id: str) -> bool:
    """Whether this very request is carrying it out: some acts are several transactions."""
    return approval.state == "EXECUTED" and bool(request_id) and approval.used_by == request_id


def settle(rows: ApprovalRows, entries: Iterable[Entry], now: datetime) -> None:
    """Use up the approvals that these entries name, in the transaction that is to write them.

    Raises:
        Refusal: one does not stand any more; nothing is done.
    """
    used = {(entry.tenancy, entry.detail[USED], entry.request_id) for entry in entries if USED in entry.detail}
    for tenancy, approval_id, request_id in used:
        found = rows.approval(tenancy, approval_id)
        if found is None:
            raise not_found("approval")
        if _under_way(found, request_id):
            continue
        votes, facts = rows.votes(found), facts_of(rows, found, now)
        refusal = standing(found, votes, facts)
        if refusal is None and not rows.set_state(found, "EXECUTED", now, request_id):
            refusal = Refusal("ApprovalOver", "this approval was used in between", kind="conflict")
        if refusal is not None:
            raise refusal
