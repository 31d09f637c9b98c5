"""Keys in use by resources: what a database system or a backup does with the key it is associated with.

The caller is always the resource's own principal; it needs KEY_ASSOCIATE, at association and at every use. What it
seals is bound to purpose and resource, so a wrapped key moved to another system does not open.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from keystead.core.clock import Clock
from keystead.core.errors import Refusal, Unreadable
from keystead.core.secret import Secret
from keystead.crypto.envelope import Binding, peek
from keystead.iam.guard import Guard
from keystead.iam.model import Caller, Principal
from keystead.vault.base import elsewhere
from keystead.vault.lifecycle import table as lifecycle
from keystead.vault.lifecycle.table import NotUsable, Use, permits, usable
from keystead.vault.memory.keyring import Entry
from keystead.vault.memory.snapshot import Snapshot
from keystead.vault.model import Key, KeyVersion
from keystead.vault.service import Vaults

Purpose = Literal["store-key", "backup-key"]
Loss = (
    lifecycle.Loss
    | Literal["moved", "permission", "network", "key_gone", "identity_deleted", "unconfirmed"]
    | Literal["keystore_refused", "keystore_unreachable"]
)
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

    def __init__(self, guard: Guard, snapshot: Snapshot, vaults: Vaults, clock: Clock, region: str) -> None:
        self._guard = guard
        self._snapshot = snapshot
        self._vaults = vaults
        self._clock = clock
        self._region = region

    def allow(self, caller: Caller, key_id: str, operation: str, *, newborn: bool = False, to: Use = "seal") -> Entry:
        """Check that the caller may associate this key, now. Raises: Refusal (recorded)."""
        self._snapshot.refresh()  # a job's step has no request that did so
        entry = self._vaults.entry_of(caller, key_id, newborn=newborn)
        if not self._may_name(caller, entry):
            self._guard.require(caller, PERMISSION, entry.delegate, operation, newborn=newborn)
        self._require(caller, entry, operation, None, to)
        return entry

    def _may_name(self, caller: Caller, entry: Entry) -> bool:
        """Whether a person may name this key for a system without using it: as in OCI, whoever may read it may, unless
        that is denied. What uses the key is the system, with its own right.
        """
        if caller.principal.type != "user":
            return False
        decision = self._guard.decide(caller, PERMISSION, entry.delegate)
        if decision.allowed or decision.statement is not None:  # it may anyway, or it is denied
            return False
        return self._guard.may(caller, "KEY_READ", entry.target)

    def seal(
        self, caller: Caller, key_id: str, material: Secret, purpose: Purpose, resource: str, *, newborn: bool = False
    ) -> Sealed:
        """Wrap a key of the caller's under the current version."""
        entry = self.allow(caller, key_id, "AssociateKey", newborn=newborn)
        self._require(caller, entry, "AssociateKey", entry.key.current, "seal")
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
        entry = self.allow(caller, key_id, "UseAssociatedKey", to="open")
        try:
            opened = Secret(self._open(entry, blob, purpose, resource))
        except Refusal as refusal:
            self._guard.refuse(caller, PERMISSION, entry.delegate, "UseAssociatedKey", refusal)
        detail = {"purpose": purpose}
        self._guard.record(caller, PERMISSION, entry.delegate, "UseAssociatedKey", "allowed", detail=detail)
        return opened

    def rewrap(self, caller: Caller, old: str, blob: bytes, new: str, purpose: Purpose, resource: str) -> Sealed:
        """Move a wrapped key from one key (or version) to the current version of another; it is never shown."""
        source = self.allow(caller, old, "RewrapAssociatedKey", to="open")
        target = self.allow(caller, new, "RewrapAssociatedKey")
        version = target.key.current
        self._require(caller, target, "RewrapAssociatedKey", version, "seal")
        try:
            material = Secret(self._open(source, blob, purpose, resource))
        except Refusal as refusal:
            self._guard.refuse(caller, PERMISSION, source.delegate, "RewrapAssociatedKey", refusal)
        kek = self._snapshot.keyring.material(target, version)
        sealed = Sealed(kek.seal(material.reveal(), self._binding(target, purpose, resource)), version)
        material.wipe()
        detail = {"purpose": purpose, "from": source.key.name, "to": target.key.name, "to_version": str(version)}
        self._guard.record(caller, PERMISSION, target.delegate, "RewrapAssociatedKey", "allowed", detail=detail)
        return sealed

    def access(self, principal: Principal, key_id: str, version: int | None = None) -> Access:
        """Whether the resource may use the key (what this version of it sealed), now: time alone changes the answer.

        `keystore_unreachable`: nobody said no, but where the key lies there is no answer.

        Records nothing: the caller records changes of the answer.
        """
        self._snapshot.refresh()
        directory, changed_at = self._snapshot.directory, self._snapshot.changed_at
        if directory.principal(principal.id) is None:
            return Access(False, "identity_deleted", f"the identity of {principal.name} is deleted", changed_at)
        entry = self._snapshot.keyring.get(key_id)
        foreign = entry is not None and entry.key.tenancy != principal.tenancy
        if entry is None or (foreign and not self._guard.may(Caller(principal, ""), PERMISSION, entry.delegate)):
            return Access(False, "key_gone", "its key does not exist", changed_at)
        refusal = self._unusable(entry, version, "open")
        if isinstance(refusal, NotUsable):
            return Access(False, refusal.loss, refusal.message, refusal.since or changed_at)
        caller = Caller(principal, request_id="")
        if refusal is not None:
            return Access(False, "permission", refusal.message, changed_at)
        if not self._guard.may(caller, PERMISSION, entry.delegate):
            return self._unreached(caller, entry)
        against = self._snapshot.keyring.known(entry, version)
        if against is None:
            return Access(True)
        # A token or KMS that does not answer has not said no; one that does, has.
        loss: Loss = "keystore_unreachable" if against.code in ("KeystoreDown", "NoKeystore") else "keystore_refused"
        return Access(False, loss, against.message)

    def _unreached(self, caller: Caller, entry: Entry) -> Access:
        """Why policy does not let the caller use the key: because the key was moved, or because it never does."""
        key, changed_at = entry.key, self._snapshot.changed_at
        fenced_off = self._snapshot.keyring.unreached(caller, entry.delegate)
        if fenced_off:
            return Access(False, "network", fenced_off, changed_at)
        name = caller.principal.name
        before = self._snapshot.directory.compartment(key.tenancy, key.moved_from) if key.moved_from else None
        if before is not None and self._guard.may(caller, PERMISSION, elsewhere(entry.delegate, before)):
            text = f"key {key.name!r} was moved out of reach of what lets {name} use it"
            return Access(False, "moved", text, changed_at)
        return Access(False, "permission", f"{name} lacks {PERMISSION} on key {key.name!r}", changed_at)

    def _require(self, caller: Caller, entry: Entry, operation: str, number: int | None, to: Use) -> None:
        refusal = self._unusable(entry, number, to)
        if refusal is not None:
            self._guard.refuse(caller, PERMISSION, entry.delegate, operation, refusal)

    def _unusable(self, entry: Entry, number: int | None, to: Use) -> Refusal | None:
        vault = self._snapshot.keyring.vault(entry.key.vault)
        version = None if number is None else entry.versions.get(number)
        needs = "wrap" if to == "seal" else "unwrap"
        return usable(entry.key, version, vault, self._clock.now(), to=to) or permits(entry.key, needs)

    def _open(self, entry: Entry, blob: bytes, purpose: Purpose, resource: str) -> bytes:
        header = peek(blob)
        if header.key_id != entry.key.id:
            raise Unreadable
        refusal = self._unusable(entry, header.key_version, "open")
        if refusal is not None:
            raise refusal
        kek = self._snapshot.keyring.material(entry, header.key_version)
        return kek.open(blob, self._binding(entry, purpose, resource))

    def _binding(self, entry: Entry, purpose: Purpose, resource: str) -> Binding:
        return Binding(purpose, entry.key.tenancy, self._region, resource, entry.key.id)
