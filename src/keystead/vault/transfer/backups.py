"""Backups of keys and vaults: made here, kept by the customer, restored here or where the same root key is.

Who may take a backup (KEY_BACKUP, VAULT_BACKUP) never sees what is in it. Who restores one (KEY_RESTORE, VAULT_RESTORE)
gets keys back under the ids that their ciphertexts name, DISABLED, so that whoever may manage keys enables them
knowingly. A restore never replaces a key that is there: only what is deleted, purged, or not there at all comes back,
and of a deleted key no version that still has its material is touched.

Keys in a token or in another KMS have no material here: they are backed up where they are.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime

from keystead.audit.model import Entry as AuditEntry
from keystead.core.errors import Refusal, Unreadable, required, stale, taken
from keystead.core.page import PageRequest
from keystead.core.secret import Secret
from keystead.iam.model import Caller, Compartment, Target
from keystead.iam.names import check_name
from keystead.vault.base import check_active, check_standing, elsewhere
from keystead.vault.keys import KeyActs, check_room
from keystead.vault.lifecycle.changing import Request, Seen
from keystead.vault.lifecycle.rotation import next_rotation
from keystead.vault.lifecycle.table import check_lock, key_as_of, vault_as_of
from keystead.vault.model import Key, KeyVersion, Vault, VersionState
from keystead.vault.ports import Stored, VaultTx
from keystead.vault.transfer.backup_format import MAX_PART, Kept, KeptKey, KeptVersion, open_backup, seal, size_of
from keystead.vault.vaults import emptied

NAMED = 5


@dataclass(frozen=True, slots=True)
class KeyBackup:
    """A key's backup, and the key as it is now (`backed_up_at`)."""

    key: Key
    blob: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class VaultBackup:
    """A part of a vault's backup. `after`: with which the next part is asked for; None when this is the last.

    `left_out`: names of keys whose material is not here.
    """

    vault: Vault
    blob: bytes = field(repr=False)
    keys: int
    left_out: tuple[str, ...]
    after: str | None


@dataclass(frozen=True, slots=True)
class RestoredKey:
    """A key that is back, and what its owner should know."""

    key: Key
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RestoredVault:
    """A vault that is back: how many keys came with this part, and how many were there already."""

    vault: Vault
    restored: int
    present: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Coming:
    """A key on its way back, its material wrapped anew."""

    kept: KeptKey
    place: Compartment
    name: str
    versions: tuple[KeyVersion, ...]


class KeyBackups(KeyActs):
    """Backs up and restores."""

    def back_up_key(self, caller: Caller, key_id: str) -> KeyBackup:
        """An encrypted backup of a key with all its versions.

        Raises:
            Refusal: `NotExportable` (its material is not here), `IllegalState` (it is deleted), `TooLarge`.
        """
        made: list[bytes] = []
        # Not a change of the key that any lock is about: locking=True.
        request = Request("KEY_BACKUP", "BackUpKey", locking=True)

        def change(seen: Seen) -> Key:
            check_standing(seen.key)
            check_exportable(seen.row)
            kept = Kept("key", seen.row.tenancy, self._region, seen.now, (self._kept(seen.tx, seen.row),))
            try:
                made.append(seal(kept, self._keyring.backup_key(seen.row.tenancy)))
            finally:
                kept.wipe()
            return replace(seen.row, backed_up_at=seen.now)

        key = self._change_key(caller, key_id, request, change)
        return KeyBackup(key, made[-1])

    def back_up_vault(self, caller: Caller, vault_id: str, after: str = "", *, leave_out: bool = False) -> VaultBackup:
        """A part of the backup of a vault and its keys, from the key after the id `after` on.

        Takes VAULT_BACKUP, and KEY_BACKUP on each key. `leave_out`: keys whose material is not here are left out;
        otherwise they are refused. Deleted keys are not in it.

        Raises:
            Refusal: `NotExportable`, `IllegalState` (the vault is deleted), `TooLarge` (a single key).
        """
        vault, at_vault = self._vault(caller, vault_id)
        record = self._guard.permit_change(caller, "VAULT_BACKUP", at_vault, "BackUpVault")
        try:
            check_active(vault, "it cannot be backed up")
            return self._back_up_vault(caller, record, vault, after, leave_out)
        except Refusal as refusal:
            if refusal.recorded:
                raise
            self._guard.refuse(caller, "VAULT_BACKUP", at_vault, "BackUpVault", refusal)

    def restore_key(
        self,
        caller: Caller,
        blob: bytes,
        vault: str | None = None,
        compartment: str | None = None,
        name: str | None = None,
    ) -> RestoredKey:
        """A key from its backup, DISABLED. Where nothing else is said: into its vault and compartment, by its name.

        Raises:
            Refusal: `WrongTrustDomain`, `KeyExists`, name taken, the vault takes none; not permitted.
            Unreadable: the backup is not whole, or not one.
        """
        kept = self._opened(caller, blob, "key", "RestoreKey")
        try:
            one = kept.keys[0]
            home, at_vault = self._vault(caller, vault or one.key.vault)
            place = self._place_of(caller, compartment, one.key, home)
            name = name or one.key.name
            check_name(name, "key")
            self._guard.require(caller, "VAULT_CREATE_KEY", at_vault, "RestoreKey")
            record = self._permit_restore(caller, one.key, place, home, name, {"from": _told(kept)})
            check_room(home)
            coming = self._coming(one, place, home, name)
            try:
                with self._store.write(record) as tx:
                    back = self._put(tx, caller, coming, home)
                    if back is None:
                        raise _exists(one.key.name)
            except Refusal as refusal:
                self._guard.refuse(caller, "KEY_RESTORE", self._at(one.key, place, home, name), "RestoreKey", refusal)
            return RestoredKey(key_as_of(back[0], home, self._clock.now()), back[1])
        finally:
            kept.wipe()

    def restore_vault(self, caller: Caller, blob: bytes, compartment: str | None = None) -> RestoredVault:
        """A part of a vault's backup: the vault, where it is not there, and those of its keys that are not there.

        Parts may be restored in any order and again: what is there already is left alone.

        Raises: as `restore_key`; Refusal `IllegalState`, the vault is deleted and can be recovered.
        """
        kept = self._opened(caller, blob, "vault", "RestoreVault")
        try:
            return self._restore_vault(caller, kept, compartment)
        except Refusal as refusal:
            if refusal.recorded or kept.vault is None:
                raise
            self._guard.refuse(caller, "VAULT_RESTORE", self._at_vault(kept.vault), "RestoreVault", refusal)
        finally:
            kept.wipe()

    def _restore_vault(self, caller: Caller, kept: Kept, compartment: str | None) -> RestoredVault:
        home = self._restored_vault(caller, kept, compartment)
        self._snapshot.refresh()  # its wrapping key, if it has one, is in the keyring from now on
        records, coming = [], []
        for one in kept.keys:
            place = self._place_of(caller, None, one.key, home)
            records.append(self._permit_restore(caller, one.key, place, home, one.key.name, {"from": _told(kept)}))
            coming.append(self._coming(one, place, home, one.key.name))
        if not coming:
            return RestoredVault(home, 0, 0)
        with self._store.write(*records) as tx:
            back = [self._put(tx, caller, each, home) for each in coming]
        there = [each for each in back if each is not None]
        warnings = tuple(text for each in there for text in each[1])
        return RestoredVault(home, len(there), len(back) - len(there), warnings)

    # backing up

    def _back_up_vault(
        self, caller: Caller, record: AuditEntry, vault: Vault, after: str, leave_out: bool
    ) -> VaultBackup:
        with self._store.read() as tx:
            found = sorted((key for key in tx.vault.keys_in(vault) if key.id > after), key=lambda key: key.id)
        living = [key for key in found if key_as_of(key, vault, self._clock.now()).state not in ("DELETED", "PURGED")]
        elsewhere_kept = [key.name for key in living if key.protection != "software"]
        if elsewhere_kept and not leave_out:
            raise _not_exportable(elsewhere_kept)
        records = [record]
        kept: list[KeptKey] = []
        taken_up, size = [], 0
        with self._store.read() as tx:
            for key in living:
                if key.protection != "software":
                    continue
                one = self._kept(tx, key)
                size += size_of(one)
                if kept and size > MAX_PART:
                    break
                records.append(self._guard.permit_change(caller, "KEY_BACKUP", self._target_of(key), "BackUpKey"))
                kept.append(one)
                taken_up.append(key)
        more = len(taken_up) < len(living) - len(elsewhere_kept)
        whole = Kept("vault", vault.tenancy, self._region, self._clock.now(), tuple(kept), vault)
        try:
            blob = seal(whole, self._keyring.backup_key(vault.tenancy))
        finally:
            whole.wipe()
        with self._store.write(*records) as tx:
            for key in taken_up:
                row = tx.vault.key(key.tenancy, key.id)
                # A version that came meanwhile is not in it: then the key is not backed up.
                if row is not None and row.current == key.current:
                    tx.vault.change_key(row, replace(row, backed_up_at=whole.created_at))
        last = taken_up[-1].id if more else None
        return VaultBackup(vault, blob, len(kept), tuple(elsewhere_kept), last)

    def _kept(self, tx: VaultTx, key: Key) -> KeptKey:
        """A key with its material. Raises: Unreadable."""
        versions = [
            KeptVersion(version, self._revealed(key, version)) for version in tx.vault.versions(key.tenancy, key.id)
        ]
        return KeptKey(key, tuple(versions))

    def _revealed(self, key: Key, version: KeyVersion) -> Secret | None:
        if not version.wrapped or version.state == "DELETED":
            return None
        stored = Stored(version.wrapped, version.public, version.fingerprint)
        return self._keyring.software.reveal(self._keyring.spec(key, version.number), stored)

    # restoring

    def _tried(self, blob: bytes, tenancy: str) -> Kept:
        """What is in a backup that was made under this root key or an earlier one. Raises: as `open_backup`."""
        *newer, oldest = self._keyring.backup_keys(tenancy)
        for key in newer:
            with suppress(Unreadable):
                return open_backup(blob, key, tenancy, self._region)
        return open_backup(blob, oldest, tenancy, self._region)

    def _opened(self, caller: Caller, blob: bytes, kind: str, operation: str) -> Kept:
        """What is in a backup of that kind. Raises: Refusal, recorded; nothing is told of what is in it."""
        tenancy = caller.principal.tenancy
        try:
            kept = self._tried(blob, tenancy)
            if kept.kind != kind:
                kept.wipe()
                raise Refusal(
                    "WrongBackup", f"this is the backup of a {kept.kind}", hint=f"keystead {kept.kind} restore FILE"
                )
        except Refusal as refusal:
            root = self._place(caller, tenancy)
            permission = "KEY_RESTORE" if kind == "key" else "VAULT_RESTORE"
            at_root = Target(f"{kind}s", root.id, root.name, root.tenancy, root.path)
            self._guard.require(caller, permission, at_root, operation)
            self._guard.refuse(caller, permission, at_root, operation, refusal)
        return kept

    def _restored_vault(self, caller: Caller, kept: Kept, compartment: str | None) -> Vault:
        """The vault that a part is for: as it is, or made again."""
        wanted = required(kept.vault, "vault")
        now = self._clock.now()
        with self._store.read() as tx:
            row = tx.vault.vault(wanted.tenancy, wanted.id)
        if row is not None and vault_as_of(row, now).state != "PURGED":
            record = self._guard.permit_change(
                caller, "VAULT_RESTORE", self._at_vault(row), "RestoreVault", {"from": _told(kept)}
            )
            check_active(vault_as_of(row, now), "nothing can be restored into it")
            with self._store.write(record):
                return row
        place = self._snapshot.directory.compartment(wanted.tenancy, wanted.compartment)
        if compartment is not None or place is None:
            place = self._place(caller, compartment or wanted.tenancy)
        target = Target("vaults", wanted.id, wanted.name, place.tenancy, place.path, {"vault.id": wanted.id})
        asked, detail = elsewhere(target, place) if row is not None else target, {"from": _told(kept)}
        record = self._guard.permit_change(caller, "VAULT_RESTORE", target, "RestoreVault", detail, asked_at=asked)
        wrapped = self._keyring.new_vault_key(wanted.tenancy, wanted.id) if wanted.kind == "private" else b""
        who = caller.principal.name
        back = replace(wanted, compartment=place.id, wrapped=wrapped, changed_by=who, changed_at=now)
        with self._store.write(record) as tx:
            if tx.vault.vaults(place.tenancy, place.id, PageRequest(1), back.name):
                raise taken("vault", back.name)
            current = tx.vault.vault(wanted.tenancy, wanted.id)
            if current is None:
                tx.vault.add_vault(back)
                return back
            emptied(tx, vault_as_of(current, now))  # its deadline has passed, whether or not that is written down
            back = replace(back, version=current.version + 1)
            if not tx.vault.change_vault(current, back):
                raise stale()
        return back

    def _place_of(self, caller: Caller, compartment: str | None, key: Key, home: Vault) -> Compartment:
        """Where a key is restored to: where it is said, else where it was, else where its vault is."""
        if compartment is not None:
            return self._place(caller, compartment)
        self._snapshot.refresh()
        there = self._keyring.get(key.id)
        before = there.key.compartment if there is not None else key.compartment
        found = self._snapshot.directory.compartment(key.tenancy, before)
        return found if found is not None else self._place(caller, home.compartment)

    def _permit_restore(
        self, caller: Caller, key: Key, place: Compartment, home: Vault, name: str, detail: dict[str, str]
    ) -> AuditEntry:
        target = self._at(key, place, home, name)
        there = self._keyring.get(key.id)
        asked = elsewhere(target, place) if there is not None and there.target.path != place.path else target
        return self._guard.permit_change(caller, "KEY_RESTORE", target, "RestoreKey", detail, asked_at=asked)

    def _at(self, key: Key, place: Compartment, home: Vault, name: str) -> Target:
        attributes = {"key.id": key.id, "key.name": name, "vault.id": home.id}
        return Target("keys", key.id, name, place.tenancy, place.path, attributes)

    def _coming(self, one: KeptKey, place: Compartment, home: Vault, name: str) -> _Coming:
        """Wrap its material for the vault it comes into."""
        key = replace(one.key, vault=home.id)
        versions = []
        for each in one.versions:
            version = replace(each.version, state=_state_back(each.version))
            if each.material is not None:
                stored = self._keyring.software.add(self._keyring.spec(key, version.number), each.material)
                version = replace(
                    version, wrapped=stored.reference, public=stored.public, fingerprint=stored.fingerprint
                )
            versions.append(version)
        return _Coming(replace(one, key=key), place, name, tuple(versions))

    def _put(self, tx: VaultTx, caller: Caller, coming: _Coming, home: Vault) -> tuple[Key, tuple[str, ...]] | None:
        """Put a key back. None: it is there, and not deleted."""
        now, wanted = self._clock.now(), coming.kept.key
        row = tx.vault.key(wanted.tenancy, wanted.id)
        state = key_as_of(row, home if row.vault == home.id else None, now).state if row is not None else "PURGED"
        if row is not None and state not in ("DELETED", "PURGED"):
            return None
        others = tx.vault.keys(coming.place.tenancy, coming.place.id, PageRequest(1), coming.name)
        if any(other.id != wanted.id for other in others):
            raise taken("key", coming.name)
        if state == "PURGED":
            self._check_vault(tx, home)
        who = caller.principal.name
        if row is None:
            fresh = replace(
                wanted, compartment=coming.place.id, name=coming.name, changed_by=who, changed_at=now,
                next_rotation_at=_next_rotation(wanted),
            )  # fmt: skip
            tx.vault.add_key(fresh, coming.versions[0])
            for version in coming.versions[1:]:
                tx.vault.add_version(fresh, version)
            return fresh, ()
        if row.protection != "software":
            raise _exists(row.name)
        if state == "DELETED":
            # Permission was asked where the key comes to: it is brought back where it lies, and moved by a move.
            if row.vault != home.id or row.compartment != coming.place.id:
                raise _exists(row.name)
            found = required(tx.vault.vault(home.tenancy, home.id), "vault")
            check_room(vault_as_of(found, now))
            check_lock("key", row.name, row.lock, deleting=False)
        return self._put_over(tx, row, coming, now, who, purged=state == "PURGED")

    def _put_over(
        self, tx: VaultTx, row: Key, coming: _Coming, now: datetime, who: str, *, purged: bool
    ) -> tuple[Key, tuple[str, ...]]:
        """Put back what a deleted or purged key has lost."""
        wanted = coming.kept.key
        if purged:
            tx.vault.destroy_versions(row, overwrite=True)
        there = {version.number: version for version in tx.vault.versions(row.tenancy, row.id)}
        highest = max(row.current, wanted.current, *there)
        base = wanted if purged else row
        back = replace(
            base,
            compartment=coming.place.id,
            name=coming.name if purged else row.name,
            vault=wanted.vault,
            state="DISABLED",
            current=highest,
            deletion_at=None,
            purge_at=None,
            changed_by=who,
            changed_at=now,
            next_rotation_at=_next_rotation(base),
            backed_up_at=wanted.backed_up_at,
            warned_days=-1,
            version=row.version + 1,
        )
        if not tx.vault.change_key(row, back):
            raise stale()
        for version in coming.versions:
            current = there.get(version.number)
            if current is None:
                tx.vault.add_version(back, version)
            elif version.wrapped and not current.wrapped:
                # Of a key that was not purged somebody destroyed this version alone: it is enabled knowingly, too.
                state = version.state if purged else "DISABLED"
                tx.vault.change_version(back, current, replace(version, id=current.id, state=state))
        return back, _warnings(tx, back)

    def _target_of(self, key: Key) -> Target:
        entry = self._keyring.get(key.id)
        return entry.target if entry is not None else Target("keys", key.id, key.name, key.tenancy, (key.compartment,))


def check_exportable(key: Key) -> None:
    """Raises: Refusal `NotExportable`, when its material is not here."""
    if key.protection != "software":
        raise _not_exportable((key.name,))


def never_backed_up(key: Key) -> str:
    """What somebody who comes to depend on the key should know; empty when it is backed up, or not by us."""
    if key.protection != "software" or key.managed_by:
        return ""
    if key.backed_up_at is None:
        return (
            f"key {key.name!r} was never backed up: whoever loses it loses all data under it "
            f"(keystead key backup {key.name} FILE)"
        )
    if key.rotated_at is not None and key.backed_up_at < key.rotated_at:
        return (
            f"key {key.name!r} was rotated after its last backup: version {key.current} is in none "
            f"(keystead key backup {key.name} FILE)"
        )
    return ""


def _not_exportable(names: Sequence[str]) -> Refusal:
    listed = ", ".join(repr(name) for name in names[:NAMED]) + (", ..." if len(names) > NAMED else "")
    said = f"key {listed} has" if len(names) == 1 else f"{len(names)} keys ({listed}) have"
    return Refusal(
        "NotExportable",
        f"{said} no material here: what is in a token or another key management system never leaves it",
        hint="back it up there, by the means of the token's or the system's maker"
        + ("; --leave-out backs up the others" if len(names) > 1 else ""),
        kind="conflict",
    )


def _exists(name: str) -> Refusal:
    return Refusal(
        "KeyExists",
        f"key {name!r} is there: a restore replaces nothing",
        hint="delete it first, or if it is deleted: keystead key recover",
        kind="conflict",
    )


def _state_back(version: KeyVersion) -> VersionState:
    return "DISABLED" if version.state == "PENDING_DELETION" else version.state


def _next_rotation(key: Key) -> datetime | None:
    return next_rotation(key.id, key.current, key.rotated_at or key.created_at, key.rotation_days)


def _warnings(tx: VaultTx, key: Key) -> tuple[str, ...]:
    lost = [version.number for version in tx.vault.versions(key.tenancy, key.id) if not version.wrapped]
    if not lost:
        return ()
    numbers = ", ".join(map(str, lost))
    text = f"of key {key.name!r} version {numbers} is destroyed and not in the backup"
    if key.current in lost:
        text += f": once it is enabled, rotate it before it can seal again (keystead key rotate {key.name})"
    return (text,)


def _told(kept: Kept) -> str:
    return kept.created_at.isoformat()
