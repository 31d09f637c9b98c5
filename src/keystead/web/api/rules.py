"""Dynamic groups, network sources and tenancies over REST."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta

from keystead.iam.model import DynamicGroup, NetworkSource, Tenancy
from keystead.web.api.shared import paged
from keystead.web.messages import Description, Message, Name, NamedListing
from keystead.web.operations import Call, NoBody, Operation
from keystead.web.services import Services

Rule = Annotated[str, Meta(max_length=4000, description="ALL {resource.type = 'mysqldbsystem', ...} or ANY {...}")]
Networks = Annotated[
    list[Annotated[str, Meta(max_length=50, description="A network in CIDR notation.")]],
    Meta(min_length=1, max_length=50),
]

# dynamic groups


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


# network sources


class CreateNetworkSource(Message):
    """A new network source."""

    name: Name
    networks: Networks
    description: Description = ""


class UpdateNetworkSource(Message):
    """Other networks."""

    networks: Networks


class NetworkSourceReply(Message):
    """Networks under one name."""

    id: str
    name: str
    networks: list[str]
    description: str
    created_at: datetime
    version: int


class NetworkSourcePage(Message):
    """Some network sources."""

    items: list[NetworkSourceReply]
    next_page: str | None


def shown_network_source(found: NetworkSource) -> NetworkSourceReply:
    return NetworkSourceReply(
        id=found.id,
        name=found.name,
        networks=list(found.networks),
        description=found.description,
        created_at=found.created_at,
        version=found.version,
    )


def create_network_source(services: Services, call: Call[CreateNetworkSource, NoBody]) -> NetworkSourceReply:
    body = call.body
    return shown_network_source(
        services.iam.create_network_source(call.caller, body.name, tuple(body.networks), body.description)
    )


def list_network_sources(services: Services, call: Call[NoBody, NamedListing]) -> NetworkSourcePage:
    found = services.iam.list_network_sources(call.caller, call.query.request(), call.query.name)
    return paged(found, shown_network_source, NetworkSourcePage)


def get_network_source(services: Services, call: Call[NoBody, NoBody]) -> NetworkSourceReply:
    return shown_network_source(services.iam.get_network_source(call.caller, call.path["network_source_id"]))


def update_network_source(services: Services, call: Call[UpdateNetworkSource, NoBody]) -> NetworkSourceReply:
    found = services.iam.update_network_source(
        call.caller, call.path["network_source_id"], tuple(call.body.networks), call.if_match
    )
    return shown_network_source(found)


def delete_network_source(services: Services, call: Call[NoBody, NoBody]) -> None:
    services.iam.delete_network_source(call.caller, call.path["network_source_id"], call.if_match)


# tenancies


class CreateTenancy(Message):
    """A new tenancy."""

    name: Name
    admin: Name = "admin"


class TenancyReply(Message):
    """An organisation. `administrators_id`: the group that no deny statement is meant for."""

    id: str
    name: str
    administrators_id: str
    created_at: datetime


class NewTenancyReply(TenancyReply):
    """A tenancy with its first administrator."""

    admin_id: str
    admin_name: str
    password: Annotated[str, Meta(description="Shown once, when it is made; null in a replay.")] | None
    already_shown: bool = False


class TenancyPage(Message):
    """Some tenancies."""

    items: list[TenancyReply]
    next_page: str | None


def shown_tenancy(found: Tenancy) -> TenancyReply:
    return TenancyReply(
        id=found.id, name=found.name, administrators_id=found.administrators, created_at=found.created_at
    )


def create_tenancy(services: Services, call: Call[CreateTenancy, NoBody]) -> NewTenancyReply:
    made = services.iam.create_tenancy(call.caller, call.body.name, call.body.admin)
    return NewTenancyReply(
        id=made.tenancy.id,
        name=made.tenancy.name,
        administrators_id=made.tenancy.administrators,
        created_at=made.tenancy.created_at,
        admin_id=made.admin.id,
        admin_name=made.admin.name,
        password=made.password.reveal().decode(),
    )


def list_tenancies(services: Services, call: Call[NoBody, NamedListing]) -> TenancyPage:
    found = services.iam.list_tenancies(call.caller, call.query.request(), call.query.name)
    return paged(found, shown_tenancy, TenancyPage)


def get_tenancy(services: Services, call: Call[NoBody, NoBody]) -> TenancyReply:
    return shown_tenancy(services.iam.get_tenancy(call.caller, call.path["tenancy_id"]))


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
    Operation(
        "CreateNetworkSource", "POST", "/network-sources", "Give networks a name", create_network_source,
        "network sources", request=CreateNetworkSource, reply=NetworkSourceReply, status=201,
        permissions=("NETWORK_SOURCE_CREATE",), creates=True,
    ),
    Operation(
        "ListNetworkSources", "GET", "/network-sources", "List network sources", list_network_sources,
        "network sources", query=NamedListing, reply=NetworkSourcePage, permissions=("NETWORK_SOURCE_INSPECT",),
    ),
    Operation(
        "GetNetworkSource", "GET", "/network-sources/{network_source_id}", "Show a network source",
        get_network_source, "network sources", reply=NetworkSourceReply, permissions=("NETWORK_SOURCE_INSPECT",),
    ),
    Operation(
        "UpdateNetworkSource", "PUT", "/network-sources/{network_source_id}", "Change the networks of a network source",
        update_network_source, "network sources", request=UpdateNetworkSource, reply=NetworkSourceReply,
        permissions=("NETWORK_SOURCE_UPDATE",), moves=True, takes_access=True,
    ),
    Operation(
        "DeleteNetworkSource", "DELETE", "/network-sources/{network_source_id}", "Delete a network source",
        delete_network_source, "network sources", status=204, permissions=("NETWORK_SOURCE_DELETE",), moves=True,
        takes_access=True,
    ),
    Operation(
        "CreateTenancy", "POST", "/tenancies", "Create a tenancy; its administrator's password is shown once",
        create_tenancy, "tenancies", request=CreateTenancy, reply=NewTenancyReply, status=201,
        permissions=("TENANCY_CREATE",), creates=True, secrets=("password",),
        description="Only the region's first tenancy makes others.",
    ),
    Operation(
        "ListTenancies", "GET", "/tenancies", "List the tenancies that the caller's may know of", list_tenancies,
        "tenancies", query=NamedListing, reply=TenancyPage, permissions=("TENANCY_INSPECT",),
    ),
    Operation(
        "GetTenancy", "GET", "/tenancies/{tenancy_id}", "Show a tenancy", get_tenancy, "tenancies",
        reply=TenancyReply, permissions=("TENANCY_INSPECT",),
    ),
)  # fmt: skip
