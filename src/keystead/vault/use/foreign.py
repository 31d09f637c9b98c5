"""What other systems' protocols ask of keys and our own API does not: names for ids, one decryption, MACs.

Their clients name a key by a path of names, where a folder is a compartment and the last but one a vault; they open by
one operation whatever one key has sealed, data or data keys; and they make MACs with keys that encrypt or sign.

Names are found without regard to case. Finding guards nothing and tells nothing: it gives an id, and the act that
follows is what the Guard decides. Names that lead nowhere and ids that may not be seen are refused in the same words.
"""

from collections.abc import Callable, Sequence
from typing import Any

from keystead.core.clock import Clock
from keystead.core.errors import Refusal, Unreadable, not_found
from keystead.core.ids import CompartmentId, looks_like_id
from keystead.core.page import PageRequest
from keystead.core.secret import Secret
from keystead.crypto.macs import MacHash, MacKey
from keystead.iam.guard import Guard
from keystead.iam.model import Caller, Compartment
from keystead.iam.permissions import Permission
from keystead.vault.lifecycle.table import permits, version_as_of
from keystead.vault.memory.keyring import Entry
from keystead.vault.memory.snapshot import Snapshot
from keystead.vault.model import Key, KeyVersion, Vault
from keystead.vault.ports import Dependants, KeyTrail, Stored, VaultStore
from keystead.vault.use.batch import MAX_ITEMS, Batch, Batches, Pair, Signed
from keystead.vault.use.operations import Use, check_size

KNOWN_LIMIT = 20_000
_USES: tuple[tuple[Use, str], ...] = (("customer-data", "decrypt"), ("customer-key", "unwrap"))


class Foreign(Batches):
    """Acts for the wire dialects."""

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
        super().__init__(guard, snapshot, store, clock, region, dependants, trail)
        # What a name was found to mean; believed only as long as the thing found still bears it.
        self._keys_known: dict[tuple[str, str, str, str], str] = {}
        self._places_known: dict[tuple[str, str], str] = {}

    # names

    def vault_at(self, caller: Caller, path: Sequence[str]) -> Vault:
        """The vault that `path` names: compartments below the tenancy's root, and the vault last.

        Guards nothing by itself. Raises: Refusal `NotFound`.
        """
        place = self._folder(caller, path)
        with self._store.read() as tx:
            found = tx.vault.vaults(caller.principal.tenancy, place.id, PageRequest(1), path[-1])
        if not found:
            raise not_found("vault")
        return found[0]

    def key_at(self, caller: Caller, path: Sequence[str], name: str) -> str:
        """The id of the key `name` (or of that id) in the vault at `path`, which lies where its vault lies.

        Guards nothing by itself. Raises: Refusal `NotFound`.
        """
        self._snapshot.refresh()
        if looks_like_id(name, "key"):
            key = self._entry(caller, name).key
            if key.vault != self.vault_at(caller, path).id:
                raise not_found("key")
            return key.id
        place = self._folder(caller, path)
        mark = (place.tenancy, place.id, path[-1], name)
        known = self._keys_known.get(mark)
        if known is None or not self._bears(known, place, path[-1], name):
            known = self._look_up(place, path[-1], name)
            if len(self._keys_known) >= KNOWN_LIMIT:
                self._keys_known.clear()
            self._keys_known[mark] = known
        return known

    def versions_of(self, caller: Caller, key_id: str) -> list[KeyVersion]:
        """The versions of a key as they are now, oldest first. Guards nothing by itself. Raises: Refusal `NotFound`."""
        self._snapshot.refresh()
        now = self._clock.now()
        return [version_as_of(found, now) for _, found in sorted(self._entry(caller, key_id).versions.items())]

    def _bears(self, key_id: str, place: Compartment, vault_name: str, name: str) -> bool:
        entry = self._keyring.get(key_id)
        vault = self._keyring.vault(entry.key.vault) if entry is not None else None
        if entry is None or vault is None or entry.key.state == "PURGED":
            return False
        found = ((entry.key.name, entry.key.compartment), (vault.name, vault.compartment))
        return all(
            each.casefold() == wanted.casefold() and where == place.id
            for (each, where), wanted in zip(found, (name, vault_name), strict=True)
        )

    def _look_up(self, place: Compartment, vault_name: str, name: str) -> str:
        with self._store.read() as tx:
            vaults = tx.vault.vaults(place.tenancy, place.id, PageRequest(1), vault_name)
            keys = tx.vault.keys(place.tenancy, place.id, PageRequest(1), name)
        if not vaults or not keys or keys[0].vault != vaults[0].id:
            raise not_found("key")
        return keys[0].id

    def _folder(self, caller: Caller, path: Sequence[str]) -> Compartment:
        """The compartment in which the vault at `path` would lie."""
        self._snapshot.refresh()
        tenancy = caller.principal.tenancy
        found = self._snapshot.directory.compartment(tenancy, tenancy)
        for name in path[:-1]:
            if found is None:
                break
            found = self._child(found, name)
        if found is None or not path:
            raise not_found("vault")
        return found

    def _child(self, above: Compartment, name: str) -> Compartment | None:
        directory, mark = self._snapshot.directory, (above.id, name.casefold())
        known = self._places_known.get(mark)
        if known is not None:
            found = directory.compartment(above.tenancy, CompartmentId(known))
            if found is not None and (found.parent, found.name.casefold()) == mark:
                return found
        for found in directory.compartments_of(above.tenancy):
            if (found.parent, found.name.casefold()) == mark:
                self._places_known[mark] = found.id
                return found
        return None

    # one decryption

    def decrypt_any(self, caller: Caller, key_id: str, blob: bytes, associated_data: bytes = b"") -> bytes:
        """Open what this key sealed, data or a data key, as far as it is permitted to open that.

        Raises: Unreadable, for every cause alike; Refusal.
        """
        entry = self._opening(caller, key_id, "Decrypt")
        try:
            opened = self._open_any(entry, blob, associated_data)
        except Refusal as refusal:
            self._guard.refuse(caller, "KEY_DECRYPT", entry.target, "Decrypt", self._said(entry, refusal))
        self._guard.record(caller, "KEY_DECRYPT", entry.target, "Decrypt", "allowed")
        return opened

    def decrypt_any_batch(self, caller: Caller, key_id: str, items: Sequence[Pair]) -> Batch[bytes]:
        """As `decrypt_any`, each (ciphertext, associated data)."""
        check_items(items)
        entry = self._opening(caller, key_id, "DecryptBatch")
        done: list[bytes | Refusal] = []
        for blob, associated in items:
            try:
                done.append(self._open_any(entry, blob, associated))
            except Refusal as refusal:
                done.append(refusal)
        return self._end(caller, entry, "KEY_DECRYPT", "DecryptBatch", done, False)

    def _opening(self, caller: Caller, key_id: str, operation: str) -> Entry:
        """The key as it is now, when it opens anything. Raises: Refusal (recorded)."""
        entry = self._entry(caller, key_id)
        self._guard.require(caller, "KEY_DECRYPT", entry.target, operation)
        entry = self._usable(caller, "KEY_DECRYPT", entry, operation, to="open")
        refusal = permits(entry.key, "decrypt")
        if refusal is not None and "unwrap" not in entry.abilities:
            self._guard.refuse(caller, "KEY_DECRYPT", entry.target, operation, refusal)
        return entry

    def _open_any(self, entry: Entry, blob: bytes, associated_data: bytes) -> bytes:
        material = self._keyring.material_of(entry, blob)
        for use, ability in _USES:
            if ability in entry.abilities:
                try:
                    return material.open(blob, self._keyring.binding(entry, use, associated_data))
                except Unreadable:
                    continue
        raise Unreadable

    # MACs

    def mac(self, caller: Caller, key_id: str, messages: Sequence[bytes], hashed: MacHash = "SHA256") -> Batch[bytes]:
        """The MAC of each message (64 KiB at most) with the current version.

        Whoever may sign with a key may do this. Keys whose operations are narrowed must permit `sign`.

        Raises:
            Refusal: not permitted, not usable, `WrongOperation` (not a software key), `TooLarge`.
        """

        def act(key: MacKey) -> list[bytes]:
            return [key.mac(message) for message in messages]

        return self._with_mac(caller, key_id, messages, hashed, 0, ("KEY_SIGN", "sign", "GenerateMac"), act)

    def verify_mac(
        self, caller: Caller, key_id: str, items: Sequence[Signed], hashed: MacHash = "SHA256", key_version: int = 0
    ) -> Batch[bool]:
        """Whether each (message, MAC) holds, with a version (0: the current one). Raises: as `mac`; `NotFound`."""

        def act(key: MacKey) -> list[bool]:
            return [key.matches(message, code) for message, code in items]

        messages = [message for message, _ in items]
        return self._with_mac(caller, key_id, messages, hashed, key_version, ("KEY_VERIFY", "verify", "VerifyMac"), act)

    def _with_mac(
        self,
        caller: Caller,
        key_id: str,
        messages: Sequence[bytes],
        hashed: MacHash,
        key_version: int,
        way: tuple[Permission, str, str],
        act: Callable[[MacKey], list[Any]],
    ) -> Batch[Any]:
        permission, ability, operation = way
        check_items(messages)
        for message in messages:
            check_size(message, "authenticated", "authenticate its digest")
        entry = self._entry(caller, key_id)
        self._guard.require(caller, permission, entry.target, operation)
        entry = self._usable(caller, permission, entry, operation)
        number = key_version or entry.key.current
        # As for every other use of a version: this refuses it when it is shut, destroyed, or none at all.
        self._version(caller, permission, entry, number, operation)
        try:
            material = self._mac_material(entry, number, ability)
            try:
                done = act(MacKey(material.reveal(), hashed))
            finally:
                material.wipe()
        except Refusal as refusal:
            self._guard.refuse(caller, permission, entry.target, operation, refusal)
        detail = {"items": str(len(done)), "hash": hashed, "key_version": str(number)}
        self._guard.record(caller, permission, entry.target, operation, "allowed", detail=detail)
        return Batch(done, 0, number)

    def _mac_material(self, entry: Entry, number: int, ability: str) -> Secret:
        key = entry.key
        if key.operations and ability not in key.operations:
            raise _narrowed(key, ability)
        if key.protection != "software":
            raise _not_in_software(key)
        version = entry.versions[number]
        stored = Stored(version.wrapped, version.public, version.fingerprint)
        return self._keyring.software.reveal(self._keyring.spec(key, number), stored)


def _narrowed(key: Key, ability: str) -> Refusal:
    return Refusal(
        "OperationNotPermitted",
        f"key {key.name!r} is not for MACs, as it does not permit to {ability}: it permits {', '.join(key.operations)}",
        hint=f"whoever may manage keys can widen that: keystead key update {key.name} --operations",
        kind="conflict",
    )


def check_items(items: Sequence[object]) -> None:
    """Raises: Refusal, none or too many."""
    if not 0 < len(items) <= MAX_ITEMS:
        raise Refusal("InvalidParameter", f"a batch has 1 to {MAX_ITEMS} items, not {len(items)}", hint="send several")


def _not_in_software(key: Key) -> Refusal:
    return Refusal(
        "WrongOperation",
        f"key {key.name!r} lies in its {key.protection} keystore, which makes no MACs",
        hint="make a software key for MACs",
        kind="conflict",
    )
