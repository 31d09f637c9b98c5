"""The life of vaults, keys and versions: settings, deletion and recovery, locks, compartments.

What cannot be taken back asks first. What takes a key away says what follows: database systems under it are fenced.
Asking for a state that a thing is in already is no error; for a deletion on a day of one's own (`--days`) it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import typer

from keystead.cli import given
from keystead.cli.already import Moved, moved
from keystead.cli.command import IfMatch, InCompartment, Reference, Yes, command
from keystead.cli.exits import usage
from keystead.cli.kinds import KEY, VAULT, Kind
from keystead.cli.session import Session
from keystead.cli.vault import keys, vaults
from keystead.cli.wire import Call, Json

__all__ = ["keys", "vaults"]

Number = Annotated[int, typer.Argument(metavar="NUMBER", help="Number of the version.", show_default=False)]
ReadOnly = Annotated[bool, typer.Option("--read-only", help="Against every change, not only against deletion.")]
Destination = Annotated[str, typer.Option("--to", metavar="PATH", help="Compartment: A/B/C from the root, / or an id.")]


@dataclass(frozen=True, slots=True)
class Life:
    """The acts of the life of keys, or of vaults. `back`: the state that a deletion is taken back to; `whole`: what is
    deleted, to people, with the name of it.
    """

    kind: Kind
    back: str
    whole: str

    def schedule_deletion(
        self,
        session: Session,
        name: Reference,
        days: given.Days = None,
        confirm_needed_by: given.Confirmed = None,
        compartment: InCompartment = None,
        if_match: IfMatch = None,
    ) -> None:
        path = session.path(self.kind, name, compartment)
        self._act(session, path, "schedule-deletion", if_match, given.numbers_given(days=days), confirm_needed_by)

    def cancel_deletion(
        self, session: Session, name: Reference, compartment: InCompartment = None, if_match: IfMatch = None
    ) -> None:
        self._act(session, session.path(self.kind, name, compartment), "cancel-deletion", if_match)

    def delete(
        self,
        session: Session,
        name: Reference,
        yes: Yes = False,
        confirm_needed_by: given.Confirmed = None,
        compartment: InCompartment = None,
        if_match: IfMatch = None,
    ) -> None:
        path = self._confirmed(session, "delete {}", name, compartment, yes)
        call = Call("DELETE", path, {"confirm_needed_by": confirm_needed_by}, if_match=if_match)
        self._said(session, moved(session, call, path, "DELETED"))

    def recover(
        self, session: Session, name: Reference, compartment: InCompartment = None, if_match: IfMatch = None
    ) -> None:
        self._act(session, session.path(self.kind, name, compartment), "recover", if_match)

    def purge(
        self,
        session: Session,
        name: Reference,
        yes: Yes = False,
        confirm_needed_by: given.Confirmed = None,
        compartment: InCompartment = None,
        if_match: IfMatch = None,
    ) -> None:
        path = self._confirmed(session, "destroy {} for ever", name, compartment, yes)
        self._act(session, path, "purge", if_match, confirmed=confirm_needed_by)

    def lock(
        self,
        session: Session,
        name: Reference,
        read_only: ReadOnly = False,
        compartment: InCompartment = None,
        if_match: IfMatch = None,
    ) -> None:
        body = {"lock": "ReadOnly" if read_only else "CanNotDelete"}
        self._act(session, session.path(self.kind, name, compartment), "lock", if_match, body)

    def unlock(
        self, session: Session, name: Reference, compartment: InCompartment = None, if_match: IfMatch = None
    ) -> None:
        self._act(session, session.path(self.kind, name, compartment), "unlock", if_match)

    def move(
        self,
        session: Session,
        name: Reference,
        to: Destination,
        compartment: InCompartment = None,
        if_match: IfMatch = None,
    ) -> None:
        path = session.path(self.kind, name, compartment)
        self._act(session, path, "move", if_match, {"compartment_id": session.compartment(to)})

    def declare(self, app: typer.Typer, texts: Mapping[str, str]) -> None:
        """Declare each act as a command, whose help is its text."""
        approvable = ("schedule-deletion", "delete", "purge", "unlock", "move")
        for name, text in texts.items():
            command(app, name, approvable=name in approvable, help=text)(getattr(self, name.replace("-", "_")))

    def _confirmed(self, session: Session, what: str, name: str, compartment: str | None, yes: bool) -> str:
        """Ask, and give the path of what may go."""
        found = session.find(self.kind, name, compartment)
        session.confirm(what.format(self.whole.format(found["name"])), yes)
        return f"{self.kind.path}/{found['id']}"

    def _act(
        self,
        session: Session,
        path: str,
        act: str,
        if_match: str | None,
        body: Json | None = None,
        confirmed: int | None = None,
    ) -> None:
        after = {"schedule-deletion": "PENDING_DELETION", "purge": "PURGED"}
        wanted = None if body else {**after, "cancel-deletion": self.back, "recover": self.back}.get(act)
        call = Call("POST", f"{path}/actions/{act}", {"confirm_needed_by": confirmed}, body, if_match)
        self._said(session, moved(session, call, path, wanted))

    def _said(self, session: Session, done: Moved) -> None:
        """The state it is in, and what will become of it by itself."""
        thing = done.answer
        said = f"{self.kind.noun} {thing['name']} is {done.said(thing['state'])}"
        if thing.get("deletion_at"):
            said += f", to be deleted at {thing['deletion_at']}"
        elif thing["state"] == "DELETED" and thing.get("purge_at"):
            said += f", recoverable until {thing['purge_at']}"
        if thing.get("lock"):
            said += f", locked ({thing['lock']})"
        session.console.result(thing, said)


@command(keys, "update", approvable=True)
def update_key(
    session: Session,
    name: Reference,
    use: given.KeyUse,
    minimum_version: given.MinimumVersion = None,
    *,
    keeping: given.Keeping,
    compartment: InCompartment = None,
    if_match: IfMatch = None,
) -> None:
    """Change what you decide about a key; what is not given stays."""
    settings = {**use.body(), **given.numbers_given(minimum_version=minimum_version), **keeping.body()}
    _update(session, session.path(KEY, name, compartment), settings, if_match)


Life(KEY, "DISABLED", "key {}").declare(
    keys,
    {
        "schedule-deletion": "Take a key away at once and delete it in 7 to 30 days, unless that is cancelled.",
        "cancel-deletion": "Keep a key that was to be deleted. It is DISABLED until `key enable`.",
        "delete": "Delete a key now. `key recover` has it back until its retention is over.",
        "recover": "Have a deleted key back. It is DISABLED until `key enable`.",
        "purge": "Destroy a deleted key for ever: nothing that it sealed can be opened any more.",
        "lock": "Protect a key against deletion, or against every change.",
        "unlock": "Take the lock off a key.",
        "move": "Put a key into another compartment, whose policies decide from then on.",
    },
)


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


@command(vaults, "update", approvable=True)
def update_vault(
    session: Session,
    name: Reference,
    use: given.VaultUse,
    keeping: given.Keeping,
    compartment: InCompartment = None,
    if_match: IfMatch = None,
) -> None:
    """Change what you decide about a vault; what is not given stays."""
    _update(session, session.path(VAULT, name, compartment), {**use.body(), **keeping.body()}, if_match)


Life(VAULT, "ACTIVE", "vault {} and its keys").declare(
    vaults,
    {
        "schedule-deletion": "Take all keys of a vault away at once and delete it in 7 to 30 days, "
        "unless that is cancelled.",
        "cancel-deletion": "Keep a vault that was to be deleted. Its keys are again as they were.",
        "delete": "Delete a vault and its keys now. `vault recover` has them back until its retention is over.",
        "recover": "Have a deleted vault back. Its keys are again as they were.",
        "purge": "Destroy a deleted vault and all its keys for ever.",
        "lock": "Protect a vault and its keys against deletion, or against every change.",
        "unlock": "Take the lock off a vault.",
        "move": "Put a vault into another compartment. Its keys stay in theirs.",
    },
)


def _update(session: Session, path: str, settings: Json, if_match: str | None) -> None:
    if not settings:
        raise usage("nothing is to be changed", "name a setting; --help lists them")
    session.console.show(session.client.send(Call("PATCH", path, body=settings, if_match=if_match)).data)


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
    after = {"enable": "ENABLED", "disable": "DISABLED", "cancel-deletion": "DISABLED"}
    done = moved(session, call, path, None if body else {**after, "schedule-deletion": "PENDING_DELETION"}.get(act))
    changed = done.answer
    said = f"version {changed['number']} of key {name} is {done.said(changed['state'])}"
    if changed.get("deletion_at"):
        said += f", to be destroyed at {changed['deletion_at']}"
    session.console.result(changed, said)
