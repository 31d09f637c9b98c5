"""Rules of approval, and requests that wait for it, over REST. See iam/approvals."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from keystead.iam.approvals.acts import MAX_HOURS, MAX_NEEDED, USUAL_HOURS, RuleTerms, Shown
from keystead.iam.approvals.model import Rule
from keystead.web.api.break_glass import GroupRef
from keystead.web.api.shared import paged
from keystead.web.messages import CompartmentListing, CompartmentRef, Description, Listing, Message, Name
from keystead.web.operations import Call, NoBody, Operation
from keystead.web.services import Services

Needed = Annotated[int, Meta(ge=1, le=MAX_NEEDED, description="How many of the group have to approve; at least one.")]
Hours = Annotated[int, Meta(ge=1, le=MAX_HOURS, description="How long a request waits for approval.")]
Operations = Annotated[
    list[str],
    Meta(min_length=1, max_length=100, description="Operations, or sets: destruction, restore, export, policy, ..."),
]
Comment = Annotated[str, Meta(max_length=400, description="Why, in your own words.")]


class UpdateApprovalRule(Message):
    """The terms that replace those of a rule."""

    operations: Operations
    group_id: GroupRef
    needed: Needed
    emergency_group_id: Annotated[
        GroupRef | None, Meta(description="Whoever is in it by break glass needs no approval, with an alert.")
    ] = None
    hours: Hours = USUAL_HOURS
    description: Description = ""


class CreateApprovalRule(UpdateApprovalRule, kw_only=True):
    """What needs approval from now on."""

    compartment_id: CompartmentRef
    name: Name


class ApprovalRuleReply(Message):
    """Operations on what lies in a compartment or below need so many of a group to approve."""

    id: str
    compartment_id: str
    name: str
    operations: list[str]
    group_id: str
    needed: int
    emergency_group_id: str | None
    hours: int
    description: str
    created_at: datetime
    version: int


class ApprovalRulePage(Message):
    """Some rules."""

    items: list[ApprovalRuleReply]
    next_page: str | None


class TermReply(Message):
    """What one rule asks of this request."""

    rule_id: str
    rule_name: str
    group_id: str
    needed: int


class VoteReply(Message):
    """What one person said."""

    user_id: str
    user_name: str
    choice: Literal["approve", "reject"]
    comment: str
    at: datetime


class ApprovalReply(Message):
    """A request that waits for approval, or did. `request` is exactly what will be done; `digest` binds all of it."""

    id: str
    operation: str
    state: Literal["PENDING", "APPROVED", "EXECUTED", "REJECTED", "WITHDRAWN", "EXPIRED"]
    target_type: str
    target_id: str
    target_name: str
    target_version: Annotated[int, Meta(description="Changed since then, it has to be asked for again. 0: none yet.")]
    compartment_id: str
    requester_id: str
    requester_name: str
    request: Annotated[dict[str, Any], Meta(description="Path, query, body and If-Match; long texts by their digest.")]
    digest: str
    rules: list[TermReply]
    votes: list[VoteReply]
    approvers: Annotated[list[str], Meta(description="Who may say something: in the group then and now.")]
    created_at: datetime
    expires_at: datetime
    ended_at: datetime | None


class ApprovalPage(Message):
    """Some requests, newest first."""

    items: list[ApprovalReply]
    next_page: str | None


class ApprovalListing(Listing, kw_only=True):
    """Whose."""

    mine: Annotated[bool, Meta(description="Only those that you asked for; takes no permission.")] = False


class Say(Message):
    """What is said to it."""

    comment: Comment = ""


def shown_rule(found: Rule) -> ApprovalRuleReply:
    return ApprovalRuleReply(
        id=found.id,
        compartment_id=found.compartment,
        name=found.name,
        operations=list(found.operations),
        group_id=found.group_id,
        needed=found.needed,
        emergency_group_id=found.emergency_group or None,
        hours=found.hours,
        description=found.description,
        created_at=found.created_at,
        version=found.version,
    )


def shown_approval(shown: Shown) -> ApprovalReply:
    found = shown.approval
    return ApprovalReply(
        id=found.id,
        operation=found.operation,
        state=shown.state,
        target_type=found.target_type,
        target_id=found.target_id,
        target_name=found.target_name,
        target_version=found.target_version,
        compartment_id=found.compartment,
        requester_id=found.requester,
        requester_name=found.requester_name,
        request=msgspec.json.decode(found.request),
        digest=found.digest,
        rules=[
            TermReply(rule_id=term.rule, rule_name=term.name, group_id=term.group, needed=term.needed)
            for term in found.terms
        ],
        votes=[
            VoteReply(
                user_id=vote.user_id, user_name=vote.user_name, choice=vote.choice, comment=vote.comment, at=vote.at
            )
            for vote in shown.votes
        ],
        approvers=list(shown.approvers),
        created_at=found.created_at,
        expires_at=found.expires_at,
        ended_at=found.ended_at,
    )


def _terms(body: UpdateApprovalRule) -> RuleTerms:
    return RuleTerms(
        tuple(body.operations), body.group_id, body.needed, body.emergency_group_id or "", body.hours, body.description
    )


def create_rule(services: Services, call: Call[CreateApprovalRule, NoBody]) -> ApprovalRuleReply:
    body = call.body
    made = services.iam.create_approval_rule(call.caller, body.compartment_id, body.name, _terms(body))
    return shown_rule(made)


def list_rules(services: Services, call: Call[NoBody, CompartmentListing]) -> ApprovalRulePage:
    query = call.query
    found = services.iam.list_approval_rules(call.caller, query.compartment_id, query.request(), query.name)
    return paged(found, shown_rule, ApprovalRulePage)


def get_rule(services: Services, call: Call[NoBody, NoBody]) -> ApprovalRuleReply:
    return shown_rule(services.iam.get_approval_rule(call.caller, call.path["approval_rule_id"]))


def update_rule(services: Services, call: Call[UpdateApprovalRule, NoBody]) -> ApprovalRuleReply:
    rule = call.path["approval_rule_id"]
    return shown_rule(services.iam.update_approval_rule(call.caller, rule, _terms(call.body), call.if_match))


def delete_rule(services: Services, call: Call[NoBody, NoBody]) -> None:
    services.iam.delete_approval_rule(call.caller, call.path["approval_rule_id"], call.if_match)


def list_approvals(services: Services, call: Call[NoBody, ApprovalListing]) -> ApprovalPage:
    found = services.iam.list_approvals(call.caller, call.query.request(), mine=call.query.mine)
    return paged(found, shown_approval, ApprovalPage)


def get_approval(services: Services, call: Call[NoBody, NoBody]) -> ApprovalReply:
    return shown_approval(services.iam.get_approval(call.caller, call.path["approval_id"]))


def approve(services: Services, call: Call[Say, NoBody]) -> ApprovalReply:
    return shown_approval(services.iam.approve(call.caller, call.path["approval_id"], call.body.comment))


def reject(services: Services, call: Call[Say, NoBody]) -> ApprovalReply:
    return shown_approval(services.iam.reject(call.caller, call.path["approval_id"], call.body.comment))


def withdraw(services: Services, call: Call[NoBody, NoBody]) -> ApprovalReply:
    return shown_approval(services.iam.withdraw_approval(call.caller, call.path["approval_id"]))


_RULE, _APPROVAL = "/approval-rules/{approval_rule_id}", "/approvals/{approval_id}"

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "CreateApprovalRule", "POST", "/approval-rules", "Have operations wait for the approval of others",
        create_rule, "approvals", request=CreateApprovalRule, reply=ApprovalRuleReply, status=201,
        permissions=("APPROVAL_RULE_CREATE",), creates=True,
        description="It holds from the next request on. It also covers what would undo it.",
    ),
    Operation(
        "ListApprovalRules", "GET", "/approval-rules", "List the rules of a compartment", list_rules, "approvals",
        query=CompartmentListing, reply=ApprovalRulePage, permissions=("APPROVAL_RULE_INSPECT",),
    ),
    Operation(
        "GetApprovalRule", "GET", _RULE, "Show a rule", get_rule, "approvals", reply=ApprovalRuleReply,
        permissions=("APPROVAL_RULE_INSPECT",),
    ),
    Operation(
        "UpdateApprovalRule", "PUT", _RULE, "Replace the terms of a rule; it takes its own approval", update_rule,
        "approvals", request=UpdateApprovalRule, reply=ApprovalRuleReply, permissions=("APPROVAL_RULE_UPDATE",),
        moves=True,
    ),
    Operation(
        "DeleteApprovalRule", "DELETE", _RULE, "Delete a rule; it takes its own approval", delete_rule, "approvals",
        status=204, permissions=("APPROVAL_RULE_DELETE",), moves=True,
    ),
    Operation(
        "ListApprovals", "GET", "/approvals", "Requests that wait for approval, or did", list_approvals, "approvals",
        query=ApprovalListing, reply=ApprovalPage, permissions=("APPROVAL_INSPECT",),
    ),
    Operation(
        "GetApproval", "GET", _APPROVAL, "What was asked for, to the letter", get_approval, "approvals",
        reply=ApprovalReply, permissions=("APPROVAL_INSPECT",),
    ),
    Operation(
        "Approve", "POST", f"{_APPROVAL}/actions/approve", "Agree to exactly this request", approve, "approvals",
        request=Say, reply=ApprovalReply, permissions=("APPROVAL_VOTE",),
        description="Counts for who was in the rule's group when it was asked for and still is, but for who asked. "
        "Whoever asked then repeats the request with the header Approval.",
    ),
    Operation(
        "Reject", "POST", f"{_APPROVAL}/actions/reject", "Be against it: one is enough", reject, "approvals",
        request=Say, reply=ApprovalReply, permissions=("APPROVAL_VOTE",),
    ),
    Operation(
        "WithdrawApproval", "POST", f"{_APPROVAL}/actions/withdraw", "Take a request back", withdraw, "approvals",
        reply=ApprovalReply, permissions=("APPROVAL_WITHDRAW",),
        description="Whoever asked always may.",
    ),
)  # fmt: skip
