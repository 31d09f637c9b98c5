"""Rows of mappings for logins to databases."""

from collections.abc import Sequence

import sqlalchemy as sa

from keystead.adapters.sql.rows import Table
from keystead.adapters.sql.schema_logins import login_mappings
from keystead.databases.logins.model import LoginMapping, MappingState


class SqlLoginRows:
    """`LoginRows` on a connection."""

    def __init__(self, connection: sa.Connection) -> None:
        self._table = Table(connection, login_mappings)

    def add(self, mapping: LoginMapping) -> None:
        self._table.insert(mapping)

    def mapping(self, tenancy: str, system: str, mapping_id: str) -> LoginMapping | None:
        return self._table.one(LoginMapping, tenancy=tenancy, system=system, id=mapping_id)

    def mappings(self, tenancy: str, system: str) -> Sequence[LoginMapping]:
        return self._table.all(LoginMapping, "created_at", "id", tenancy=tenancy, system=system)

    def delete(self, mapping: LoginMapping) -> bool:
        return self._table.delete(tenancy=mapping.tenancy, id=mapping.id) == 1

    def set_state(self, mapping: LoginMapping, state: MappingState, reason_text: str) -> bool:
        where = {"tenancy": mapping.tenancy, "id": mapping.id}
        return self._table.update(where, state=state, reason_text=reason_text) == 1

    def drop(self, tenancy: str, system: str) -> None:
        self._table.delete(tenancy=tenancy, system=system)
