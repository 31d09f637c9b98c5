"""Dynamic groups: resources that a rule describes."""

from typing import Annotated

import typer

from keystead.cli.command import Description, IfMatch, NewName, Reference, command, group
from keystead.cli.console import Column
from keystead.cli.kinds import DYNAMIC_GROUP
from keystead.cli.session import Session
from keystead.cli.standard import deletes, lists, shows
from keystead.cli.wire import Call, Json

dynamic_groups = group("Dynamic groups: resources that a rule describes.")

Rule = Annotated[
    str, typer.Argument(metavar="RULE", help="ALL {resource.type = 'mysqldbsystem', ...}", show_default=False)
]

_GROUPS: list[Column] = [("name", "name"), ("matching rule", "matching_rule"), ("id", "id")]


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
