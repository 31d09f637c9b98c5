"""Rows of dynamic groups, network sources and tenancies."""

from collections.abc import Sequence

import sqlalchemy as sa

from keystead.adapters.sql import schema
from keystead.adapters.sql.rows import Table, values
from keystead.adapters.sql.schema_policy import dynamic_groups, network_sources
from keystead.core.page import PageRequest
from keystead.iam.model import DynamicGroup, NetworkSource, Tenancy


class SqlPolicyRows:
    """`PolicyRows` on a connection. `generation` is that of this transaction: the hot path reads these rows."""

    def __init__(self, connection: sa.Connection, generation: int) -> None:
        self._connection = connection
        self._generation = generation

    def _table(self, table: sa.Table) -> Table:
        return Table(self._connection, table)

    def add_dynamic_group(self, group: DynamicGroup) -> None:
        self._table(dynamic_groups).insert(group, deleted=False, generation=self._generation)

    def dynamic_group(self, tenancy: str, group_id: str) -> DynamicGroup | None:
        return self._table(dynamic_groups).one(DynamicGroup, tenancy=tenancy, id=group_id, deleted=False)

    def dynamic_groups(self, tenancy: str, page: PageRequest, name: str | None) -> Sequence[DynamicGroup]:
        return self._table(dynamic_groups).page(DynamicGroup, page, tenancy=tenancy, name=name or ..., deleted=False)

    def set_dynamic_group(self, group: DynamicGroup, expected: int, *, deleted: bool = False) -> bool:
        return self._set(dynamic_groups, group, expected, deleted)

    def add_network_source(self, source: NetworkSource) -> None:
        self._table(network_sources).insert(source, deleted=False, generation=self._generation)

    def network_source(self, tenancy: str, source_id: str) -> NetworkSource | None:
        return self._table(network_sources).one(NetworkSource, tenancy=tenancy, id=source_id, deleted=False)

    def network_sources(self, tenancy: str, page: PageRequest, name: str | None) -> Sequence[NetworkSource]:
        return self._table(network_sources).page(NetworkSource, page, tenancy=tenancy, name=name or ..., deleted=False)

    def set_network_source(self, source: NetworkSource, expected: int, *, deleted: bool = False) -> bool:
        return self._set(network_sources, source, expected, deleted)

    def tenancies(self, page: PageRequest, name: str | None) -> Sequence[Tenancy]:
        return self._table(schema.tenancies).page(Tenancy, page, name=name or ...)

    def _set(self, table: sa.Table, item: DynamicGroup | NetworkSource, expected: int, deleted: bool) -> bool:
        """Compare-and-set on the version that was read."""
        where = {"tenancy": item.tenancy, "id": item.id, "version": expected, "deleted": False}
        changes = {name: value for name, value in values(item).items() if name not in where or name == "version"}
        return self._table(table).update(where, generation=self._generation, deleted=deleted, **changes) == 1
