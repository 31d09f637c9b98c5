"""Compartments, users, groups and policies."""

from pathlib import Path
from typing import Annotated

import typer

from keystead.cli.break_glass import begin, glass
from keystead.cli.command import Description, IfMatch, InCompartment, Limit, NewName, Reference, command, group
from keystead.cli.console import Column
from keystead.cli.exits import CONFLICT, NOT_FOUND, CliError, usage
from keystead.cli.files import read_text
from keystead.cli.given import Tags, seconds_of
from keystead.cli.kinds import GROUP, POLICY, USER
from keystead.cli.session import Session
from keystead.cli.standard import deletes, lists, replace_tags, shows
from keystead.cli.wire import Call, Json

compartments = group("Compartments: folders of resources, nested; policies attach to them.")
users = group("Users: people and applications.")
groups = group("Groups: users who are granted things together.")
policies = group("Policies: statements that say who may do what.")
groups.add_typer(glass, name="break-glass")

Path_ = Annotated[
    str, typer.Argument(metavar="PATH", help="Compartment: A/B/C from the root, / or an id.", show_default=False)
]
Parent = Annotated[str | None, typer.Option("--parent", "-p", metavar="PATH", help="Compartment it lies in.")]
Member = Annotated[str, typer.Argument(metavar="USER", help="User: name or id.", show_default=False)]
Statements = Annotated[
    list[str] | None,
    typer.Option("--statement", "-s", metavar="TEXT", help="A statement; may be given again.", show_default=False),
]
StatementFile = Annotated[
    Path | None,
    typer.Option("--file", "-f", metavar="FILE", help="Statements, one a line; # begins a comment; - is stdin."),
]

Days = Annotated[
    int | None, typer.Option("--days", metavar="N", help="How long it is good for: 1 to 365 days; 90 when not given.")
]

PublicKey = Annotated[
    Path, typer.Option("--public-key", metavar="FILE", help="Its public half, PEM; - is stdin.", show_default=False)
]

_API_KEYS: list[Column] = [("name", "name"), ("fingerprint", "fingerprint"), ("created at", "created_at"), ("id", "id")]
_AUTH_TOKENS: list[Column] = [("name", "name"), ("expires at", "expires_at"), ("id", "id")]
_PRINCIPALS: list[Column] = [("name", "name"), ("description", "description"), ("id", "id")]
_USERS: list[Column] = [("name", "name"), ("state", "state"), ("description", "description"), ("id", "id")]
_MEMBERS: list[Column] = [("name", "name"), ("state", "state"), ("until", "until"), ("id", "id")]
_POLICIES: list[Column] = [("name", "name"), ("statements", lambda it: len(it["statements"])), ("id", "id")]


@command(compartments, "create")
def create_compartment(session: Session, name: NewName, parent: Parent = None, description: Description = None) -> None:
    """Create a compartment."""
    body = {"parent_id": session.compartment(parent), "name": name, "description": description}
    session.console.show(session.client.create("/compartments", body).data)


@command(compartments, "list")
def list_compartments(session: Session, parent: Parent = None, limit: Limit = None) -> None:
    """List the compartments within one, by default within the root."""
    inside = session.compartment("/" if parent is None else parent)
    found = list(session.client.items("/compartments", limit, parent_id=inside))
    session.console.table(found, _PRINCIPALS, "no compartments in it")


@command(compartments, "show")
def show_compartment(session: Session, path: Path_) -> None:
    """Show one compartment."""
    session.console.show(session.client.get(f"/compartments/{session.compartment(path)}").data)


@command(compartments, "tag", approvable=True)
def tag_compartment(session: Session, path: Path_, tag: Tags = None, if_match: IfMatch = None) -> None:
    """Replace the tags of a compartment. Policies may read them."""
    replace_tags(session, f"/compartments/{session.compartment(path)}", tag, if_match)


@command(users, "create", approvable=True)
def create_user(session: Session, name: NewName, description: Description = None) -> None:
    """Create a user. The password is shown once."""
    made = session.client.create("/users", {"name": name, "description": description}).data
    _with_password(session, made)


lists(users, USER, _USERS, "List the users of the tenancy.", "no users")
shows(users, USER, "Show one user.")


@command(users, "block")
def block_user(session: Session, name: Reference, if_match: IfMatch = None) -> None:
    """Block a user: no new sign-in, and every token void at once."""
    _set_state(session, name, "BLOCKED", if_match)


@command(users, "unblock")
def unblock_user(session: Session, name: Reference, if_match: IfMatch = None) -> None:
    """Let a blocked user sign in again."""
    _set_state(session, name, "ACTIVE", if_match)


deletes(users, USER, "Delete a user; every token is void at once.")


@command(users, "reset-password", approvable=True)
def reset_password(session: Session, name: Reference) -> None:
    """Give a user a new password, shown once."""
    found = session.find(USER, name)
    _with_password(session, session.client.create(f"/users/{found['id']}/actions/reset-password").data, found["name"])


@command(users, "revoke-tokens")
def revoke_tokens(session: Session, name: Reference) -> None:
    """Make every token of a user void at once."""
    found = session.find(USER, name)
    answer = session.client.post(f"/users/{found['id']}/actions/revoke-tokens").data
    session.console.result(answer or found, f"every token of {found['name']} is void")


@command(users, "auth-token-create", approvable=True)
def create_auth_token(session: Session, user: Member, name: NewName, days: Days = None) -> None:
    """Make a secret for an application of a user, shown once: it is exchanged for tokens of an hour."""
    found = session.find(USER, user)
    made = session.client.create(f"/users/{found['id']}/auth-tokens", {"name": name, "days": days}).data
    session.console.show(made, hide=("text", "already_shown"))
    session.console.secret(f"auth token {made['name']} of {found['name']}", made.get("text"))


@command(users, "auth-token-list")
def list_auth_tokens(session: Session, user: Member, limit: Limit = None) -> None:
    """List the auth tokens of a user."""
    found = list(session.client.items(session.path(USER, user) + "/auth-tokens", limit))
    session.console.table(found, _AUTH_TOKENS, "no auth tokens")


@command(users, "auth-token-delete")
def delete_auth_token(session: Session, user: Member, name: Reference) -> None:
    """Delete an auth token of a user."""
    owner = session.find(USER, user)
    path = f"/users/{owner['id']}/auth-tokens"
    found = next((it for it in session.client.items(path, None) if name in (it["name"], it["id"])), None)
    if found is None:
        raise CliError(f"user {owner['name']} has no auth token {name!r}", code="NotFound", exit_code=NOT_FOUND)
    session.client.delete(f"{path}/{found['id']}")
    session.console.result(found, f"the auth token {found['name']} is deleted")


@command(users, "api-key-create")
def create_api_key(session: Session, user: Member, name: NewName, public_key: PublicKey) -> None:
    """Let requests that are signed with a key be a user's, as clients of OCI sign them."""
    found = session.find(USER, user)
    body = {"name": name, "public_key": read_text(public_key)}
    session.console.show(session.client.create(f"/users/{found['id']}/api-keys", body).data, hide=("public_key",))


@command(users, "api-key-list")
def list_api_keys(session: Session, user: Member, limit: Limit = None) -> None:
    """List the API signing keys of a user."""
    found = list(session.client.items(session.path(USER, user) + "/api-keys", limit))
    session.console.table(found, _API_KEYS, "no API keys")


@command(users, "api-key-delete")
def delete_api_key(session: Session, user: Member, name: Reference) -> None:
    """Delete an API signing key of a user; what it was exchanged for is void at once."""
    owner = session.find(USER, user)
    path = f"/users/{owner['id']}/api-keys"
    fits = (it for it in session.client.items(path, None) if name in (it["name"], it["id"], it["fingerprint"]))
    found = next(fits, None)
    if found is None:
        raise CliError(f"user {owner['name']} has no API key {name!r}", code="NotFound", exit_code=NOT_FOUND)
    session.client.delete(f"{path}/{found['id']}")
    session.console.result(found, f"the API key {found['name']} is deleted")


@command(groups, "create")
def create_group(session: Session, name: NewName, description: Description = None) -> None:
    """Create a group."""
    session.console.show(session.client.create("/groups", {"name": name, "description": description}).data)


lists(groups, GROUP, _PRINCIPALS, "List the groups of the tenancy.", "no groups")
shows(groups, GROUP, "Show one group.")
deletes(groups, GROUP, "Delete a group; what was granted to it is granted to nobody.", approvable=True)


@command(groups, "update", approvable=True)
def update_group(
    session: Session,
    name: Reference,
    break_glass: Annotated[
        str | None, typer.Option("--break-glass", metavar="TIME", help="It lasts at most so long: 4h, 30m; 0: never.")
    ] = None,
    require_factor: Annotated[
        bool | None,
        typer.Option("--require-factor/--no-require-factor", help="Members may do nothing without a second factor."),
    ] = None,
    description: Description = None,
    if_match: IfMatch = None,
) -> None:
    """Change what is decided about a group."""
    minutes = None if break_glass is None else seconds_of("--break-glass", break_glass) // 60
    given = {"description": description, "break_glass_minutes": minutes, "require_factor": require_factor}
    body = {key: value for key, value in given.items() if value is not None}
    path = session.path(GROUP, name)
    session.console.show(session.client.send(Call("PATCH", path, body=body, if_match=if_match)).data)


@command(groups, "tag", approvable=True)
def tag_group(session: Session, name: Reference, tag: Tags = None, if_match: IfMatch = None) -> None:
    """Replace the tags of a group. Policies may read them."""
    replace_tags(session, session.path(GROUP, name), tag, if_match)


@command(groups, "add-member", approvable=True)
def add_member(
    session: Session,
    name: Reference,
    user: Member,
    lasting: Annotated[
        str | None, typer.Option("--for", metavar="TIME", help="Break glass: only so long, as 30m, 2h or 90s.")
    ] = None,
    reason: Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Why; with --for.")] = None,
) -> None:
    """Put a user into a group; with --for and --reason only for a while (break glass)."""
    if lasting is not None or reason is not None:
        begin(session, name, user, lasting, reason)
    else:
        _membership(session, "PUT", name, user, "is now a member of")


@command(groups, "remove-member")
def remove_member(session: Session, name: Reference, user: Member) -> None:
    """Take a user out of a group."""
    _membership(session, "DELETE", name, user, "is no longer a member of")


@command(groups, "members")
def members(session: Session, name: Reference, limit: Limit = None) -> None:
    """List the members of a group."""
    path = session.path(GROUP, name) + "/members"
    session.console.table(list(session.client.items(path, limit)), _MEMBERS, "no members")


@command(policies, "create", approvable=True)
def create_policy(
    session: Session,
    name: NewName,
    statement: Statements = None,
    file: StatementFile = None,
    compartment: InCompartment = None,
    description: Description = None,
) -> None:
    """Create a policy, attached to a compartment; names in its statements are relative to that."""
    body = {
        "compartment_id": session.compartment(compartment),
        "name": name,
        "statements": read_statements(statement, file),
        "description": description,
    }
    session.console.show(session.client.create("/policies", body).data)


lists(policies, POLICY, _POLICIES, "List the policies attached to a compartment.", "no policies in it")
shows(policies, POLICY, "Show one policy with its statements.")


@command(policies, "update", approvable=True)
def update_policy(
    session: Session,
    name: Reference,
    statement: Statements = None,
    file: StatementFile = None,
    compartment: InCompartment = None,
    if_match: IfMatch = None,
) -> None:
    """Replace the statements of a policy."""
    path = session.path(POLICY, name, compartment)
    body: Json = {"statements": read_statements(statement, file)}
    _show_changed(session, session.client.send(Call("PUT", path, body=body, if_match=if_match)).data)


@command(policies, "add-statement", approvable=True)
def add_statement(
    session: Session,
    name: Reference,
    statement: Annotated[str, typer.Argument(metavar="STATEMENT", help="What is added.", show_default=False)],
    compartment: InCompartment = None,
) -> None:
    """Add one statement to a policy; the others stay as they are."""
    path = session.path(POLICY, name, compartment)
    for attempt in range(5):
        present = session.client.get(path)
        statements = [*present.data["statements"], statement]
        try:
            changed = session.client.send(
                Call("PUT", path, body={"statements": statements}, if_match=present.version)
            ).data
        except CliError as error:
            # somebody else changed it between our reading and our writing: read again
            if error.exit_code == CONFLICT and attempt < 4:
                continue
            raise
        _show_changed(session, changed)
        return


def _show_changed(session: Session, answer: Json) -> None:
    session.console.show(answer, hide=("warnings",))
    for text in answer.get("warnings") or ():
        session.console.remark(f"warning: {text}; it stays because it was there")


deletes(
    policies, POLICY, "Delete a policy; what it granted is no longer granted from the next request on.", approvable=True
)


def read_statements(given: list[str] | None, file: Path | None) -> list[str]:
    found = list(given or [])
    if file is not None:
        lines = (line.strip() for line in read_text(file).splitlines())
        found += [line for line in lines if line and not line.startswith("#")]
    if not found:
        raise usage("no statement given", "use --statement TEXT or --file FILE")
    return found


def _set_state(session: Session, name: str, state: str, if_match: str | None) -> None:
    path = session.path(USER, name)
    changed = session.client.send(Call("PATCH", path, body={"state": state}, if_match=if_match)).data
    session.console.result(changed, f"user {changed['name']} is {changed['state']}")


def _membership(session: Session, method: str, name: str, user: str, said: str) -> None:
    team, person = session.find(GROUP, name), session.find(USER, user)
    session.client.send(Call(method, f"/groups/{team['id']}/members/{person['id']}"))
    told = {"group_id": team["id"], "user_id": person["id"], "member": method == "PUT"}
    session.console.result(told, f"{person['name']} {said} {team['name']}")


def _with_password(session: Session, answer: Json, name: str = "") -> None:
    session.console.show(answer, hide=("password", "already_shown"))
    session.console.secret(f"password of {answer.get('name') or name}", answer.get("password"))
