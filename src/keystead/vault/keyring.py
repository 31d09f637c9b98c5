"""The keyring: every key of the region in memory, as of a generation, with its cipher objects made on first use.

Material is unwrapped only when a version is first used and lives only in `Kek` objects. When a key changes in any way
its entry is replaced, so the cipher objects of a disabled key go with it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from keystead.core.errors import Fault, Unreadable
from keystead.core.secret import Secret
from keystead.crypto.envelope import Binding, Kek, peek
from keystead.iam.directory import Directory
from keystead.iam.model import Target
from keystead.vault.model import Key, KeyVersion
from keystead.vault.ports import KeyChanges

SEALING_KEY = "vault-store"


@dataclass(slots=True)
class Entry:
    """One key: what it is, where it lies for the Guard, and its versions."""

    key: Key
    target: Target
    delegate: Target
    versions: dict[int, KeyVersion] = field(default_factory=dict)
    keks: dict[int, Kek] = field(default_factory=dict, repr=False)
    bindings: dict[str, Binding] = field(default_factory=dict, repr=False)


class Keyring:
    """Keys by id; material bound to key, version, tenancy and region under the region's vault-store key."""

    def __init__(self, store_key: Secret, directory: Directory, region: str) -> None:
        self._sealing = Kek(store_key.reveal(), SEALING_KEY, 1)
        self._directory = directory
        self._region = region
        self._entries: dict[str, Entry] = {}

    def apply(self, changes: KeyChanges) -> None:
        """Take over what changed. A key appears together with its versions: others read meanwhile."""
        fresh: dict[str, dict[int, KeyVersion]] = {}
        for version in changes.versions:
            fresh.setdefault(version.key, {})[version.number] = version
        for key in changes.keys:
            had = self._entries.get(key.id)
            versions = (had.versions if had else {}) | fresh.pop(key.id, {})
            self._entries[key.id] = Entry(key, *self._targets(key), versions=versions)
        for key_id, versions in fresh.items():
            entry = self._entries.get(key_id)
            if entry is None:
                raise Fault("Inconsistent", "a key version without its key")
            entry.versions.update(versions)

    def get(self, key_id: str) -> Entry | None:
        return self._entries.get(key_id)

    def __len__(self) -> int:
        return len(self._entries)

    def entries(self) -> Iterable[Entry]:
        return tuple(self._entries.values())  # others may add one while it is walked

    def provisional(self, key: Key, first: KeyVersion) -> Entry:
        """An entry for a key that is about to be stored; the ring does not hold it."""
        return Entry(key, *self._targets(key), versions={first.number: first})

    def kek(self, entry: Entry, number: int) -> Kek:
        """The cipher object of one version. Raises: Unreadable (no such version, or its material does not open)."""
        found = entry.keks.get(number)
        if found is None:
            version = entry.versions.get(number)
            if version is None:
                raise Unreadable
            found = Kek(self._sealing.open(version.wrapped, self._binding(entry.key, number)), entry.key.id, number)
            entry.keks[number] = found
        return found

    def kek_of(self, entry: Entry, blob: bytes) -> Kek:
        """The cipher object of the version that `blob` names. Raises: Unreadable (another key's, or none at all)."""
        current = entry.keks.get(entry.key.current)
        if current is not None and current.sealed(blob):
            return current
        header = peek(blob)
        if header.key_id != entry.key.id:
            raise Unreadable
        return self.kek(entry, header.key_version)

    def binding(self, entry: Entry, use: str, associated_data: bytes) -> Binding:
        """What customers' ciphertexts made with a key for one use are bound to."""
        if associated_data:
            return Binding(use, entry.key.tenancy, self._region, "", entry.key.id, associated_data)
        found = entry.bindings.get(use)
        if found is None:
            found = entry.bindings[use] = Binding(use, entry.key.tenancy, self._region, "", entry.key.id)
        return found

    def seal_material(self, key: Key, number: int, material: Secret) -> bytes:
        """Wrap the material of a new version for the store."""
        return self._sealing.seal(material.reveal(), self._binding(key, number))

    def _binding(self, key: Key, number: int) -> Binding:
        return Binding("key-material", key.tenancy, self._region, f"{key.id}/{number}", SEALING_KEY)

    def _targets(self, key: Key) -> tuple[Target, Target]:
        place = self._directory.compartment(key.tenancy, key.compartment)
        path = place.path if place is not None else ()
        attributes = {"key.id": key.id, "key.name": key.name, "vault.id": key.vault}
        if key.managed_by:
            attributes["key.managed-by"] = key.managed_by
        return (
            Target("keys", key.id, key.name, key.tenancy, path, attributes),
            Target("key-delegate", key.id, key.name, key.tenancy, path, attributes),
        )
