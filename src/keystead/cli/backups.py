"""Backups, and restoring them to a new system."""

from typing import Annotated

import typer

from keystead.cli.command import IfMatch, InCompartment, Reference, Wait, Yes, command, group
from keystead.cli.console import Column, moment
from keystead.cli.databases import AdminName, CmkOption, Memory, started
from keystead.cli.kinds import BACKUP, KEY, SYSTEM
from keystead.cli.session import Session
from keystead.cli.standard import lists, shows
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
        "db_system_id": session.resolve(SYSTEM, system, compartment),
        "name": name,
        "key_id": None if key is None else session.resolve(KEY, key, compartment),
    }
    answer = session.client.create("/backups", body).data
    told = follow(session, answer, wait, ("backup", f"/backups/{answer['backup']['id']}"))
    if wait and not session.console.json:
        session.console.show(told["backup"])


lists(backups, BACKUP, _BACKUPS, "List the backups in a compartment.", "no backups in it")
shows(backups, BACKUP, "Show one backup.")


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
    found = session.find(BACKUP, name, compartment)
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
        "key_id": None if key is None else session.resolve(KEY, key, compartment),
        "admin_username": admin,
        "memory_mb": memory,
    }
    path = session.path(BACKUP, backup, compartment) + "/actions/restore"
    started(session, session.client.create(path, body).data, wait)
