"""Network sources: networks under a name."""

from typing import Annotated

import typer

from keystead.cli.command import Description, IfMatch, NewName, Reference, command, group
from keystead.cli.console import Column
from keystead.cli.kinds import NETWORK_SOURCE
from keystead.cli.session import Session
from keystead.cli.standard import deletes, lists, shows
from keystead.cli.wire import Call, Json

network_sources = group("Network sources: networks under a name, for request.networkSource.name.")

Networks = Annotated[
    list[str], typer.Argument(metavar="NETWORK...", help="Networks, as 192.0.2.0/24.", show_default=False)
]

_SOURCES: list[Column] = [("name", "name"), ("networks", lambda it: ", ".join(it["networks"])), ("id", "id")]


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
