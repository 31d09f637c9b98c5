"""The vault's rows."""

from collections.abc import Sequence
from datetime import datetime
from typing import get_args

import sqlalchemy as sa

from keystead.adapters.sql import schema
from keystead.adapters.sql.rows import Table, read, values
from keystead.core.page import PageRequest
from keystead.vault.model import Key, KeyState, KeyVersion, Vault, VaultState
from keystead.vault.transfer.wrapping import WrappingKey

LIVING = tuple(state for state in get_args(KeyState) if state != "PURGED")
LIVING_VAULT = tuple(state for state in get_args(VaultState) if state != "PURGED")


class SqlVaultRows:
    """`VaultRows` on a connection. What it writes is stamped with the transaction's generation."""

    def __init__(self, connection: sa.Connection, generation: int) -> None:
        self._connection = connection
        self._vaults = Table(connection, schema.vaults)
        self._keys = Table(connection, schema.keys)
        self._versions = Table(connection, schema.key_versions)
        self._wrapping_keys = Table(connection, schema.wrapping_keys)
        self._generation = generation

    def add_vault(self, vault: Vault) -> None:
        self._vaults.insert(vault, generation=self._generation)

    def vault(self, tenancy: str, vault_id: str) -> Vault | None:
        return self._vaults.one(Vault, tenancy=tenancy, id=vault_id)

    def vaults(self, tenancy: str, compartment: str, page: PageRequest, name: str | None) -> Sequence[Vault]:
        where = {"tenancy": tenancy, "compartment": compartment, "state": LIVING_VAULT}
        return self._vaults.page(Vault, page, name=name or ..., **where)

    def change_vault(self, before: Vault, after: Vault) -> bool:
        return self._change(self._vaults, before, after)

    def add_key(self, key: Key, first: KeyVersion) -> None:
        self._keys.insert(key, generation=self._generation)
        self.add_version(key, first)

    def managed_key(self, tenancy: str, manager: str) -> Key | None:
        return self._keys.one(Key, tenancy=tenancy, managed_by=manager)

    def key(self, tenancy: str, key_id: str) -> Key | None:
        return self._keys.one(Key, tenancy=tenancy, id=key_id)

    def keys(self, tenancy: str, compartment: str, page: PageRequest, name: str | None) -> Sequence[Key]:
        where = {"tenancy": tenancy, "compartment": compartment, "managed_by": "", "state": LIVING}
        return self._keys.page(Key, page, name=name or ..., **where)

    def change_key(self, before: Key, after: Key) -> bool:
        return self._change(self._keys, before, after)

    def add_version(self, key: Key, version: KeyVersion) -> None:
        self._versions.insert(version, tenancy=key.tenancy, generation=self._generation)

    def change_version(self, key: Key, before: KeyVersion, after: KeyVersion) -> bool:
        where = {"tenancy": key.tenancy, "id": before.id, "state": before.state, "deletion_at": before.deletion_at}
        changed = {name: value for name, value in values(after).items() if name != "id"}
        return self._versions.update(where, generation=self._generation, **changed) == 1

    def version(self, tenancy: str, version_id: str) -> KeyVersion | None:
        return self._versions.one(KeyVersion, tenancy=tenancy, id=version_id)

    def versions(self, tenancy: str, key_id: str) -> Sequence[KeyVersion]:
        return self._versions.all(KeyVersion, "number", tenancy=tenancy, key=key_id)

    def key_count(self, vault: Vault) -> int:
        columns = schema.keys.c
        query = sa.select(sa.func.count()).where(*_in_vault(vault), columns.state != "PURGED")
        return int(self._connection.execute(query).scalar_one())

    def protected_days(self, vault: Vault) -> int:
        columns = schema.keys.c
        longest = sa.func.max(columns.retention_days)
        query = sa.select(longest).where(*_in_vault(vault), columns.state != "PURGED", columns.purge_protection)
        return int(self._connection.execute(query).scalar_one() or 0)

    def destroy_versions(self, key: Key, *, overwrite: bool) -> None:
        changes = {"wrapped": b""} if overwrite else {}
        where = {"tenancy": key.tenancy, "key": key.id}
        self._versions.update(where, state="DELETED", deletion_at=None, generation=self._generation, **changes)

    def of_material(self, tenancy: str, fingerprint: bytes) -> Sequence[tuple[Key, KeyVersion]]:
        columns = schema.key_versions.c
        return self._with_keys(columns.tenancy == tenancy, columns.fingerprint == fingerprint)

    def keys_in(self, vault: Vault) -> Sequence[Key]:
        return self._keys.all(Key, "id", tenancy=vault.tenancy, vault=vault.id)

    def due_keys(self, now: datetime, expiring_before: datetime) -> Sequence[Key]:
        columns = schema.keys.c
        due = sa.or_(
            columns.deletion_at <= now,
            columns.purge_at <= now,
            sa.and_(columns.next_rotation_at <= now, columns.state == "ENABLED"),
            sa.and_(columns.expires_at <= expiring_before, columns.warned_days != 0),
        )
        return self._keys.where(Key, due, columns.state != "PURGED")

    def due_versions(self, now: datetime) -> Sequence[tuple[Key, KeyVersion]]:
        columns = schema.key_versions.c
        return self._with_keys(columns.deletion_at <= now, columns.state == "PENDING_DELETION")

    def undestroyed(self) -> Sequence[tuple[Key, KeyVersion]]:
        columns = schema.key_versions.c
        return self._with_keys(columns.state == "DELETED", columns.wrapped != b"")

    def due_vaults(self, now: datetime) -> Sequence[Vault]:
        columns = schema.vaults.c
        due = sa.or_(columns.deletion_at <= now, columns.purge_at <= now)
        return self._vaults.where(Vault, due, columns.state != "PURGED")

    def add_wrapping_key(self, key: WrappingKey) -> None:
        self._wrapping_keys.insert(key)

    def wrapping_key(self, tenancy: str, wrapping_key_id: str) -> WrappingKey | None:
        return self._wrapping_keys.one(WrappingKey, tenancy=tenancy, id=wrapping_key_id)

    def change_wrapping_key(self, before: WrappingKey, after: WrappingKey) -> bool:
        where = {"tenancy": before.tenancy, "id": before.id, "state": before.state, "attempts": before.attempts}
        changed = {"state": after.state, "attempts": after.attempts, "wrapped": after.wrapped}
        return self._wrapping_keys.update(where, **changed) == 1

    def open_wrapping_keys(self, vault: Vault) -> int:
        columns = schema.wrapping_keys.c
        conditions = (columns.tenancy == vault.tenancy, columns.vault == vault.id, columns.state == "OPEN")
        return int(self._connection.execute(sa.select(sa.func.count()).where(*conditions)).scalar_one())

    def due_wrapping_keys(self, now: datetime) -> Sequence[WrappingKey]:
        columns = schema.wrapping_keys.c
        return self._wrapping_keys.where(WrappingKey, columns.state == "OPEN", columns.expires_at <= now)

    def _with_keys(self, *conditions: sa.ColumnElement[bool]) -> Sequence[tuple[Key, KeyVersion]]:
        columns = schema.key_versions.c
        rows = self._connection.execute(sa.select(schema.key_versions).where(*conditions)).mappings().all()
        found = []
        for row in rows:
            key = self.key(row[columns.tenancy], row[columns.key])
            if key is not None:
                found.append((key, read(KeyVersion, dict(row))))
        return found

    def _change(self, table: Table, before: Vault | Key, after: Vault | Key) -> bool:
        where = {"tenancy": before.tenancy, "id": before.id, "state": before.state, "version": before.version}
        changed = {name: value for name, value in values(after).items() if name not in ("tenancy", "id")}
        return table.update(where, generation=self._generation, **changed) == 1


def _in_vault(vault: Vault) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    return schema.keys.c.tenancy == vault.tenancy, schema.keys.c.vault == vault.id
