"""The commands that are the same of every kind: list, show, delete and tag. `text` is what their help says."""

from collections.abc import Sequence

import typer

from keystead.cli.command import IfMatch, InCompartment, Limit, Reference, Yes, command
from keystead.cli.console import Column
from keystead.cli.exits import usage
from keystead.cli.given import tags_given
from keystead.cli.kinds import Kind
from keystead.cli.session import Session
from keystead.cli.wire import Call


def lists(app: typer.Typer, kind: Kind, columns: Sequence[Column], text: str, empty: str) -> None:
    """Declare `list`: of a compartment, where the kind lies in them."""

    def placed(session: Session, compartment: InCompartment = None, limit: Limit = None) -> None:
        inside = session.compartment(compartment)
        session.console.table(list(session.client.items(kind.path, limit, compartment_id=inside)), columns, empty)

    def unplaced(session: Session, limit: Limit = None) -> None:
        session.console.table(list(session.client.items(kind.path, limit)), columns, empty)

    command(app, "list", help=text)(placed if kind.placed else unplaced)


def shows(app: typer.Typer, kind: Kind, text: str, hide: Sequence[str] = ()) -> None:
    """Declare `show`."""

    def placed(session: Session, name: Reference, compartment: InCompartment = None) -> None:
        session.console.show(session.client.get(session.path(kind, name, compartment)).data, hide)

    def unplaced(session: Session, name: Reference) -> None:
        session.console.show(session.client.get(session.path(kind, name)).data, hide)

    command(app, "show", help=text)(placed if kind.placed else unplaced)


def deletes(app: typer.Typer, kind: Kind, text: str, *, approvable: bool = False) -> None:
    """Declare `delete`, for good: it asks first."""

    def placed(
        session: Session,
        name: Reference,
        compartment: InCompartment = None,
        yes: Yes = False,
        if_match: IfMatch = None,
    ) -> None:
        delete(session, kind, name, compartment, yes, if_match)

    def unplaced(session: Session, name: Reference, yes: Yes = False, if_match: IfMatch = None) -> None:
        delete(session, kind, name, None, yes, if_match)

    command(app, "delete", approvable=approvable, help=text)(placed if kind.placed else unplaced)


def delete(session: Session, kind: Kind, name: str, compartment: str | None, yes: bool, if_match: str | None) -> None:
    """Ask, delete it for good, and say so."""
    found = session.find(kind, name, compartment)
    session.confirm(f"delete {kind.noun} {found['name']}", yes)
    session.client.delete(f"{kind.path}/{found['id']}", if_match=if_match)
    told = {"id": found["id"], "name": found["name"], "deleted": True}
    session.console.result(told, f"{kind.noun} {found['name']} is deleted")


def replace_tags(session: Session, path: str, tags: list[str] | None, if_match: str | None) -> None:
    """Send the tags given in place of those there are, and show what has them. `path`: of the one thing."""
    body = tags_given(tags)
    if not body:
        raise usage("no tag given", "use --tag NAMESPACE.KEY=VALUE; --tag '' takes all of them away")
    session.console.show(session.client.send(Call("PUT", f"{path}/tags", body=body, if_match=if_match)).data)
