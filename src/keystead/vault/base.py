"""What every part of the vault's service is built upon: finding keys, vaults and places, and refusing what cannot be.

Nothing here guards by itself.
"""

from keystead.core.clock import Clock, isoformat
from keystead.core.errors import Refusal, not_found
from keystead.core.ids import CompartmentId, parse_id
from keystead.iam.guard import Guard
from keystead.iam.model import Caller, Compartment, Target
from keystead.vault.keyring import Entry, Keyring
from keystead.vault.model import Key, Vault
from keystead.vault.ports import VaultStore
from keystead.vault.snapshot import Snapshot


class Base:
    """The vault's ports, and how things are found."""

    def __init__(self, guard: Guard, snapshot: Snapshot, store: VaultStore, clock: Clock, region: str) -> None:
        self._guard = guard
        self._snapshot = snapshot
        self._keyring: Keyring = snapshot.keyring
        self._store = store
        self._clock = clock
        self._region = region

    def _current(self, entry: Entry) -> Entry:
        """The key as of the Guard's look at the generation."""
        return self._keyring.get(entry.key.id) or entry

    def _usable(self, caller: Caller, permission: str, entry: Entry, operation: str) -> Entry:
        """The key as it is after the Guard's look at the generation, when it may be used in that state."""
        current = self._current(entry)
        if current.key.state != "ENABLED":
            self._guard.refuse(caller, permission, current.target, operation, unusable(current.key))
        return current

    def _entry(self, caller: Caller, key_id: str) -> Entry:
        """The caller's key, as of the start of the request. Service-managed keys are seen only by their system."""
        entry = self._keyring.get(key_id)
        if entry is None:
            parse_id(key_id, "key")
            self._snapshot.refresh()
            entry = self._keyring.get(key_id)
        if entry is None:
            raise not_found("key")
        key = entry.key
        if key.tenancy != caller.principal.tenancy or (key.managed_by and key.managed_by != caller.principal.id):
            raise not_found("key")
        return entry

    def _vault(self, caller: Caller, vault_id: str) -> tuple[Vault, Target]:
        parse_id(vault_id, "vault")
        with self._store.read() as tx:
            vault = tx.vault.vault(caller.principal.tenancy, vault_id)
        if vault is None:
            raise not_found("vault")
        path = self._place(caller, vault.compartment).path
        return vault, Target("vaults", vault.id, vault.name, vault.tenancy, path, {"vault.id": vault.id})

    def _place(self, caller: Caller, compartment: str) -> Compartment:
        self._snapshot.refresh()
        found = self._snapshot.directory.compartment(caller.principal.tenancy, CompartmentId(compartment))
        if found is None:
            raise not_found("compartment")
        return found


def unusable(key: Key) -> Refusal:
    """The key is in a state in which it does nothing; says who brought it there, and the way out."""
    return Refusal(
        "KeyNotUsable",
        f"key {key.name!r} is {key.state} since {isoformat(key.changed_at)} (by {key.changed_by})",
        hint=f"whoever may manage keys can undo it: keystead key enable {key.name}",
        kind="conflict",
    )
