"""Vaults: made, shown, set up, moved, deleted, recovered, purged.

A vault that is on its way to deletion takes all its keys out of use at once, whatever their own state; it comes back as
it was. A vault is purged only when no key in it is protected against that; its keys are destroyed with it.
"""

from dataclasses import replace

from keystead.core.errors import taken
from keystead.core.ids import VaultId, new_id
from keystead.core.page import Page, PageRequest, cut
from keystead.iam.model import Caller, Target
from keystead.iam.names import check_name
from keystead.vault.base import check_active, elsewhere
from keystead.vault.lifecycle.changing import Changing, Request, SeenVault, confirmation
from keystead.vault.lifecycle.settings import VaultSettings
from keystead.vault.lifecycle.table import (
    DELETING,
    MAX_DELETION_DAYS,
    TAKING,
    Act,
    VaultMove,
    check_lock,
    check_purge,
    key_as_of,
    moved_vault,
    vault_as_of,
)
from keystead.vault.model import Lock, Protection, Vault, VaultKind
from keystead.vault.networks import check_not_shut_out
from keystead.vault.ports import VaultTx

NO_SETTINGS = VaultSettings()


class VaultActs(Changing):
    """What is done with vaults."""

    def create_vault(
        self,
        caller: Caller,
        compartment: str,
        name: str,
        protection: Protection = "software",
        kind: VaultKind = "shared",
        settings: VaultSettings = NO_SETTINGS,
    ) -> Vault:
        """A new vault. `private`: its keys are wrapped by a key of its own, with which they can be destroyed at once.

        `protection` is that of keys for which none is named.
        """
        place = self._place(caller, compartment)
        check_name(name, "vault")
        new = VaultId(new_id("vault", self._region))
        target = Target("vaults", new, name, place.tenancy, place.path, {"vault.id": new})
        detail = {"kind": kind, "protection": protection, **settings.told()}
        entry = self._guard.permit_change(caller, "VAULT_CREATE", target, "CreateVault", detail)
        now = self._clock.now()
        wrapped = self._keyring.new_vault_key(place.tenancy, new) if kind == "private" else b""
        who = caller.principal.name
        vault = settings.applied(
            Vault(new, place.tenancy, place.id, name, protection, now, who, now, kind=kind, wrapped=wrapped)
        )
        check_not_shut_out(caller, None, vault)
        with self._store.write(entry) as tx:
            if tx.vault.vaults(place.tenancy, place.id, PageRequest(1), name):
                raise taken("vault", name)
            tx.vault.add_vault(vault)
        return vault

    def get_vault(self, caller: Caller, vault_id: str) -> Vault:
        vault, target = self._vault(caller, vault_id)
        self._guard.permit(caller, "VAULT_READ", target, "GetVault")
        return vault

    def list_vaults(self, caller: Caller, compartment: str, page: PageRequest, name: str | None = None) -> Page[Vault]:
        place = self._place(caller, compartment)
        target = Target("vaults", place.id, place.name, place.tenancy, place.path)
        self._guard.permit(caller, "VAULT_INSPECT", target, "ListVaults")
        now = self._clock.now()
        with self._store.read() as tx:
            found = [vault_as_of(one, now) for one in tx.vault.vaults(place.tenancy, place.id, page, name)]
        shown = cut(found, page.limit, lambda item: item.name)
        return Page([vault for vault in shown.items if self._keyring.reaches(caller, vault.id)], shown.next)

    def update_vault(
        self, caller: Caller, vault_id: str, settings: VaultSettings, if_match: int | None = None
    ) -> Vault:
        """Change what the customer decides about a vault; what is not given stays."""
        request = Request("VAULT_UPDATE", "UpdateVault", if_match, settings.told(), taking=True)

        def change(seen: SeenVault) -> Vault:
            check_active(seen.vault, "it cannot be changed")
            changed = settings.applied(seen.row)
            check_not_shut_out(caller, seen.row, changed)
            return changed if changed == seen.row else replace(changed, version=seen.row.version + 1)

        return self._change_vault(caller, vault_id, request, change)

    def schedule_vault_deletion(
        self,
        caller: Caller,
        vault_id: str,
        days: int = MAX_DELETION_DAYS,
        if_match: int | None = None,
        confirm_needed_by: int | None = None,
    ) -> Vault:
        """Take all keys of the vault away at once, and delete it in 7 to 30 days unless that is cancelled.

        Like deleting and purging it refused while something needs one of its keys, unless `confirm_needed_by` says by
        how many.
        """
        detail = {"days": str(days)} | confirmation(confirm_needed_by)
        request = Request("VAULT_DELETE", "ScheduleVaultDeletion", if_match, detail, confirmed=confirm_needed_by)
        return self._move_vault(caller, vault_id, "schedule_deletion", request, days)

    def cancel_vault_deletion(self, caller: Caller, vault_id: str, if_match: int | None = None) -> Vault:
        """The vault stays; its keys are again in the state that they were in."""
        request = Request("VAULT_DELETE", "CancelVaultDeletion", if_match)
        return self._move_vault(caller, vault_id, "cancel_deletion", request)

    def delete_vault(
        self, caller: Caller, vault_id: str, if_match: int | None = None, confirm_needed_by: int | None = None
    ) -> Vault:
        """Delete the vault now; it can be recovered, with its keys, until its retention is over."""
        detail = confirmation(confirm_needed_by)
        request = Request("VAULT_DELETE", "DeleteVault", if_match, detail, confirmed=confirm_needed_by)
        return self._move_vault(caller, vault_id, "delete", request)

    def recover_vault(self, caller: Caller, vault_id: str, if_match: int | None = None) -> Vault:
        """Have a deleted vault back; its keys are again in the state that they were in."""
        return self._move_vault(caller, vault_id, "recover", Request("VAULT_DELETE", "RecoverVault", if_match))

    def purge_vault(
        self, caller: Caller, vault_id: str, if_match: int | None = None, confirm_needed_by: int | None = None
    ) -> Vault:
        """Destroy a deleted vault and every key in it, now and for ever. Refused while anything in it is protected."""
        detail = confirmation(confirm_needed_by)
        request = Request("VAULT_PURGE", "PurgeVault", if_match, detail, confirmed=confirm_needed_by)
        purged = self._move_vault(caller, vault_id, "purge", request)
        self._scrub()
        return purged

    def lock_vault(self, caller: Caller, vault_id: str, lock: Lock, if_match: int | None = None) -> Vault:
        """Protect the vault and its keys from deletion (CanNotDelete) or every change (ReadOnly); empty: unlock."""
        operation = "LockVault" if lock else "UnlockVault"
        request = Request("VAULT_LOCK", operation, if_match, {"lock": lock} if lock else {}, locking=True)

        def change(seen: SeenVault) -> Vault:
            check_active(seen.vault, "its lock cannot be changed")
            return seen.row if seen.row.lock == lock else replace(seen.row, lock=lock, version=seen.row.version + 1)

        return self._change_vault(caller, vault_id, request, change)

    def move_vault(self, caller: Caller, vault_id: str, compartment: str, if_match: int | None = None) -> Vault:
        """Put the vault into another compartment. Its keys stay where they are: each has a compartment of its own."""
        place = self._place(caller, compartment)
        there = elsewhere(self._vault(caller, vault_id)[1], place)
        self._guard.require(caller, "VAULT_MOVE", there, "MoveVault")
        request = Request("VAULT_MOVE", "MoveVault", if_match, {"to": place.name, "to_id": place.id}, taking=True)

        def change(seen: SeenVault) -> Vault:
            check_active(seen.vault, "it cannot be moved")
            if seen.row.compartment == place.id:
                return seen.row
            if seen.tx.vault.vaults(place.tenancy, place.id, PageRequest(1), seen.row.name):
                raise taken("vault", seen.row.name)
            return replace(seen.row, compartment=place.id, version=seen.row.version + 1)

        return self._change_vault(caller, vault_id, request, change)

    def _move_vault(
        self, caller: Caller, vault_id: str, move: VaultMove, request: Request, days: int = MAX_DELETION_DAYS
    ) -> Vault:
        request = replace(request, deleting=move in DELETING, taking=move in TAKING)

        def change(seen: SeenVault) -> Vault:
            if move in DELETING:
                check_key_locks(seen, purging=move == "purge")
            protected = seen.tx.vault.protected_days(seen.row)
            retention = max(seen.row.retention_days, protected)
            changed = moved_vault(seen.vault, move, Act(caller.principal.name, seen.now, days), retention)
            if move == "purge":
                check_purge("vault", seen.row.name, bool(protected), seen.vault.purge_at)
                changed = emptied(seen.tx, changed)
            return changed

        return self._change_vault(caller, vault_id, request, change)


def check_key_locks(seen: SeenVault, *, purging: bool) -> None:
    """Raises: Refusal `Locked`: a key that goes with the vault is locked. `purging`: deleted ones go with it too."""
    for row in seen.tx.vault.keys_in(seen.row):
        if row.lock:
            key = key_as_of(row, seen.vault, seen.now)
            if key.state != "PURGED" and (purging or key.state != "DELETED"):
                check_lock("key", key.name, key.lock, deleting=True)


def emptied(tx: VaultTx, vault: Vault) -> Vault:
    """Destroy every key of a purged vault, in the same transaction, and its own wrapping key."""
    for key in tx.vault.keys_in(vault):
        if key.state == "PURGED":
            continue
        gone = replace(
            key,
            state="PURGED",
            deletion_at=None,
            purge_at=None,
            changed_by=vault.changed_by,
            changed_at=vault.changed_at,
            version=key.version + 1,
        )
        tx.vault.change_key(key, gone)
        tx.vault.destroy_versions(gone, overwrite=gone.protection == "software")
    return replace(vault, wrapped=b"")
