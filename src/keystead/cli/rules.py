"""Dynamic groups, network sources and tenancies."""

from typing import Annotated

import typer

from keystead.cli.command import Description, IfMatch, Limit, NewName, Reference, Yes, command, group
from keystead.cli.console import Column
from keystead.cli.session import Session
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


@command(dynamic_groups, "list")
def list_dynamic_groups(session: Session, limit: Limit = None) -> None:
    """List the dynamic groups of the tenancy."""
    session.console.table(list(session.client.items("/dynamic-groups", limit)), _GROUPS, "no dynamic groups")


@command(dynamic_groups, "show")
def show_dynamic_group(session: Session, name: Reference) -> None:
    """Show one dynamic group."""
    session.console.show(session.client.get(f"/dynamic-groups/{session.resolve('dynamicgroup', name)}").data)


@command(dynamic_groups, "update")
def update_dynamic_group(session: Session, name: Reference, rule: Rule, if_match: IfMatch = None) -> None:
    """Give a dynamic group another rule."""
    path = f"/dynamic-groups/{session.resolve('dynamicgroup', name)}"
    body: Json = {"matching_rule": rule}
    session.console.show(session.client.send(Call("PUT", path, body=body, if_match=if_match)).data)


@command(dynamic_groups, "delete")
def delete_dynamic_group(session: Session, name: Reference, yes: Yes = False, if_match: IfMatch = None) -> None:
    """Delete a dynamic group; what was granted to it is granted to nobody."""
    _delete(session, "dynamicgroup", "dynamic group", "/dynamic-groups", name, yes, if_match)


@command(network_sources, "create")
def create_network_source(session: Session, name: NewName, networks: Networks, description: Description = None) -> None:
    """Give networks a name."""
    body = {"name": name, "networks": networks, "description": description}
    session.console.show(session.client.create("/network-sources", body).data)


@command(network_sources, "list")
def list_network_sources(session: Session, limit: Limit = None) -> None:
    """List the network sources of the tenancy."""
    session.console.table(list(session.client.items("/network-sources", limit)), _SOURCES, "no network sources")


@command(network_sources, "show")
def show_network_source(session: Session, name: Reference) -> None:
    """Show one network source."""
    session.console.show(session.client.get(f"/network-sources/{session.resolve('networksource', name)}").data)


@command(network_sources, "update")
def update_network_source(session: Session, name: Reference, networks: Networks, if_match: IfMatch = None) -> None:
    """Replace the networks of a network source."""
    path = f"/network-sources/{session.resolve('networksource', name)}"
    body: Json = {"networks": networks}
    session.console.show(session.client.send(Call("PUT", path, body=body, if_match=if_match)).data)


@command(network_sources, "delete")
def delete_network_source(session: Session, name: Reference, yes: Yes = False, if_match: IfMatch = None) -> None:
    """Delete a network source; no request comes from it any more."""
    _delete(session, "networksource", "network source", "/network-sources", name, yes, if_match)


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


@command(tenancies, "list")
def list_tenancies(session: Session, limit: Limit = None) -> None:
    """List the tenancies that yours may know of."""
    session.console.table(list(session.client.items("/tenancies", limit)), _TENANCIES, "no tenancies")


@command(tenancies, "show")
def show_tenancy(session: Session, name: Reference) -> None:
    """Show one tenancy."""
    session.console.show(session.client.get(f"/tenancies/{session.resolve('tenancy', name)}").data)


def _delete(session: Session, kind: str, called: str, path: str, name: str, yes: bool, if_match: str | None) -> None:
    found = session.find(kind, name)
    session.confirm(f"delete {called} {found['name']}", yes)
    session.client.delete(f"{path}/{found['id']}", if_match=if_match)
    if session.console.json:
        session.console.document({"id": found["id"], "name": found["name"], "deleted": True})
    else:
        session.console.say(f"{called} {found['name']} is deleted")
