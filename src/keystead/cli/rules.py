"""Dynamic groups, network sources and tenancies."""

from typing import Annotated

import typer

from keystead.cli.command import Description, IfMatch, NewName, Reference, command, group
from keystead.cli.console import Column
from keystead.cli.kinds import DYNAMIC_GROUP, NETWORK_SOURCE, TENANCY
from keystead.cli.session import Session
from keystead.cli.standard import deletes, lists, shows
from keystead.cli.wire import Call, Json

dynamic_groups = group("Dynamic groups: resources that a rule describes.")
network_sources = group("Network sources: networks under a name, for request.networkSource.name.")
tenancies = group("Tenancies: organisations side by side in one region.")

Rule = Annotated[
    str, typer.Argument(metavar="RULE", help="ALL {resource.type = 'mysqldbsystem', ...}", show_default=False)
]
Networks = Annotated[
    list[str], typer.Argument(metavar="NETWORK...", help="Networks, as 192.0.2.0/24.", show_default=False)
]

_GROUPS: list[Column] = [("name", "name"), ("matching rule", "matching_rule"), ("id", "id")]
_SOURCES: list[Column] = [("name", "name"), ("networks", lambda it: ", ".join(it["networks"])), ("id", "id")]
_TENANCIES: list[Column] = [("name", "name"), ("created at", "created_at"), ("id", "id")]


@command(dynamic_groups, "create")
def create_dynamic_group(session: Session, name: NewName, rule: Rule, description: Description = None) -> None:
    """Create a dynamic group."""
    body = {"name": name, "matching_rule": rule, "description": description}
    session.console.show(session.client.create("/dynamic-groups", body).data)


lists(dynamic_groups, DYNAMIC_GROUP, _GROUPS, "List the dynamic groups of the tenancy.", "no dynamic groups")
shows(dynamic_groups, DYNAMIC_GROUP, "Show one dynamic group.")


@command(dynamic_groups, "update")
def update_dynamic_group(session: Session, name: Reference, rule: Rule, if_match: IfMatch = None) -> None:
    """Give a dynamic group another rule."""
    path = session.path(DYNAMIC_GROUP, name)
    body: Json = {"matching_rule": rule}
    session.console.show(session.client.send(Call("PUT", path, body=body, if_match=if_match)).data)


deletes(dynamic_groups, DYNAMIC_GROUP, "Delete a dynamic group; what was granted to it is granted to nobody.")


@command(network_sources, "create")
def create_network_source(session: Session, name: NewName, networks: Networks, description: Description = None) -> None:
    """Give networks a name."""
    body = {"name": name, "networks": networks, "description": description}
    session.console.show(session.client.create("/network-sources", body).data)


lists(network_sources, NETWORK_SOURCE, _SOURCES, "List the network sources of the tenancy.", "no network sources")
shows(network_sources, NETWORK_SOURCE, "Show one network source.")


@command(network_sources, "update")
def update_network_source(session: Session, name: Reference, networks: Networks, if_match: IfMatch = None) -> None:
    """Replace the networks of a network source."""
    path = session.path(NETWORK_SOURCE, name)
    body: Json = {"networks": networks}
    session.console.show(session.client.send(Call("PUT", path, body=body, if_match=if_match)).data)


deletes(network_sources, NETWORK_SOURCE, "Delete a network source; no request comes from it any more.")


@command(tenancies, "create")
def create_tenancy(
    session: Session,
    name: NewName,
    admin: Annotated[str, typer.Option("--admin", metavar="NAME", help="Its first administrator.")] = "admin",
) -> None:
    """Create a tenancy, from the region's first one. Its administrator's password is shown once."""
    made = session.client.create("/tenancies", {"name": name, "admin": admin}).data
    session.console.show(made, hide=("password", "already_shown"))
    session.console.secret(f"password of {made['admin_name']} of {made['name']}", made.get("password"))


lists(tenancies, TENANCY, _TENANCIES, "List the tenancies that yours may know of.", "no tenancies")
shows(tenancies, TENANCY, "Show one tenancy.")
