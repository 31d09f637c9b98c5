"""Keys in use by resources: what a database system or a backup does with the key it is associated with.

The caller is always the resource's own principal; it needs KEY_ASSOCIATE, at association and at every use. What it
seals is bound to purpose and resource, so a wrapped key moved to another system does not open.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from keystead.core.errors import Unreadable
from keystead.core.secret import Secret
from keystead.crypto.envelope import Binding, peek
from keystead.iam.guard import Guard
from keystead.iam.model import Caller, Principal
from keystead.vault.base import unusable
from keystead.vault.keyring import Entry
from keystead.vault.model import Key, KeyVersion
from keystead.vault.service import Vaults
from keystead.vault.snapshot import Snapshot

Purpose = Literal["store-key", "backup-key"]
Loss = Literal["key_disabled", "key_gone", "permission", "identity_deleted", "unconfirmed"]
PERMISSION = "KEY_ASSOCIATE"


@dataclass(frozen=True, slots=True)
class Access:
    """Whether a resource may use a key now; if not, why, in words, and since when (the commit of the act)."""

    granted: bool
    loss: Loss | None = None
    text: str = ""
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Sealed:
    """A key wrapped for a resource, and by which version."""

    blob: bytes
    key_version: int


class Associations:
    """Wraps and unwraps for resources."""

    def __init__(self, guard: Guard, snapshot: Snapshot, vaults: Vaults, region: str) -> None:
        self._guard = guard
        self._snapshot = snapshot
        self._vaults = vaults
        self._region = region

    def allow(self, caller: Caller, key_id: str, operation: str, *, newborn: bool = False) -> Entry:
        """Check that the caller may associate this key, now. Raises: Refusal (recorded)."""
        self._snapshot.refresh()  # a job's step has no request that did so
        entry = self._vaults.entry_of(caller, key_id)
        self._guard.require(caller, PERMISSION, entry.delegate, operation, newborn=newborn)
        if entry.key.state != "ENABLED":
            self._guard.refuse(caller, PERMISSION, entry.delegate, operation, unusable(entry.key))
        return entry

    def seal(
        self, caller: Caller, key_id: str, material: Secret, purpose: Purpose, resource: str, *, newborn: bool = False
    ) -> Sealed:
        """Wrap a key of the caller's under the current version."""
        entry = self.allow(caller, key_id, "AssociateKey", newborn=newborn)
        kek = self._snapshot.keyring.material(entry, entry.key.current)
        blob = kek.seal(material.reveal(), self._binding(entry, purpose, resource))
        self._guard.record(caller, PERMISSION, entry.delegate, "AssociateKey", "allowed", detail={"purpose": purpose})
        return Sealed(blob, entry.key.current)

    def seal_new(self, caller: Caller, key: Key, first: KeyVersion, material: Secret, resource: str) -> Sealed:
        """Wrap a store key under a service-managed key that the same transaction will store."""
        entry = self._snapshot.keyring.provisional(key, first)
        kek = self._snapshot.keyring.material(entry, entry.key.current)
        detail = {"purpose": "store-key"}
        self._guard.record(caller, PERMISSION, entry.delegate, "AssociateKey", "allowed", detail=detail)
        return Sealed(kek.seal(material.reveal(), self._binding(entry, "store-key", resource)), entry.key.current)

    def open(self, caller: Caller, key_id: str, blob: bytes, purpose: Purpose, resource: str) -> Secret:
        """Unwrap what `seal` made for the same purpose and resource. Raises: Refusal, Unreadable."""
        entry = self.allow(caller, key_id, "UseAssociatedKey")
        try:
            opened = Secret(self._open(entry, blob, purpose, resource))
        except Unreadable as refusal:
            self._guard.refuse(caller, PERMISSION, entry.delegate, "UseAssociatedKey", refusal)
        detail = {"purpose": purpose}
        self._guard.record(caller, PERMISSION, entry.delegate, "UseAssociatedKey", "allowed", detail=detail)
        return opened

    def rewrap(self, caller: Caller, old: str, blob: bytes, new: str, purpose: Purpose, resource: str) -> Sealed:
        """Move a wrapped key from one key (or version) to the current version of another; it is never shown."""
        source = self.allow(caller, old, "RewrapAssociatedKey")
        target = self.allow(caller, new, "RewrapAssociatedKey")
        try:
            material = Secret(self._open(source, blob, purpose, resource))
        except Unreadable as refusal:
            self._guard.refuse(caller, PERMISSION, source.delegate, "RewrapAssociatedKey", refusal)
        version = target.key.current
        kek = self._snapshot.keyring.material(target, version)
        sealed = Sealed(kek.seal(material.reveal(), self._binding(target, purpose, resource)), version)
        material.wipe()
        detail = {"purpose": purpose, "from": source.key.name, "to": target.key.name, "to_version": str(version)}
        self._guard.record(caller, PERMISSION, target.delegate, "RewrapAssociatedKey", "allowed", detail=detail)
        return sealed

    def access(self, principal: Principal, key_id: str) -> Access:
        """Whether the resource may use the key now. Records nothing: the caller records changes of the answer."""
        self._snapshot.refresh()
        directory, changed_at = self._snapshot.directory, self._snapshot.changed_at
        if directory.principal(principal.id) is None:
            return Access(False, "identity_deleted", f"the identity of {principal.name} is deleted", changed_at)
        entry = self._snapshot.keyring.get(key_id)
        if entry is None or entry.key.tenancy != principal.tenancy:
            return Access(False, "key_gone", "its key does not exist", changed_at)
        if entry.key.state != "ENABLED":
            return Access(False, "key_disabled", unusable(entry.key).message, entry.key.changed_at)
        caller = Caller(principal, request_id="")
        if not self._guard.may(caller, PERMISSION, entry.delegate):
            text = f"{principal.name} lacks {PERMISSION} on key {entry.key.name!r}"
            return Access(False, "permission", text, changed_at)
        return Access(True)

    def _open(self, entry: Entry, blob: bytes, purpose: Purpose, resource: str) -> bytes:
        header = peek(blob)
        if header.key_id != entry.key.id:
            raise Unreadable
        kek = self._snapshot.keyring.material(entry, header.key_version)
        return kek.open(blob, self._binding(entry, purpose, resource))

    def _binding(self, entry: Entry, purpose: Purpose, resource: str) -> Binding:
        return Binding(purpose, entry.key.tenancy, self._region, resource, entry.key.id)
