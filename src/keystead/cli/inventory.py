"""Before something is done to a key: what needs it, what an act would stop, how it is used."""

from typing import Annotated, Any, Literal

import typer

from keystead.cli.command import InCompartment, Reference, command
from keystead.cli.console import Column, moment
from keystead.cli.kinds import KEY, VAULT
from keystead.cli.session import Session
from keystead.cli.transfer import keys, vaults

__all__ = ["keys", "vaults"]

Version = Annotated[int | None, typer.Option("--version", metavar="N", help="Of this version alone.")]
If = Annotated[
    Literal["disable", "delete", "rotate", "expire"],
    typer.Option("--if", help="What would be done.", show_default=False),
]
DaysBack = Annotated[int, typer.Option("--days", metavar="N", help="The last so many days.")]

_WHAT = {"dbsystem": "database system", "mysqldbsystem": "database system"}
_WHEN = {"at_once": "at once", "later": "later", "never": "goes on"}


def _what(item: Any) -> str:
    return _WHAT.get(str(item["kind"]), str(item["kind"]))


def _name(item: Any) -> str:
    return str(item["name"]) or "(you may not see it)"


def _versions(item: Any) -> str:
    return ", ".join(str(number) for number in item["key_versions"])


def _when(item: Any) -> str:
    return str(moment("at")(item)) if item["at"] else _WHEN[item["when"]]


_NEEDS: list[Column] = [
    ("what", _what),
    ("name", _name),
    ("versions", _versions),
    ("state", "state"),
    ("read from", "read_from"),
    ("problem", "problem"),
]
_EFFECTS: list[Column] = [("when", _when), ("what", _what), ("name", _name), ("what happens", "text")]
_USES: list[Column] = [
    ("who", "principal_name"),
    ("operation", "operation"),
    ("outcome", "outcome"),
    ("calls", "calls"),
    ("last day", moment("last_at")),
]


@command(keys, "inventory")
def key_inventory(
    session: Session, name: Reference, version: Version = None, compartment: InCompartment = None
) -> None:
    """What needs a key: databases, nodes, backups (by the headers in them) and jobs; and copies of it."""
    key = session.resolve(KEY, name, compartment)
    found = session.client.get(f"/keys/{key}/inventory", version=version).data
    if session.console.json:
        session.console.document(found)
        return
    session.console.table(found["needs"], _NEEDS, "nothing needs it")
    session.console.say(f"needed by {found['needed_by']}")
    for copy in found["copies"]:
        kind = str(copy["kind"]).replace("-", " ")
        session.console.say(f"{copy['count']} x {kind}, last by {copy['last_by']}: outlives the key's destruction")


@command(keys, "impact")
def key_impact(
    session: Session, name: Reference, act: If, version: Version = None, compartment: InCompartment = None
) -> None:
    """What an act on a key would stop, at once and later, and who else may do it. Nothing is changed."""
    key = session.resolve(KEY, name, compartment)
    query: dict[str, Any] = {"if": act, "version": version}
    found = session.client.get(f"/keys/{key}/impact", **query).data
    if session.console.json:
        session.console.document(found)
        return
    session.console.table(found["effects"], _EFFECTS, "nothing would stop")
    session.console.say(f"needed by {found['needed_by']}")
    session.console.say(f"undone by: {found['undo']}")
    if found["final_at"]:
        session.console.say(f"for ever from {moment('final_at')(found)} on")
    others = ", ".join(found["approvers"]) or "nobody"
    more = f" and {found['more_approvers']} more" if found["more_approvers"] else ""
    session.console.say(f"who else may: {others}{more}")
    for each in found["quorums"]:
        people = ", ".join(each["approvers"]) or "nobody"
        session.console.say(f"needs approval by rule {each['rule']!r}: {each['needed']} of {people}")


@command(keys, "usage")
def key_usage(session: Session, name: Reference, days: DaysBack = 30, compartment: InCompartment = None) -> None:
    """How often a key was used, by whom and for what, counted from the audit trail."""
    key = session.resolve(KEY, name, compartment)
    found = session.client.get(f"/keys/{key}/usage", days=days).data
    if session.console.json:
        session.console.document(found)
        return
    session.console.table(found["uses"], _USES, "not used")
    session.console.say(f"{found['calls']} calls since {moment('since')(found)}")


@command(vaults, "inventory")
def vault_inventory(session: Session, name: Reference, compartment: InCompartment = None) -> None:
    """What needs the keys of a vault."""
    vault = session.resolve(VAULT, name, compartment)
    found = session.client.get(f"/vaults/{vault}/inventory").data
    if session.console.json:
        session.console.document(found)
        return
    rows = [{**need, "key": key["key_name"]} for key in found["keys"] for need in key["needs"]]
    session.console.table(rows, [("key", "key"), *_NEEDS], "nothing needs its keys")
    session.console.say(f"needed by {found['needed_by']}")
