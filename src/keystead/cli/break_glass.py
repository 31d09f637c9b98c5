"""Break glass: memberships for a while, begun by `group add-member --for`."""

from typing import Annotated

import typer

from keystead.cli.command import Limit, command, group
from keystead.cli.console import Column
from keystead.cli.exits import NOT_FOUND, CliError, usage
from keystead.cli.given import seconds_of
from keystead.cli.kinds import GROUP, USER
from keystead.cli.session import Session

glass = group("Break glass: who was in a group for a while, and why.")

_GLASS: list[Column] = [
    ("user", "user_name"), ("group", "group_name"), ("until", "expires_at"), ("ended", "how"),
    ("reason", "reason"), ("granted by", "granted_by_name"), ("id", "id"),
]  # fmt: skip

InGroup = Annotated[str | None, typer.Option("--group", "-g", metavar="NAME", help="Of this group only.")]


def begin(session: Session, name: str, user: str, lasting: str | None, reason: str | None) -> None:
    """Put a user into a group for a while."""
    if lasting is None or not (reason or "").strip():
        raise usage("break glass takes --for and --reason", 'for example: --for 30m --reason "flights is down"')
    team, person = session.find(GROUP, name), session.find(USER, user)
    body = {"user_id": person["id"], "seconds": seconds_of("--for", lasting), "reason": reason}
    begun = session.client.create(f"/groups/{team['id']}/break-glass", body).data
    session.console.result(
        begun, f"{begun['user_name']} is a member of {begun['group_name']} until {begun['expires_at']}"
    )


@command(glass, "list")
def list_break_glass(session: Session, name: InGroup = None, limit: Limit = None) -> None:
    """List them, newest first; those that have ended too."""
    wanted = None if name is None else session.resolve(GROUP, name)
    found = list(session.client.items("/break-glass", limit, group_id=wanted))
    session.console.table(found, _GLASS, "no glass was broken")


@command(glass, "end")
def end_break_glass(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="GROUP", help="Group: name or id.", show_default=False)],
    user: Annotated[str, typer.Argument(metavar="USER", help="User: name or id.", show_default=False)],
) -> None:
    """End it now, before its time."""
    inside = session.resolve(GROUP, name)
    for found in session.client.items("/break-glass", None, group_id=inside):
        if found["running"] and user in (found["user_name"], found["user_id"]):
            ended = session.client.post(f"/break-glass/{found['id']}/actions/end").data
            session.console.result(ended, f"{ended['user_name']} is no longer a member of {ended['group_name']}")
            return
    raise CliError(f"{user} has not broken glass into {name}", code="NotFound", exit_code=NOT_FOUND)
