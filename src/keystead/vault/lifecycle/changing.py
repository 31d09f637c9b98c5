"""How a key or a vault is changed: one transaction that looks at the row as it is and writes what becomes of it.

A change that names no version (`if_match`) goes on from whatever others wrote meanwhile, so that taking a key away
never loses against somebody else's change: the row is read inside the transaction that writes it, and the permission is
asked again where the thing has been moved to another compartment in between.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime

from keystead.audit.model import Entry
from keystead.core.errors import KeysteadError, Refusal, check_version, required, stale
from keystead.iam.approvals.gate import USED
from keystead.iam.model import Caller, Target
from keystead.vault.base import Base
from keystead.vault.insight.inventory import Need, NeedKind, check_confirmed, counted
from keystead.vault.lifecycle.table import check_lock, key_as_of, vault_as_of
from keystead.vault.model import Key, Vault
from keystead.vault.ports import VaultTx

_SEEN_BY: Mapping[NeedKind, tuple[str, str]] = {
    "dbsystem": ("MYSQL_INSTANCE_INSPECT", "mysql-instances"),
    "node": ("MYSQL_INSTANCE_INSPECT", "mysql-instances"),
    "backup": ("MYSQL_BACKUP_INSPECT", "mysql-backups"),
    "job": ("MYSQL_INSTANCE_WORK_REQUEST_INSPECT", "mysql-work-requests"),
}


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for: the permission it takes, what the audit log calls it, and how.

    `deleting`: it leads towards the end of the thing, which the lock CanNotDelete stops. `locking`: it is about the
    lock itself, which no lock stops. `taking`: it takes access away, and may use the space kept for that.
    `confirmed`: by how many the caller says that it is needed, where it is destroyed (inventory.py).
    """

    permission: str
    operation: str
    if_match: int | None = None
    detail: Mapping[str, str] = field(default_factory=dict)
    deleting: bool = False
    locking: bool = False
    taking: bool = False
    confirmed: int | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """A key as it is inside the transaction, at `now`: `row` as stored, `key` and `vault` as of then."""

    tx: VaultTx
    row: Key
    key: Key
    vault: Vault | None
    now: datetime


@dataclass(frozen=True, slots=True)
class SeenVault:
    """A vault likewise."""

    tx: VaultTx
    row: Vault
    vault: Vault
    now: datetime


class Changing(Base):
    """Changes of keys and vaults."""

    def _change_key(
        self,
        caller: Caller,
        key_id: str,
        request: Request,
        change: Callable[[Seen], Key],
        version: int | None = None,
    ) -> Key:
        """`version`: the one that is to be destroyed, when it is not the whole key."""
        while True:
            entry = self._entry(caller, key_id)
            target, where = entry.target, entry.key.compartment
            record = self._guard.permit_change(
                caller, request.permission, target, request.operation, request.detail or None
            )
            survey = self._survey() if request.deleting else None
            try:
                with self._store.write(record, reserve=request.taking) as tx:
                    seen = self._seen(tx, entry.key)
                    if seen.row.compartment != where:
                        raise _Elsewhere
                    check_version(seen.row.version, request.if_match)
                    if not request.locking:
                        check_lock("key", seen.key.name, seen.key.lock, deleting=request.deleting, vault=seen.vault)
                    changed = change(seen)
                    if survey is not None:
                        require_confirmed(counted(survey.needs(tx, seen.row), version), request, record)
                    if changed != seen.row and not tx.vault.change_key(seen.row, changed):
                        raise stale()
            except _Elsewhere:
                self._snapshot.refresh()
                continue
            except _Needed as needed:
                noun = "key" if version is None else f"version {version} of key"
                refusal = self._still_needed(caller, noun, entry.key.name, needed.needs, request)
                self._guard.refuse(caller, request.permission, target, request.operation, refusal)
            except Refusal as refusal:
                self._guard.refuse(caller, request.permission, target, request.operation, refusal)
            return key_as_of(changed, seen.vault, seen.now)

    def _scrub(self) -> None:
        """After a destruction, which is done whether or not this succeeds."""
        with suppress(KeysteadError):
            self._store.scrub()

    def _seen(self, tx: VaultTx, key: Key) -> Seen:
        now = self._clock.now()
        row = required(tx.vault.key(key.tenancy, key.id), "key")
        vault = tx.vault.vault(row.tenancy, row.vault) if row.vault else None
        home = vault_as_of(vault, now) if vault is not None else None
        return Seen(tx, row, key_as_of(row, home, now), home, now)

    def _change_vault(
        self, caller: Caller, vault_id: str, request: Request, change: Callable[[SeenVault], Vault]
    ) -> Vault:
        while True:
            vault, target = self._vault(caller, vault_id)
            inside = self._targets_in(vault) if request.deleting else ()
            record = self._guard.permit_change(
                caller, request.permission, target, request.operation, request.detail or None, also=inside
            )
            survey = self._survey() if request.deleting else None
            try:
                with self._store.write(record, reserve=request.taking) as tx:
                    row = required(tx.vault.vault(vault.tenancy, vault.id), "vault")
                    if row.compartment != vault.compartment:
                        raise _Elsewhere
                    check_version(row.version, request.if_match)
                    now = self._clock.now()
                    if not request.locking:
                        check_lock("vault", row.name, row.lock, deleting=request.deleting)
                    found = [
                        need
                        for key in (tx.vault.keys_in(row) if survey is not None else ())
                        for need in (survey.needs(tx, key) if survey is not None else ())
                    ]
                    changed = change(SeenVault(tx, row, vault_as_of(row, now), now))
                    if survey is not None:
                        require_confirmed(counted(found), request, record)
                    if changed != row and not tx.vault.change_vault(row, changed):
                        raise stale()
            except _Elsewhere:
                self._snapshot.refresh()
                continue
            except _Needed as needed:
                refusal = self._still_needed(caller, "vault", vault.name, needed.needs, request)
                self._guard.refuse(caller, request.permission, target, request.operation, refusal)
            except Refusal as refusal:
                self._guard.refuse(caller, request.permission, target, request.operation, refusal)
            return vault_as_of(changed, now)

    def _targets_in(self, vault: Vault) -> list[Target]:
        """The keys of a vault, as what an act on it reaches."""
        with self._store.read() as tx:
            keys = tx.vault.keys_in(vault)
        found = []
        for key in keys:
            place = self._snapshot.directory.compartment(key.tenancy, key.compartment)
            path = place.path if place is not None else (key.compartment,)
            found.append(Target("keys", key.id, key.name, key.tenancy, path))
        return found

    def _still_needed(self, caller: Caller, noun: str, name: str, needs: Sequence[Need], request: Request) -> Refusal:
        """The refusal of destroying what is needed, worded for this caller."""
        look = f"keystead vault inventory {name}" if noun == "vault" else f"keystead key impact {name} --if delete"
        try:
            check_confirmed(noun, name, [self._as_seen(caller, need) for need in needs], request.confirmed, look)
        except Refusal as refusal:
            return refusal
        return stale()

    def _as_seen(self, caller: Caller, need: Need) -> Need:
        """The need as the caller may see it: without id and name when that is not permitted."""
        permission, kind = _SEEN_BY[need.kind]
        place = self._snapshot.directory.compartment(caller.principal.tenancy, need.compartment)
        if place is not None:
            target = Target(
                kind, need.part_of if need.kind == "node" else need.id, need.name, place.tenancy, place.path
            )
            if self._guard.may(caller, permission, target):
                return need
        return replace(need, id="", name="", part_of="", compartment="", problem="")


def confirmation(confirmed: int | None) -> dict[str, str]:
    """By how many the request says that it is needed, for the audit log."""
    return {} if confirmed is None else {"confirmed_needed_by": str(confirmed)}


def require_confirmed(needs: Sequence[Need], request: Request, record: Entry) -> None:
    """Ends the transaction when what is to be destroyed is needed by others than the request names. Where other people
    approved of exactly this request (`record` says so), it need not name how many; when it does, they have to be right.
    """
    if request.confirmed is None and USED in record.detail:
        return
    if len(needs) != (request.confirmed or 0):
        raise _Needed(needs)


class _Needed(Exception):
    """What is to be destroyed is needed; ends the transaction, because wording it asks the Guard."""

    def __init__(self, needs: Sequence[Need]) -> None:
        super().__init__()
        self.needs = needs


class _Elsewhere(Exception):
    """The thing lies in another compartment than the one for which permission was asked."""
