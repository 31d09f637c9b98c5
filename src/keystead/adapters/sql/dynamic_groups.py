"""Rows of dynamic groups."""

from collections.abc import Sequence

import sqlalchemy as sa

from keystead.adapters.sql.rows import Table, values
from keystead.adapters.sql.schema_dynamic_groups import dynamic_groups
from keystead.core.page import PageRequest
from keystead.iam.model import DynamicGroup


class SqlDynamicGroupRows:
    """`DynamicGroupRows` on a connection. `generation` is that of this transaction: the hot path reads these rows."""

    def __init__(self, connection: sa.Connection, generation: int) -> None:
        self._table = Table(connection, dynamic_groups)
        self._generation = generation

    def add(self, group: DynamicGroup) -> None:
        self._table.insert(group, deleted=False, generation=self._generation)

    def one(self, tenancy: str, group_id: str) -> DynamicGroup | None:
        return self._table.one(DynamicGroup, tenancy=tenancy, id=group_id, deleted=False)

    def page(self, tenancy: str, page: PageRequest, name: str | None) -> Sequence[DynamicGroup]:
        return self._table.page(DynamicGroup, page, tenancy=tenancy, name=name or ..., deleted=False)

    def set(self, group: DynamicGroup, expected: int, *, deleted: bool = False) -> bool:
        """Compare-and-set on the version that was read."""
        where = {"tenancy": group.tenancy, "id": group.id, "version": expected, "deleted": False}
        changes = {name: value for name, value in values(group).items() if name not in where or name == "version"}
        return self._table.update(where, generation=self._generation, deleted=deleted, **changes) == 1
