"""Database systems: their life, their keys, and what proves that nothing is readable."""

import base64
import json
import os
from typing import Annotated

import typer

from keystead.cli import connect as client_program
from keystead.cli import report as proof
from keystead.cli.already import Moved, moved
from keystead.cli.command import IfMatch, InCompartment, NewName, Reference, Wait, Yes, command, group
from keystead.cli.console import Column, moment
from keystead.cli.exits import CliError, usage
from keystead.cli.given import Tags
from keystead.cli.kinds import KEY, SYSTEM
from keystead.cli.session import Session
from keystead.cli.standard import lists, replace_tags, shows
from keystead.cli.waiting import follow
from keystead.cli.wire import Call, Json

systems = group("Database systems: encrypted MariaDB servers.")

CmkOption = Annotated[
    str | None,
    typer.Option("--key", "-k", metavar="NAME", help="Key: name, COMPARTMENT/NAME, or id; else service-managed."),
]
AdminName = Annotated[str | None, typer.Option("--admin", metavar="NAME", help="The administrator's account.")]
Memory = Annotated[int | None, typer.Option("--memory", min=64, metavar="MB", help="Memory of the server in MiB.")]

_SYSTEMS: list[Column] = [
    ("name", "name"),
    ("state", "state"),
    ("key", lambda it: "service-managed" if it.get("service_managed") else it.get("key_id")),
    ("port", "port"),
    ("reason", "reason"),
    ("id", "id"),
]
_KEYS: list[Column] = [
    ("key", lambda it: {"store": "store key", "data": "data key"}.get(it["kind"], it["kind"])),
    ("slot", lambda it: it.get("slot") or None),
    ("version", lambda it: it.get("number") or None),
    ("latest", "latest"),
    ("wrapped by", lambda it: "store key" if it["kind"] == "data" else it["parent_id"]),
    ("at version", "parent_version"),
    ("created", moment("created_at")),
]


_STEPS: list[Column] = [
    ("step", lambda it: it["name"].replace("_", " ")),
    ("after ms", lambda it: f"{it['after_ms']:.1f}"),
]


@command(systems, "create")
def create(
    session: Session,
    name: NewName,
    key: CmkOption = None,
    admin: AdminName = None,
    memory: Memory = None,
    protect_it: Annotated[bool, typer.Option("--protect", help="Refuse to delete it until unprotected.")] = False,
    follow_it: Annotated[
        bool, typer.Option("--follow-key", help="Use each new version of its key by itself, as soon as there is one.")
    ] = False,
    compartment: InCompartment = None,
    wait: Wait = True,
) -> None:
    """Create a database system. The administrator's password is shown once."""
    body = {
        "compartment_id": session.compartment(compartment),
        "name": name,
        "key_id": None if key is None else session.resolve(KEY, key, compartment),
        "admin_username": admin,
        "memory_mb": memory,
        "deletion_protection": protect_it or None,
        "follow_key": follow_it or None,
    }
    started(session, session.client.create("/db-systems", body).data, wait)


def started(session: Session, answer: Json, wait: bool) -> None:
    """Show what a creation or a restore answered: the password at once, the system when it is there."""
    made = answer["db_system"]
    session.console.say(f"database system {made['name']}: {made['id']}")
    session.console.secret(f"password of {made['admin_username']}", answer.get("admin_password"))
    warn(session, answer)
    told = follow(session, answer, wait, ("db_system", f"/db-systems/{made['id']}"))
    if wait and not session.console.json:
        session.console.show(told["db_system"])


def warn(session: Session, answer: Json) -> None:
    """Say what the region warns of, on standard error."""
    for text in answer.get("warnings") or ():
        session.console.remark(f"warning: {text}")


lists(systems, SYSTEM, _SYSTEMS, "List the database systems in a compartment.", "no database systems in it")
shows(systems, SYSTEM, "Show one database system; when it is INACCESSIBLE, why.")


@command(systems, "start")
def start(
    session: Session, name: Reference, compartment: InCompartment = None, if_match: IfMatch = None, wait: Wait = True
) -> None:
    """Start a stopped system."""
    _job(session, "start", name, compartment, wait, if_match)


@command(systems, "stop")
def stop(
    session: Session, name: Reference, compartment: InCompartment = None, if_match: IfMatch = None, wait: Wait = True
) -> None:
    """Stop a system in an orderly way."""
    _job(session, "stop", name, compartment, wait, if_match)


@command(systems, "restart")
def restart(
    session: Session, name: Reference, compartment: InCompartment = None, if_match: IfMatch = None, wait: Wait = True
) -> None:
    """Stop a system and start it again."""
    _job(session, "restart", name, compartment, wait, if_match)


@command(systems, "delete", approvable=True)
def delete(
    session: Session,
    name: Reference,
    compartment: InCompartment = None,
    yes: Yes = False,
    if_match: IfMatch = None,
    wait: Wait = True,
) -> None:
    """Delete a system and its data. Its backups stay."""
    found = session.find(SYSTEM, name, compartment)
    session.confirm(f"delete database system {found['name']} and its data", yes)
    answer = session.client.delete(f"/db-systems/{found['id']}", if_match=if_match).data
    follow(session, answer, wait)
    if wait:
        session.console.say(f"database system {found['name']} is deleted")


@command(systems, "protect")
def protect(session: Session, name: Reference, compartment: InCompartment = None, if_match: IfMatch = None) -> None:
    """Refuse to delete the system until it is unprotected."""
    _set(session, name, compartment, if_match, {"deletion_protection": True}, "it cannot be deleted")


@command(systems, "unprotect")
def unprotect(session: Session, name: Reference, compartment: InCompartment = None, if_match: IfMatch = None) -> None:
    """Let the system be deleted."""
    _set(session, name, compartment, if_match, {"deletion_protection": False}, "it can be deleted")


@command(systems, "tag", approvable=True)
def tag(
    session: Session, name: Reference, tag: Tags = None, compartment: InCompartment = None, if_match: IfMatch = None
) -> None:
    """Replace the tags of a system. Policies and dynamic groups may read them."""
    replace_tags(session, session.path(SYSTEM, name, compartment), tag, if_match)


@command(systems, "follow-key")
def follow_key(session: Session, name: Reference, compartment: InCompartment = None, if_match: IfMatch = None) -> None:
    """Let the system use each new version of its key by itself: its store key is rewrapped when the key is rotated."""
    _set(session, name, compartment, if_match, {"follow_key": True}, "it follows the newest version of its key")


@command(systems, "unfollow-key")
def unfollow_key(
    session: Session, name: Reference, compartment: InCompartment = None, if_match: IfMatch = None
) -> None:
    """Let the system stay with the version of its key that it uses, until `db change-key`."""
    _set(session, name, compartment, if_match, {"follow_key": False}, "it stays with the version of its key")


@command(systems, "change-key")
def change_key(
    session: Session,
    name: Reference,
    key: CmkOption = None,
    service_managed: Annotated[
        bool, typer.Option("--service-managed", help="Back to a key that the service manages.")
    ] = False,
    compartment: InCompartment = None,
    if_match: IfMatch = None,
) -> None:
    """Put the store key under another key, or under the newest version of the same. No data is rewritten."""
    if (key is None) != service_managed:
        raise usage("say which key", "--key NAME, or --service-managed")
    wanted = None if key is None else session.resolve(KEY, key, compartment)
    path = session.path(SYSTEM, name, compartment)
    answer = session.client.post(f"{path}/actions/change-key", {"key_id": wanted}, if_match=if_match).data
    warn(session, answer)
    under = "a service-managed key" if answer.get("service_managed") else answer.get("key_id")
    _changed(session, answer, f"the store key is wrapped by {under}, version {answer.get('key_version')}")


@command(systems, "rotate-data-keys")
def rotate_data_keys(session: Session, name: Reference, compartment: InCompartment = None, wait: Wait = True) -> None:
    """Make new data keys and rewrite every page under them, online. Lists what still needs the old version."""
    answer = session.client.post(session.path(SYSTEM, name, compartment) + "/actions/rotate-data-keys").data
    told = follow(session, answer, wait)
    if wait and not session.console.json:
        proof.show_rotation(session.console, told["job"]["result"])


@command(systems, "verify")
def verify(
    session: Session,
    name: Reference,
    compartment: InCompartment = None,
    sample: Annotated[
        bool, typer.Option("--sample", help="Look for values of your own rows too, read under your own login.")
    ] = False,
    user: Annotated[str, typer.Option("--user", metavar="NAME", help="Your login to the database, for --sample.")] = "",
    wait: Wait = True,
) -> None:
    """Read the bytes on disk and show what is encrypted, under which key version, and what is readable by design.

    Exit code 1 when something is readable that should not be.
    """
    path = session.path(SYSTEM, name, compartment)
    body = {}
    if sample:
        from keystead.cli.sampling import samples

        endpoint = session.client.get(f"{path}/endpoint").data
        found = samples(endpoint, user or str(session.client.get(path).data["admin_username"]))
        body = {"samples": [base64.b64encode(value).decode() for value in found]}
    answer = session.client.post(f"{path}/actions/verify", body or None).data
    told = follow(session, answer, wait)
    if not wait:
        return
    report = json.loads(told["job"]["result"]["report"])
    if not session.console.json:
        proof.show(session.console, report)
    proof.check(report)


@command(systems, "revalidate")
def revalidate(session: Session, name: Reference, compartment: InCompartment = None) -> None:
    """Ask for the key again now, instead of waiting for the system to heal by itself."""
    _act(session, "revalidate", name, compartment, "asked for its key again")


@command(systems, "confirm")
def confirm(session: Session, name: Reference, compartment: InCompartment = None) -> None:
    """Let a system run again after the region's state was restored."""
    _act(session, "confirm", name, compartment, "confirmed")


@command(systems, "delete-identity")
def delete_identity(session: Session, name: Reference, compartment: InCompartment = None, yes: Yes = False) -> None:
    """Take the system's own identity away: it may use no key any more, and is fenced at once."""
    session.confirm(f"delete the identity of {name}; it is fenced at once", yes)
    _act(session, "delete-identity", name, compartment, "its identity is deleted; it is fenced at once")


@command(systems, "revoke-tokens")
def revoke_tokens(session: Session, name: Reference, compartment: InCompartment = None) -> None:
    """Void every session token of the system's own at once."""
    _act(session, "revoke-tokens", name, compartment, "its tokens are void; its machine asks for another by itself")


@command(systems, "restore-identity")
def restore_identity(session: Session, name: Reference, compartment: InCompartment = None) -> None:
    """Give the system its identity back."""
    _act(session, "restore-identity", name, compartment, "its identity is back; it heals by itself")


@command(systems, "keys")
def keys(session: Session, name: Reference, compartment: InCompartment = None) -> None:
    """List the system's keys: which is wrapped by which, and at what version."""
    found = session.client.get(session.path(SYSTEM, name, compartment) + "/key-hierarchy").data
    rows = found["items"] if session.console.json else sorted(found["items"], key=lambda it: it["kind"] != "store")
    session.console.table(rows, _KEYS, "no keys yet")


@command(systems, "fence-receipt")
def fence_receipt(session: Session, name: Reference, compartment: InCompartment = None) -> None:
    """Show what the last fence did, step by step, in milliseconds after access was taken away."""
    answer = session.client.get(session.path(SYSTEM, name, compartment) + "/last-fence").data
    receipt = answer["fence"]
    if session.console.json:
        session.console.document(answer)
    elif receipt is None:
        session.console.remark("(it was never fenced)")
    else:
        session.console.show(receipt, hide=("steps",))
        session.console.say("")
        session.console.table(receipt["steps"], _STEPS)


@command(systems, "connect")
def connect(
    session: Session,
    name: Reference,
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[-- ARGS...]", help="Passed on to the client.", show_default=False)
    ] = None,
    user: Annotated[str | None, typer.Option("--user", "-u", metavar="NAME", help="Account; else the admin's.")] = None,
    database: Annotated[str | None, typer.Option("--database", "-D", metavar="NAME", help="Schema to use.")] = None,
    with_token: Annotated[
        bool | None,
        typer.Option("--token/--password", help="As yourself with your token, or with an account's password."),
    ] = None,
    compartment: InCompartment = None,
) -> None:
    """Open the mariadb client with verified TLS.

    You log in as yourself, with a token, where you are mapped on the system (see keystead db mappings). With --user or
    --password, or with MYSQL_PWD set, an account's password is used: the client asks for it, or takes MYSQL_PWD.

    What comes after -- is passed on to it: keystead db connect flights -- -e 'select 1'
    """
    found = session.find(SYSTEM, name, compartment)
    endpoint = session.client.get(f"/db-systems/{found['id']}/endpoint").data
    if session.console.json:
        raise usage("db connect has no JSON form", "use `keystead db show`")
    if with_token is None:
        with_token = user is None and "MYSQL_PWD" not in os.environ and _mapped(session, found["id"])
    if with_token:
        client_program.client_program()  # before a token is made
        name = user or str(session.client.get("/auth/whoami").data["name"])
        token = str(session.client.post("/auth/tokens/exchange", {"audience": "databases"}).data["token"])
        client_program.replace_process(endpoint, name, database, arguments or [], token)
    account = user or found.get("admin_username")
    if not account:
        raise usage("no account is known", "give --user")
    client_program.replace_process(endpoint, account, database, arguments or [])


def _mapped(session: Session, system: str) -> bool:
    """Whether anybody logs in to the system with tokens; who may not know is taken to be one of them."""
    try:
        return bool(session.client.get(f"/db-systems/{system}/login-mappings").data["items"])
    except CliError:
        return True


def _job(session: Session, verb: str, name: str, compartment: str | None, wait: bool, if_match: str | None) -> None:
    path = session.path(SYSTEM, name, compartment)
    call = Call("POST", f"{path}/actions/{verb}", if_match=if_match)
    done = moved(session, call, path, {"start": "ACTIVE", "stop": "INACTIVE"}.get(verb))
    if done.already:
        _already(session, done)
        return
    told = follow(session, done.answer, wait, ("db_system", path))
    if wait:
        system = told["db_system"]
        session.console.say(f"database system {system['name']} is {system['state']}")


def _already(session: Session, done: Moved) -> None:
    """No job was needed."""
    system = done.answer
    session.console.result(
        {"job": None, "db_system": system}, f"database system {system['name']} is {done.said(system['state'])}"
    )


def _act(session: Session, verb: str, name: str, compartment: str | None, said: str) -> None:
    """What follows (a fence, a start) comes a moment later: `said` tells what was done, not what the state is."""
    answer = session.client.post(session.path(SYSTEM, name, compartment) + f"/actions/{verb}").data
    _changed(session, answer, said)


def _set(session: Session, name: str, compartment: str | None, if_match: str | None, settings: Json, said: str) -> None:
    call = Call("PATCH", session.path(SYSTEM, name, compartment), body=settings, if_match=if_match)
    _changed(session, session.client.send(call).data, said)


def _changed(session: Session, system: Json, said: str) -> None:
    session.console.result(system, f"database system {system['name']}: {said}")
