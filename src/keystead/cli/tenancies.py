"""Tenancies: organisations side by side in one region."""

from typing import Annotated

import typer

from keystead.cli.command import NewName, command, group
from keystead.cli.console import Column
from keystead.cli.kinds import TENANCY
from keystead.cli.session import Session
from keystead.cli.standard import lists, shows

tenancies = group("Tenancies: organisations side by side in one region.")

_TENANCIES: list[Column] = [("name", "name"), ("created at", "created_at"), ("id", "id")]


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
