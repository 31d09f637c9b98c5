"""Dynamic groups over REST. See iam/dynamic_groups."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta

from keystead.iam.model import DynamicGroup
from keystead.web.api.shared import paged
from keystead.web.messages import Description, Message, Name, NamedListing
from keystead.web.operations import Call, NoBody, Operation
from keystead.web.services import Services

Rule = Annotated[str, Meta(max_length=4000, description="ALL {resource.type = 'mysqldbsystem', ...} or ANY {...}")]


class CreateDynamicGroup(Message):
    """A new dynamic group."""

    name: Name
    matching_rule: Rule
    description: Description = ""


class UpdateDynamicGroup(Message):
    """Another rule."""

    matching_rule: Rule


class DynamicGroupReply(Message):
    """Resources that a rule describes."""

    id: str
    name: str
    matching_rule: str
    description: str
    created_at: datetime
    version: int


class DynamicGroupPage(Message):
    """Some dynamic groups."""

    items: list[DynamicGroupReply]
    next_page: str | None


def shown_dynamic_group(found: DynamicGroup) -> DynamicGroupReply:
    return DynamicGroupReply(
        id=found.id,
        name=found.name,
        matching_rule=found.matching_rule,
        description=found.description,
        created_at=found.created_at,
        version=found.version,
    )


def create_dynamic_group(services: Services, call: Call[CreateDynamicGroup, NoBody]) -> DynamicGroupReply:
    body = call.body
    return shown_dynamic_group(
        services.iam.create_dynamic_group(call.caller, body.name, body.matching_rule, body.description)
    )


def list_dynamic_groups(services: Services, call: Call[NoBody, NamedListing]) -> DynamicGroupPage:
    found = services.iam.list_dynamic_groups(call.caller, call.query.request(), call.query.name)
    return paged(found, shown_dynamic_group, DynamicGroupPage)


def get_dynamic_group(services: Services, call: Call[NoBody, NoBody]) -> DynamicGroupReply:
    return shown_dynamic_group(services.iam.get_dynamic_group(call.caller, call.path["dynamic_group_id"]))


def update_dynamic_group(services: Services, call: Call[UpdateDynamicGroup, NoBody]) -> DynamicGroupReply:
    found = services.iam.update_dynamic_group(
        call.caller, call.path["dynamic_group_id"], call.body.matching_rule, call.if_match
    )
    return shown_dynamic_group(found)


def delete_dynamic_group(services: Services, call: Call[NoBody, NoBody]) -> None:
    services.iam.delete_dynamic_group(call.caller, call.path["dynamic_group_id"], call.if_match)


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "CreateDynamicGroup", "POST", "/dynamic-groups", "Create a dynamic group", create_dynamic_group,
        "dynamic groups", request=CreateDynamicGroup, reply=DynamicGroupReply, status=201,
        permissions=("DYNAMIC_GROUP_CREATE",), creates=True,
    ),
    Operation(
        "ListDynamicGroups", "GET", "/dynamic-groups", "List dynamic groups", list_dynamic_groups, "dynamic groups",
        query=NamedListing, reply=DynamicGroupPage, permissions=("DYNAMIC_GROUP_INSPECT",),
    ),
    Operation(
        "GetDynamicGroup", "GET", "/dynamic-groups/{dynamic_group_id}", "Show a dynamic group", get_dynamic_group,
        "dynamic groups", reply=DynamicGroupReply, permissions=("DYNAMIC_GROUP_INSPECT",),
    ),
    Operation(
        "UpdateDynamicGroup", "PUT", "/dynamic-groups/{dynamic_group_id}", "Give a dynamic group another rule",
        update_dynamic_group, "dynamic groups", request=UpdateDynamicGroup, reply=DynamicGroupReply,
        permissions=("DYNAMIC_GROUP_UPDATE",), moves=True, takes_access=True,
    ),
    Operation(
        "DeleteDynamicGroup", "DELETE", "/dynamic-groups/{dynamic_group_id}", "Delete a dynamic group",
        delete_dynamic_group, "dynamic groups", status=204, permissions=("DYNAMIC_GROUP_DELETE",), moves=True,
        takes_access=True,
    ),
)  # fmt: skip
