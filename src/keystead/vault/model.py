"""Vaults, keys and key versions.

A key is a named series of versions, one of them current; old versions decrypt only. Material exists in clear only
inside a keystore; here it is `wrapped`: for software keys an envelope under the region's vault-store key (or under the
wrapping key of a private vault), bound to key, version, tenancy and region; for others the keystore's reference.

What may become of them, and when they may be used, is said in `lifecycle`. States are as stored: a deadline that has
passed counts whether or not a row says so, so nobody but `lifecycle` may conclude anything from `state` alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from keystead.core.ids import CompartmentId, KeyId, KeyVersionId, TenancyId, VaultId
from keystead.crypto.suites import Algorithm

Protection = Literal["software", "hsm", "external"]
VaultKind = Literal["shared", "private"]
VaultState = Literal["ACTIVE", "PENDING_DELETION", "DELETED", "PURGED"]
KeyState = Literal["ENABLED", "DISABLED", "PENDING_DELETION", "DELETED", "PURGED"]
VersionState = Literal["ENABLED", "DISABLED", "PENDING_DELETION", "DELETED"]
Lock = Literal["", "CanNotDelete", "ReadOnly"]
Origin = Literal["generated", "imported"]

DEFAULT_RETENTION_DAYS = 90


@dataclass(frozen=True, slots=True)
class Vault:
    """A named container of keys.

    `kind`: keys of a `private` vault are wrapped by a key of the vault's own, `wrapped` under the region's vault-store
    key; those of `shared` ones by the vault-store key itself. `key_limit`: how many keys it may hold, 0 for any number.
    `networks`: from where it may be reached, empty for everywhere; `trusted_services`: whose resources reach it
    nevertheless (networks.py).
    """

    id: VaultId
    tenancy: TenancyId
    compartment: CompartmentId
    name: str
    protection: Protection
    created_at: datetime
    changed_by: str
    changed_at: datetime
    kind: VaultKind = "shared"
    state: VaultState = "ACTIVE"
    deletion_at: datetime | None = None
    purge_at: datetime | None = None
    retention_days: int = DEFAULT_RETENTION_DAYS
    purge_protection: bool = False
    lock: Lock = ""
    networks: tuple[str, ...] = ()
    trusted_services: tuple[str, ...] = ("databases",)
    key_limit: int = 0
    wrapped: bytes = field(default=b"", repr=False)
    tags: Mapping[str, str] = field(default_factory=dict)
    version: int = 1


@dataclass(frozen=True, slots=True)
class KeyVersion:
    """One version of a key: its number in the series and what its keystore needs to use it.

    `wrapped` is empty once the version is destroyed. `public`: SubjectPublicKeyInfo (DER) of asymmetric keys.
    `fingerprint`: a keyed hash of the material, by which it is known again after its destruction; empty where the
    material was never here. `changed_by`/`changed_at` tell who moved it into its state.
    """

    id: KeyVersionId
    key: KeyId
    number: int
    wrapped: bytes = field(repr=False)
    created_at: datetime
    public: bytes = b""
    origin: Origin = "generated"
    state: VersionState = "ENABLED"
    deletion_at: datetime | None = None
    fingerprint: bytes = field(default=b"", repr=False)
    changed_by: str = ""
    changed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Key:
    """A named series of versions. `managed_by` is the id of the system whose service-managed key this is, else empty.

    `changed_by` and `changed_at` tell who moved it into its state, for the refusals that follow from it. `operations`:
    what it may be used for, empty for all that its algorithm can. `rotation_days`: 0 for never by itself.
    `minimum_version`: older ones open nothing. `moved_from`: the compartment it was moved out of last.
    `warned_days`: the smallest number of days before `expires_at` of which the warning is in the audit log; -1 for
    none yet.
    """

    id: KeyId
    tenancy: TenancyId
    compartment: CompartmentId
    vault: VaultId
    name: str
    algorithm: Algorithm
    state: KeyState
    current: int
    created_at: datetime
    changed_by: str
    changed_at: datetime
    managed_by: str = ""
    protection: Protection = "software"
    operations: tuple[str, ...] = ()
    not_before: datetime | None = None
    expires_at: datetime | None = None
    deletion_at: datetime | None = None
    purge_at: datetime | None = None
    retention_days: int = DEFAULT_RETENTION_DAYS
    purge_protection: bool = False
    lock: Lock = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    rotation_days: int = 0
    next_rotation_at: datetime | None = None
    rotated_at: datetime | None = None
    minimum_version: int = 1
    backed_up_at: datetime | None = None
    moved_from: str = ""
    warned_days: int = -1
    version: int = 1
