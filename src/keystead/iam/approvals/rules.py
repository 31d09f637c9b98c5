"""Which rules an act falls under, and whether a request that waits may be carried out now. Pure.

Every rule that covers an act must be met, each by people of its own. A rule also covers what would undo it: changing
or deleting it, carrying a key or vault out of its compartment, putting somebody into its group, and giving somebody
else's credentials to one of its members to whoever asks (linking a subject of an identity provider included).

A vote counts when its voter was in the group, for good, when the request was made, and still is, and is not the one who
made it. Groups are meant by id: one of the same name elsewhere, a dynamic one, or a new one of that name is another.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from keystead.core.errors import Refusal
from keystead.iam.approvals.model import Approval, Rule, State, Term, Vote
from keystead.iam.approvals.operations import ABOUT_A_RULE, LINKING, MOVES, OF_GROUPS, TAKING_OUT, TAKING_OVER
from keystead.iam.model import Target


@dataclass(frozen=True, slots=True)
class Act:
    """What somebody is about to do. `principal`: who."""

    principal: str
    permission: str
    operation: str
    target: Target


@dataclass(frozen=True, slots=True)
class Facts:
    """How things are now: `rules` by id, members in the terms' groups by group id, the version of the target."""

    rules: Mapping[str, Rule]
    members: Mapping[str, Collection[str]]
    target_version: int
    now: datetime


def covers(rule: Rule, act: Act, groups_of: Callable[[str], Collection[str]]) -> bool:
    """Whether the act needs this rule's approval. `groups_of` gives the groups of a user."""
    target, operation = act.target, act.operation
    if rule.tenancy != target.tenancy:
        return False
    if target.id == rule.id and operation in ABOUT_A_RULE:
        return True
    if target.id == rule.group_id and act.permission in OF_GROUPS and operation not in TAKING_OUT:
        return True
    takes_over = act.permission in TAKING_OVER or operation == LINKING
    if target.type == "users" and takes_over and target.id != act.principal:
        return rule.group_id in groups_of(target.id) or (operation in rule.operations and _inside(rule, target))
    leaves = operation in MOVES and rule.compartment != str(rule.tenancy)
    return (operation in rule.operations or leaves) and _inside(rule, target)


def _inside(rule: Rule, target: Target) -> bool:
    return rule.compartment in target.path


def counted(term: Term, approval: Approval, votes: Iterable[Vote], members: Collection[str]) -> set[str]:
    """Ids of those whose approval counts for one rule; `members` are those of its group now."""
    return {
        str(vote.user_id)
        for vote in votes
        if vote.choice == "approve"
        and vote.user_id in term.members
        and vote.user_id in members
        and str(vote.user_id) != str(approval.requester)
    }


def met(approval: Approval, votes: Sequence[Vote], members: Mapping[str, Collection[str]]) -> bool:
    """Whether every rule has the votes that it asks for, and at least one."""
    return bool(approval.terms) and all(
        len(counted(term, approval, votes, members.get(term.group, ()))) >= max(term.needed, 1)
        for term in approval.terms
    )


def state_of(approval: Approval, votes: Sequence[Vote], facts: Facts) -> State:
    """The state as people see it."""
    if approval.state != "PENDING":
        return approval.state
    if facts.now >= approval.expires_at:
        return "EXPIRED"
    return "APPROVED" if met(approval, votes, facts.members) else "PENDING"


def standing(approval: Approval, votes: Sequence[Vote], facts: Facts) -> Refusal | None:
    """Why the request may not be carried out now; None: it may."""
    state = state_of(approval, votes, facts)
    if state in ("EXECUTED", "REJECTED", "WITHDRAWN", "EXPIRED"):
        return Refusal(
            "ApprovalOver", f"this approval is {state}", hint="ask again: repeat the request without it",
            kind="conflict",
        )  # fmt: skip
    for term in approval.terms:
        rule = facts.rules.get(term.rule)
        if rule is None or rule.version != term.version:
            return _void(f"rule {term.name!r} was changed since it was asked for")
    if facts.target_version != approval.target_version:
        return _void(f"{approval.target_name!r} was changed since it was asked for")
    if state != "APPROVED":
        return required(approval, votes, facts)
    return None


def required(approval: Approval, votes: Sequence[Vote], facts: Facts) -> "ApprovalRequired":
    """That it waits, for how many of whom."""
    parts = []
    for term in approval.terms:
        have = len(counted(term, approval, votes, facts.members.get(term.group, ())))
        if have < term.needed:
            parts.append(f"{have} of {term.needed} for rule {term.name!r}")
    return ApprovalRequired(approval, "; ".join(parts) or "repeat it with the approval")


def _void(why: str) -> Refusal:
    return Refusal("ApprovalVoid", why, hint="ask again: repeat the request without the approval", kind="conflict")


class ApprovalRequired(Refusal):
    """What was asked for waits for others; `approval` is the id under which it does."""

    def __init__(self, approval: Approval, votes: str) -> None:
        super().__init__(
            "ApprovalRequired",
            f"this needs approval ({votes}): {approval.id}",
            hint=f"others: keystead approval approve {approval.id}; then repeat exactly this with "
            f"--approval {approval.id}",
            kind="conflict",
        )
        self.approval = str(approval.id)
