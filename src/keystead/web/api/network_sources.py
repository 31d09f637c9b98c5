"""Network sources over REST. See iam/network_sources."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta

from keystead.iam.model import NetworkSource
from keystead.web.api.shared import paged
from keystead.web.messages import Description, Message, Name, NamedListing
from keystead.web.operations import Call, NoBody, Operation
from keystead.web.services import Services

Networks = Annotated[
    list[Annotated[str, Meta(max_length=50, description="A network in CIDR notation.")]],
    Meta(min_length=1, max_length=50),
]


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


OPERATIONS: tuple[Operation, ...] = (
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
)  # fmt: skip
