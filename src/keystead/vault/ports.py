"""What the vault needs from outside: its rows, its hot reads, freshness, and the keystores that hold material.

A keystore is where keys of one protection live. It makes a version and hands back what the vault's rows keep of it
(`Stored`); with that it makes a `Material`, the version ready for use, which the keyring caches.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from keystead.audit.model import Entry
from keystead.core.errors import KeystoreUnavailable
from keystead.core.page import PageRequest
from keystead.core.secret import Secret
from keystead.crypto.envelope import Binding
from keystead.crypto.suites import Algorithm
from keystead.iam.ports import IdentityChanges
from keystead.vault.insight.inventory import Copy, Need
from keystead.vault.insight.usage import Use
from keystead.vault.model import Key, KeyVersion, Protection, Vault
from keystead.vault.transfer.wrapping import WrappingKey


@dataclass(frozen=True, slots=True)
class KeySpec:
    """Which version of which key, as keystores name it. `key` and `number` are written into every envelope."""

    tenancy: str
    vault: str
    key: str
    number: int
    algorithm: Algorithm


@dataclass(frozen=True, slots=True)
class Stored:
    """What the rows keep of one version.

    reference: software: the material in an envelope; hsm: the token object's id; external: the remote key's name and
    version. public: SPKI DER of an asymmetric key, else empty. fingerprint: a keyed hash of the material (of the public
    half where there is one), by which it is known again after it was destroyed; empty when the material was never here.
    """

    reference: bytes = field(repr=False)
    public: bytes = b""
    fingerprint: bytes = field(default=b"", repr=False)


class Material(Protocol):
    """One version of a key, ready for use. Thread-safe. What its algorithm cannot is refused: `WrongOperation`."""

    def seal(self, plaintext: bytes, binding: Binding, /) -> bytes:
        """An envelope that names key and version. Raises: Refusal, Unavailable (the keystore does not answer)."""
        ...

    def sealed(self, blob: bytes, /) -> bool:
        """Whether `blob` says that this version made it; nothing of that is authenticated."""
        ...

    def open(self, blob: bytes, binding: Binding, /) -> bytes:
        """What `seal` was given. Raises: Unreadable (every cause alike), Unavailable (the keystore does not answer)."""
        ...

    def sign(self, message: bytes, scheme: str = "", /, *, digest: bool = False) -> bytes:
        """By one of the algorithm's schemes, or its usual one; with `digest`, `message` is the digest already."""
        ...

    def verify(self, message: bytes, signature: bytes, scheme: str = "", /, *, digest: bool = False) -> bool:
        """Whether it is this version's signature."""
        ...


class Keystore(Protocol):
    """Where the keys of one protection live.

    `blocks`: calls may wait for a token or for the network; then they run in a pool, never on an event loop.
    """

    @property
    def protection(self) -> Protection: ...
    @property
    def blocks(self) -> bool: ...
    @property
    def algorithms(self) -> frozenset[str]: ...

    def generate(self, spec: KeySpec, /) -> Stored:
        """Make a version. Raises: Refusal (not this algorithm), Unavailable."""
        ...

    def add(self, spec: KeySpec, material: Secret, /) -> Stored:
        """Take over a version made elsewhere. Raises: Refusal (`InvalidKey`, ...), Unavailable."""
        ...

    def use(self, spec: KeySpec, stored: Stored, /) -> Material:
        """The version ready for use. Raises: Unreadable (not what this keystore stored), Unavailable."""
        ...

    def destroy(self, spec: KeySpec, stored: Stored, /) -> None:
        """Destroy it, as far as it is not in the rows. Done twice, it is done once. Raises: Unavailable."""
        ...

    def known(self, spec: KeySpec, stored: Stored, /) -> KeystoreUnavailable | None:
        """What stands against using the version, as far as is known; never waits. It is found out meanwhile.

        `KeystoreDown`: nothing is known of the key itself. Any other code: the keystore answers, and will not.
        """
        ...


@dataclass(frozen=True, slots=True)
class KeyChanges:
    """Vaults, keys and versions that changed since a generation."""

    keys: Sequence[Key] = ()
    versions: Sequence[KeyVersion] = ()
    vaults: Sequence[Vault] = ()


@dataclass(frozen=True, slots=True)
class Changes:
    """Everything the hot path reads that changed, and the generation (and its time of commit) it brings one to."""

    generation: int
    at: datetime
    identity: IdentityChanges
    vault: KeyChanges


class Freshness(Protocol):
    """Tells a reader whether what it holds is current (law 5)."""

    def generation(self) -> int:
        """The region's generation, now.

        Raises:
            Unavailable: it cannot be learnt; the caller must refuse.
        """
        ...

    def changes(self, since: int, *, keys: bool = True) -> Changes:
        """What is newer than `since` (0: everything); without `keys`, none of them. Raises: Unavailable."""
        ...

    def key(self, key_id: str) -> KeyChanges:
        """One key with its versions, as committed now; nothing when there is none. Raises: Unavailable."""
        ...


class VaultRows(Protocol):
    """The vault's rows in one transaction. Updates are compare-and-set and say whether they took place."""

    def add_vault(self, vault: Vault) -> None: ...
    def vault(self, tenancy: str, vault_id: str) -> Vault | None: ...
    def vaults(self, tenancy: str, compartment: str, page: PageRequest, name: str | None) -> Sequence[Vault]: ...
    def change_vault(self, before: Vault, after: Vault) -> bool: ...
    def add_key(self, key: Key, first: KeyVersion) -> None: ...
    def key(self, tenancy: str, key_id: str) -> Key | None: ...
    def managed_key(self, tenancy: str, manager: str) -> Key | None: ...
    def keys(self, tenancy: str, compartment: str, page: PageRequest, name: str | None) -> Sequence[Key]: ...
    def change_key(self, before: Key, after: Key) -> bool: ...
    def add_version(self, key: Key, version: KeyVersion) -> None: ...
    def change_version(self, key: Key, before: KeyVersion, after: KeyVersion) -> bool: ...
    def version(self, tenancy: str, version_id: str) -> KeyVersion | None: ...
    def versions(self, tenancy: str, key_id: str) -> Sequence[KeyVersion]: ...
    def key_count(self, vault: Vault) -> int:
        """How many keys of the vault are not purged."""
        ...

    def protected_days(self, vault: Vault) -> int:
        """The longest retention of a key in the vault that is protected against purging; 0 when none is."""
        ...

    def destroy_versions(self, key: Key, *, overwrite: bool) -> None:
        """Mark every version of the key destroyed; `overwrite`: what is kept of it is its material."""
        ...

    def of_material(self, tenancy: str, fingerprint: bytes) -> Sequence[tuple[Key, KeyVersion]]:
        """Versions, with their keys, that have or had the material of this fingerprint."""
        ...

    def keys_in(self, vault: Vault) -> Sequence[Key]: ...
    def due_keys(self, now: datetime, expiring_before: datetime) -> Sequence[Key]:
        """Keys with a deadline that has passed, or an expiry before that moment that is not announced to the end."""
        ...

    def due_versions(self, now: datetime) -> Sequence[tuple[Key, KeyVersion]]:
        """Versions whose deletion is due."""
        ...

    def undestroyed(self) -> Sequence[tuple[Key, KeyVersion]]:
        """Destroyed versions of which a keystore may still hold the material."""
        ...

    def due_vaults(self, now: datetime) -> Sequence[Vault]: ...
    def add_wrapping_key(self, key: WrappingKey) -> None: ...
    def wrapping_key(self, tenancy: str, wrapping_key_id: str) -> WrappingKey | None: ...
    def change_wrapping_key(self, before: WrappingKey, after: WrappingKey) -> bool: ...
    def open_wrapping_keys(self, vault: Vault) -> int:
        """How many wrapping keys of the vault are not used up."""
        ...

    def due_wrapping_keys(self, now: datetime) -> Sequence[WrappingKey]:
        """Wrapping keys whose time is over, and whose private half is there yet."""
        ...


class VaultTx(Protocol):
    """A transaction as the vault sees it."""

    @property
    def vault(self) -> VaultRows: ...


class VaultStore(Protocol):
    """Where the vault is kept. A write carries its audit entries and cannot be had without one (law 2).

    `reserve`: it takes access away, and may use the space that is kept for that when the disk is full.
    """

    def read(self) -> AbstractContextManager[VaultTx]: ...
    def write(self, *entries: Entry, reserve: bool = False) -> AbstractContextManager[VaultTx]: ...
    def scrub(self) -> None:
        """See to it that what was overwritten is in no file any more, as far as others allow it now."""
        ...


class Survey(Protocol):
    """What a look at the outside found (headers of backups, ...), to be joined with the rows of a transaction."""

    def needs(self, tx: VaultTx, key: Key) -> Sequence[Need]:
        """Everything that needs the key, as of the transaction."""
        ...


class Dependants(Protocol):
    """What lies above the vault and keeps things that need keys."""

    def survey(self) -> Survey:
        """Look. May take long: before a transaction, never in one. Raises: Unavailable, it cannot be learnt."""
        ...


class KeyTrail(Protocol):
    """What the audit trail tells of a key."""

    def uses(self, tenancy: str, key: str, since: datetime) -> Sequence[Use]:
        """Calls for the key, counted, from the day of `since` on. Raises: Unavailable."""
        ...

    def copies(self, tenancy: str, key: str, vault: str, since: datetime) -> Sequence[Copy]:
        """Backups of the key, its vault and the region's state. Raises: Unavailable."""
        ...
