"""Policies over REST."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta, structs

from keystead.iam.model import Policy
from keystead.iam.policy.check import problems_of
from keystead.web.api.shared import paged
from keystead.web.messages import CompartmentListing, CompartmentRef, Description, Message, Name
from keystead.web.operations import Call, NoBody, Operation
from keystead.web.services import Services

Statement = Annotated[str, Meta(max_length=4000, description="One statement of the policy language.")]


class CreatePolicy(Message):
    """A new policy."""

    compartment_id: CompartmentRef
    name: Name
    statements: Annotated[list[Statement], Meta(min_length=1, max_length=50)]
    description: Description = ""


class UpdatePolicy(Message):
    """The statements that replace those of a policy."""

    statements: Annotated[list[Statement], Meta(min_length=1, max_length=50)]


class PolicyReply(Message):
    """Statements attached to a compartment."""

    id: str
    compartment_id: str
    name: str
    statements: list[str]
    description: str
    created_at: datetime
    version: int


class UpdatedPolicyReply(PolicyReply):
    """The same, and which statements would be refused if they were new; they stay because they were there."""

    warnings: list[str]


class PolicyPage(Message):
    """Some policies."""

    items: list[PolicyReply]
    next_page: str | None


def shown_policy(found: Policy) -> PolicyReply:
    return PolicyReply(
        id=found.id,
        compartment_id=found.compartment,
        name=found.name,
        statements=list(found.statements),
        description=found.description,
        created_at=found.created_at,
        version=found.version,
    )


def create_policy(services: Services, call: Call[CreatePolicy, NoBody]) -> PolicyReply:
    body = call.body
    made = services.iam.create_policy(
        call.caller, body.compartment_id, body.name, tuple(body.statements), body.description
    )
    return shown_policy(made)


def list_policies(services: Services, call: Call[NoBody, CompartmentListing]) -> PolicyPage:
    query = call.query
    found = services.iam.list_policies(call.caller, query.compartment_id, query.request(), query.name)
    return paged(found, shown_policy, PolicyPage)


def get_policy(services: Services, call: Call[NoBody, NoBody]) -> PolicyReply:
    return shown_policy(services.iam.get_policy(call.caller, call.path["policy_id"]))


def update_policy(services: Services, call: Call[UpdatePolicy, NoBody]) -> UpdatedPolicyReply:
    changed = services.iam.update_policy(
        call.caller, call.path["policy_id"], tuple(call.body.statements), call.if_match
    )
    problems = problems_of(changed.statements, at_root=str(changed.compartment) == str(changed.tenancy))
    return UpdatedPolicyReply(**structs.asdict(shown_policy(changed)), warnings=list(problems.values()))


def delete_policy(services: Services, call: Call[NoBody, NoBody]) -> None:
    services.iam.delete_policy(call.caller, call.path["policy_id"], call.if_match)


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "CreatePolicy", "POST", "/policies", "Create a policy; it holds from the next request on", create_policy,
        "policies", request=CreatePolicy, reply=PolicyReply, status=201, permissions=("POLICY_CREATE",), creates=True,
    ),
    Operation(
        "ListPolicies", "GET", "/policies", "List the policies attached to a compartment", list_policies, "policies",
        query=CompartmentListing, reply=PolicyPage, permissions=("POLICY_READ",),
    ),
    Operation(
        "GetPolicy", "GET", "/policies/{policy_id}", "Show a policy", get_policy, "policies", reply=PolicyReply,
        permissions=("POLICY_READ",),
    ),
    Operation(
        "UpdatePolicy", "PUT", "/policies/{policy_id}", "Replace the statements of a policy", update_policy,
        "policies", request=UpdatePolicy, reply=UpdatedPolicyReply, permissions=("POLICY_UPDATE",), moves=True,
        takes_access=True,
    ),
    Operation(
        "DeletePolicy", "DELETE", "/policies/{policy_id}", "Delete a policy", delete_policy, "policies", status=204,
        permissions=("POLICY_DELETE",), moves=True, takes_access=True,
    ),
)  # fmt: skip
