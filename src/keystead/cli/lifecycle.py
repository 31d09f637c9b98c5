"""The life of vaults, keys and versions: settings, deletion and recovery, locks, compartments.

What cannot be taken back asks first. What takes a key away says what follows: database systems under it are fenced.
Asking for a state that a thing is in already is no error; for a deletion on a day of one's own (`--days`) it is.
"""

from typing import Annotated

import typer

from keystead.cli import given
from keystead.cli.already import Moved, moved
from keystead.cli.command import IfMatch, InCompartment, Reference, Yes, command
from keystead.cli.exits import usage
from keystead.cli.kinds import KEY, VAULT
from keystead.cli.session import Session
from keystead.cli.vault import keys, vaults
from keystead.cli.wire import Call, Json

__all__ = ["keys", "vaults"]

Number = Annotated[int, typer.Argument(metavar="NUMBER", help="Number of the version.", show_default=False)]
ReadOnly = Annotated[bool, typer.Option("--read-only", help="Against every change, not only against deletion.")]
Destination = Annotated[str, typer.Option("--to", metavar="PATH", help="Compartment: A/B/C from the root, / or an id.")]

# the states that acts lead to: of keys and versions, and of vaults
_KEY_STATES = {
    "schedule-deletion": "PENDING_DELETION",
    "cancel-deletion": "DISABLED",
    "recover": "DISABLED",
    "purge": "PURGED",
    "enable": "ENABLED",
    "disable": "DISABLED",
}
_VAULT_STATES = {**_KEY_STATES, "cancel-deletion": "ACTIVE", "recover": "ACTIVE"}


@command(keys, "update", approvable=True)
def update_key(  # noqa: PLR0913, PLR0917  # the options of a command
    session: Session,
    name: Reference,
    operations: given.Operations = None,
    not_before: given.NotBefore = None,
    expires_at: given.ExpiresAt = None,
    rotation_days: given.RotationDays = None,
    minimum_version: given.MinimumVersion = None,
    retention_days: given.RetentionDays = None,
    purge_protection: given.PurgeProtection = False,
    tag: given.Tags = None,
    compartment: InCompartment = None,
    if_match: IfMatch = None,
) -> None:
    """Change what you decide about a key; what is not given stays."""
    settings = {
        **given.operations_given(operations),
        **given.moment_given("--not-before", not_before),
        **given.moment_given("--expires-at", expires_at),
        **given.numbers_given(
            rotation_days=rotation_days, minimum_version=minimum_version, retention_days=retention_days
        ),
        **({"purge_protection": True} if purge_protection else {}),
        **given.tags_given(tag),
    }
    _update(session, session.path(KEY, name, compartment), settings, if_match)


@command(keys, "schedule-deletion", approvable=True)
def schedule_deletion(
    session: Session,
    name: Reference,
    days: given.Days = None,
    confirm_needed_by: given.Confirmed = None,
    compartment: InCompartment = None,
    if_match: IfMatch = None,
) -> None:
    """Take a key away at once and delete it in 7 to 30 days, unless that is cancelled."""
    _key(
        session,
        name,
        compartment,
        "schedule-deletion",
        if_match,
        given.numbers_given(days=days),
        confirm_needed_by,
    )


@command(keys, "cancel-deletion")
def cancel_deletion(
    session: Session, name: Reference, compartment: InCompartment = None, if_match: IfMatch = None
) -> None:
    """Keep a key that was to be deleted. It is DISABLED until `key enable`."""
    _key(session, name, compartment, "cancel-deletion", if_match)


@command(keys, "delete", approvable=True)
def delete_key(
    session: Session,
    name: Reference,
    yes: Yes = False,
    confirm_needed_by: given.Confirmed = None,
    compartment: InCompartment = None,
    if_match: IfMatch = None,
) -> None:
    """Delete a key now. `key recover` has it back until its retention is over."""
    found = session.find(KEY, name, compartment)
    session.confirm(f"delete key {found['name']}", yes)
    path = f"/keys/{found['id']}"
    call = Call("DELETE", path, {"confirm_needed_by": confirm_needed_by}, if_match=if_match)
    _said(session, "key", moved(session, call, path, "DELETED"))


@command(keys, "recover")
def recover_key(session: Session, name: Reference, compartment: InCompartment = None, if_match: IfMatch = None) -> None:
    """Have a deleted key back. It is DISABLED until `key enable`."""
    _key(session, name, compartment, "recover", if_match)


@command(keys, "purge", approvable=True)
def purge_key(
    session: Session,
    name: Reference,
    yes: Yes = False,
    confirm_needed_by: given.Confirmed = None,
    compartment: InCompartment = None,
    if_match: IfMatch = None,
) -> None:
    """Destroy a deleted key for ever: nothing that it sealed can be opened any more."""
    found = session.find(KEY, name, compartment)
    session.confirm(f"destroy key {found['name']} for ever", yes)
    _key(session, found["id"], compartment, "purge", if_match, confirmed=confirm_needed_by)


@command(keys, "lock")
def lock_key(
    session: Session,
    name: Reference,
    read_only: ReadOnly = False,
    compartment: InCompartment = None,
    if_match: IfMatch = None,
) -> None:
    """Protect a key against deletion, or against every change."""
    _key(session, name, compartment, "lock", if_match, _lock(read_only))


@command(keys, "unlock", approvable=True)
def unlock_key(session: Session, name: Reference, compartment: InCompartment = None, if_match: IfMatch = None) -> None:
    """Take the lock off a key."""
    _key(session, name, compartment, "unlock", if_match)


@command(keys, "move", approvable=True)
def move_key(
    session: Session, name: Reference, to: Destination, compartment: InCompartment = None, if_match: IfMatch = None
) -> None:
    """Put a key into another compartment, whose policies decide from then on."""
    _key(session, name, compartment, "move", if_match, {"compartment_id": session.compartment(to)})


@command(keys, "version")
def show_version(session: Session, name: Reference, number: Number, compartment: InCompartment = None) -> None:
    """Show one version of a key."""
    session.console.show(session.client.get(_version_path(session, name, number, compartment)).data)


@command(keys, "enable-version")
def enable_version(session: Session, name: Reference, number: Number, compartment: InCompartment = None) -> None:
    """Let a version be used again."""
    _version(session, name, number, compartment, "enable")


@command(keys, "disable-version")
def disable_version(session: Session, name: Reference, number: Number, compartment: InCompartment = None) -> None:
    """Take a version away: databases whose store key it wraps are fenced."""
    _version(session, name, number, compartment, "disable")


@command(keys, "schedule-version-deletion", approvable=True)
def schedule_version_deletion(
    session: Session,
    name: Reference,
    number: Number,
    days: given.Days = None,
    confirm_needed_by: given.Confirmed = None,
    compartment: InCompartment = None,
) -> None:
    """Take a version away at once and destroy it in 7 to 30 days. Not the current one."""
    _version(session, name, number, compartment, "schedule-deletion", given.numbers_given(days=days), confirm_needed_by)


@command(keys, "cancel-version-deletion")
def cancel_version_deletion(
    session: Session, name: Reference, number: Number, compartment: InCompartment = None
) -> None:
    """Keep a version. It is DISABLED until `key enable-version`."""
    _version(session, name, number, compartment, "cancel-deletion")


# vaults


@command(vaults, "update", approvable=True)
def update_vault(
    session: Session,
    name: Reference,
    key_limit: given.KeyLimit = None,
    network: given.Networks = None,
    trusted_service: given.TrustedServices = None,
    retention_days: given.RetentionDays = None,
    purge_protection: given.PurgeProtection = False,
    tag: given.Tags = None,
    compartment: InCompartment = None,
    if_match: IfMatch = None,
) -> None:
    """Change what you decide about a vault; what is not given stays."""
    settings = {
        **given.numbers_given(key_limit=key_limit, retention_days=retention_days),
        **given.networks_given(network),
        **given.services_given(trusted_service),
        **({"purge_protection": True} if purge_protection else {}),
        **given.tags_given(tag),
    }
    _update(session, session.path(VAULT, name, compartment), settings, if_match)


@command(vaults, "schedule-deletion", approvable=True)
def schedule_vault_deletion(
    session: Session,
    name: Reference,
    days: given.Days = None,
    confirm_needed_by: given.Confirmed = None,
    compartment: InCompartment = None,
    if_match: IfMatch = None,
) -> None:
    """Take all keys of a vault away at once and delete it in 7 to 30 days, unless that is cancelled."""
    _vault(session, name, compartment, "schedule-deletion", if_match, given.numbers_given(days=days), confirm_needed_by)


@command(vaults, "cancel-deletion")
def cancel_vault_deletion(
    session: Session, name: Reference, compartment: InCompartment = None, if_match: IfMatch = None
) -> None:
    """Keep a vault that was to be deleted. Its keys are again as they were."""
    _vault(session, name, compartment, "cancel-deletion", if_match)


@command(vaults, "delete", approvable=True)
def delete_vault(
    session: Session,
    name: Reference,
    yes: Yes = False,
    confirm_needed_by: given.Confirmed = None,
    compartment: InCompartment = None,
    if_match: IfMatch = None,
) -> None:
    """Delete a vault and its keys now. `vault recover` has them back until its retention is over."""
    found = session.find(VAULT, name, compartment)
    session.confirm(f"delete vault {found['name']} and its keys", yes)
    path = f"/vaults/{found['id']}"
    call = Call("DELETE", path, {"confirm_needed_by": confirm_needed_by}, if_match=if_match)
    _said(session, "vault", moved(session, call, path, "DELETED"))


@command(vaults, "recover")
def recover_vault(
    session: Session, name: Reference, compartment: InCompartment = None, if_match: IfMatch = None
) -> None:
    """Have a deleted vault back. Its keys are again as they were."""
    _vault(session, name, compartment, "recover", if_match)


@command(vaults, "purge", approvable=True)
def purge_vault(
    session: Session,
    name: Reference,
    yes: Yes = False,
    confirm_needed_by: given.Confirmed = None,
    compartment: InCompartment = None,
    if_match: IfMatch = None,
) -> None:
    """Destroy a deleted vault and all its keys for ever."""
    found = session.find(VAULT, name, compartment)
    session.confirm(f"destroy vault {found['name']} and all its keys for ever", yes)
    _vault(session, found["id"], compartment, "purge", if_match, confirmed=confirm_needed_by)


@command(vaults, "lock")
def lock_vault(
    session: Session,
    name: Reference,
    read_only: ReadOnly = False,
    compartment: InCompartment = None,
    if_match: IfMatch = None,
) -> None:
    """Protect a vault and its keys against deletion, or against every change."""
    _vault(session, name, compartment, "lock", if_match, _lock(read_only))


@command(vaults, "unlock", approvable=True)
def unlock_vault(
    session: Session, name: Reference, compartment: InCompartment = None, if_match: IfMatch = None
) -> None:
    """Take the lock off a vault."""
    _vault(session, name, compartment, "unlock", if_match)


@command(vaults, "move", approvable=True)
def move_vault(
    session: Session, name: Reference, to: Destination, compartment: InCompartment = None, if_match: IfMatch = None
) -> None:
    """Put a vault into another compartment. Its keys stay in theirs."""
    _vault(session, name, compartment, "move", if_match, {"compartment_id": session.compartment(to)})


def _update(session: Session, path: str, settings: Json, if_match: str | None) -> None:
    if not settings:
        raise usage("nothing is to be changed", "name a setting; --help lists them")
    session.console.show(session.client.send(Call("PATCH", path, body=settings, if_match=if_match)).data)


def _lock(read_only: bool) -> Json:
    return {"lock": "ReadOnly" if read_only else "CanNotDelete"}


def _key(
    session: Session,
    name: str,
    compartment: str | None,
    act: str,
    if_match: str | None,
    body: Json | None = None,
    confirmed: int | None = None,
) -> None:
    path = session.path(KEY, name, compartment) + f"/actions/{act}"
    call = Call("POST", path, {"confirm_needed_by": confirmed}, body, if_match)
    _said(session, "key", _acted(session, call, _KEY_STATES))


def _vault(
    session: Session,
    name: str,
    compartment: str | None,
    act: str,
    if_match: str | None,
    body: Json | None = None,
    confirmed: int | None = None,
) -> None:
    path = session.path(VAULT, name, compartment) + f"/actions/{act}"
    call = Call("POST", path, {"confirm_needed_by": confirmed}, body, if_match)
    _said(session, "vault", _acted(session, call, _VAULT_STATES))


def _acted(session: Session, call: Call, states: dict[str, str]) -> Moved:
    thing, _, act = call.path.rpartition("/actions/")
    return moved(session, call, thing, None if call.body else states.get(act))


def _said(session: Session, noun: str, done: Moved) -> None:
    """The state it is in, and what will become of it by itself."""
    thing = done.answer
    if session.console.json:
        session.console.document(thing)
        return
    said = f"{noun} {thing['name']} is {done.said(thing['state'])}"
    if thing.get("deletion_at"):
        said += f", to be deleted at {thing['deletion_at']}"
    elif thing["state"] == "DELETED" and thing.get("purge_at"):
        said += f", recoverable until {thing['purge_at']}"
    if thing.get("lock"):
        said += f", locked ({thing['lock']})"
    session.console.say(said)


def _version_path(session: Session, name: str, number: int, compartment: str | None) -> str:
    key = session.resolve(KEY, name, compartment)
    for version in session.client.items(f"/keys/{key}/versions"):
        if version["number"] == number:
            return f"/keys/{key}/versions/{version['id']}"
    raise usage(f"key {name} has no version {number}", "keystead key versions lists them")


def _version(
    session: Session,
    name: str,
    number: int,
    compartment: str | None,
    act: str,
    body: Json | None = None,
    confirmed: int | None = None,
) -> None:
    path = _version_path(session, name, number, compartment)
    call = Call("POST", f"{path}/actions/{act}", {"confirm_needed_by": confirmed}, body)
    done = _acted(session, call, _KEY_STATES)
    changed = done.answer
    if session.console.json:
        session.console.document(changed)
        return
    said = f"version {changed['number']} of key {name} is {done.said(changed['state'])}"
    if changed.get("deletion_at"):
        said += f", to be destroyed at {changed['deletion_at']}"
    session.console.say(said)
