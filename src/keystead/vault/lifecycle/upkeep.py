"""What happens to vaults and keys by itself: rotation, the end of deadlines, announcements of expiry.

The region's own service `upkeep` does it, each act audited under that name. What is due is decided again inside the
transaction that does it, so that two of these at once, or one that is started again, do nothing twice.

Deadlines need none of this to hold: `lifecycle` counts them at use. Here they are only written down, and the material
of what is past its end is destroyed:

    row is PURGED (or a version DELETED)     commit: no use from now on; software material overwritten with it
    other keystores: destroy, then forget    again and again until it is done, since only then the reference goes
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

from keystead.core.clock import Clock, isoformat
from keystead.core.errors import KeysteadError, Refusal
from keystead.iam.guard import Guard
from keystead.iam.model import Caller, Target
from keystead.vault.keys import KeyActs, check_rotatable
from keystead.vault.lifecycle.rotation import WARNINGS, rotation_due, warning_due
from keystead.vault.lifecycle.table import key_as_of, vault_as_of, version_as_of
from keystead.vault.memory.snapshot import Snapshot
from keystead.vault.model import Key, KeyVersion, Vault
from keystead.vault.ports import Stored, VaultStore
from keystead.vault.transfer.wrapping import WrappingKey, expired
from keystead.vault.vaults import emptied

RETRY = timedelta(minutes=10)
"""After what could not be done (a keystore that does not answer)."""


class Upkeep(KeyActs):
    """Looks for what is due, and does it."""

    def __init__(self, guard: Guard, snapshot: Snapshot, store: VaultStore, clock: Clock, region: str) -> None:
        super().__init__(guard, snapshot, store, clock, region)
        self._waiting: dict[str, datetime] = {}
        # Whoever destroyed something may have been killed before the files were scrubbed.
        self._unscrubbed = True

    def run(self, caller: Caller) -> int:
        """Do what is due now; returns how much that was. `caller` is the service `upkeep`.

        Raises:
            Unavailable: the state does not answer. What fails for one key is recorded and tried again later.
        """
        self._snapshot.refresh()
        now = self._clock.now()
        with self._store.read() as tx:
            vaults = tx.vault.due_vaults(now)
            versions = tx.vault.due_versions(now)
            keys = tx.vault.due_keys(now, now + timedelta(days=max(WARNINGS)))
            wrapping_keys = tx.vault.due_wrapping_keys(now)
        done = sum(self._end_vault(caller, vault) for vault in vaults)
        done += sum(self._end_version(caller, key, version) for key, version in versions)
        for key in keys:
            done += self._end_key(caller, key)
            done += self._announce(caller, key, now)
            if rotation_due(key, now):
                done += self._trying(key.id, now, partial(self._rotate_due, caller, key))
        done += sum(self._end_wrapping_key(caller, found) for found in wrapping_keys)
        with self._store.read() as tx:
            left = tx.vault.undestroyed()
        for key, version in left:
            done += self._trying(version.id, now, partial(self._destroy, caller, key, version))
        if (
            self._unscrubbed
            or vaults
            or versions
            or left
            or wrapping_keys
            or any(key_as_of(key, None, now).state == "PURGED" for key in keys)
        ):
            self._scrub()
            self._unscrubbed = False
        return done

    def _end_vault(self, caller: Caller, vault: Vault) -> int:
        """Write down that a vault is deleted, or purged with everything in it."""
        operation = "PurgeVault" if vault_as_of(vault, self._clock.now()).state == "PURGED" else "DeleteVault"
        record = self._guard.permit_change(caller, "VAULT_UPKEEP", self._at_vault(vault), operation, _deadline(vault))
        try:
            with self._store.write(record, reserve=True) as tx:
                row = tx.vault.vault(vault.tenancy, vault.id)
                changed = row and vault_as_of(row, self._clock.now())
                if row is None or changed is None or changed.state == row.state:
                    raise _NothingToDo
                changed = replace(changed, version=row.version + 1)
                tx.vault.change_vault(row, emptied(tx, changed) if changed.state == "PURGED" else changed)
        except _NothingToDo:
            return 0
        return 1

    def _end_key(self, caller: Caller, key: Key) -> int:
        """Write down that a key is deleted, or purged."""
        now = self._clock.now()
        ended = key_as_of(key, None, now)
        if ended.state == key.state:
            return 0
        operation = "PurgeKey" if ended.state == "PURGED" else "DeleteKey"
        record = self._guard.permit_change(caller, "KEY_UPKEEP", self._at_key(key), operation, _deadline(key))
        try:
            with self._store.write(record, reserve=True) as tx:
                row = tx.vault.key(key.tenancy, key.id)
                changed = row and key_as_of(row, None, now)
                if row is None or changed is None or changed.state == row.state:
                    raise _NothingToDo
                changed = replace(changed, version=row.version + 1)
                tx.vault.change_key(row, changed)
                if changed.state == "PURGED":
                    tx.vault.destroy_versions(changed, overwrite=changed.protection == "software")
        except _NothingToDo:
            return 0
        return 1

    def _end_version(self, caller: Caller, key: Key, version: KeyVersion) -> int:
        detail = {"version": str(version.number)}
        record = self._guard.permit_change(caller, "KEY_UPKEEP", self._at_key(key), "DeleteKeyVersion", detail)
        try:
            with self._store.write(record, reserve=True) as tx:
                row = tx.vault.version(key.tenancy, version.id)
                changed = row and version_as_of(row, self._clock.now())
                if row is None or changed is None or changed.state == row.state:
                    raise _NothingToDo
                if key.protection == "software":
                    changed = replace(changed, wrapped=b"")
                tx.vault.change_version(key, row, replace(changed, deletion_at=None))
        except _NothingToDo:
            return 0
        return 1

    def _end_wrapping_key(self, caller: Caller, found: WrappingKey) -> int:
        """Destroy the private half of a wrapping key that nobody has used in time."""
        with self._store.read() as tx:
            vault = tx.vault.vault(found.tenancy, found.vault)
        if vault is None:
            return 0
        detail = {"wrapping_key": found.id}
        target = self._at_vault(vault)
        record = self._guard.permit_change(caller, "VAULT_UPKEEP", target, "EndWrappingKey", detail)
        with self._store.write(record, reserve=True) as tx:
            tx.vault.change_wrapping_key(found, expired(found))
        return 1

    def _announce(self, caller: Caller, key: Key, now: datetime) -> int:
        """An event of 30, 7 and 1 days before expiry, and of expiry: once each."""
        days = warning_due(key, now)
        if days is None or key.expires_at is None or key_as_of(key, None, now).state in ("DELETED", "PURGED"):
            return 0
        detail = {"kind": "event", "days": str(days), "expires_at": isoformat(key.expires_at)}
        operation = "KeyExpires" if days else "KeyExpired"
        record = self._guard.permit_change(caller, "KEY_UPKEEP", self._at_key(key), operation, detail)
        record = record._replace(outcome="succeeded", reason=_said(key.name, days))
        try:
            with self._store.write(record) as tx:
                row = tx.vault.key(key.tenancy, key.id)
                if row is None or warning_due(row, now) != days:
                    raise _NothingToDo
                tx.vault.change_key(row, replace(row, warned_days=days))
        except _NothingToDo:
            return 0
        return 1

    def _rotate_due(self, caller: Caller, key: Key) -> int:
        """Rotate a key whose time has come, unless its state or a lock is against it: then when that is over."""
        with self._store.read() as tx:
            try:
                check_rotatable(self._seen(tx, key))
            except Refusal:
                return 0
        entry = self._keyring.get(key.id)
        if entry is None:
            return 0
        due = {"due": isoformat(key.next_rotation_at)} if key.next_rotation_at is not None else {}
        record = self._guard.permit_change(caller, "KEY_UPKEEP", entry.target, "RotateKey", due)
        try:
            return 0 if self._rotate(entry, record, if_due=True) is None else 1
        except KeysteadError as error:
            detail = {"due": due.get("due", "")}
            self._guard.record(caller, "KEY_UPKEEP", entry.target, "RotateKey", "failed", error.message, detail)
            raise

    def _destroy(self, caller: Caller, key: Key, version: KeyVersion) -> int:
        """Let the keystore destroy what it holds of a version, then forget the reference."""
        stored = Stored(version.wrapped, version.public, version.fingerprint)
        self._keyring.keystore(key.protection).destroy(self._keyring.spec(key, version.number), stored)
        detail = {"version": str(version.number)}
        record = self._guard.permit_change(caller, "KEY_UPKEEP", self._at_key(key), "DestroyKeyMaterial", detail)
        with self._store.write(record, reserve=True) as tx:
            tx.vault.change_version(key, version, replace(version, wrapped=b""))
        return 1

    def _trying(self, what: str, now: datetime, act: Callable[[], int]) -> int:
        """Do `act`, and where it fails not again for a while."""
        if self._waiting.get(what, now) > now:
            return 0
        try:
            done = act()
        except KeysteadError:
            self._waiting[what] = now + RETRY
            return 0
        self._waiting.pop(what, None)
        return done

    def _at_key(self, key: Key) -> Target:
        entry = self._keyring.get(key.id)
        if entry is not None:
            return entry.target
        return Target("keys", key.id, key.name, key.tenancy, (key.compartment,))


def _deadline(thing: Key | Vault) -> dict[str, str]:
    at = thing.deletion_at if thing.state == "PENDING_DELETION" else thing.purge_at
    return {"deadline": isoformat(at)} if at is not None else {}


def _said(name: str, days: int) -> str:
    if not days:
        return f"key {name!r} has expired"
    return f"key {name!r} expires in less than {days} day{'s' if days > 1 else ''}"


class _NothingToDo(Exception):
    """Somebody has done it; ends the transaction."""
