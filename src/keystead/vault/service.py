"""The vault's public face: vaults, keys, their states, and cryptography with them.

Every method takes `caller` first and passes the Guard. Raw key material never leaves; ciphertexts are envelopes that
name key and version and are bound to tenancy, region, key, purpose and the caller's associated data.

Permissions are those of OCI: KEY_ENCRYPT and KEY_DECRYPT for people and applications; a resource such as a database
system uses keys by KEY_ASSOCIATE (`use key-delegate`), checked at association and at every use.
"""

import secrets
from dataclasses import dataclass, field, replace
from typing import Literal

from keystead.core.clock import Clock, isoformat
from keystead.core.errors import Refusal, Unreadable, not_found
from keystead.core.ids import CompartmentId, KeyId, KeyVersionId, VaultId, new_id, parse_id
from keystead.core.page import Page, PageRequest, cut
from keystead.core.secret import Secret
from keystead.iam.guard import Guard
from keystead.iam.model import Caller, Compartment, Target
from keystead.iam.names import check_name
from keystead.iam.service import check_version, stale, taken
from keystead.vault.keyring import Entry, Keyring
from keystead.vault.lifecycle import KeyMove, after
from keystead.vault.model import Algorithm, Key, KeyVersion, Protection, Vault
from keystead.vault.ports import VaultStore
from keystead.vault.snapshot import Snapshot

MAX_PLAINTEXT = 64 * 1024
KEY_BYTES = 32
Use = Literal["customer-data", "customer-key"]


@dataclass(frozen=True, slots=True)
class Ciphertext:
    """An envelope and the version that made it."""

    blob: bytes
    key_version: int


@dataclass(frozen=True, slots=True)
class DataKey:
    """A fresh data key: wrapped, and in clear when that was asked for."""

    blob: bytes
    key_version: int
    plaintext: bytes | None = field(default=None, repr=False)


class Vaults:
    """Vaults and keys."""

    def __init__(self, guard: Guard, snapshot: Snapshot, store: VaultStore, clock: Clock, region: str) -> None:
        self._guard = guard
        self._snapshot = snapshot
        self._keyring: Keyring = snapshot.keyring
        self._store = store
        self._clock = clock
        self._region = region

    # vaults

    def create_vault(self, caller: Caller, compartment: str, name: str, protection: Protection = "software") -> Vault:
        place = self._place(caller, compartment)
        check_name(name, "vault")
        new = VaultId(new_id("vault", self._region))
        target = Target("vaults", new, name, place.tenancy, place.path, {"vault.id": new})
        entry = self._guard.permit_change(caller, "VAULT_CREATE", target, "CreateVault")
        now = self._clock.now()
        vault = Vault(new, place.tenancy, place.id, name, protection, now, caller.principal.name, now)
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
        with self._store.read() as tx:
            return cut(tx.vault.vaults(place.tenancy, place.id, page, name), page.limit, lambda item: item.name)

    # keys

    def create_key(
        self, caller: Caller, compartment: str, vault: str, name: str, algorithm: Algorithm = "AES-256"
    ) -> Key:
        """A new enabled key with its first version."""
        place = self._place(caller, compartment)
        home, at_vault = self._vault(caller, vault)
        check_name(name, "key")
        new = KeyId(new_id("key", self._region))
        target = Target("keys", new, name, place.tenancy, place.path, {"key.name": name, "vault.id": home.id})
        self._guard.require(caller, "VAULT_CREATE_KEY", at_vault, "CreateKey")
        entry = self._guard.permit_change(caller, "KEY_CREATE", target, "CreateKey", {"algorithm": algorithm})
        key, first = self.new_key(caller, place, home.id, name, new)
        with self._store.write(entry) as tx:
            if tx.vault.keys(place.tenancy, place.id, PageRequest(1), name):
                raise taken("key", name)
            tx.vault.add_key(key, first)
        return key

    def new_key(
        self, caller: Caller, place: Compartment, vault: VaultId, name: str, key_id: KeyId, managed_by: str = ""
    ) -> tuple[Key, KeyVersion]:
        """A fresh key and its first version, not stored yet: for a transaction of the caller's own."""
        now = self._clock.now()
        key = Key(
            id=key_id,
            tenancy=place.tenancy,
            compartment=place.id,
            vault=vault,
            name=name,
            algorithm="AES-256",
            state="ENABLED",
            current=1,
            created_at=now,
            changed_by=caller.principal.name,
            changed_at=now,
            managed_by=managed_by,
        )
        return key, self._new_version(key, 1)

    def get_key(self, caller: Caller, key_id: str) -> Key:
        entry = self._entry(caller, key_id)
        self._guard.permit(caller, "KEY_READ", entry.target, "GetKey")
        return self._current(entry).key

    def list_keys(self, caller: Caller, compartment: str, page: PageRequest, name: str | None = None) -> Page[Key]:
        place = self._place(caller, compartment)
        target = Target("keys", place.id, place.name, place.tenancy, place.path)
        self._guard.permit(caller, "KEY_INSPECT", target, "ListKeys")
        with self._store.read() as tx:
            return cut(tx.vault.keys(place.tenancy, place.id, page, name), page.limit, lambda item: item.name)

    def list_versions(self, caller: Caller, key_id: str, page: PageRequest) -> Page[KeyVersion]:
        entry = self._entry(caller, key_id)
        self._guard.permit(caller, "KEY_READ", entry.target, "ListKeyVersions")
        entry = self._current(entry)
        since = int(page.after) if page.after and page.after.isdigit() else 0
        newer = [version for number, version in sorted(entry.versions.items()) if number > since]
        return cut(newer[: page.limit + 1], page.limit, lambda item: str(item.number))

    def enable(self, caller: Caller, key_id: str, if_match: int | None = None) -> Key:
        """Let the key be used again. What was fenced because of it heals by itself."""
        return self._move(caller, key_id, "enable", "EnableKey", if_match)

    def disable(self, caller: Caller, key_id: str, if_match: int | None = None) -> Key:
        """Take the key away from everything that uses it: refused from the next request on, systems are fenced."""
        return self._move(caller, key_id, "disable", "DisableKey", if_match)

    def rotate(self, caller: Caller, key_id: str, if_match: int | None = None) -> Key:
        """A new current version. Older ones open what they sealed and seal nothing any more."""
        entry = self._entry(caller, key_id)
        record = self._guard.permit_change(caller, "KEY_ROTATE", entry.target, "RotateKey")
        key = self._usable(caller, "KEY_ROTATE", entry, "RotateKey").key
        check_version(key.version, if_match)
        changed = replace(key, current=key.current + 1, version=key.version + 1)
        version = self._new_version(changed, changed.current)
        with self._store.write(record) as tx:
            if not tx.vault.change_key(key, changed):
                raise stale()
            tx.vault.add_version(changed, version)
        return changed

    # cryptography for people and applications

    def encrypt(self, caller: Caller, key_id: str, plaintext: bytes, associated_data: bytes = b"") -> Ciphertext:
        """Encrypt at most 64 KiB. Raises: Refusal (too large, key disabled, not permitted)."""
        return self._seal(caller, key_id, plaintext, associated_data, "customer-data", "Encrypt")

    def decrypt(self, caller: Caller, key_id: str, blob: bytes, associated_data: bytes = b"") -> bytes:
        """Open what `encrypt` made. Raises: Unreadable, for every cause alike."""
        return self._open(caller, key_id, blob, associated_data, "customer-data", "Decrypt")

    def wrap(self, caller: Caller, key_id: str, material: bytes, associated_data: bytes = b"") -> Ciphertext:
        """Encrypt a key of the caller's. What was wrapped opens with `unwrap` only."""
        return self._seal(caller, key_id, material, associated_data, "customer-key", "Wrap")

    def unwrap(self, caller: Caller, key_id: str, blob: bytes, associated_data: bytes = b"") -> bytes:
        """Open what `wrap` or `generate_data_key` made: the hot path."""
        return self._open(caller, key_id, blob, associated_data, "customer-key", "Unwrap")

    def rewrap(self, caller: Caller, key_id: str, blob: bytes, associated_data: bytes = b"") -> Ciphertext:
        """Wrap under the current version what any version wrapped, without showing it."""
        entry = self._entry(caller, key_id)
        self._guard.require(caller, "KEY_DECRYPT", entry.target, "Rewrap")
        self._guard.require(caller, "KEY_ENCRYPT", entry.target, "Rewrap")
        entry = self._usable(caller, "KEY_DECRYPT", entry, "Rewrap")
        made = None
        for use in ("customer-key", "customer-data"):
            binding = self._keyring.binding(entry, use, associated_data)
            try:
                material = self._keyring.kek_of(entry, blob).open(blob, binding)
            except Unreadable:
                continue
            made = self._keyring.kek(entry, entry.key.current).seal(material, binding)
            break
        if made is None:
            self._guard.refuse(caller, "KEY_DECRYPT", entry.target, "Rewrap", Unreadable())
        self._guard.record(caller, "KEY_DECRYPT", entry.target, "Rewrap", "allowed")
        return Ciphertext(made, entry.key.current)

    def generate_data_key(
        self, caller: Caller, key_id: str, associated_data: bytes = b"", *, plaintext_wanted: bool = True
    ) -> DataKey:
        """A fresh 32-byte data key, wrapped; in clear too when wanted."""
        material = secrets.token_bytes(KEY_BYTES)
        sealed = self._seal(caller, key_id, material, associated_data, "customer-key", "GenerateDataKey")
        return DataKey(sealed.blob, sealed.key_version, material if plaintext_wanted else None)

    # what the rest of Keystead builds upon

    def entry_of(self, caller: Caller, key_id: str) -> Entry:
        """The key as the keyring has it, in the caller's tenancy. Guards nothing by itself."""
        return self._entry(caller, key_id)

    def _seal(
        self, caller: Caller, key_id: str, plaintext: bytes, associated_data: bytes, use: Use, operation: str
    ) -> Ciphertext:
        if len(plaintext) > MAX_PLAINTEXT:
            raise Refusal(
                "TooLarge",
                f"at most {MAX_PLAINTEXT} bytes can be encrypted at once",
                hint="generate a data key and encrypt with that",
                kind="too_large",
            )
        entry = self._entry(caller, key_id)
        self._guard.require(caller, "KEY_ENCRYPT", entry.target, operation)
        entry = self._usable(caller, "KEY_ENCRYPT", entry, operation)
        version = entry.key.current
        blob = self._keyring.kek(entry, version).seal(plaintext, self._keyring.binding(entry, use, associated_data))
        self._guard.record(caller, "KEY_ENCRYPT", entry.target, operation, "allowed")
        return Ciphertext(blob, version)

    def _open(
        self, caller: Caller, key_id: str, blob: bytes, associated_data: bytes, use: Use, operation: str
    ) -> bytes:
        entry = self._entry(caller, key_id)
        self._guard.require(caller, "KEY_DECRYPT", entry.target, operation)
        entry = self._usable(caller, "KEY_DECRYPT", entry, operation)
        try:
            opened = self._keyring.kek_of(entry, blob).open(blob, self._keyring.binding(entry, use, associated_data))
        except Unreadable as refusal:
            self._guard.refuse(caller, "KEY_DECRYPT", entry.target, operation, refusal)
        self._guard.record(caller, "KEY_DECRYPT", entry.target, operation, "allowed")
        return opened

    def _current(self, entry: Entry) -> Entry:
        """The key as of the Guard's look at the generation."""
        return self._keyring.get(entry.key.id) or entry

    def _usable(self, caller: Caller, permission: str, entry: Entry, operation: str) -> Entry:
        """The key as it is after the Guard's look at the generation, when it may be used in that state."""
        current = self._current(entry)
        if current.key.state != "ENABLED":
            self._guard.refuse(caller, permission, current.target, operation, unusable(current.key))
        return current

    def _move(self, caller: Caller, key_id: str, move: KeyMove, operation: str, if_match: int | None) -> Key:
        entry = self._entry(caller, key_id)
        record = self._guard.permit_change(caller, "KEY_UPDATE", entry.target, operation)
        key = self._current(entry).key
        check_version(key.version, if_match)
        try:
            state = after(key.state, move, key.name)
        except Refusal as refusal:
            self._guard.refuse(caller, "KEY_UPDATE", entry.target, operation, refusal)
        changed = replace(
            key, state=state, changed_by=caller.principal.name, changed_at=self._clock.now(), version=key.version + 1
        )
        with self._store.write(record, reserve=move == "disable") as tx:
            if not tx.vault.change_key(key, changed):
                raise stale()
        return changed

    def _new_version(self, key: Key, number: int) -> KeyVersion:
        material = Secret(secrets.token_bytes(KEY_BYTES))
        wrapped = self._keyring.seal_material(key, number, material)
        material.wipe()
        return KeyVersion(KeyVersionId(new_id("keyversion", self._region)), key.id, number, wrapped, self._clock.now())

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
