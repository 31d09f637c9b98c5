"""Databases' rows."""

from collections.abc import Sequence
from datetime import datetime
from typing import cast, get_args

import sqlalchemy as sa

from keystead.adapters.sql import schema
from keystead.adapters.sql.rows import Table, values
from keystead.core.ids import DbSystemId
from keystead.core.page import PageRequest
from keystead.databases.model import Backup, BackupState, DbSystem, FenceReceipt, SystemState, WrappedKey

GONE = "DELETED"
KEPT = tuple(state for state in get_args(BackupState) if state != GONE)
LIVING = tuple(state for state in get_args(SystemState) if state != GONE)


class SqlDatabaseRows:
    """`DatabaseRows` on a connection."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._systems = Table(connection, schema.db_systems)
        self._wrapped = Table(connection, schema.wrapped_keys)
        self._backups = Table(connection, schema.backups)

    def add_system(self, system: DbSystem, key_counter: int, admin_password_hash: str) -> None:
        self._systems.insert(system, key_counter=key_counter, admin_password_hash=admin_password_hash)

    def system(self, tenancy: str, system_id: str) -> DbSystem | None:
        found = self._systems.one(DbSystem, tenancy=tenancy, id=system_id)
        return None if found is None or found.state == GONE else found

    def systems(self, tenancy: str, compartment: str, page: PageRequest, name: str | None) -> Sequence[DbSystem]:
        return self._systems.page(
            DbSystem, page, tenancy=tenancy, compartment=compartment, name=name or ..., state=LIVING
        )

    def on_machine(self, machine: str) -> Sequence[DbSystem]:
        return [found for found in self._systems.all(DbSystem, "id", machine=machine) if found.state != GONE]

    def all_systems(self) -> Sequence[DbSystem]:
        return [found for found in self._systems.all(DbSystem, "id") if found.state != GONE]

    def password_hash(self, system: DbSystem) -> str:
        columns = schema.db_systems.c
        query = sa.select(columns.admin_password_hash).where(columns.tenancy == system.tenancy, columns.id == system.id)
        return str(self._connection.execute(query).scalar_one())

    def change(self, before: DbSystem, after: DbSystem) -> bool:
        where = {"tenancy": before.tenancy, "id": before.id, "state": before.state, "version": before.version}
        changed = {name: value for name, value in values(after).items() if name not in ("tenancy", "id", "version")}
        return self._systems.update(where, version=before.version + 1, **changed) == 1

    def next_number(self, system: DbSystem, step: int) -> int:
        columns = schema.db_systems.c
        where = {"tenancy": system.tenancy, "id": system.id}
        self._systems.update(where, key_counter=columns.key_counter + step)
        query = sa.select(columns.key_counter).where(columns.tenancy == system.tenancy, columns.id == system.id)
        return int(self._connection.execute(query).scalar_one())

    def add_wrapped(self, tenancy: str, key: WrappedKey) -> None:
        self._wrapped.insert(key, tenancy=tenancy)

    def replace_store_key(self, tenancy: str, before: WrappedKey, after: WrappedKey) -> bool:
        where = {
            "tenancy": tenancy,
            "system": before.system,
            "kind": "store",
            "parent": before.parent,
            "parent_version": before.parent_version,
            "blob": before.blob,
        }
        changed = {"parent": after.parent, "parent_version": after.parent_version, "blob": after.blob}
        return self._wrapped.update(where, created_at=after.created_at, **changed) == 1

    def unmark_latest(self, tenancy: str, system: str) -> None:
        self._wrapped.update({"tenancy": tenancy, "system": system, "kind": "data"}, latest=False)

    def wrapped(self, tenancy: str, system: str) -> Sequence[WrappedKey]:
        return self._wrapped.all(WrappedKey, "kind", "slot", "number", tenancy=tenancy, system=system)

    def store_keys(self) -> Sequence[WrappedKey]:
        return self._wrapped.all(WrappedKey, "system", kind="store")

    def drop_wrapped(self, tenancy: str, system: str) -> None:
        self._wrapped.delete(tenancy=tenancy, system=system)

    def add_backup(self, backup: Backup) -> None:
        self._backups.insert(backup)

    def backup(self, tenancy: str, backup_id: str) -> Backup | None:
        found = self._backups.one(Backup, tenancy=tenancy, id=backup_id)
        return None if found is None or found.state == GONE else found

    def backups(self, tenancy: str, compartment: str, page: PageRequest, name: str | None) -> Sequence[Backup]:
        return self._backups.page(Backup, page, tenancy=tenancy, compartment=compartment, name=name or ..., state=KEPT)

    def backups_of(self, tenancy: str, system: str) -> Sequence[Backup]:
        return self._backups.all(Backup, "name", tenancy=tenancy, system=system, state=KEPT)

    def all_backups(self) -> Sequence[Backup]:
        return self._backups.all(Backup, "id", state=KEPT)

    def change_backup(self, before: Backup, after: Backup) -> bool:
        where = {"tenancy": before.tenancy, "id": before.id, "state": before.state, "version": before.version}
        changed = {name: value for name, value in values(after).items() if name not in ("tenancy", "id", "version")}
        return self._backups.update(where, version=before.version + 1, **changed) == 1

    def add_receipt(self, tenancy: str, receipt: FenceReceipt) -> None:
        table = schema.fence_receipts
        where = {"tenancy": tenancy, "system": receipt.system, "committed_at": receipt.committed_at}
        columns = [table.c[name] == value for name, value in where.items()]
        if self._connection.execute(sa.select(table.c.system).where(*columns)).first() is not None:
            return  # told again: what was told first stands
        told = {"reason": receipt.reason, "reason_text": receipt.reason_text, "steps": [list(s) for s in receipt.steps]}
        self._connection.execute(table.insert().values(**where, **told))

    def last_receipt(self, tenancy: str, system: str) -> FenceReceipt | None:
        columns = schema.fence_receipts.c
        query = (
            sa.select(schema.fence_receipts)
            .where(columns.tenancy == tenancy, columns.system == system)
            .order_by(columns.committed_at.desc())
            .limit(1)
        )
        row = self._connection.execute(query).first()
        if row is None:
            return None
        steps = tuple((str(name), float(at)) for name, at in row.steps)
        committed = cast(datetime, row.committed_at)
        return FenceReceipt(DbSystemId(row.system), row.reason, row.reason_text, committed, steps)
