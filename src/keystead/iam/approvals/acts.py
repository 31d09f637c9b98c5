"""What people do with rules of approval and with requests that wait.

Whose vote counts is decided by group alone, as of the request and as of the act (rules.py): no statement of policy
makes anybody an approver, nor lets anybody approve what they asked for themselves. Policy says who may look and speak.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from keystead.core.clock import isoformat_exact
from keystead.core.errors import Refusal, check_version, required, stale, taken
from keystead.core.ids import ApprovalRuleId, CompartmentId, GroupId, UserId, new_id, parse_id
from keystead.core.page import Page, PageRequest, cut
from keystead.iam.approvals.gate import facts_of
from keystead.iam.approvals.model import Approval, Choice, Rule, State, Vote
from keystead.iam.approvals.operations import operations_of
from keystead.iam.approvals.rules import state_of
from keystead.iam.base import Base
from keystead.iam.model import Caller, Compartment, Target
from keystead.iam.names import check_description, check_name

USUAL_HOURS, MAX_HOURS = 24, 30 * 24
MAX_NEEDED = 20


@dataclass(frozen=True, slots=True)
class RuleTerms:
    """What a rule says. `operations` may hold names of sets; `group` and `emergency_group` are ids."""

    operations: tuple[str, ...]
    group: str
    needed: int
    emergency_group: str = ""
    hours: int = USUAL_HOURS
    description: str = ""


@dataclass(frozen=True, slots=True)
class Shown:
    """A request that waits, or waited, with what was said to it and how it stands."""

    approval: Approval
    votes: tuple[Vote, ...]
    state: State
    approvers: tuple[str, ...]


class ApprovalActs(Base):
    """Rules, and requests that wait."""

    # rules

    def create_approval_rule(self, caller: Caller, compartment: str, name: str, terms: RuleTerms) -> Rule:
        """Operations on what lies in a compartment need approval from now on.

        Raises:
            Refusal: `InvalidParameter`; the group has fewer members than approvals are needed, or less than one is.
        """
        place = self._compartment(caller, compartment)
        check_name(name, "approval rule")
        new = ApprovalRuleId(new_id("approvalrule", self._region))
        target = Target("approval-rules", new, name, place.tenancy, place.path)
        entry = self._guard.permit_change(caller, "APPROVAL_RULE_CREATE", target, "CreateApprovalRule", _told(terms))
        rule = self._rule_of(caller, place, new, name, terms)
        with self._store.write(entry) as tx:
            if tx.approvals.rules(place.tenancy, place.id, PageRequest(1), name):
                raise taken("approval rule", name)
            tx.approvals.add_rule(rule)
        return rule

    def get_approval_rule(self, caller: Caller, rule_id: str) -> Rule:
        rule, target = self._rule(caller, rule_id)
        self._guard.permit(caller, "APPROVAL_RULE_INSPECT", target, "GetApprovalRule")
        return rule

    def list_approval_rules(
        self, caller: Caller, compartment: str, page: PageRequest, name: str | None = None
    ) -> Page[Rule]:
        place = self._compartment(caller, compartment)
        self._guard.permit(caller, "APPROVAL_RULE_INSPECT", self._at(place, "approval-rules"), "ListApprovalRules")
        with self._store.read() as tx:
            return cut(tx.approvals.rules(place.tenancy, place.id, page, name), page.limit, lambda item: item.name)

    def update_approval_rule(self, caller: Caller, rule_id: str, terms: RuleTerms, if_match: int | None = None) -> Rule:
        """Other terms. It takes the approval that the rule asks for as it is; what waits has to be asked for again."""
        rule, target = self._rule(caller, rule_id)
        self._guard.require(caller, "APPROVAL_RULE_UPDATE", target, "UpdateApprovalRule")
        check_version(rule.version, if_match)  # nobody is to approve of what comes too late
        entry = self._guard.permit_change(caller, "APPROVAL_RULE_UPDATE", target, "UpdateApprovalRule", _told(terms))
        place = self._compartment(caller, rule.compartment)
        made = self._rule_of(caller, place, rule.id, rule.name, terms)
        changed = replace(made, created_at=rule.created_at, version=rule.version + 1)
        with self._store.write(entry) as tx:
            if not tx.approvals.set_rule(changed, rule.version):
                raise stale()
        return changed

    def delete_approval_rule(self, caller: Caller, rule_id: str, if_match: int | None = None) -> None:
        """It takes the approval that the rule asks for."""
        rule, target = self._rule(caller, rule_id)
        self._guard.require(caller, "APPROVAL_RULE_DELETE", target, "DeleteApprovalRule")
        check_version(rule.version, if_match)
        entry = self._guard.permit_change(caller, "APPROVAL_RULE_DELETE", target, "DeleteApprovalRule")
        with self._store.write(entry) as tx:
            if not tx.approvals.set_rule(replace(rule, version=rule.version + 1), rule.version, deleted=True):
                raise stale()

    def _rule_of(self, caller: Caller, place: Compartment, new: ApprovalRuleId, name: str, terms: RuleTerms) -> Rule:
        check_description(terms.description)
        group = self._group(caller, terms.group)
        emergency = self._group(caller, terms.emergency_group).id if terms.emergency_group else ""
        if emergency == group.id:
            raise Refusal("InvalidParameter", "the emergency group is another than the approvers'")
        if not 1 <= terms.hours <= MAX_HOURS:
            raise Refusal("InvalidParameter", f"a request waits for 1 to {MAX_HOURS} hours")
        with self._store.read() as tx:
            there = len(tx.approvals.approvers(place.tenancy, group.id))
        if not 1 <= terms.needed <= min(MAX_NEEDED, there):
            raise Refusal(
                "InvalidParameter",
                f"a rule needs 1 to {min(MAX_NEEDED, there)} approvals: group {group.name!r} has {there} members who "
                "are in it for good",
                hint="whoever asks never counts: have at least one member more than are needed",
            )
        return Rule(
            new, place.tenancy, place.id, name, operations_of(terms.operations), GroupId(group.id), terms.needed,
            emergency, terms.hours, terms.description, self._clock.now(),
        )  # fmt: skip

    def _rule(self, caller: Caller, rule_id: str) -> tuple[Rule, Target]:
        parse_id(rule_id, "approvalrule")
        with self._store.read() as tx:
            found = required(tx.approvals.rule(caller.principal.tenancy, rule_id), "approval rule")
        path = self._compartment(caller, found.compartment).path
        return found, Target("approval-rules", found.id, found.name, found.tenancy, path)

    # requests that wait

    def list_approvals(self, caller: Caller, page: PageRequest, *, mine: bool = False) -> Page[Shown]:
        """Newest first; `mine`: those that the caller asked for, which takes no permission."""
        target = self._in_root(caller, "approvals")
        if mine:
            self._guard.record(caller, "APPROVAL_INSPECT", target, "ListApprovals", "allowed")
        else:
            self._guard.permit(caller, "APPROVAL_INSPECT", target, "ListApprovals")
        who = caller.principal
        with self._store.read() as tx:
            found = tx.approvals.approvals(who.tenancy, who.id if mine else None, page)
        pages = cut(found, page.limit, lambda item: f"{isoformat_exact(item.created_at)} {item.id}")
        return Page([self._shown(item) for item in pages.items], pages.next)

    def get_approval(self, caller: Caller, approval_id: str) -> Shown:
        """What was asked for, to the letter, and how it stands. Whoever asked for it sees it always."""
        found, target = self._approval(caller, approval_id)
        if found.requester == caller.principal.id:
            self._guard.record(caller, "APPROVAL_INSPECT", target, "GetApproval", "allowed")
        else:
            self._guard.permit(caller, "APPROVAL_INSPECT", target, "GetApproval")
        return self._shown(found)

    def approve(self, caller: Caller, approval_id: str, comment: str = "") -> Shown:
        """Agree to exactly this request. Raises: Refusal `NotAnApprover`, `OwnRequest`, `AlreadyVoted`."""
        return self._vote(caller, approval_id, "approve", comment)

    def reject(self, caller: Caller, approval_id: str, comment: str = "") -> Shown:
        """Be against it: one is enough, and it is over."""
        return self._vote(caller, approval_id, "reject", comment)

    def withdraw_approval(self, caller: Caller, approval_id: str) -> Shown:
        """Take the request back; whoever made it always may."""
        found, target = self._approval(caller, approval_id)
        detail = {"of": found.operation, "digest": found.digest}
        if found.requester == caller.principal.id:
            entry = self._guard.entry(caller, "APPROVAL_WITHDRAW", target, "WithdrawApproval", "allowed", detail=detail)
        else:
            entry = self._guard.permit_change(caller, "APPROVAL_WITHDRAW", target, "WithdrawApproval", detail)
        now = self._clock.now()
        with self._store.write(entry) as tx:
            self._check_open(self._shown(found))
            if not tx.approvals.set_state(found, "WITHDRAWN", now):
                raise stale()
        return self._shown(replace(found, state="WITHDRAWN", ended_at=now, version=found.version + 1))

    def _vote(self, caller: Caller, approval_id: str, choice: Choice, comment: str) -> Shown:
        found, target = self._approval(caller, approval_id)
        operation = "Approve" if choice == "approve" else "Reject"
        detail = {"of": found.operation, "digest": found.digest, "requester": found.requester_name}
        entry = self._guard.permit_change(caller, "APPROVAL_VOTE", target, operation, detail)
        who, now = caller.principal, self._clock.now()
        vote = Vote(UserId(str(who.id)), who.name, choice, comment, now)
        try:
            check_description(comment)
            self._check_open(self._shown(found))
            with self._store.write(entry) as tx:
                current = tx.approvals.approval(found.tenancy, found.id)
                if current is None or current.state != "PENDING":
                    raise stale()
                votes = tx.approvals.votes(current)
                _check_voter(caller, current, votes)
                groups = {term.group for term in current.terms if who.id in term.members}
                if not any(who.id in dict(tx.approvals.approvers(found.tenancy, group)) for group in groups):
                    raise _not_an_approver()
                tx.approvals.add_vote(current, vote)
                if choice == "reject" and not tx.approvals.set_state(current, "REJECTED", now):
                    raise stale()
        except Refusal as refusal:
            self._guard.refuse(caller, "APPROVAL_VOTE", target, operation, refusal)
        with self._store.read() as tx:
            seen = tx.approvals.approval(found.tenancy, found.id)
        return self._shown(seen or found)

    def _approval(self, caller: Caller, approval_id: str) -> tuple[Approval, Target]:
        parse_id(approval_id, "approval")
        with self._store.read() as tx:
            found = required(tx.approvals.approval(caller.principal.tenancy, approval_id), "approval")
        place = self._directory.compartment(found.tenancy, found.compartment)
        path = place.path if place is not None else (CompartmentId(found.tenancy),)
        return found, Target("approvals", found.id, found.operation, found.tenancy, path)

    def _shown(self, found: Approval) -> Shown:
        with self._store.read() as tx:
            votes = tuple(tx.approvals.votes(found))
            facts = facts_of(tx.approvals, found, self._clock.now())
            names = {
                name
                for term in found.terms
                for user, name in tx.approvals.approvers(found.tenancy, term.group)
                if user in term.members
            }
        return Shown(found, votes, state_of(found, votes, facts), tuple(sorted(names)))

    def _check_open(self, shown: Shown) -> None:
        if shown.state not in ("PENDING", "APPROVED"):
            raise Refusal(
                "ApprovalOver", f"this request is {shown.state}", hint="it can be asked for again", kind="conflict"
            )


def _check_voter(caller: Caller, approval: Approval, votes: Sequence[Vote]) -> None:
    who = caller.principal
    if str(who.id) == str(approval.requester):
        raise Refusal(
            "OwnRequest", "nobody approves what they asked for", hint="somebody else of the group has to",
            kind="denied",
        )  # fmt: skip
    if who.type != "user" or not any(who.id in term.members for term in approval.terms):
        raise _not_an_approver()
    if any(str(vote.user_id) == who.id for vote in votes):
        raise Refusal("AlreadyVoted", "you have said what you think of this", kind="conflict")


def _not_an_approver() -> Refusal:
    return Refusal(
        "NotAnApprover",
        "only who was in the rule's group when this was asked for, and is now, approves it",
        hint="keystead approval show names them",
        kind="denied",
    )


def _told(terms: RuleTerms) -> dict[str, str]:
    return {
        "operations": " ".join(terms.operations)[:500],
        "group_id": terms.group,
        "needed": str(terms.needed),
        "emergency_group_id": terms.emergency_group,
        "hours": str(terms.hours),
    }
