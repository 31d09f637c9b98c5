"""The keyring: vaults and keys of the region in memory, as of a generation, with cipher objects made on first use.

Keys are all there, or, when somebody can be asked for them (`ask`), those that were asked for.

Material is unwrapped only when a version is first used and lives only in the `Material` that its keystore made of
it. When a key or its vault changes in any way its cipher objects go, so those of a disabled key do not stay.

    vault-store key (of the root) -> material of keys in shared vaults
                                  -> wrapping key of each private vault -> material of the keys in it
"""

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

from keystead.core.errors import Fault, KeystoreUnavailable, Refusal, Unreadable
from keystead.core.secret import Secret
from keystead.crypto import kdf
from keystead.crypto.envelope import KEY_BYTES, Binding, Kek, peek
from keystead.crypto.suites import CURRENT
from keystead.iam.directory import Directory
from keystead.iam.model import Caller, Target
from keystead.iam.policy.variables import tag_attributes
from keystead.vault.memory.software import SoftwareKeystore
from keystead.vault.model import Key, KeyVersion, Protection, Vault
from keystead.vault.networks import Fence, fence_of
from keystead.vault.ports import KeyChanges, KeySpec, Keystore, Material, Stored

SEALING_KEY = "vault-store"
Waits = Literal["", "slow", "hsm", "external"]


class VersionShut(Refusal):
    """A version that is disabled, on its way to deletion, or older than the key's minimum."""

    def __init__(self, name: str, number: int) -> None:
        super().__init__("KeyNotUsable", f"version {number} of key {name!r} may not be used", kind="conflict")
        self.number = number


@dataclass(slots=True)
class Entry:
    """One key: what it is, where it lies for the Guard, and its versions.

    `waits`: using it takes so long, or may wait so long for the keystore that is named, that it must not be done on an
    event loop; empty: neither. `abilities`: what
    its algorithm can, narrowed by the operations it permits. `shut`: versions that may not be used, whatever the time.
    """

    key: Key
    target: Target
    delegate: Target
    versions: dict[int, KeyVersion] = field(default_factory=dict)
    waits: Waits = ""
    abilities: frozenset[str] = frozenset()
    shut: frozenset[int] = frozenset()
    materials: dict[int, Material] = field(default_factory=dict, repr=False)
    bindings: dict[str, Binding] = field(default_factory=dict, repr=False)


class Keyring:
    """Keys by id; material bound to key, version, tenancy and region under the region's vault-store key, or under
    that of a private vault.
    """

    def __init__(
        self, store_key: Secret, directory: Directory, region: str, keystores: Iterable[Keystore] = ()
    ) -> None:
        """`keystores`: where keys lie that are not kept in software; more may `join`, before any key is known."""
        self._sealing = Kek(store_key.reveal(), SEALING_KEY, 1)
        self._directory = directory
        self._region = region
        self._entries: dict[str, Entry] = {}
        self._find: Callable[[str], None] | None = None
        self._find_all: Callable[[], None] | None = None
        self._vaults: dict[str, Vault] = {}
        self._vault_keks: dict[str, Kek] = {}
        self._fences: dict[str, Fence] = {}
        fingerprints = Secret(kdf.subkey(store_key.reveal(), "material-fingerprint"))
        self._backups = Secret(kdf.subkey(store_key.reveal(), "key-backup"))
        self._carried: tuple[Secret, ...] = ()
        self.software = SoftwareKeystore(self.sealing_of, fingerprints, region)
        self._keystores: dict[Protection, Keystore] = {"software": self.software}
        self._keystores.update((keystore.protection, keystore) for keystore in keystores)

    @property
    def fingerprints(self) -> Secret:
        """The key of material's fingerprints: the same under every root key that the region has had."""
        return self.software.known_by

    @property
    def backup_roots(self) -> tuple[Secret, ...]:
        """What backups of keys are encrypted under: that of now, then those of earlier root keys, newest first."""
        return (self._backups, *self._carried)

    def carry(self, fingerprints: Secret | None, backups: Iterable[Secret]) -> None:
        """Go on with what earlier root keys left. Before any key is known."""
        if fingerprints is not None:
            self.software.known_by = fingerprints
        self._carried = tuple(backups)

    def vault_key_for(self, tenancy: str, vault: str, wrapped: bytes, other: "Keyring") -> bytes:
        """A private vault's wrapping key, wrapped for the same region under another root key. Raises: Unreadable."""
        binding = self._vault_binding(tenancy, vault)
        return other._sealing.seal(self._sealing.open(wrapped, binding), binding)

    def join(self, keystore: Keystore) -> None:
        """One more place where keys lie."""
        self._keystores[keystore.protection] = keystore

    def ask(self, find: Callable[[str], None], find_all: Callable[[], None]) -> None:
        """Hold only keys that are asked for: `find` gives one that is not held to `take`, `find_all` all of them."""
        self._find, self._find_all = find, find_all

    def apply(self, changes: KeyChanges) -> None:
        """Take over what changed. A key appears together with its versions: others read meanwhile."""
        for vault in changes.vaults:
            self._put_vault(vault)
        keys, versions = changes.keys, changes.versions
        if self._find is not None:  # who asks for another one gets it as it is then
            keys = [key for key in keys if key.id in self._entries]
            versions = [version for version in versions if version.key in self._entries]
        self._put(keys, versions)

    def take(self, found: KeyChanges) -> None:
        """Hold these keys, but for those that are held already."""
        self._put(
            [key for key in found.keys if key.id not in self._entries],
            [version for version in found.versions if version.key not in self._entries],
        )

    def _put(self, keys: Iterable[Key], changed: Iterable[KeyVersion]) -> None:
        fresh: dict[str, dict[int, KeyVersion]] = {}
        for version in changed:
            fresh.setdefault(version.key, {})[version.number] = version
        for key in keys:
            had = self._entries.get(key.id)
            versions = (had.versions if had else {}) | fresh.pop(key.id, {})
            self._entries[key.id] = self._entry(key, versions)
        for key_id, versions in fresh.items():
            entry = self._entries.get(key_id)
            if entry is None:
                raise Fault("Inconsistent", "a key version without its key")
            self._entries[key_id] = self._entry(entry.key, entry.versions | versions)

    def get(self, key_id: str) -> Entry | None:
        """A key; None when there is none. Raises: Unavailable, it would have to be read and cannot be."""
        found = self._entries.get(key_id)
        if found is None and self._find is not None:
            self._find(key_id)
            found = self._entries.get(key_id)
        return found

    def vault(self, vault_id: str) -> Vault | None:
        """A vault; None for the one that service-managed keys lie in, which is none."""
        return self._vaults.get(vault_id)

    def unreached(self, caller: Caller, target: Target) -> str:
        """Why the caller does not reach a vault, or the vault of a key, from where it comes; empty when it does."""
        if not self._fences:
            return ""
        fence = self._fences.get(target.attributes.get("vault.id", ""))
        return "" if fence is None else fence.why_not(caller)

    def reaches(self, caller: Caller, vault: str) -> bool:
        """Whether the caller reaches a vault from where it comes: for lists, which leave out what it does not."""
        fence = self._fences.get(vault)
        return fence is None or not fence.why_not(caller)

    def __len__(self) -> int:
        return len(self._entries)

    def entries(self) -> Iterable[Entry]:
        """Every key; where they are read on demand, all of them are read now. Raises: Unavailable."""
        if self._find_all is not None:
            self._find_all()
        return tuple(self._entries.values())  # others may add one while it is walked

    def provisional(self, key: Key, first: KeyVersion) -> Entry:
        """An entry for a key that is about to be stored; the ring does not hold it."""
        return self._entry(key, {first.number: first})

    def material(self, entry: Entry, number: int) -> Material:
        """One version ready for use.

        Raises:
            VersionShut: it may not be used, whatever the time; so no cipher object of it is ever made.
            Unreadable: no such version, it is destroyed, or its material does not open.
            Unavailable: its keystore does not answer.
        """
        found = entry.materials.get(number)
        if found is None:
            version = entry.versions.get(number)
            if number in entry.shut:
                raise VersionShut(entry.key.name, number)
            if version is None or not version.wrapped:
                raise Unreadable
            stored = Stored(version.wrapped, version.public, version.fingerprint)
            found = self.keystore(entry.key.protection).use(self.spec(entry.key, number), stored)
            entry.materials[number] = found
        return found

    def material_of(self, entry: Entry, blob: bytes) -> Material:
        """The version that `blob` names, ready for use. Raises: as `material`; Unreadable, it names another key."""
        current = entry.materials.get(entry.key.current)
        if current is not None and current.sealed(blob):
            return current
        header = peek(blob)
        if header.key_id != entry.key.id:
            raise Unreadable
        return self.material(entry, header.key_version)

    def binding(self, entry: Entry, use: str, associated_data: bytes) -> Binding:
        """What customers' ciphertexts made with a key for one use are bound to."""
        if associated_data:
            return Binding(use, entry.key.tenancy, self._region, "", entry.key.id, associated_data)
        found = entry.bindings.get(use)
        if found is None:
            found = entry.bindings[use] = Binding(use, entry.key.tenancy, self._region, "", entry.key.id)
        return found

    def keystore(self, protection: Protection) -> Keystore:
        """Where keys of this protection live. Raises: Unavailable, this process has none."""
        found = self._keystores.get(protection)
        if found is None:
            raise KeystoreUnavailable(
                "NoKeystore", f"there is no keystore for keys of protection {protection}", hint=f"see [{protection}]"
            )
        return found

    def known(self, entry: Entry, number: int | None) -> KeystoreUnavailable | None:
        """What stands against using a version (None: the current one) where it lies, as far as known. Never waits."""
        version = entry.versions.get(entry.key.current if number is None else number)
        if version is None or not version.wrapped:
            return None  # others say so
        stored = Stored(version.wrapped, version.public, version.fingerprint)
        try:
            return self.keystore(entry.key.protection).known(self.spec(entry.key, version.number), stored)
        except KeystoreUnavailable as none:
            return none
        except Refusal as refusal:
            return KeystoreUnavailable("KeystoreRefused", refusal.message, hint=refusal.hint)

    def spec(self, key: Key, number: int) -> KeySpec:
        """How keystores name a version."""
        return KeySpec(key.tenancy, key.vault, key.id, number, key.algorithm)

    def generate(self, key: Key, number: int) -> Stored:
        """Make a version of `key` in its keystore. Raises: Refusal, Unavailable."""
        return self.keystore(key.protection).generate(self.spec(key, number))

    def backup_key(self, tenancy: str) -> Secret:
        """What backups of a tenancy's keys are encrypted under: the same wherever the root key is."""
        return Secret(kdf.subkey(self._backups.reveal(), "tenancy", tenancy.encode()))

    def backup_keys(self, tenancy: str) -> tuple[Secret, ...]:
        """`backup_key`, and those of earlier root keys: for backups that there are already."""
        return tuple(Secret(kdf.subkey(each.reveal(), "tenancy", tenancy.encode())) for each in self.backup_roots)

    def new_vault_key(self, tenancy: str, vault: str) -> bytes:
        """A wrapping key for a private vault, wrapped for its row."""
        return self._sealing.seal(secrets.token_bytes(KEY_BYTES), self._vault_binding(tenancy, vault))

    def sealing_of(self, vault: str) -> Kek:
        """What wraps the software keys of a vault. Raises: Unreadable, the private vault's key does not open."""
        found = self._vault_keks.get(vault)
        if found is None:
            home = self._vaults.get(vault)
            if home is None or home.kind == "shared":
                return self._sealing
            opened = self._sealing.open(home.wrapped, self._vault_binding(home.tenancy, home.id))
            found = self._vault_keks[vault] = Kek(opened, home.id, 1)
        return found

    def _put_vault(self, vault: Vault) -> None:
        if self._vaults.get(vault.id) is not None:
            self._vault_keks.pop(vault.id, None)
            for entry in self._entries.values():
                if entry.key.vault == vault.id:
                    entry.materials.clear()
        self._vaults[vault.id] = vault
        fence = fence_of(vault)
        if fence is not None:
            self._fences[vault.id] = fence
        else:
            self._fences.pop(vault.id, None)

    def _vault_binding(self, tenancy: str, vault: str) -> Binding:
        return Binding("vault-key", tenancy, self._region, vault, SEALING_KEY)

    def _entry(self, key: Key, versions: dict[int, KeyVersion]) -> Entry:
        suite, keystore = CURRENT[key.algorithm], self._keystores.get(key.protection)
        waits: Waits = "slow" if suite.slow or keystore is None else ""
        if keystore is not None and keystore.blocks and key.protection != "software":
            waits = key.protection
        abilities = frozenset(suite.operations).intersection(key.operations or suite.operations)
        shut = frozenset(
            number for number, each in versions.items() if each.state != "ENABLED" or number < key.minimum_version
        )
        return Entry(key, *self._targets(key), versions, waits, abilities, shut)

    def _targets(self, key: Key) -> tuple[Target, Target]:
        place = self._directory.compartment(key.tenancy, key.compartment)
        path = place.path if place is not None else ()
        attributes = {"key.id": key.id, "key.name": key.name, "vault.id": key.vault, **tag_attributes(key.tags)}
        if key.managed_by:
            attributes["key.managed-by"] = key.managed_by
        return (
            Target("keys", key.id, key.name, key.tenancy, path, attributes),
            Target("key-delegate", key.id, key.name, key.tenancy, path, attributes),
        )
