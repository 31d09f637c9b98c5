"""The vault's rows."""

from collections.abc import Sequence

import sqlalchemy as sa

from keystead.adapters.sql import schema
from keystead.adapters.sql.rows import Table, values
from keystead.core.page import PageRequest
from keystead.vault.model import Key, KeyVersion, Vault


class SqlVaultRows:
    """`VaultRows` on a connection. What it writes is stamped with the transaction's generation."""

    def __init__(self, connection: sa.Connection, generation: int) -> None:
        self._vaults = Table(connection, schema.vaults)
        self._keys = Table(connection, schema.keys)
        self._versions = Table(connection, schema.key_versions)
        self._generation = generation

    def add_vault(self, vault: Vault) -> None:
        self._vaults.insert(vault, generation=self._generation)

    def vault(self, tenancy: str, vault_id: str) -> Vault | None:
        return self._vaults.one(Vault, tenancy=tenancy, id=vault_id)

    def vaults(self, tenancy: str, compartment: str, page: PageRequest, name: str | None) -> Sequence[Vault]:
        return self._vaults.page(Vault, page, tenancy=tenancy, compartment=compartment, name=name or ...)

    def change_vault(self, before: Vault, after: Vault) -> bool:
        return self._change(self._vaults, before, after)

    def add_key(self, key: Key, first: KeyVersion) -> None:
        self._keys.insert(key, generation=self._generation)
        self.add_version(key, first)

    def key(self, tenancy: str, key_id: str) -> Key | None:
        return self._keys.one(Key, tenancy=tenancy, id=key_id)

    def keys(self, tenancy: str, compartment: str, page: PageRequest, name: str | None) -> Sequence[Key]:
        return self._keys.page(Key, page, tenancy=tenancy, compartment=compartment, name=name or ..., managed_by="")

    def change_key(self, before: Key, after: Key) -> bool:
        return self._change(self._keys, before, after)

    def add_version(self, key: Key, version: KeyVersion) -> None:
        self._versions.insert(version, tenancy=key.tenancy, generation=self._generation)

    def change_version(self, key: Key, before: KeyVersion, after: KeyVersion) -> bool:
        where = {"tenancy": key.tenancy, "id": before.id, "state": before.state, "deletion_at": before.deletion_at}
        changed = {name: value for name, value in values(after).items() if name != "id"}
        return self._versions.update(where, generation=self._generation, **changed) == 1

    def versions(self, tenancy: str, key_id: str) -> Sequence[KeyVersion]:
        return self._versions.all(KeyVersion, "number", tenancy=tenancy, key=key_id)

    def _change(self, table: Table, before: Vault | Key, after: Vault | Key) -> bool:
        where = {"tenancy": before.tenancy, "id": before.id, "state": before.state, "version": before.version}
        changed = {name: value for name, value in values(after).items() if name not in ("tenancy", "id")}
        return table.update(where, generation=self._generation, **changed) == 1
