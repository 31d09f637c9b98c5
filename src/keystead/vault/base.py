"""What every part of the vault's service is built upon: finding keys, vaults and places, and refusing what cannot be.

Nothing here guards by itself.
"""

from dataclasses import replace
from functools import partial

from keystead.core.clock import Clock
from keystead.core.errors import Refusal, Unavailable, not_found
from keystead.core.ids import CompartmentId, check_region, parse_id
from keystead.iam.actions import TYPE_BY_NAME
from keystead.iam.guard import Guard
from keystead.iam.model import Caller, Compartment, Target
from keystead.iam.policy.variables import tag_attributes
from keystead.vault.lifecycle.table import Use, permits, usable, vault_as_of
from keystead.vault.memory.keyring import Entry, Keyring
from keystead.vault.memory.snapshot import Snapshot
from keystead.vault.model import Key, Vault
from keystead.vault.ports import Dependants, KeyTrail, Survey, VaultStore

# What can be done with a key of another tenancy, when both let it.
_SHARED = TYPE_BY_NAME["keys"].permissions("manage")


class Base:
    """The vault's ports, and how things are found."""

    def __init__(
        self,
        guard: Guard,
        snapshot: Snapshot,
        store: VaultStore,
        clock: Clock,
        region: str,
        dependants: Dependants | None = None,
        trail: KeyTrail | None = None,
    ) -> None:
        """`dependants`, `trail`: who tells what needs keys, and how they were used. Without them nobody can tell, so
        nothing is destroyed.
        """
        self._guard = guard
        self._snapshot = snapshot
        self._keyring: Keyring = snapshot.keyring
        self._store = store
        self._clock = clock
        self._region = region
        self._dependants = dependants
        self._trail = trail
        guard.bound_by(self._keyring.unreached)

    def _survey(self) -> Survey:
        """A look at what needs keys. Raises: Unavailable."""
        if self._dependants is None:
            raise Unavailable("InventoryUnknown", "nobody here knows what needs a key", hint="ask the region itself")
        return self._dependants.survey()

    def _current(self, entry: Entry) -> Entry:
        """The key as of the Guard's look at the generation."""
        return self._keyring.get(entry.key.id) or entry

    def _admitted(self, caller: Caller, permission: str, entry: Entry, operation: str) -> Entry:
        """The key as it is now, when the caller may do this where it lies now, which need not be where it was found."""
        while True:
            self._guard.require(caller, permission, entry.target, operation)
            current = self._current(entry)
            if current.target is entry.target or current.target == entry.target:
                return current
            entry = current

    def _usable(
        self,
        caller: Caller,
        permission: str,
        entry: Entry,
        operation: str,
        *,
        to: Use = "seal",
        number: int | None = None,
        needs: str = "",
    ) -> Entry:
        """The key as it is after the Guard's look at the generation, when it may be used now.

        `number`: the version that is to be used. `needs`: the operation that the key must permit.
        """
        current = self._current(entry)
        if current.target is not entry.target and current.target != entry.target:  # moved since it was found
            current = self._admitted(caller, permission, current, operation)
        key = current.key
        version = None if number is None else current.versions.get(number)
        refusal: Refusal | None = usable(key, version, self._keyring.vault(key.vault), self._clock.now(), to=to)
        if refusal is None and needs:
            refusal = permits(key, needs)
        if refusal is not None:
            self._guard.refuse(caller, permission, current.target, operation, refusal)
        return current

    def _entry(self, caller: Caller, key_id: str, *, newborn: bool = False) -> Entry:
        """The caller's key, as of the start of the request. Service-managed keys are seen only by their system.
        `newborn`: as in `Guard.require`.
        """
        entry = self._keyring.get(key_id)
        if entry is None:
            parse_id(key_id, "key")
            self._snapshot.refresh()
            entry = self._keyring.get(key_id)
        if entry is None:
            check_region(key_id, self._region)
            raise not_found("key")
        key = entry.key
        if key.managed_by and key.managed_by != caller.principal.id:
            raise not_found("key")
        if key.tenancy != caller.principal.tenancy and not self._shared_with(caller, entry, newborn):
            raise not_found("key")
        return entry

    def _shared_with(self, caller: Caller, entry: Entry, newborn: bool) -> bool:
        """Whether both tenancies let the caller do anything with a key of another one; else it looks absent."""
        if caller.principal.type == "service":
            return False
        may = partial(self._guard.may, newborn=newborn)
        return any(may(caller, each, entry.target) for each in _SHARED) or may(caller, "KEY_ASSOCIATE", entry.delegate)

    def _vault(self, caller: Caller, vault_id: str) -> tuple[Vault, Target]:
        parse_id(vault_id, "vault")
        with self._store.read() as tx:
            vault = tx.vault.vault(caller.principal.tenancy, vault_id)
        if vault is None:
            check_region(vault_id, self._region)
            raise not_found("vault")
        return vault_as_of(vault, self._clock.now()), self._at_vault(vault)

    def _at_vault(self, vault: Vault) -> Target:
        self._snapshot.refresh()
        place = self._snapshot.directory.compartment(vault.tenancy, vault.compartment)
        path = place.path if place is not None else (vault.compartment,)
        return Target(
            "vaults", vault.id, vault.name, vault.tenancy, path, {"vault.id": vault.id, **tag_attributes(vault.tags)}
        )

    def _place(self, caller: Caller, compartment: str) -> Compartment:
        self._snapshot.refresh()
        found = self._snapshot.directory.compartment(caller.principal.tenancy, CompartmentId(compartment))
        if found is None:
            check_region(compartment, self._region)
            raise not_found("compartment")
        return found


def elsewhere(target: Target, place: Compartment) -> Target:
    """The thing as if it lay in another compartment; with an id of its own, because decisions are remembered by id."""
    return replace(target, id=f"{target.id}@{place.id}", path=place.path)


def check_active(vault: Vault | None, what: str) -> None:
    """Raises: Refusal `IllegalState` when the (as-of) vault is on its way to deletion: nothing new begins in it."""
    if vault is not None and vault.state != "ACTIVE":
        raise Refusal(
            "IllegalState",
            f"vault {vault.name!r} is {vault.state}: {what}",
            hint=f"keystead vault {'cancel-deletion' if vault.state == 'PENDING_DELETION' else 'recover'} {vault.name}",
            kind="conflict",
        )


def check_standing(key: Key) -> None:
    """Raises: Refusal `IllegalState` when the (as-of) key is deleted."""
    if key.state in ("DELETED", "PURGED"):
        raise Refusal(
            "IllegalState",
            f"key {key.name!r} is {key.state}: it cannot be changed",
            hint=f"keystead key recover {key.name}" if key.state == "DELETED" else "its material is destroyed",
            kind="conflict",
        )
