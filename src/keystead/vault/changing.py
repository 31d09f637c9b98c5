"""How a key or a vault is changed: one transaction that looks at the row as it is and writes what becomes of it.

A change that names no version (`if_match`) goes on from whatever others wrote meanwhile, so that taking a key away
never loses against somebody else's change: the row is read inside the transaction that writes it, and the permission is
asked again where the thing has been moved to another compartment in between.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from keystead.core.errors import KeysteadError, Refusal, check_version, not_found, stale
from keystead.iam.model import Caller
from keystead.vault.base import Base
from keystead.vault.lifecycle import check_lock, key_as_of, vault_as_of
from keystead.vault.model import Key, Vault
from keystead.vault.ports import VaultTx


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for: the permission it takes, what the audit log calls it, and how.

    `deleting`: it leads towards the end of the thing, which the lock CanNotDelete stops. `locking`: it is about the
    lock itself, which no lock stops. `taking`: it takes access away, and may use the space kept for that.
    """

    permission: str
    operation: str
    if_match: int | None = None
    detail: Mapping[str, str] = field(default_factory=dict)
    deleting: bool = False
    locking: bool = False
    taking: bool = False


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

    def _change_key(self, caller: Caller, key_id: str, request: Request, change: Callable[[Seen], Key]) -> Key:
        while True:
            entry = self._entry(caller, key_id)
            target, where = entry.target, entry.key.compartment
            record = self._guard.permit_change(
                caller, request.permission, target, request.operation, request.detail or None
            )
            try:
                with self._store.write(record, reserve=request.taking) as tx:
                    seen = self._seen(tx, entry.key)
                    if seen.row.compartment != where:
                        raise _Elsewhere
                    check_version(seen.row.version, request.if_match)
                    if not request.locking:
                        check_lock("key", seen.key.name, seen.key.lock, deleting=request.deleting, vault=seen.vault)
                    changed = change(seen)
                    if changed != seen.row and not tx.vault.change_key(seen.row, changed):
                        raise stale()
            except _Elsewhere:
                self._snapshot.refresh()
                continue
            except Refusal as refusal:
                self._guard.refuse(caller, request.permission, target, request.operation, refusal)
            return key_as_of(changed, seen.vault, seen.now)

    def _scrub(self) -> None:
        """After a destruction, which is done whether or not this succeeds."""
        with suppress(KeysteadError):
            self._store.scrub()

    def _seen(self, tx: VaultTx, key: Key) -> Seen:
        now = self._clock.now()
        row = tx.vault.key(key.tenancy, key.id)
        if row is None:
            raise not_found("key")
        vault = tx.vault.vault(row.tenancy, row.vault) if row.vault else None
        home = vault_as_of(vault, now) if vault is not None else None
        return Seen(tx, row, key_as_of(row, home, now), home, now)

    def _change_vault(
        self, caller: Caller, vault_id: str, request: Request, change: Callable[[SeenVault], Vault]
    ) -> Vault:
        while True:
            vault, target = self._vault(caller, vault_id)
            record = self._guard.permit_change(
                caller, request.permission, target, request.operation, request.detail or None
            )
            try:
                with self._store.write(record, reserve=request.taking) as tx:
                    row = tx.vault.vault(vault.tenancy, vault.id)
                    if row is None:
                        raise not_found("vault")
                    if row.compartment != vault.compartment:
                        raise _Elsewhere
                    check_version(row.version, request.if_match)
                    now = self._clock.now()
                    if not request.locking:
                        check_lock("vault", row.name, row.lock, deleting=request.deleting)
                    changed = change(SeenVault(tx, row, vault_as_of(row, now), now))
                    if changed != row and not tx.vault.change_vault(row, changed):
                        raise stale()
            except _Elsewhere:
                self._snapshot.refresh()
                continue
            except Refusal as refusal:
                self._guard.refuse(caller, request.permission, target, request.operation, refusal)
            return vault_as_of(changed, now)


class _Elsewhere(Exception):
    """The thing lies in another compartment than the one for which permission was asked."""
