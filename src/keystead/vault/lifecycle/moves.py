"""Keys and versions moved from state to state, as the table of `lifecycle` allows; locks; moves between compartments.

Permissions: KEY_UPDATE enables and disables; KEY_DELETE schedules, cancels, deletes and recovers; KEY_PURGE destroys;
KEY_LOCK sets and takes off locks; KEY_MOVE, asked for at both ends, moves.
"""

from dataclasses import replace

from keystead.core.errors import not_found, taken
from keystead.core.ids import parse_id
from keystead.core.page import PageRequest
from keystead.iam.model import Caller
from keystead.vault.base import check_standing, elsewhere
from keystead.vault.lifecycle.changing import Changing, Request, Seen, confirmation
from keystead.vault.lifecycle.table import (
    DELETING,
    MAX_DELETION_DAYS,
    TAKING,
    Act,
    KeyMove,
    VersionMove,
    check_purge,
    moved_key,
    moved_version,
    version_as_of,
)
from keystead.vault.model import Key, KeyVersion, Lock


class KeyMoves(Changing):
    """What leads a key from state to state."""

    def enable(self, caller: Caller, key_id: str, if_match: int | None = None) -> Key:
        """Let the key be used again. What was fenced because of it heals by itself."""
        return self._move(caller, key_id, "enable", Request("KEY_UPDATE", "EnableKey", if_match))

    def disable(self, caller: Caller, key_id: str, if_match: int | None = None) -> Key:
        """Take the key away from everything that uses it: refused from the next request on, systems are fenced."""
        return self._move(caller, key_id, "disable", Request("KEY_UPDATE", "DisableKey", if_match))

    def schedule_deletion(
        self,
        caller: Caller,
        key_id: str,
        days: int = MAX_DELETION_DAYS,
        if_match: int | None = None,
        confirm_needed_by: int | None = None,
    ) -> Key:
        """Take the key away at once, and delete it in 7 to 30 days unless that is cancelled.

        Like `delete` and `purge` refused while something needs it, unless `confirm_needed_by` says by how many.
        """
        detail = {"days": str(days)} | confirmation(confirm_needed_by)
        request = Request("KEY_DELETE", "ScheduleKeyDeletion", if_match, detail, confirmed=confirm_needed_by)
        return self._move(caller, key_id, "schedule_deletion", request, days)

    def cancel_deletion(self, caller: Caller, key_id: str, if_match: int | None = None) -> Key:
        """The key stays, DISABLED until somebody enables it."""
        return self._move(caller, key_id, "cancel_deletion", Request("KEY_DELETE", "CancelKeyDeletion", if_match))

    def delete(
        self, caller: Caller, key_id: str, if_match: int | None = None, confirm_needed_by: int | None = None
    ) -> Key:
        """Delete the key now; it can be recovered until its retention is over."""
        detail = confirmation(confirm_needed_by)
        request = Request("KEY_DELETE", "DeleteKey", if_match, detail, confirmed=confirm_needed_by)
        return self._move(caller, key_id, "delete", request)

    def recover(self, caller: Caller, key_id: str, if_match: int | None = None) -> Key:
        """Have a deleted key back, DISABLED until somebody enables it."""
        return self._move(caller, key_id, "recover", Request("KEY_DELETE", "RecoverKey", if_match))

    def purge(
        self, caller: Caller, key_id: str, if_match: int | None = None, confirm_needed_by: int | None = None
    ) -> Key:
        """Destroy a deleted key now and for ever. Refused while it is protected against that."""
        detail = confirmation(confirm_needed_by)
        request = Request("KEY_PURGE", "PurgeKey", if_match, detail, confirmed=confirm_needed_by)
        purged = self._move(caller, key_id, "purge", request)
        self._scrub()
        return purged

    def lock_key(self, caller: Caller, key_id: str, lock: Lock, if_match: int | None = None) -> Key:
        """Protect the key from deletion (CanNotDelete) or from every change (ReadOnly); empty: take the lock off."""
        operation = "LockKey" if lock else "UnlockKey"
        request = Request("KEY_LOCK", operation, if_match, {"lock": lock} if lock else {}, locking=True)

        def change(seen: Seen) -> Key:
            check_standing(seen.key)
            return seen.row if seen.row.lock == lock else replace(seen.row, lock=lock, version=seen.row.version + 1)

        return self._change_key(caller, key_id, request, change)

    def move_key(self, caller: Caller, key_id: str, compartment: str, if_match: int | None = None) -> Key:
        """Put the key into another compartment: the policies there decide from now on."""
        place = self._place(caller, compartment)
        there = elsewhere(self._entry(caller, key_id).target, place)
        self._guard.require(caller, "KEY_MOVE", there, "MoveKey")
        request = Request("KEY_MOVE", "MoveKey", if_match, {"to": place.name, "to_id": place.id}, taking=True)

        def change(seen: Seen) -> Key:
            row = seen.row
            check_standing(seen.key)
            if row.compartment == place.id:
                return row
            if seen.tx.vault.keys(place.tenancy, place.id, PageRequest(1), row.name):
                raise taken("key", row.name)
            return replace(row, compartment=place.id, moved_from=row.compartment, version=row.version + 1)

        return self._change_key(caller, key_id, request, change)

    # versions

    def enable_version(self, caller: Caller, key_id: str, version_id: str) -> KeyVersion:
        """Let one version open again what it sealed."""
        return self._move_version(caller, key_id, version_id, "enable", Request("KEY_UPDATE", "EnableKeyVersion"))

    def disable_version(self, caller: Caller, key_id: str, version_id: str) -> KeyVersion:
        """Take one version away from everything that still needs it."""
        return self._move_version(caller, key_id, version_id, "disable", Request("KEY_UPDATE", "DisableKeyVersion"))

    def schedule_version_deletion(
        self,
        caller: Caller,
        key_id: str,
        version_id: str,
        days: int = MAX_DELETION_DAYS,
        confirm_needed_by: int | None = None,
    ) -> KeyVersion:
        """Take one version away at once, and destroy it in 7 to 30 days unless that is cancelled.

        Refused while something needs this version, unless `confirm_needed_by` says by how many.
        """
        detail = {"days": str(days)} | confirmation(confirm_needed_by)
        request = Request("KEY_DELETE", "ScheduleKeyVersionDeletion", detail=detail, confirmed=confirm_needed_by)
        return self._move_version(caller, key_id, version_id, "schedule_deletion", request, days)

    def cancel_version_deletion(self, caller: Caller, key_id: str, version_id: str) -> KeyVersion:
        """The version stays, DISABLED until somebody enables it."""
        request = Request("KEY_DELETE", "CancelKeyVersionDeletion")
        return self._move_version(caller, key_id, version_id, "cancel_deletion", request)

    def _move(self, caller: Caller, key_id: str, move: KeyMove, request: Request, days: int = MAX_DELETION_DAYS) -> Key:
        request = replace(request, deleting=move in DELETING, taking=move in TAKING)

        def change(seen: Seen) -> Key:
            changed = moved_key(seen.key, move, Act(caller.principal.name, seen.now, days))
            if move == "purge":
                protected = seen.vault is not None and seen.vault.purge_protection
                check_purge("key", seen.row.name, protected, seen.key.purge_at)
                seen.tx.vault.destroy_versions(changed, overwrite=changed.protection == "software")
            return changed

        return self._change_key(caller, key_id, request, change)

    def _move_version(
        self,
        caller: Caller,
        key_id: str,
        version_id: str,
        move: VersionMove,
        request: Request,
        days: int = MAX_DELETION_DAYS,
    ) -> KeyVersion:
        parse_id(version_id, "keyversion")
        made: list[KeyVersion] = []

        def change(seen: Seen) -> Key:
            check_standing(seen.key)
            row = seen.tx.vault.version(seen.row.tenancy, version_id)
            if row is None or row.key != seen.row.id:
                raise not_found("key version")
            act = Act(caller.principal.name, seen.now, days)
            changed = moved_version(seen.key, version_as_of(row, seen.now), move, act)
            seen.tx.vault.change_version(seen.row, row, changed)
            made.append(changed)
            return replace(seen.row, version=seen.row.version + 1)

        entry = self._entry(caller, key_id)
        found = next((one for one in entry.versions.values() if one.id == version_id), None)
        detail = {**request.detail, "version": str(found.number)} if found is not None else dict(request.detail)
        request = replace(request, detail=detail, deleting=move in DELETING, taking=move in TAKING)
        self._change_key(caller, key_id, request, change, found.number if found is not None else None)
        return made[-1]
