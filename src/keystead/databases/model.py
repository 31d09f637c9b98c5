"""Database systems, nodes, their key hierarchy and backups.

    CMEK (vault) -> store key (one per system and region, wrapped by the CMEK) -> data keys (wrapped by the store key)

Data keys are numbered by ONE counter per system; `latest` is said per node and MariaDB key id (1 = tables, redo,
binlogs; 2 = temporary files). Wrapped copies are rows of their own, so that one key may be wrapped for several parents.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from keystead.core.errors import Refusal
from keystead.core.ids import BackupId, CompartmentId, DbSystemId, KeyId, MachineId, NodeId, TenancyId
from keystead.vault.use.association import Loss

SystemState = Literal[
    "CREATING",
    "ACTIVE",
    "UPDATING",
    "STOPPING",
    "INACTIVE",
    "STARTING",
    "INACCESSIBLE",
    "DELETING",
    "DELETED",
    "FAILED",
]
Desired = Literal["running", "stopped", "deleted"]
BackupState = Literal["CREATING", "ACTIVE", "DELETING", "DELETED", "FAILED"]

Reason = Loss | Literal["vault_unreachable", "sealed"]


@dataclass(frozen=True, slots=True)
class DbSystem:
    """One managed MySQL-compatible server. `key` is its CMEK, or the service-managed key when `service_managed`.

    `reason` and `reason_text` say why an INACCESSIBLE or FAILED system is so. `confirmed` is False after a restore of
    the region's state: such a system stays fenced until someone confirms it (law 11). `follow_key`: its store key is
    rewrapped under each new version of its key.
    """

    id: DbSystemId
    tenancy: TenancyId
    compartment: CompartmentId
    name: str
    state: SystemState
    desired: Desired
    key: KeyId
    key_version: int
    service_managed: bool
    admin_username: str
    port: int
    uid: int
    memory_mb: int
    deletion_protection: bool
    confirmed: bool
    reason: str
    reason_text: str
    created_at: datetime
    machine: MachineId
    node: NodeId
    restored_from: str = ""
    follow_key: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)
    version: int = 1


Act = Literal["start", "stop", "restart", "delete", "change_key", "rotate", "verify", "backup"]

# From which states an act may be asked for. What is not here is refused; fencing and healing are nobody's request.
LEGAL: Mapping[Act, frozenset[SystemState]] = {
    "start": frozenset({"INACTIVE", "FAILED"}),
    "stop": frozenset({"ACTIVE", "INACCESSIBLE", "FAILED"}),
    "restart": frozenset({"ACTIVE"}),
    "delete": frozenset(
        {"CREATING", "ACTIVE", "UPDATING", "INACTIVE", "INACCESSIBLE", "FAILED", "STARTING", "STOPPING"}
    ),
    "change_key": frozenset({"ACTIVE", "INACTIVE", "INACCESSIBLE"}),
    "rotate": frozenset({"ACTIVE"}),
    "verify": frozenset({"ACTIVE", "INACTIVE", "INACCESSIBLE"}),
    "backup": frozenset({"ACTIVE"}),
}


def check_legal(system: DbSystem, act: Act) -> None:
    """Raises: Refusal `IllegalState` when `act` may not be asked for in the system's state."""
    if system.state not in LEGAL[act]:
        raise Refusal(
            "IllegalState",
            f"database system {system.name!r} is {system.state}: it cannot {act.replace('_', ' ')} now",
            hint=system.reason_text or f"it can from: {', '.join(sorted(LEGAL[act]))}",
            kind="conflict",
        )


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A wrapped copy of a key: `kind` store or data; `parent` is the id of the key that wraps it, at `parent_version`.

    For data keys: `slot` is MariaDB's key id (1, 2, ...), `number` the version from the system's counter. For the store
    key both are 0. `blob` is an envelope bound to purpose, tenancy, region, system and parent.
    """

    system: DbSystemId
    kind: Literal["store", "data"]
    slot: int
    number: int
    parent: str
    parent_version: int
    blob: bytes
    created_at: datetime
    node: NodeId | None = None
    latest: bool = False


@dataclass(frozen=True, slots=True)
class Backup:
    """A full backup, under its own key, which is wrapped by a CMEK. `size` in bytes as stored."""

    id: BackupId
    tenancy: TenancyId
    compartment: CompartmentId
    system: DbSystemId
    system_name: str
    name: str
    state: BackupState
    key: KeyId
    key_version: int
    wrapped: bytes
    size: int
    created_at: datetime
    detail: Mapping[str, str] = field(default_factory=dict)
    reason_text: str = ""
    version: int = 1


@dataclass(frozen=True, slots=True)
class FenceReceipt:
    """What a fence did, in milliseconds after the act that took access away was committed (law 7).

    `steps`: committed, endpoint_closed, process_gone, socket_closed, restart_refused, wiped.
    """

    system: DbSystemId
    reason: str
    reason_text: str
    committed_at: datetime
    steps: tuple[tuple[str, float], ...]
