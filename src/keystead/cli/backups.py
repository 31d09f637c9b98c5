"""Backups, and restoring them to a new system."""

from typing import Annotated

import typer

from keystead.cli.command import IfMatch, InCompartment, Limit, Reference, Wait, Yes, command, group
from keystead.cli.console import Column, moment
from keystead.cli.databases import AdminName, CmkOption, Memory, started
from keystead.cli.session import Session
from keystead.cli.waiting import follow

backups = group("Backups: each encrypted under a key of its own.")

Source = Annotated[str, typer.Argument(metavar="SYSTEM", help="Database system: name or id.", show_default=False)]

_BACKUPS: list[Column] = [
    ("name", "name"),
    ("of", "db_system_name"),
    ("state", "state"),
    ("size", "size"),
    ("created", moment("created_at")),
    ("id", "id"),
]


@command(backups, "create")
def create(
    session: Session,
    system: Source,
    name: Annotated[str, typer.Option("--name", "-n", metavar="NAME", help="Name of the backup.")],
    key: CmkOption = None,
    compartment: InCompartment = None,
    wait: Wait = True,
) -> None:
    """Back up a running database system, whole. Without --key, under the key of the system."""
    body = {
        "db_system_id": session.resolve("database system", system, compartment),
        "name": name,
        "key_id": None if key is None else session.resolve("key", key, compartment),
    }
    answer = session.client.create("/backups", body).data
    told = follow(session, answer, wait, ("backup", f"/backups/{answer['backup']['id']}"))
    if wait and not session.console.json:
        session.console.show(told["backup"])


@command(backups, "list")
def list_backups(session: Session, compartment: InCompartment = None, limit: Limit = None) -> None:
    """List the backups in a compartment."""
    inside = session.compartment(compartment)
    found = list(session.client.items("/backups", limit, compartment_id=inside))
    session.console.table(found, _BACKUPS, "no backups in it")


@command(backups, "show")
def show(session: Session, name: Reference, compartment: InCompartment = None) -> None:
    """Show one backup."""
    session.console.show(session.client.get(f"/backups/{session.resolve('backup', name, compartment)}").data)


@command(backups, "delete", approvable=True)
def delete(
    session: Session,
    name: Reference,
    compartment: InCompartment = None,
    yes: Yes = False,
    if_match: IfMatch = None,
    wait: Wait = True,
) -> None:
    """Delete a backup."""
    found = session.find("backup", name, compartment)
    session.confirm(f"delete backup {found['name']}", yes)
    follow(session, session.client.delete(f"/backups/{found['id']}", if_match=if_match).data, wait)
    if wait:
        session.console.say(f"backup {found['name']} is deleted")


@command(backups, "restore", approvable=True)
def restore(
    session: Session,
    backup: Reference,
    name: Annotated[str, typer.Option("--name", "-n", metavar="NAME", help="Name of the new system.")],
    key: CmkOption = None,
    admin: AdminName = None,
    memory: Memory = None,
    compartment: InCompartment = None,
    wait: Wait = True,
) -> None:
    """Restore a backup to a new database system, under a key chosen now. Its password is shown once."""
    body = {
        "compartment_id": session.compartment(compartment),
        "name": name,
        "key_id": None if key is None else session.resolve("key", key, compartment),
        "admin_username": admin,
        "memory_mb": memory,
    }
    path = f"/backups/{session.resolve('backup', backup, compartment)}/actions/restore"
    started(session, session.client.create(path, body).data, wait)
