"""Approvals: rules that say what needs others, and requests that wait for them."""

import json
from dataclasses import dataclass
from typing import Annotated

import typer

from keystead.cli.command import Description, IfMatch, InCompartment, Limit, NewName, Reference, command, group
from keystead.cli.console import Column
from keystead.cli.kinds import APPROVAL_RULE, GROUP
from keystead.cli.session import Session
from keystead.cli.standard import deletes, lists, shows
from keystead.cli.wire import Call, Json

approvals = group("Approvals: requests that wait until enough others agree, and the rules that ask for that.")
rules = group("Rules: which operations need how many of which group to approve.")
approvals.add_typer(rules, name="rule")

Request = Annotated[str, typer.Argument(metavar="ID", help="Id of the request that waits.", show_default=False)]
Comment = Annotated[str | None, typer.Option("--comment", metavar="TEXT", help="Why.")]
Operations = Annotated[
    list[str],
    typer.Option(
        "--operation", "-o", metavar="NAME",
        help="PurgeKey, ..., or a set: destruction, restore, export, policy, people, settings; repeatable.",
    ),
]  # fmt: skip
Approvers = Annotated[str, typer.Option("--group", "-g", metavar="NAME", help="Whose members approve.")]
Needed = Annotated[int, typer.Option("--needed", metavar="N", help="How many of them have to.")]
Emergency = Annotated[
    str | None, typer.Option("--emergency", metavar="GROUP", help="Who breaks glass into it needs nobody; alerted.")
]
Hours = Annotated[int, typer.Option("--hours", metavar="N", help="How long a request waits.")]

_RULES: list[Column] = [
    ("name", "name"), ("needed", "needed"), ("operations", lambda it: ", ".join(it["operations"])), ("id", "id"),
]  # fmt: skip
_APPROVALS: list[Column] = [
    ("operation", "operation"), ("of", "target_name"), ("state", "state"), ("by", "requester_name"),
    ("votes", lambda it: _votes(dict(it))), ("expires at", "expires_at"), ("id", "id"),
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Terms:
    """What a rule asks for."""

    operation: Operations
    approvers: Approvers
    needed: Needed
    emergency: Emergency = None
    hours: Hours = 24
    description: Description = None

    def body(self, session: Session) -> Json:
        """As the API takes it."""
        return {
            "operations": self.operation,
            "group_id": session.resolve(GROUP, self.approvers),
            "needed": self.needed,
            "emergency_group_id": None if self.emergency is None else session.resolve(GROUP, self.emergency),
            "hours": self.hours,
            "description": self.description,
        }


@command(rules, "create", approvable=True)
def create_rule(session: Session, name: NewName, terms: Terms, compartment: InCompartment = None) -> None:
    """Have operations on what lies in a compartment wait for approval."""
    body = {"compartment_id": session.compartment(compartment), "name": name, **terms.body(session)}
    session.console.show(session.client.create("/approval-rules", body).data)


lists(rules, APPROVAL_RULE, _RULES, "List the rules of a compartment.", "no rules in it")
shows(rules, APPROVAL_RULE, "Show one rule.")


@command(rules, "update", approvable=True)
def update_rule(
    session: Session, name: Reference, terms: Terms, compartment: InCompartment = None, if_match: IfMatch = None
) -> None:
    """Replace the terms of a rule; it takes the approval that the rule asks for as it is."""
    path = session.path(APPROVAL_RULE, name, compartment)
    body = {key: value for key, value in terms.body(session).items() if value is not None}
    session.console.show(session.client.send(Call("PUT", path, body=body, if_match=if_match)).data)


deletes(rules, APPROVAL_RULE, "Delete a rule; it takes the approval that the rule asks for.", approvable=True)


@command(approvals, "list")
def list_approvals(
    session: Session,
    mine: Annotated[bool, typer.Option("--mine", help="Only those that you asked for.")] = False,
    limit: Limit = None,
) -> None:
    """List requests, newest first; those that are over too."""
    found = list(session.client.items("/approvals", limit, mine="true" if mine else None))
    session.console.table(found, _APPROVALS, "nothing waits for approval")


@command(approvals, "show")
def show_approval(session: Session, name: Request) -> None:
    """Show what was asked for, to the letter, and what was said to it."""
    found = session.client.get(f"/approvals/{name}").data
    shown = {**found, "request": json.dumps(found["request"], indent=2, sort_keys=True)}
    shown["rules"] = [f"{it['rule_name']}: {it['needed']} of group {it['group_id']}" for it in found["rules"]]
    shown["votes"] = [f"{it['user_name']}: {it['choice']} {it['comment']}".strip() for it in found["votes"]]
    session.console.show(found if session.console.json else shown)


@command(approvals, "approve")
def approve(session: Session, name: Request, comment: Comment = None) -> None:
    """Agree to exactly this request."""
    _say(session, name, "approve", comment)


@command(approvals, "reject")
def reject(session: Session, name: Request, comment: Comment = None) -> None:
    """Be against it: one is enough, and it is over."""
    _say(session, name, "reject", comment)


@command(approvals, "withdraw")
def withdraw(session: Session, name: Request) -> None:
    """Take back what you asked for."""
    found = session.client.post(f"/approvals/{name}/actions/withdraw").data
    session.console.result(found, f"{found['operation']} of {found['target_name']} is {found['state']}")


def _say(session: Session, name: str, choice: str, comment: str | None) -> None:
    body = {} if comment is None else {"comment": comment}
    found = session.client.post(f"/approvals/{name}/actions/{choice}", body).data
    session.console.result(
        found, f"{found['operation']} of {found['target_name']} is {found['state']}: {_votes(found)}"
    )


def _votes(found: Json) -> str:
    have = sum(it["choice"] == "approve" for it in found["votes"])
    return f"{have} of {max((it['needed'] for it in found['rules']), default=0)}"
