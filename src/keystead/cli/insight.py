"""Seeing through policies: the questions of `keystead policy`."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from keystead.cli.command import InCompartment, command
from keystead.cli.console import Column
from keystead.cli.exits import NOT_FOUND, CliError
from keystead.cli.iam import StatementFile, Statements, policies, read_statements
from keystead.cli.kinds import POLICY, USER
from keystead.cli.session import Session, is_id

__all__ = ["policies"]

Who = Annotated[str, typer.Argument(metavar="WHO", help="User by name, or anybody by id.", show_default=False)]
Action = Annotated[
    str, typer.Argument(metavar="ACTION", help="A permission, or a verb and a type: 'use keys'.", show_default=False)
]
Resource = Annotated[
    str,
    typer.Argument(metavar="RESOURCE", help="Id of a resource, or a compartment: A/B, / or id.", show_default=False),
]


def _by(item: Mapping[str, Any]) -> Any:
    return item["statement"]["text"] if item["statement"] else ""


_HOLDERS: list[Column] = [
    ("who", lambda it: it["principal"]["name"]),
    ("type", lambda it: it["principal"]["type"]),
    ("depends", lambda it: "on the request" if it["depends"] else ""),
    ("statement", _by),
]
_CHANGES: list[Column] = [
    ("", lambda it: "opens" if it["opens"] else "closes"),
    ("who", lambda it: it["principal"]["name"]),
    ("permission", "permission"),
    ("on", lambda it: f"{it['resource_type']} {it['resource_name']}"),
    ("by", lambda it: (it["statement_then"] or it["statement_now"] or {}).get("text", "")),
]
_UNUSED: list[Column] = [
    ("unused", lambda it: ", ".join(it["unused"])),
    ("used", lambda it: ", ".join(it["used"])),
    ("statement", _by),
]
_DUTIES: list[Column] = [
    ("who", lambda it: it["principal"]["name"]),
    ("with keys", lambda it: f"{it['key_permission']} in {it['key_place']}"),
    ("with databases", lambda it: f"{it['database_permission']} in {it['database_place']}"),
]


@command(policies, "explain")
def explain(session: Session, who: Who, action: Action, resource: Resource) -> None:
    """Say why somebody may do something to a resource or in a compartment, or why not."""
    principal = who if is_id(who) else session.resolve(USER, who)
    body = {"principal_id": principal, "action": action, "resource_id": _thing(session, resource)}
    found = session.client.post("/policies/actions/explain", body).data
    if session.console.json:
        session.console.document(found)
        return
    depends = ", as far as the request lets it" if found["depends"] else ""
    session.console.say(f"{'allowed' if found['allowed'] else 'not allowed'}{depends}")
    if found["statement"]:
        session.console.say(f"by: {found['statement']['text']}")
    for reason in found["reasons"]:
        session.console.say(f"because {reason}")
    for each in found["considered"]:
        said = "applies" if each["applies"] else each["why"]
        session.console.say(f"- {each['text']}\n  {said}")


@command(policies, "who-can")
def who_can(session: Session, action: Action, resource: Resource) -> None:
    """List everybody who may do something to a resource or in a compartment."""
    body = {"action": action, "resource_id": _thing(session, resource)}
    found = session.client.post("/policies/actions/who-can", body).data["items"]
    session.console.table(found, _HOLDERS, "nobody")


@command(policies, "simulate")
def simulate(
    session: Session,
    statement: Statements = None,
    file: StatementFile = None,
    compartment: InCompartment = None,
    replacing: Annotated[
        str | None, typer.Option("--replace", metavar="POLICY", help="In place of this one; alone: if it were deleted.")
    ] = None,
) -> None:
    """Say what a change of policies would open and close, before it is made."""
    policy = session.find(POLICY, replacing, compartment) if replacing else None
    place = policy["compartment_id"] if policy else session.compartment(compartment)
    statements = [] if policy and not statement and file is None else read_statements(statement, file)
    body = {"compartment_id": place, "statements": statements, "policy_id": policy["id"] if policy else ""}
    found = session.client.post("/policies/actions/simulate", body).data
    if session.console.json:
        session.console.document(found)
        return
    session.console.table(
        found["items"], _CHANGES, f"nothing changes within the tenancy ({found['examined']} combinations)"
    )
    for each in found["crossings"]:
        change = "opens, if the other tenancy lets it" if each["opens"] else "closes"
        session.console.say(f"{change}: {each['statement']}")


@command(policies, "unused")
def unused(
    session: Session,
    days: Annotated[int, typer.Option("--days", metavar="N", min=1, max=400, help="How far back.")] = 90,
) -> None:
    """List statements that allow more than was used, by the audit trail."""
    found = session.client.get("/policies/actions/unused", days=str(days)).data["items"]
    session.console.table(found, _UNUSED, "everything that is granted was used")


@command(policies, "duties")
def duties(session: Session) -> None:
    """List who can both use or manage keys and manage databases."""
    found = session.client.get("/policies/actions/duties").data["items"]
    session.console.table(found, _DUTIES, "these duties are apart")


def _thing(session: Session, reference: str) -> str:
    if is_id(reference):
        return reference
    try:
        return session.compartment(reference)
    except CliError as error:
        hint = "name a compartment by its path, anything else by its id"
        raise CliError(error.message, hint=hint, code=error.code, exit_code=NOT_FOUND) from error
