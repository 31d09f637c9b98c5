"""Vaults and keys. What keys do: `cryptography`."""

from typing import Annotated

import typer

from keystead.cli import given
from keystead.cli.already import moved
from keystead.cli.command import IfMatch, InCompartment, Limit, NewName, Reference, command, group
from keystead.cli.console import Column, moment
from keystead.cli.kinds import KEY, VAULT
from keystead.cli.session import Session
from keystead.cli.standard import lists, shows
from keystead.cli.wire import Call

vaults = group("Vaults: named containers of keys.")
keys = group("Keys: series of key versions, one of them current; and what is done with them.")

InVault = Annotated[str, typer.Option("--vault", "-v", metavar="NAME", help="Vault: name, COMPARTMENT/NAME, or id.")]
ProtectionName = Annotated[str | None, typer.Option("--protection", metavar="NAME", help="software, hsm or external.")]
AlgorithmName = Annotated[str | None, typer.Option("--algorithm", metavar="NAME", help="AES-256 unless told.")]
_VAULTS: list[Column] = [
    ("name", "name"),
    ("state", "state"),
    ("kind", "kind"),
    ("protection", "protection"),
    ("created", moment("created_at")),
    ("id", "id"),
]
_KEYS: list[Column] = [
    ("name", "name"),
    ("state", "state"),
    ("algorithm", "algorithm"),
    ("version", "current_version"),
    ("id", "id"),
]
_VERSIONS: list[Column] = [("version", "number"), ("state", "state"), ("created", moment("created_at")), ("id", "id")]


@command(vaults, "create")
def create_vault(
    session: Session,
    name: NewName,
    private: Annotated[bool, typer.Option("--private", help="Its keys are wrapped by a key of its own.")] = False,
    protection: ProtectionName = None,
    *,
    use: given.VaultUse,
    keeping: given.Keeping,
    compartment: InCompartment = None,
) -> None:
    """Create a vault. Its protection is that of keys for which none is named: software unless told."""
    body = {
        "compartment_id": session.compartment(compartment),
        "name": name,
        "kind": "private" if private else None,
        "protection": protection,
        **use.body(),
        **keeping.body(),
    }
    session.console.show(session.client.create("/vaults", body).data)


lists(vaults, VAULT, _VAULTS, "List the vaults in a compartment.", "no vaults in it")
shows(vaults, VAULT, "Show one vault.")


@command(keys, "create")
def create_key(
    session: Session,
    name: NewName,
    vault: InVault,
    algorithm: AlgorithmName = None,
    protection: ProtectionName = None,
    *,
    use: given.KeyUse,
    keeping: given.Keeping,
    compartment: InCompartment = None,
) -> None:
    """Create a key with its first version."""
    body = {
        "compartment_id": session.compartment(compartment),
        "vault_id": session.resolve(VAULT, vault, compartment),
        "name": name,
        "algorithm": algorithm,
        "protection": protection,
        **use.body(),
        **keeping.body(),
    }
    session.console.show(session.client.create("/keys", body).data)


lists(keys, KEY, _KEYS, "List the keys in a compartment.", "no keys in it")
shows(keys, KEY, "Show one key.")


@command(keys, "enable")
def enable(session: Session, name: Reference, compartment: InCompartment = None, if_match: IfMatch = None) -> None:
    """Enable a key; databases fenced because of it heal by themselves."""
    _act(session, "enable", name, compartment, if_match)


@command(keys, "disable")
def disable(session: Session, name: Reference, compartment: InCompartment = None, if_match: IfMatch = None) -> None:
    """Disable a key: every use is refused from now on, and every database under it is fenced at once."""
    _act(session, "disable", name, compartment, if_match)


@command(keys, "rotate")
def rotate(session: Session, name: Reference, compartment: InCompartment = None, if_match: IfMatch = None) -> None:
    """Make a new current version. Old versions go on opening what they sealed."""
    _act(session, "rotate", name, compartment, if_match)


@command(keys, "versions")
def versions(session: Session, name: Reference, compartment: InCompartment = None, limit: Limit = None) -> None:
    """List the versions of a key."""
    path = session.path(KEY, name, compartment) + "/versions"
    session.console.table(list(session.client.items(path, limit)), _VERSIONS, "no versions")


def _act(session: Session, move: str, name: str, compartment: str | None, if_match: str | None) -> None:
    path = session.path(KEY, name, compartment)
    call = Call("POST", f"{path}/actions/{move}", if_match=if_match)
    done = moved(session, call, path, {"enable": "ENABLED", "disable": "DISABLED"}.get(move))
    key = done.answer
    if session.console.json:
        session.console.document(key)
    else:
        said = f"key {key['name']} is {done.said(key['state'])}, current version {key['current_version']}"
        session.console.say(said)
