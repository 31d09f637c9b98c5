"""What needs a key, and which of its versions. Pure; the facts are told by who keeps them (`ports.Dependants`).

    needs    database systems, backups, jobs under way: without the version they cannot be opened, restored, finished
    nodes    the servers of a system: they say where it runs, and are not counted besides it
    copies   backups of the key itself and of the region's state: they outlive the key's destruction

Versions are those that envelopes and headers of backups name, which were read; a row that says otherwise is a problem
that is shown. What cannot be looked at is never taken for nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from keystead.core.errors import Refusal

NeedKind = Literal["dbsystem", "node", "backup", "job"]
CopyKind = Literal["key-backup", "vault-backup", "state-backup"]
Evidence = Literal["envelope", "header", "row"]
NOUNS: Mapping[str, str] = {
    "dbsystem": "database system",
    "node": "node",
    "backup": "backup",
    "job": "job",
    "key-backup": "backup of the key",
    "vault-backup": "backup of the vault",
    "state-backup": "backup of the region's state",
}
NAMED = 5


@dataclass(frozen=True, slots=True)
class Need:
    """One thing that needs a key. `versions`: those that it needs, read from `evidence`.

    `running`: it is at work with the key now. `follows`: it goes over to new versions by itself. `part_of`: the system
    of a node, or what a job is for. `problem`: what does not fit together, in words. Who may not see the thing gets it
    without id and name.
    """

    kind: NeedKind
    id: str
    name: str
    compartment: str
    versions: tuple[int, ...]
    evidence: Evidence
    state: str = ""
    running: bool = False
    follows: bool = False
    part_of: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Copy:
    """One kind of copy of the key's material that left the vault: how many, by whom and when last."""

    kind: CopyKind
    count: int
    last_at: datetime
    last_by: str


@dataclass(frozen=True, slots=True)
class Inventory:
    """All of it, as of `at`. `version` 0: of the whole key."""

    needs: tuple[Need, ...]
    copies: tuple[Copy, ...]
    at: datetime
    needed_by: Mapping[int, int] = field(default_factory=dict)
    """Version -> how many need it; 0 -> how many need any."""


def counted(needs: Iterable[Need], version: int | None = None) -> tuple[Need, ...]:
    """Those that count: not the nodes, each thing once; of one version when one is named."""
    found = {
        (need.kind, need.id): need
        for need in needs
        if need.kind != "node" and (version is None or version in need.versions)
    }
    return tuple(found.values())


def needed_by(needs: Iterable[Need], version: int | None = None) -> int:
    """How many things need the key, or one version of it."""
    return len(counted(needs, version))


def per_version(needs: Sequence[Need], versions: Iterable[int]) -> dict[int, int]:
    """How many need each version; under 0 how many need any."""
    return {0: needed_by(needs)} | {number: needed_by(needs, number) for number in versions}


def check_confirmed(noun: str, name: str, needs: Sequence[Need], confirmed: int | None, look: str) -> None:
    """Whether something may be destroyed that `needs` need.

    `confirmed`: by how many the request says that it is needed. `look`: the command that shows them.

    Raises:
        Refusal: `StillNeeded`, the request names no count, or another.
    """
    count = len(needs)
    if confirmed == count or (confirmed is None and not count):
        return
    said = f"{noun} {name!r} is still needed by {told(needs)}" if needs else f"nothing needs {noun} {name!r}"
    if confirmed is not None:
        said += f", not by {confirmed}"
    hint = f"see {look}; to destroy it nevertheless: --confirm-needed-by {count}" if needs else "ask without the count"
    raise Refusal("StillNeeded", said, hint=hint, kind="conflict")


def told(needs: Sequence[Need]) -> str:
    """`3: database system 'orders', backup 'nightly' and 1 more`; what may not be seen has no name."""
    names = [f"{NOUNS[need.kind]} {need.name!r}" if need.name else f"a {NOUNS[need.kind]}" for need in needs[:NAMED]]
    more = len(needs) - len(names)
    return f"{len(needs)}: {', '.join(names)}{f' and {more} more' if more else ''}"
