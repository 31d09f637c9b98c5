"""What the vault needs from outside: its rows, its hot reads, and freshness."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from keystead.audit.model import Entry
from keystead.core.page import PageRequest
from keystead.iam.ports import IdentityChanges
from keystead.vault.model import Key, KeyVersion, Vault


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

    def changes(self, since: int) -> Changes:
        """What is newer than `since` (0: everything). Raises: Unavailable."""
        ...


class VaultRows(Protocol):
    """The vault's rows in one transaction. Updates are compare-and-set and say whether they took place."""

    def add_vault(self, vault: Vault) -> None: ...
    def vault(self, tenancy: str, vault_id: str) -> Vault | None: ...
    def vaults(self, tenancy: str, compartment: str, page: PageRequest, name: str | None) -> Sequence[Vault]: ...
    def change_vault(self, before: Vault, after: Vault) -> bool: ...
    def add_key(self, key: Key, first: KeyVersion) -> None: ...
    def key(self, tenancy: str, key_id: str) -> Key | None: ...
    def keys(self, tenancy: str, compartment: str, page: PageRequest, name: str | None) -> Sequence[Key]: ...
    def change_key(self, before: Key, after: Key) -> bool: ...
    def add_version(self, key: Key, version: KeyVersion) -> None: ...
    def change_version(self, key: Key, before: KeyVersion, after: KeyVersion) -> bool: ...
    def versions(self, tenancy: str, key_id: str) -> Sequence[KeyVersion]: ...


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
